"""Prophesee Gen1 automotive detection: cars and pedestrians with boxes, 304x240 pixels (de Tournemire et al., 2020).

Native files: ``{train,val,test}/<name>_td.dat`` (Prophesee DAT) and ``<name>_bbox.npy`` (structured array of labels). The
publisher gives the archives on request (a form), under terms shown there. All three parts are the official ones.

A sample is the last ``steps`` x ``step_us`` microseconds before a labelled instant, with the boxes of that instant. As in the
publisher's evaluation, labels of the first half second and small boxes (diagonal below 30, side below 10 pixels) are left out.
Recordings are read piece by piece while the data are written.
"""
from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ..files import CorruptFile, Pieces
from .base import PARTS, Boxes, PreparedData, in_order
from .event_files import DatFile, check_events
from .events import BinOptions, bin_events, describe_binning, event_spec
from .sources import Missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..annotations import Array, StrPath
    from ..projections import InputSpec
    from .sources import Sources

__all__ = ["Gen1"]

PAGE = "https://www.prophesee.ai/2020/01/24/prophesee-gen1-automotive-detection-dataset/"
SENSOR = (240, 304)
CLASSES = ("car", "pedestrian")
FOLDERS = {"train": "train", "validation": "val", "test": "test"}


@lru_cache(maxsize=4)
def _file(path: Path) -> DatFile:
    return DatFile(path)


def read_boxes(path: StrPath) -> tuple[Array, Array]:
    """A ``_bbox.npy`` file -> (t int64 [N], boxes float32 [N, 5]: left, top, width, height, class).

    Older files call the time ``ts``.
    """
    try:
        rows = np.load(path, allow_pickle=False)
        t = rows["t" if "t" in rows.dtype.names else "ts"].astype(np.int64)
        boxes = np.stack([rows[name].astype(np.float32) for name in ("x", "y", "w", "h", "class_id")], 1)
    except Exception as error:                                      # whatever a file can do to numpy's reader
        raise CorruptFile(f"{path} is no whole array of boxes with fields t, x, y, w, h, class_id "
                          f"({' '.join(str(error).split())[:150]}): get it again") from None
    wrong = boxes[(boxes[:, 4] < 0) | (boxes[:, 4] >= len(CLASSES)), 4]
    if len(wrong):
        raise CorruptFile(f"{path} must have classes 0 to {len(CLASSES) - 1}, not {int(wrong[0])}")
    if not np.isfinite(boxes).all():
        raise CorruptFile(f"{path} must have boxes of finite numbers, not {boxes[~np.isfinite(boxes).all(1)][0].tolist()}")
    return t, boxes


def samples_of(path: StrPath, options: Gen1.Options) -> list[tuple[int, Array]]:
    """The labelled instants of a recording: list of (t, boxes on the sensor)."""
    t, boxes = read_boxes(path)
    x0, y0 = np.clip(boxes[:, 0], 0, SENSOR[1]), np.clip(boxes[:, 1], 0, SENSOR[0])
    x1, y1 = np.clip(boxes[:, 0] + boxes[:, 2], 0, SENSOR[1]), np.clip(boxes[:, 1] + boxes[:, 3], 0, SENSOR[0])
    boxes = np.stack([x0, y0, x1 - x0, y1 - y0, boxes[:, 4]], 1).astype(np.float32)
    kept = (t > options.skip_us) & (np.hypot(boxes[:, 2], boxes[:, 3]) >= options.min_diagonal) & \
        (boxes[:, 2:4].min(1, initial=np.inf) >= options.min_side)
    return [(int(instant), boxes[kept & (t == instant)]) for instant in np.unique(t[kept])]


class Gen1:
    """Cars and pedestrians seen by an event camera, 304x240 pixels, with boxes."""
    class Options(BinOptions):
        kind: Literal["gen1"]
        binning: Literal["time"] = "time"
        skip_us: int = Field(500_000, ge=0)
        min_diagonal: float = Field(30, ge=0)
        min_side: float = Field(10, gt=0)

    detection = True

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        return event_spec(self.options, SENSOR), self.options.steps, len(CLASSES)

    def _read(self, item: tuple[Path, int]) -> Array:
        path, t = item
        recording, begin = _file(path), t - self.options.steps * self.options.step_us
        events = recording.read(recording.position(max(begin, 0)), recording.position(t))
        if len(events.t):
            check_events(events, path, SENSOR)
        return bin_events(events, self.options, SENSOR, begin)[None]

    def prepare(self, sources: Sources) -> PreparedData:
        """Read the boxes; recordings are read when the data are written -> PreparedData."""
        o, (spec, steps, classes) = self.options, self.describe()
        scale = np.array([spec.shape[1] / SENSOR[1], spec.shape[0] / SENSOR[0]] * 2 + [1], np.float32)
        frames, boxes = {}, {}
        for part in PARTS:
            folder = sources.find("gen1", FOLDERS[part], f"detection_dataset_duration_60s_ratio_1.0/{FOLDERS[part]}")
            if folder is None:
                raise Missing(f"{sources.data_dir / 'gen1' / FOLDERS[part]} is missing, and its publisher gives it on request "
                              f"only: get it from {PAGE} and unpack it there")
            items, rows, start = [], [], [0]
            for path in sorted(folder.rglob("*_td.dat")):
                labels = path.with_name(path.name.replace("_td.dat", "_bbox.npy"))
                if not labels.is_file():
                    raise FileNotFoundError(f"{labels} is missing: it must hold the boxes of {path.name}")
                for t, found in samples_of(labels, o):
                    items.append((path, t))
                    rows.append(found * scale)
                    start.append(start[-1] + len(found))
            if not items:
                raise CorruptFile(f"{folder} must have recordings *_td.dat with boxes that are large enough, but has none")
            boxes[part] = Boxes(np.array(start, np.int64), np.concatenate(rows))

            def pieces(items: list[tuple[Path, int]] = items) -> Iterator[Array]:
                return in_order(self._read, items, sources.workers)
            frames[part] = Pieces((len(items), steps, *spec.shape), np.dtype(np.uint8), pieces)
        split = "that of the folders, the publisher's: " + ", ".join(f"{part} {len(frames[part])}" for part in PARTS)
        about = {"name": "Prophesee Gen1 automotive detection", "source": f"{PAGE} (de Tournemire et al. 2020)",
                 "licence": "as agreed with the publisher", "images": sum(map(len, frames.values())), "split": split,
                 "binning": describe_binning(o) + " before a label"}
        return PreparedData(spec, steps, classes, frames, {}, about, boxes)
