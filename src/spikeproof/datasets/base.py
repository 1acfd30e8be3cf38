"""Prepared data: what every dataset becomes, and how it lies on disk."""
from __future__ import annotations

import ctypes
import os
import signal
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from ..files import CorruptFile, Pieces, read_container, write_container
from ..projections import InputSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, TypeVar

    from numpy.typing import DTypeLike

    from ..annotations import Array, Json, StrPath

    Item = TypeVar("Item")
    Result = TypeVar("Result")

__all__ = ["PARTS", "BitFrames", "Boxes", "PreparedData", "in_order", "limited", "load_prepared", "save_prepared"]

KIND = "spikeproof prepared data"
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Boxes:
    """Objects to detect in the samples of one part.

    Members
    -------
    start : int64 [B + 1]; the objects of sample i are rows start[i] to start[i + 1]
    rows : float32 [N, 5]: left, top, width, height in pixels of the prepared frames, class
    """
    start: np.ndarray
    rows: np.ndarray

    def of(self, sample: int) -> Array:
        """Rows of one sample, float32 [n, 5]."""
        return self.rows[self.start[sample]:self.start[sample + 1]]

    def __iter__(self) -> Iterator[Array]:
        return (self.of(sample) for sample in range(len(self.start) - 1))


@dataclass(frozen=True)
class BitFrames:
    """Frames of one-bit codes, eight to a byte; what is indexed becomes an ordinary array.

    Members
    -------
    packed : uint8 [B, bytes], a sample's codes in C order, the first in the highest bit of the first byte
    sample : tuple of int, shape of a sample
    """
    packed: np.ndarray
    sample: tuple[int, ...]
    dtype = np.dtype(np.uint8)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return (len(self.packed), *self.sample)

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, chosen: int | slice | Array) -> Array:
        rows = self.packed[chosen]
        return np.unpackbits(rows, axis=-1, count=int(np.prod(self.sample))).reshape(*rows.shape[:-1], *self.sample)

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self[:].astype(dtype or self.dtype, copy=False)


@dataclass(frozen=True)
class PreparedData:
    """Integer input codes of three parts, with a label or boxes for each sample.

    Members
    -------
    input : InputSpec
    steps : int, time steps per image
    classes : int
    frames : dict part -> uint8 or uint16 [B, H, W, C] (constant input) or [B, T, H, W, C], codes; an array, BitFrames, or Pieces
        that make it while it is written
    labels : dict part -> int64 [B]; empty for detection
    about : dict: name, source, licence, split, images
    boxes : dict part -> Boxes, for detection, or None
    """
    input: InputSpec
    steps: int
    classes: int
    frames: dict[str, Any]
    labels: dict[str, Array]
    about: dict[str, Json]
    boxes: dict[str, Boxes] | None = None


def limited(data: PreparedData, most: int) -> PreparedData:
    """The same with at most so many samples of each part, evenly spaced, to try things out.

    Parameters
    ----------
    data : PreparedData
    most : int
    """
    frames, labels, boxes, total = {}, {}, {}, 0
    for part in PARTS:
        count = len(data.frames[part])
        chosen = np.unique(np.arange(min(most, count)) * count // min(most, count))
        total += len(chosen)
        of = data.frames[part]
        frames[part] = Pieces((len(chosen), *of.shape[1:]), of.dtype, _chosen(of, chosen)) if isinstance(of, Pieces) else of[chosen]
        if data.labels:
            labels[part] = data.labels[part][chosen]
        if data.boxes is not None:
            kept = [data.boxes[part].of(sample) for sample in chosen]
            start = np.concatenate([[0], np.cumsum([len(rows) for rows in kept])]).astype(np.int64)
            boxes[part] = Boxes(start, np.concatenate(kept))
    about = {**data.about, "images": total, "split": f"{data.about['split']}; at most {most} samples of each part kept"}
    return replace(data, frames=frames, labels=labels, boxes=boxes or None, about=about)


def _chosen(pieces: Pieces, chosen: Array) -> Callable[[], Iterator[Array]]:
    def make() -> Iterator[Array]:
        at = 0
        for piece in pieces.make():
            inside = chosen[(chosen >= at) & (chosen < at + len(piece))] - at
            if len(inside):
                yield piece[inside]
            at += len(piece)
    return make


def _end_with(parent: int) -> None:
    """In a worker: be ended by the system when the parent ends, however it does, and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)          # PR_SET_PDEATHSIG
    except (AttributeError, OSError):                       # not Linux
        return
    if os.getppid() != parent:                              # it ended before that
        os._exit(1)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Results of a function in the order of the items, by so many processes; only a few wait at a time."""
    if workers <= 1:
        yield from map(function, items)
        return
    with ProcessPoolExecutor(min(workers, 64), initializer=_end_with, initargs=(os.getpid(),)) as pool:
        items = iter(items)
        waiting = deque(pool.submit(function, item) for item in islice(items, 4 * workers))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in islice(items, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def _frames_shape(data: PreparedData) -> tuple[int, ...]:
    spec = data.input
    return spec.shape if spec.constant else (data.steps, *spec.shape)


def _slices(frames: Array, count: int = 1024) -> Iterator[Array]:
    """Frames, an array or BitFrames, some at a time."""
    for at in range(0, len(frames), count):
        yield frames[at:at + count]


def _watched(frames: Array | Pieces, part: str, data: PreparedData) -> Pieces:
    """The frames of a part with a progress bar, every piece checked; codes of one bit eight to a byte."""
    shape = _frames_shape(data)
    if tuple(frames.shape[1:]) != shape:
        raise ValueError(f"frames of the {part} part must be [n, {', '.join(map(str, shape))}], not {list(frames.shape)}")

    def make() -> Iterator[Array]:
        with tqdm(total=len(frames), desc=f"prepare {part}", unit="sample", mininterval=1) as bar:
            for piece in frames.make() if isinstance(frames, Pieces) else _slices(frames):
                if piece.size and (piece.min() < 0 or piece.max() > data.input.max_code):
                    raise ValueError(f"codes of the {part} part must be 0 to {data.input.max_code}, not {piece.min()} or "
                                     f"{piece.max()}")
                bar.update(len(piece))
                yield np.packbits(piece.reshape(len(piece), -1), axis=1) if data.input.bits == 1 else piece
    if data.input.bits == 1:
        return Pieces((len(frames), -(-int(np.prod(shape)) // 8)), np.dtype(np.uint8), make)
    return Pieces(tuple(frames.shape), np.dtype(frames.dtype), make)


def save_prepared(path: StrPath, data: PreparedData) -> str:
    """Write prepared data atomically, with a progress bar; returns its digest.

    Raises
    ------
    ValueError
        If a part is empty, or a code, label or box is out of range.
    OSError
        If the disk has no room.
    """
    description = {"input": data.input.to_dict(), "steps": data.steps, "classes": data.classes, "about": data.about}
    tensors: dict[str, Array | Pieces] = {f"{part}.frames": _watched(data.frames[part], part, data) for part in PARTS}
    if data.boxes is None:
        tensors |= {f"{part}.labels": np.asarray(data.labels[part], np.int64) for part in PARTS}
    else:
        for part in PARTS:
            tensors |= {f"{part}.box_start": np.asarray(data.boxes[part].start, np.int64),
                        f"{part}.boxes": np.asarray(data.boxes[part].rows, np.float32).reshape(-1, 5)}
    _check(data, {part: len(data.frames[part]) for part in PARTS})
    return write_container(path, KIND, description, tensors)


def _check(data: PreparedData, counts: dict[str, int]) -> None:
    """ValueError where a part is empty, or labels or boxes do not fit."""
    for part in PARTS:
        if not counts[part]:
            raise ValueError(f"the {part} part must have at least one sample, but is empty")
        if data.boxes is None:
            labels = data.labels[part]
            if len(labels) != counts[part]:
                raise ValueError(f"the {part} part must have a label for each of its {counts[part]} samples, not {len(labels)}")
            if labels.min() < 0 or labels.max() >= data.classes:
                worst = labels.max() if labels.max() >= data.classes else labels.min()
                raise ValueError(f"labels of the {part} part must be 0 to {data.classes - 1}, not {worst}")
            continue
        start, rows = data.boxes[part].start, data.boxes[part].rows
        if len(start) != counts[part] + 1 or start[0] != 0 or start[-1] != len(rows) or (np.diff(start) < 0).any():
            raise ValueError(f"boxes of the {part} part do not belong to its {counts[part]} samples")
        if len(rows) and (rows[:, 4].min() < 0 or rows[:, 4].max() >= data.classes or rows[:, 2:4].min() <= 0):
            raise ValueError(f"boxes of the {part} part must have classes 0 to {data.classes - 1} and sizes above 0")


def load_prepared(path: StrPath) -> tuple[PreparedData, str]:
    """Read prepared data -> (PreparedData, digest). Frames and labels are maps of the file, which all processes share.

    Raises
    ------
    FileNotFoundError, CorruptFile
        If the file is absent, truncated, altered, or holds labels out of range.
    """
    remedy = "delete it and run the prepare stage again"
    description, tensors, digest = read_container(path, KIND, remedy, mapped=True)
    try:
        boxes = None
        if "train.boxes" in tensors:
            boxes = {part: Boxes(tensors[f"{part}.box_start"], tensors[f"{part}.boxes"]) for part in PARTS}
        spec = InputSpec.from_dict(description["input"])
        frames: dict[str, Any] = {part: tensors[f"{part}.frames"] for part in PARTS}
        if spec.bits == 1:
            sample = spec.shape if spec.constant else (description["steps"], *spec.shape)
            frames = {part: BitFrames(of, sample) for part, of in frames.items()}
            if any(of.packed.ndim != 2 or of.packed.shape[1] != -(-int(np.prod(sample)) // 8) for of in frames.values()):
                raise ValueError("frames have another number of bits")
        data = PreparedData(spec, description["steps"], description["classes"], frames,
                            {} if boxes else {part: tensors[f"{part}.labels"] for part in PARTS}, description["about"], boxes)
        for part in PARTS:
            if data.frames[part].shape[1:] != _frames_shape(data):
                raise ValueError(f"the {part} part has frames of another shape")
        _check(data, {part: len(data.frames[part]) for part in PARTS})
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} holds no valid prepared data ({error}): {remedy}") from None
    return data, digest
