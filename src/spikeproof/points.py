"""What a point of a grid is made of: its pre-training and what follows, each kept under a digest.

A stage whose result is there, of the same data and model, is not run again.
"""
import sys
from pathlib import Path

from .cli import Stage, parser
from .files import CorruptFile, canonical_json, read_result, stored_digest, write_json
from .metrics import memory_columns

__all__ = ["FORMAT", "Failed", "compress", "folder_of", "kept", "pretrain"]

#: Counts up when what is kept of a point is another thing than before; the code of the stages has a digest of its own.
FORMAT = 1


class Failed(RuntimeError):
    """A pre-training or a point has failed; the sentence says why."""


def folder_of(key):
    """Where the files of a point, or of a pre-training, are kept."""
    return f"results/points/{key}"


def kept(key, **inputs):
    """The result that is kept under a key, or None where there is none, or it is of other inputs (name -> digest)."""
    try:
        found = read_result(Path(folder_of(key)) / "result.json")
        return found if found["inputs"] == inputs else None
    except (FileNotFoundError, CorruptFile, KeyError, TypeError):
        return None


def _run(stage, point, threads, *arguments):
    """Run a stage in this process; what it says goes to the log."""
    args = parser().parse_args([stage, "--threads", str(threads), *map(str, arguments)])
    args.run(args, Stage(stage, point.label, log=sys.stderr, terminal=False))


def _train(stage, point, threads, out, inputs, *arguments):
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


def pretrain(point, threads):
    """Pre-train the network of a point -> (path of the model, its digest)."""
    out = Path(folder_of(point.training)) / "pretrain.safetensors"
    chain = canonical_json({field: point.entries[field] for field in ("architecture", "neuron", "pretraining")})
    return out, _train("pretrain", point, threads, out, {"data": stored_digest(point.path)}, "--config", chain)


def compress(point, trained, threads):
    """Quantize, prune, evaluate and export a point.

    Parameters
    ----------
    trained : (path, digest) of its pre-trained network

    Returns
    -------
    dict, its columns of the grid's table
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
    evaluated = read_result(folder / "evaluate.json")
    row = {key: evaluated[key] for key in ("accuracy_float", "accuracy", "validation_accuracy", "firing_rate")}
    if point.entries["quantizer"] is None:
        return row | memory_columns(evaluated["float_memory_bits"])
    _run("export", point, threads, "--data", point.path, "--model", model, "--out", folder / "network.safetensors",
         "--result", folder / "export.json")
    exported = read_result(folder / "export.json")
    row |= {key: exported[key] for key in ("torch_values_compared", "synops_per_image")}
    return row | memory_columns(exported["memory_bits"])
