"""One job of a grid: some of its pre-trainings, or some of its points.

What is there already is left as it is, and what fails does not stop the rest: a job with points that failed fails at its end, and
the next try takes up what is missing.
"""
from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Output

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

    from ..annotations import Json, StrPath
    from ..cli import Stage
    from ..grids import Point
    from ..points import Failed

#: Seconds between two signs of life.
BEAT = 10.0


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--tasks", type=json_argument, required=True, help="points, as the pipeline writes them")
    parser.add_argument("--level", choices=("training", "point"), required=True, help="pre-train networks, or all that follows")
    parser.add_argument("--leave-out", action="store_true", help="list points that fail, without results, in place of failing")
    parser.add_argument("--out", type=Output, required=True, help="rows of the points, .json")


@contextmanager
def marked(folder: StrPath) -> Iterator[None]:
    """Say in a folder that somebody works on it, for :class:`spikeproof.grid_progress.Progress`."""
    mark, ended = Path(folder) / "running", threading.Event()
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(f"{socket.gethostname()} {os.getpid()}\n")

    def beat() -> None:
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


class _Job:
    """The points of a job, one after the other.

    Parameters
    ----------
    args : of the command line

    Members
    -------
    fresh : how many pre-trainings and points were made, not found
    """
    def __init__(self, args: argparse.Namespace) -> None:
        self.threads, self.level, self.fresh = args.threads, args.level, 0
        self._trained: dict[str, tuple[Path, str]] = {}
        self._failed: dict[str, Failed] = {}

    def _made(self, key: str, point: Point, inputs: dict[str, str], make: Callable[[], object]) -> dict[str, Json]:
        """What is kept under a key, or is made now; a failure is kept too."""
        from ..files import write_json
        from ..points import Failed, finish, folder_of, kept
        found = kept(key, inputs)
        if found is None:
            from .. import integer, training  # noqa: F401  (before the clock starts)
            folder, began = Path(folder_of(key)), time.monotonic()
            for name in ("failed.json", "result.json"):
                (folder / name).unlink(missing_ok=True)
            with marked(folder):
                try:
                    make()
                except Exception as error:                          # of this one alone: the others do not suffer
                    said = str(error) if isinstance(error, ValueError | RuntimeError | ArithmeticError | OSError) else repr(error)
                    write_json(folder / "failed.json", {"point": vars(point), "error": said})
                    raise Failed(said, isinstance(error, OSError | MemoryError)) from None
                found = finish(key, point, inputs, time.monotonic() - began)
            self.fresh += 1
        return found

    def trained(self, point: Point) -> tuple[Path, str]:
        """(path, digest) of the pre-trained network of a point, made if it is not there; a failure is tried once a job."""
        from ..files import stored_digest
        from ..points import Failed, pretrain
        key = point.training
        if key in self._failed:
            raise self._failed[key]
        if key not in self._trained:
            try:
                self._made(key, point, {"data": stored_digest(point.path)}, lambda: pretrain(point, self.threads))
                self._trained[key] = pretrain(point, self.threads)  # nothing to do: the model is whole
            except Failed as error:
                self._failed[key] = Failed(f"its pre-training: {error}", error.passing)
                raise self._failed[key] from None
        return self._trained[key]

    def row(self, point: Point) -> dict[str, Json]:
        """Columns of the table for a point, made if it is not there."""
        from ..files import stored_digest
        from ..points import compress, row_of
        network = self.trained(point)
        if self.level == "training":
            return {}
        inputs = {"data": stored_digest(point.path), "pretrain": network[1]}
        found = self._made(point.key, point, inputs, lambda: compress(point, network, self.threads))
        return {**row_of(point.key), "seconds": found["seconds"]}


def run(args: argparse.Namespace, stage: Stage) -> None:
    from tqdm import tqdm

    from ..files import write_json
    from ..grids import read_tasks
    from ..points import Failed, folder_of
    points = read_tasks(args.tasks)
    job, rows, errors, passing = _Job(args), [], [], False
    for point in tqdm(points, desc=f"grid {stage.label}", unit=args.level, mininterval=1):
        row, before = {**point.settings, "seed": point.seed, "key": point.key}, job.fresh
        try:
            row |= job.row(point)
            if job.fresh > before:
                stage.say(f"{point.label}: " + ("trained" if args.level == "training" else
                                                f"{100 * row['accuracy']:.2f} %, {row['memory_bits'] / 1000:.1f} kbit"))
        except Failed as error:
            errors.append(f"{point.label}: {error}")
            passing |= error.passing
            stage.say(f"failed: {errors[-1]}")
            row["error"] = str(error)
            mark = Path(folder_of(point.key)) / "failed.json"
            if args.level == "point" and not mark.exists():
                write_json(mark, {"point": vars(point), "error": str(error), "training": point.training})
        rows.append(row)
    if errors and args.level == "point" and (passing or not args.leave_out):
        raise RuntimeError(f"{len(errors)} of {len(points)} failed, first {errors[0]}; the others are kept: run it again for these "
                           "alone" + ("" if passing else ", or set `failures: leave_out` in the grid"))
    rests_on = sorted({path for point in points for path in (point.path, folder_of(point.training))})
    write_json(args.out, {"rows": rows if args.level == "point" else [], "failed": errors, "rests_on": rests_on})
    stage.say(f"{job.fresh} of {len(points)} {args.level}s computed, {len(points) - job.fresh - len(errors)} were there"
              + (f", {len(errors)} failed" if errors else ""))
