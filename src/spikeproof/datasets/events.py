"""What datasets of event recordings share: options, and events as frames of integer input codes."""
from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ..files import Pieces
from ..options import Options
from ..projections import InputSpec
from .base import PARTS, PreparedData, in_order
from .splits import SplitOptions, describe_split, split_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeVar

    from ..annotations import Array, Json
    from .event_files import Events

    Item = TypeVar("Item")

__all__ = ["BinOptions", "EventOptions", "bin_events", "describe_binning", "event_spec", "prepare_events"]


class BinOptions(Options):
    """How events become frames.

    Events are counted per pixel, polarity and time step, into codes of ``bits`` bits that saturate: one bit says whether there
    was any. ``binning: steps`` divides each recording into ``steps`` windows of equal length; ``binning: time`` takes ``steps``
    windows of ``step_us`` microseconds each, the first ones of the recording, empty where it is shorter. ``size`` scales the
    sensor down to [height, width]. ``polarity: merged`` counts both polarities in one channel.
    """
    steps: int = Field(16, ge=1, le=256)
    binning: Literal["steps", "time"] = "steps"
    step_us: int = Field(10_000, ge=1)
    bits: int = Field(1, ge=1, le=8)
    size: tuple[int, int] | None = Field(None, strict=False)
    polarity: Literal["separate", "merged"] = "separate"


class EventOptions(BinOptions, SplitOptions):
    """What every dataset of classified events may say: how they are binned, and of images' keys those on the split."""


def event_spec(options: BinOptions, sensor: tuple[int, int]) -> InputSpec:
    """InputSpec of the frames of a sensor (height, width)."""
    height, width = options.size or sensor
    if not (1 <= height <= sensor[0] and 1 <= width <= sensor[1]):
        raise ValueError(f"size must be at most that of the sensor, {list(sensor)}, and at least [1, 1], not {[height, width]}")
    return InputSpec((height, width, 1 if options.polarity == "merged" else 2), options.bits, constant=False)


def bin_events(events: Events, options: BinOptions, sensor: tuple[int, int], begin: int | None = None) -> Array:
    """Events -> counts, uint8 [T, H, W, C], saturated.

    Parameters
    ----------
    events : Events, in the order of time and on the sensor
    options : BinOptions
    sensor : (height, width)
    begin : microseconds, start of the first window with ``binning: time`` (default the first event)
    """
    spec = event_spec(options, sensor)
    (height, width, channels), steps = spec.shape, options.steps
    out = np.zeros((steps, height * width * channels), np.uint8)
    if len(events.t) or begin is not None:
        first = events.t[0] if begin is None else begin
        if options.binning == "time":
            edges = first + np.arange(steps + 1) * options.step_us
        else:                                               # the last event is in the last window
            length = events.t[-1] - first + 1
            edges = first + (np.arange(steps + 1) * length + steps - 1) // steps
        bounds = np.searchsorted(events.t, edges)
        # Tables instead of divisions: where each row and column of the sensor goes.
        rows = (np.arange(sensor[0]) * height // sensor[0] * width * channels).astype(np.int32)
        columns = (np.arange(sensor[1]) * width // sensor[1] * channels).astype(np.int32)
        places = rows[events.y] + columns[events.x]
        if channels == 2:
            places += events.p
        for step, (a, b) in enumerate(zip(bounds, bounds[1:])):
            if options.bits == 1:
                out[step, places[a:b]] = 1
            elif b > a:
                out[step] = np.minimum(np.bincount(places[a:b], minlength=out.shape[1]), spec.max_code)
    return out.reshape(steps, *spec.shape)


def describe_binning(options: BinOptions) -> str:
    """The sentence on the binning for ``about``."""
    windows = f"{options.steps} windows of equal length" if options.binning == "steps" else \
        f"{options.steps} windows of {options.step_us} us"
    return f"counts per pixel, {'' if options.polarity == 'merged' else 'polarity '}and step in {options.bits} bit; {windows}"


def _frames(item: Item, read: Callable[[Item], Events], options: BinOptions, sensor: tuple[int, int]) -> Array:
    return bin_events(read(item), options, sensor)[None]


def prepare_events(options: EventOptions, sensor: tuple[int, int], classes: int, train: tuple[Sequence[Item], Array],
                   test: tuple[Sequence[Item], Array], read: Callable[[Item], Events], about: Mapping[str, Json], rule: str,
                   workers: int = 1) -> PreparedData:
    """Recordings as PreparedData.

    Parameters
    ----------
    options : BinOptions
    sensor : (height, width)
    classes : int
    train, test : (items, int64 labels [N])
    read : function of an item -> Events, checked; it is called in other processes
    about : dict: name, source, licence
    rule : str, where training and test part come from
    workers : int, processes
    """
    of = {"train": train, "validation": train, "test": test}
    parts, spec = split_parts(options, train[1], test[1]), event_spec(options, sensor)

    def pieces(part: str) -> Pieces:
        items = [of[part][0][k] for k in parts[part]]
        make = partial(in_order, partial(_frames, read=read, options=options, sensor=sensor), items, workers)
        return Pieces((len(items), options.steps, *spec.shape), np.dtype(np.uint8), make)
    return PreparedData(spec, options.steps, classes, {part: pieces(part) for part in PARTS},
                        {part: of[part][1][parts[part]] for part in PARTS},
                        {**about, "images": sum(map(len, parts.values())), "split": describe_split(options, parts, rule),
                         "binning": describe_binning(options)})
