"""How far a grid is, by the files of its pre-trainings and points."""
from __future__ import annotations

import json
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .points import folder_of, is_there

if TYPE_CHECKING:
    from .grids import Grid

__all__ = ["Progress", "lost_parts", "part_file"]

#: A point whose mark was not touched for so many seconds is not running any more.
STALE = 60.0


def part_file(name: str, level: str, number: int) -> str:
    """What a job of a grid writes."""
    return f"results/grids/{name}/{level}-{number}.json"


def lost_parts(name: str, grid: Grid) -> dict[Path, int]:
    """What jobs wrote of pre-trainings or points that are not there: {file: how many failed, or have lost files}.

    With a file of pre-trainings go those of the points that need them.
    """
    found: dict[Path, int] = {}
    there = cache(is_there)
    for level in ("training", "point"):
        for number, batch in enumerate(grid.batches(level)):
            path = Path(part_file(name, level, number))
            if path.exists():
                missing = sum(not (there(point.training) and (level == "training" or there(point.key))) for point in batch)
                if missing:
                    found[path] = missing
    return found


class Progress:
    """How far a grid is, for a line that is told while it runs.

    Parameters
    ----------
    name : str
    grid : Grid
    """
    def __init__(self, name: str, grid: Grid) -> None:
        self.name, self.grid = name, grid
        #: (when, how many) points were done when one was seen to be done.
        self.first: tuple[float, int] | None = None
        self.at_start = self._counts()[1]["done"]

    def _state(self, key: str) -> str:
        at = Path(folder_of(key))
        try:
            if abs(time.time() - (at / "running").stat().st_mtime) < STALE:
                return "running"
        except OSError:
            pass
        return "done" if (at / "result.json").exists() else "failed" if (at / "failed.json").exists() else "open"

    def _counts(self) -> tuple[Counter[str], Counter[str]]:
        return (Counter(self._state(point.training) for point in self.grid.trainings),
                Counter(self._state(point.key) for point in self.grid.points))

    def failures(self, most: int = 3) -> list[str]:
        """Sentences on what failed, a pre-training or a point a line, at most so many and how many more there are."""
        found: dict[str, str | None] = {}
        for point in (*self.grid.trainings, *self.grid.points):
            for key in (point.training, point.key):
                if key not in found and self._state(key) == "failed":
                    try:
                        given = json.loads((Path(folder_of(key)) / "failed.json").read_text())
                        found[key] = None if "training" in given else f"{point.label}: {given['error']}"
                    except (OSError, ValueError, KeyError, TypeError):
                        continue
        told = list(filter(None, found.values()))
        return [*told[:most], *([f"and {len(told) - most} more"] if len(told) > most else [])]

    def line(self, final: bool = False) -> str:
        """Trainings and points that are done, running and failed, and, unless it is over, about how long the rest takes."""
        trainings, points = self._counts()
        done, total, now = points["done"], len(self.grid.points), time.monotonic()
        told = [f"{done} of {total} points done, {points['running']} running, {points['failed']} failed"]
        if trainings["done"] < len(self.grid.trainings):
            told.insert(0, f"{trainings['done']} of {len(self.grid.trainings)} trainings done, {trainings['running']} running, "
                           f"{trainings['failed']} failed")
        left = total - done - points["failed"]
        if self.first is None and done > self.at_start:
            self.first = now, done                                  # trainings took the time before
        elif self.first is not None and done > self.first[1] and left and not final:
            seconds = (now - self.first[0]) / (done - self.first[1]) * left
            told.append(f"about {seconds:.0f} s left" if seconds < 120 else f"about {seconds / 60:.0f} min left")
        return f"[grid {self.name}] {'; '.join(told)}"
