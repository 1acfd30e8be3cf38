"""One job of a grid: some of its pre-trainings, or some of its points.

What is there already is left as it is, and what fails does not stop the rest: the job fails at its end, and the next try takes up
what is missing.
"""
import os
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

#: Seconds between two signs of life.
BEAT = 10.0


def add_arguments(parser, json_argument):
    parser.add_argument("--tasks", type=json_argument, required=True, help="points, as the pipeline writes them")
    parser.add_argument("--level", choices=("training", "point"), required=True, help="pre-train networks, or all that follows")
    parser.add_argument("--out", required=True, help="rows of the points, .json")


@contextmanager
def marked(folder):
    """Say in a folder that somebody works on it, for :class:`spikeproof.grids.Progress`."""
    mark, ended = Path(folder) / "running", threading.Event()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{socket.gethostname()} {os.getpid()}\n")

    def beat():
        while not ended.wait(BEAT):
            mark.touch()
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        mark.unlink(missing_ok=True)


def _stage(name, point, args, *arguments):
    """Run a stage for a point in this process; what it says goes to the log."""
    from ..cli import Stage, parser
    args = parser().parse_args([name, "--threads", str(args.threads), *map(str, arguments)])
    args.run(args, Stage(name, point.label, log=sys.stderr, terminal=False))


def _checkpoint(key):
    return f"scratch/points/{key}.safetensors"


def _pretrain(point, folder, args):
    """Pre-train the network of a point."""
    from ..files import canonical_json
    chain = canonical_json({field: point.entries[field] for field in ("architecture", "neuron", "pretraining")})
    _stage("pretrain", point, args, "--data", f"results/data/{point.data}.safetensors", "--config", chain, "--seed", point.seed,
           "--checkpoint", _checkpoint(point.training), "--out", folder / "pretrain.safetensors",
           "--history", folder / "pretrain.json")


def _compress(point, folder, args):
    """Quantize, prune, evaluate and export a point -> its row."""
    from ..files import canonical_json
    from ..grids import folder_of
    from ..report import memory_columns, read_result
    data = f"results/data/{point.data}.safetensors"
    trained = model = Path(folder_of(point.training)) / "pretrain.safetensors"
    for name, field in (("quantize", "quantizer"), ("prune", "pruner")):
        if point.entries[field] is not None:
            made = folder / f"{name}.safetensors"
            _stage(name, point, args, "--data", data, "--model", model, "--config", canonical_json(point.entries[field]), "--seed",
                   point.seed, "--checkpoint", _checkpoint(point.key), "--out", made, "--history", folder / f"{name}.json")
            model = made
    _stage("evaluate", point, args, "--data", data, "--float-model", trained, "--model", model, "--out", folder / "evaluate.json")
    evaluated = read_result(folder / "evaluate.json")
    row = {key: evaluated[key] for key in ("accuracy_float", "accuracy", "validation_accuracy", "firing_rate")}
    memory = evaluated["float_memory_bits"]
    if point.entries["quantizer"] is not None:
        _stage("export", point, args, "--data", data, "--model", model, "--out", folder / "network.safetensors",
               "--result", folder / "export.json")
        exported = read_result(folder / "export.json")
        memory = exported["memory_bits"]
        row |= {"torch_values_compared": exported["torch_values_compared"], "synops_per_image": exported["synops_per_image"]}
    return row | memory_columns(memory)


def _kept(folder, result, data):
    """What is kept of a task on these data, or None."""
    from ..files import CorruptFile
    from ..report import read_result
    try:
        found = read_result(folder / result)
        return found if found["data_sha256"] == data else None
    except (FileNotFoundError, CorruptFile, KeyError, TypeError):
        return None


def run(args, stage):
    import time

    from tqdm import tqdm

    from ..files import stored_digest, write_json
    from ..grids import folder_of, read_tasks
    from ..provenance import provenance
    points = read_tasks(args.tasks)
    rows, failed, fresh = [], [], 0
    for point in tqdm(points, desc=f"grid {stage.label}", unit=args.level, mininterval=1):
        key = point.training if args.level == "training" else point.key
        folder = Path(folder_of(key))
        data = stored_digest(f"results/data/{point.data}.safetensors")
        result = _kept(folder, "result.json", data)
        if result is None:
            began = time.monotonic()
            with marked(folder):
                (folder / "failed.json").unlink(missing_ok=True)
                (folder / "result.json").unlink(missing_ok=True)
                try:
                    row = _compress(point, folder, args) if args.level == "point" else _pretrain(point, folder, args)
                except Exception as error:                          # of this point alone: the others do not suffer
                    failed.append(f"{point.label}: {error if isinstance(error, ValueError | RuntimeError) else repr(error)}")
                    write_json(folder / "failed.json", {"point": vars(point), "error": failed[-1]})
                    stage.say(f"failed: {failed[-1]}")
                    continue
                result = {"point": vars(point), "row": row, "seconds": time.monotonic() - began, "data_sha256": data,
                          "provenance": provenance()}
                write_json(folder / "result.json", result)
            fresh += 1
            told = "" if row is None else f": {100 * row['accuracy']:.2f} %, {row['memory_bits'] / 1000:.1f} kbit"
            stage.say(f"{point.label}{told}")
        if args.level == "point":
            rows.append({**point.settings, "seed": point.seed, **result["row"], "seconds": result["seconds"], "key": key})
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(points)} failed, first {failed[0]}; the others are kept: run it again for these "
                           "alone")
    write_json(args.out, {"rows": rows})
    stage.say(f"{fresh} of {len(points)} {args.level}s computed, {len(points) - fresh} were there")
