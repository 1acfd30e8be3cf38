"""What a point of a grid is made of: its pre-training and what follows, each kept under a digest.

A stage whose result is there, of the same data and model, is not run again.
"""
from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import Stage, parser
from .files import CorruptFile, canonical_json, read_result, sha256_file, stored_digest, write_json
from .metrics import memory_columns
from .provenance import provenance

if TYPE_CHECKING:
    from .annotations import Entry
    from .grids import Point

__all__ = ["FORMAT", "Failed", "compress", "finish", "folder_of", "is_there", "kept", "pretrain", "row_of"]

#: Counts up when what is kept of a point is another thing than before; the code of the stages has a digest of its own.
FORMAT = 2
#: Files of a folder that tell of what is kept in it.
MARKS = ("failed.json", "result.json", "running")


class Failed(RuntimeError):
    """A pre-training or a point has failed; the sentence says why.

    Members
    -------
    passing : bool, whether the machine was at fault (disk, memory), not the point
    """
    def __init__(self, said: str, passing: bool = False) -> None:
        super().__init__(said)
        self.passing = passing


def folder_of(key: str) -> str:
    """Where the files of a point, or of a pre-training, are kept."""
    return f"results/points/{key}"


def _files(folder: Path) -> dict[str, list[int | str]]:
    """{name: [size, SHA-256]} of what is kept in a folder, but for what tells of it."""
    return {path.name: [path.stat().st_size, sha256_file(path)] for path in sorted(folder.iterdir())
            if path.is_file() and path.name not in MARKS and not path.name.startswith(".")}


def is_there(key: str) -> bool:
    """Whether a point, or a pre-training, is finished and none of its files is gone or of another size; their content unread."""
    folder = Path(folder_of(key))
    try:
        files = read_result(folder / "result.json")["files"]
        return all((folder / name).stat().st_size == size for name, (size, _) in files.items())
    except (OSError, CorruptFile, KeyError, TypeError, ValueError, AttributeError):
        return False


def finish(key: str, point: Point, inputs: dict[str, str], seconds: float) -> Entry:
    """Say that a point, or a pre-training, is finished: of what inputs (name -> digest), and what its files are -> that dict."""
    folder = Path(folder_of(key))
    found = {"point": vars(point), "inputs": inputs, "files": _files(folder), "seconds": seconds, "provenance": provenance()}
    write_json(folder / "result.json", found)
    return found


def kept(key: str, inputs: dict[str, str]) -> Entry | None:
    """What :func:`finish` said, or None where nothing is kept, or of other inputs; files that were changed since are taken away."""
    folder = Path(folder_of(key))
    try:
        found = read_result(folder / "result.json")
        files = {str(name): list(of) for name, of in found["files"].items()}
        if found["inputs"] != inputs:
            return None
        now = _files(folder)
    except (OSError, CorruptFile, KeyError, TypeError, AttributeError):
        return None
    changed = [name for name, of in files.items() if now.get(name) != of]
    for name in changed:
        (folder / name).unlink(missing_ok=True)
    return None if changed else found


def _run(stage: str, point: Point, threads: int, *arguments: object) -> None:
    """Run a stage in this process; what it says goes to the log."""
    args = parser().parse_args([stage, "--threads", str(threads), *map(str, arguments)])
    args.run(args, Stage(stage, point.label, log=sys.stderr, terminal=False))


def _train(stage: str, point: Point, threads: int, out: Path, inputs: dict[str, str], *arguments: object) -> str:
    """Run a training stage, unless its model is there already, of the same inputs -> its model's digest."""
    mark = out.with_suffix(".made.json")
    try:
        made = read_result(mark)
        if made == {**inputs, "model": stored_digest(out)}:
            return made["model"]
    except (FileNotFoundError, CorruptFile):
        pass
    _run(stage, point, threads, "--data", point.path, "--seed", point.seed, "--out", out, "--history", out.with_suffix(".json"),
         "--checkpoint", f"scratch/points/{out.parent.name}.{stage}.safetensors", *arguments)
    digest = stored_digest(out)
    write_json(mark, {**inputs, "model": digest})
    return digest


def pretrain(point: Point, threads: int) -> tuple[Path, str]:
    """Pre-train the network of a point -> (path of the model, its digest)."""
    out = Path(folder_of(point.training)) / "pretrain.safetensors"
    chain = canonical_json({field: point.entries[field] for field in ("architecture", "neuron", "pretraining")})
    return out, _train("pretrain", point, threads, out, {"data": stored_digest(point.path)}, "--config", chain)


def compress(point: Point, trained: tuple[Path, str], threads: int) -> None:
    """Quantize, prune, evaluate and export a point.

    Parameters
    ----------
    trained : (path, digest) of its pre-trained network
    """
    folder, (model, digest), data = Path(folder_of(point.key)), trained, stored_digest(point.path)
    for stage, field in (("quantize", "quantizer"), ("prune", "pruner")):
        if point.entries[field] is not None:
            out = folder / f"{stage}.safetensors"
            digest = _train(stage, point, threads, out, {"data": data, "from": digest}, "--model", model,
                            "--config", canonical_json(point.entries[field]))
            model = out
    _run("evaluate", point, threads, "--data", point.path, "--float-model", trained[0], "--model", model,
         "--out", folder / "evaluate.json")
    if point.entries["quantizer"] is not None:
        _run("export", point, threads, "--data", point.path, "--model", model, "--out", folder / "network.safetensors",
             "--result", folder / "export.json")


def row_of(key: str) -> Entry:
    """Columns of a grid's table, from the results of a point: dict."""
    folder = Path(folder_of(key))
    evaluated = read_result(folder / "evaluate.json")
    row = {key: evaluated[key] for key in ("accuracy_float", "accuracy", "validation_accuracy", "firing_rate")}
    if not (folder / "export.json").exists():
        return row | memory_columns(evaluated["float_memory_bits"])
    exported = read_result(folder / "export.json")
    row |= {key: exported[key] for key in ("torch_values_compared", "synops_per_image")}
    return row | memory_columns(exported["memory_bits"])
