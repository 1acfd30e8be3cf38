"""DVS128 Gesture: 11 hand gestures of 29 persons before an event camera, 128x128 pixels (Amir et al., 2017).

Native files: a recording ``userNN_<light>.aedat`` (AEDAT 3.1) of all gestures and ``userNN_<light>_labels.csv``, which says when
each was made; ``trials_to_train.txt`` and ``trials_to_test.txt`` name the recordings of each part (persons 1 to 23, 24 to 29).
The publisher's folder (IBM Box) cannot be fetched by a program; the digest is the one that spikingjelly states. Licence: CC BY 4.0.
Published labels have one error: the end of class 9 in user22_led lies after the beginning of class 10.
"""
from __future__ import annotations

import csv
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..files import CorruptFile
from .event_files import check_events, read_aedat3
from .events import EventOptions, event_spec, prepare_events
from .sources import Archive, Remote, check_count, lines_of

if TYPE_CHECKING:
    from pathlib import Path

    from ..annotations import StrPath
    from ..projections import InputSpec
    from .base import PreparedData
    from .event_files import Events
    from .sources import Sources

__all__ = ["Dvs128Gesture"]

PAGE = "https://research.ibm.com/interactive/dvsgesture/"
SENSOR = (128, 128)
FIELDS = ["class", "startTime_usec", "endTime_usec"]


@lru_cache(maxsize=2)
def _recording(path: Path) -> Events:
    return check_events(read_aedat3(path), path, SENSOR)


def _read(item: tuple[Path, int, int]) -> Events:
    path, begin, end = item
    events = _recording(path).between(begin, end)
    return check_events(events, f"{path}, {begin} to {end} us", SENSOR)


def _gestures(path: StrPath) -> list[tuple[int, int, int]]:
    """The rows of a labels file: list of (label from 0, first and last time in us)."""
    rows = list(csv.reader(lines_of(path)))
    if not rows or [word.strip() for word in rows[0]] != FIELDS:
        raise CorruptFile(f"{path} must begin with the line {','.join(FIELDS)}")
    found = []
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 3 or not all(word.strip().isdecimal() for word in row):
            raise CorruptFile(f"{path}: line {number} must be three whole numbers, not {','.join(row)!r}")
        label, begin, end = map(int, row)
        if not 1 <= label <= 11:
            raise CorruptFile(f"{path}: line {number} must have a class of 1 to 11, not {label}")
        if end <= begin:
            raise CorruptFile(f"{path}: line {number} must end after it begins, but {end} is not above {begin}")
        found.append((label - 1, begin, end))
    return found


class Dvs128Gesture:
    """Hand gestures seen by an event camera, 128x128 pixels, 11 classes, or 10 without "other gestures" (``other: false``)."""
    class Options(EventOptions):
        kind: Literal["dvs128_gesture"]
        other: bool = True

    COUNTS = {"train": 1176, "test": 288}                    # as spikingjelly and snnTorch count them
    ARCHIVE = Archive((Remote("DvsGesture.tar.gz", (), PAGE, md5="8a5c71fb11e24e5ca5b11866ca6c00a1"),), "DvsGesture")

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return event_spec(self.options, SENSOR), self.options.steps, 11 if self.options.other else 10

    def prepare(self, sources: Sources) -> PreparedData:
        """List the gestures; they are binned when the data are written -> PreparedData."""
        o, (_, _, classes) = self.options, self.describe()
        folder, parts = sources.folder("dvs128_gesture", self.ARCHIVE, o.official), {}
        for part in ("train", "test"):
            trials, items, labels = folder / f"trials_to_{part}.txt", [], []
            if not trials.is_file():
                raise FileNotFoundError(f"{trials} is missing: it must name the recordings of the {part} part")
            for name in lines_of(trials):
                path = folder / name
                table = path.with_name(f"{path.stem}_labels.csv")
                for file in (path, table):
                    if not file.is_file():
                        raise FileNotFoundError(f"{file} is missing, but {trials.name} names it")
                for label, begin, end in _gestures(table):
                    if label < classes:
                        items.append((path, begin, end))
                        labels.append(label)
            if not items:
                raise CorruptFile(f"{trials} must name recordings with gestures, but names none")
            if self.options.other:
                check_count(trials, "gestures of the recordings that it names", len(items), self.COUNTS[part], o.official)
            parts[part] = items, np.array(labels, np.int64)
        about = {"name": "DVS128 Gesture", "source": f"{PAGE} (Amir et al. 2017)", "licence": "CC BY 4.0"}
        return prepare_events(o, SENSOR, classes, parts["train"], parts["test"], _read, about, "official, by person",
                              sources.workers)
