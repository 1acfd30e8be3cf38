"""Moving shapes: discs, squares and triangles that cross an event camera, made by the pipeline; nothing is downloaded.

Each sample is simulated: bright shapes move on straight lines, a pixel that a shape enters gives an "on" event and one that it
leaves an "off" event, with times in microseconds; noise events are spread evenly. The events then go the way of all
recordings. ``task: classification`` shows one shape, whose kind is the label; ``task: detection`` shows one to ``objects`` of
them, with their boxes at the end. Everything follows from ``seed``.
"""
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ..files import Pieces
from .base import PARTS, Boxes, PreparedData, in_order
from .event_files import Events
from .events import BinOptions, bin_events, describe_binning, event_spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..annotations import Array
    from ..projections import InputSpec
    from .sources import Sources

    Sample = tuple[int, int, int]

__all__ = ["MovingShapes"]

SHAPES = ("disc", "square", "triangle")
#: Renderings per time step.
FINE = 4


def _inside(kind: int, y: Array, x: Array, radius: float) -> Array:
    """Which pixels a shape around (0, 0) covers."""
    if kind == 0:
        return y * y + x * x < radius * radius
    if kind == 1:
        return np.maximum(abs(y), abs(x)) < 0.89 * radius
    return (y < 0.75 * radius) & (abs(x) < (y + radius) * 0.6)


def simulate(item: Sample, options: MovingShapes.Options) -> tuple[Events, Array]:
    """One sample -> (Events, boxes float32 [n, 5] at the end).

    Parameters
    ----------
    item : (number of the part, number of the sample, kind of the first shape)
    options : MovingShapes.Options
    """
    part, number, kind = item
    o = options
    rng = np.random.default_rng((o.seed, part, number))
    side, duration, count = o.side, o.steps * o.step_us, o.steps * FINE
    many = int(rng.integers(1, o.objects + 1)) if o.task == "detection" else 1
    y, x = np.mgrid[:side, :side]
    covered = np.zeros((count + 1, side, side), bool)
    boxes = []
    for k in range(many):
        own = kind if k == 0 else int(rng.integers(len(SHAPES)))
        radius = rng.uniform(0.09, 0.2) * side
        low, high = radius, side - 1 - radius
        begin, end = rng.uniform(low, high, 2), rng.uniform(low, high, 2)
        while np.hypot(*(end - begin)) < 0.15 * side:       # what does not move gives no events
            end = rng.uniform(low, high, 2)
        for n, share in enumerate(np.linspace(0, 1, count + 1)):
            at = begin + (end - begin) * share
            mask = _inside(own, y - at[0], x - at[1], radius)
            covered[n] |= mask
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes.append((columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1, own))
    when, row, column = np.nonzero(covered[1:] != covered[:-1])
    p = covered[1:][when, row, column].astype(np.uint8)
    t = ((when + rng.random(len(when))) * duration / count).astype(np.int64)
    noise = rng.poisson(o.noise * side * side * duration * 1e-6)
    t = np.concatenate([t, rng.integers(0, duration, noise)])
    row, column = (np.concatenate([of, rng.integers(0, side, noise)]) for of in (row, column))
    p = np.concatenate([p, rng.integers(0, 2, noise, np.uint8)])
    order = np.argsort(t, kind="stable")
    events = Events(t[order], column[order].astype(np.uint16), row[order].astype(np.uint16), p[order])
    return events, np.array(boxes, np.float32)


def _sample(item: Sample, options: MovingShapes.Options) -> tuple[Array, Array]:
    events, boxes = simulate(item, options)
    return bin_events(events, options, (options.side, options.side), begin=0)[None], boxes


class MovingShapes:
    """Shapes seen by a simulated event camera of ``side`` x ``side`` pixels: 3 classes, or boxes of them."""
    class Options(BinOptions):
        kind: Literal["moving_shapes"]
        task: Literal["classification", "detection"] = "classification"
        binning: Literal["time"] = "time"
        steps: int = Field(8, ge=1, le=256)
        step_us: int = Field(10_000, ge=100, le=1_000_000)
        side: int = Field(32, ge=16, le=512)
        objects: int = Field(2, ge=1, le=8)
        noise: float = Field(1.0, ge=0, le=1000)                     # events per pixel and second
        train: int = Field(2000, ge=3)
        validation: int = Field(200, ge=3)
        test: int = Field(500, ge=3)
        seed: int = Field(0, ge=0)

    def __init__(self, options: Options) -> None:
        self.options, self.detection = options, options.task == "detection"

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without making anything."""
        o = self.options
        return event_spec(o, (o.side, o.side)), o.steps, len(SHAPES)

    def prepare(self, sources: Sources | None = None) -> PreparedData:
        """PreparedData; samples are simulated when the data are written."""
        o, (spec, steps, classes) = self.options, self.describe()
        workers = 1 if sources is None else sources.workers
        make, frames, labels, boxes = partial(_sample, options=o), {}, {}, {}
        scale = np.array([spec.shape[1] / o.side, spec.shape[0] / o.side] * 2 + [1], np.float32)
        for number, part in enumerate(PARTS):
            count = getattr(o, part)
            labels[part] = np.arange(count, dtype=np.int64) % classes
            items = [(number, k, int(label)) for k, label in enumerate(labels[part])]

            def pieces(items: Sequence[Sample] = items) -> Iterator[Array]:
                return (sample for sample, _ in in_order(make, items, workers))
            frames[part] = Pieces((count, steps, *spec.shape), np.dtype(np.uint8), pieces)
            if o.task == "detection":
                rows = [simulate(item, o)[1] for item in items]
                boxes[part] = Boxes(np.cumsum([0, *map(len, rows)]), np.concatenate(rows) * scale)
        about = {"name": f"moving shapes ({o.task})", "source": "simulated by this program", "licence": "none needed",
                 "images": sum(map(len, frames.values())),
                 "split": f"seed {o.seed}: " + ", ".join(f"{part} {len(frames[part])}" for part in PARTS),
                 "binning": describe_binning(o)}
        detection = o.task == "detection"
        return PreparedData(spec, steps, classes, frames, {} if detection else labels, about, boxes if detection else None)
