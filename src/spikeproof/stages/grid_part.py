"""One job of a grid: some of its pre-trainings, or some of its points.

What is there already is left as it is, and what fails does not stop the rest: a job with points that failed fails at its end, and
the next try takes up what is missing.
"""
import os
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

#: Seconds between two signs of life.
BEAT = 10.0


def add_arguments(parser, json_argument):
    parser.add_argument("--tasks", type=json_argument, required=True, help="points, as the pipeline writes them")
    parser.add_argument("--level", choices=("training", "point"), required=True, help="pre-train networks, or all that follows")
    parser.add_argument("--leave-out", action="store_true", help="list points that fail, without results, in place of failing")
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


def run(args, stage):
    import time

    from tqdm import tqdm

    from ..files import stored_digest, write_json
    from ..grids import read_tasks
    from ..points import Failed, compress, folder_of, kept, pretrain
    from ..provenance import provenance
    points = read_tasks(args.tasks)
    rows, failed, fresh = [], {}, 0

    def result_of(key, inputs, make, point):
        """What is kept under a key, or is made now; its failure is kept too."""
        nonlocal fresh
        found = kept(key, **inputs)
        if found is None:
            from .. import integer, training  # noqa: F401  (before the clock starts)
            folder, began = Path(folder_of(key)), time.monotonic()
            for name in ("failed.json", "result.json"):
                (folder / name).unlink(missing_ok=True)
            with marked(folder):
                try:
                    row = make()
                except Exception as error:                          # of this one alone: the others do not suffer
                    said = str(error) if isinstance(error, ValueError | RuntimeError | ArithmeticError) else repr(error)
                    write_json(folder / "failed.json", {"point": vars(point), "error": said})
                    raise Failed(said) from None
                found = {"point": vars(point), "row": row, "seconds": time.monotonic() - began, "inputs": inputs,
                         "provenance": provenance()}
                write_json(folder / "result.json", found)
            fresh += 1
        return found

    def trained(point):
        """(path, digest) of the pre-trained network of a point, which is made if it is not there; a failure is tried once a job."""
        if point.training in failed:
            raise Failed(failed[point.training])
        try:
            result_of(point.training, {"data": stored_digest(point.path)}, lambda: pretrain(point, args.threads) and {}, point)
            return pretrain(point, args.threads)                    # nothing to do where the model is whole
        except Failed as error:
            failed[point.training] = f"its pre-training: {error}"
            raise Failed(failed[point.training]) from None
    errors = []
    for point in tqdm(points, desc=f"grid {stage.label}", unit=args.level, mininterval=1):
        row = {**point.settings, "seed": point.seed, "key": point.key}
        before = fresh
        try:
            network = trained(point)
            if args.level == "training":
                told = "trained"
            else:
                inputs = {"data": stored_digest(point.path), "pretrain": network[1]}
                result = result_of(point.key, inputs, lambda: compress(point, network, args.threads), point)   # noqa: B023
                row |= {**result["row"], "seconds": result["seconds"]}
                told = f"{100 * row['accuracy']:.2f} %, {row['memory_bits'] / 1000:.1f} kbit"
            if fresh > before:
                stage.say(f"{point.label}: {told}")
        except Failed as error:
            errors.append(f"{point.label}: {error}")
            stage.say(f"failed: {errors[-1]}")
            row["error"] = str(error)
            if args.level == "point" and not (Path(folder_of(point.key)) / "failed.json").exists():
                write_json(Path(folder_of(point.key)) / "failed.json", {"point": vars(point), "error": str(error)})
        rows.append(row)
    if errors and args.level == "point" and not args.leave_out:
        raise RuntimeError(f"{len(errors)} of {len(points)} failed, first {errors[0]}; the others are kept: run it again for these "
                           "alone, or set `failures: leave_out` in the grid")
    write_json(args.out, {"rows": rows if args.level == "point" else [], "failed": errors})
    stage.say(f"{fresh} of {len(points)} {args.level}s computed, {len(points) - fresh - len(errors)} were there"
              + (f", {len(errors)} failed" if errors else ""))
