"""A user's own data: a folder of images, or an ``.npz`` file of arrays.

A folder has ``train/<class>/<image>`` and ``test/<class>/<image>``, or ``<class>/<image>`` without an official split: then a
seeded, stratified fifth is the test part. An ``.npz`` file has x_train, y_train, x_test, y_test (as Keras saves them), or x and y.
x is unsigned 8-bit [N, H, W] or [N, H, W, C] pixels; with ``encoding: codes``, integer codes below 2^bits, [N, H, W, C] the
same at every step or [N, T, H, W, C] a frame for each, for instance binned events. Arrays of Python objects are refused.
"""
from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zipfile import is_zipfile

import numpy as np
from pydantic import Field

from ..files import CorruptFile
from ..projections import InputSpec
from .base import PARTS, PreparedData
from .images import ImageOptions, image_spec, prepare_images
from .pictures import class_folders, read_picture
from .splits import describe_split, share, split_parts, stratified

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..annotations import Array, Json
    from .sources import Sources

__all__ = ["Folder"]

TEST = 0.2


class Folder:
    """A folder of images or an .npz file of your own: ``path``, ``shape`` [height, width, channels] and ``classes``.

    ``resize`` scales images' shorter side to that many pixels and cuts out the middle; without it all must have the shape.
    """
    class Options(ImageOptions):
        kind: Literal["folder"]
        path: str
        shape: tuple[int, int, int] = Field(strict=False)
        classes: int = Field(ge=2)
        encoding: Literal["direct", "rate", "codes"] = "direct"      # type: ignore[assignment]
        constant: bool = True
        resize: int | None = Field(None, ge=1)
        licence: str = "the user's own"

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        o = self.options
        if o.encoding == "codes":
            return InputSpec(o.shape, o.bits, o.constant), o.steps, o.classes
        return image_spec(o, o.shape), o.steps, o.classes

    def prepare(self, sources: Sources | None = None) -> PreparedData:
        """Read, encode, split -> PreparedData. A relative path is looked for in the data folder too."""
        o, path = self.options, Path(self.options.path)
        if not path.exists() and sources is not None:
            path = Path(sources.data_dir) / path
        if not path.exists():
            raise FileNotFoundError(f"{self.options.path} does not exist, here or in the data folder: `path` must be a folder of "
                                    "images or an .npz file")
        about = {"name": path.name, "source": o.path, "licence": o.licence}
        if path.is_dir():
            return self._pictures(path, about, 1 if sources is None else sources.workers)
        return self._arrays(path, about)

    def _halves(self, items: Any, labels: Array) -> tuple[tuple[Any, Array], tuple[Any, Array], str]:
        """A seeded test part of one set of samples."""
        test, train = stratified(labels, share(len(labels), TEST), np.random.default_rng(self.options.split_seed))
        pick = (lambda index: items[index]) if isinstance(items, np.ndarray) else (lambda index: [items[k] for k in index])
        return ((pick(train), labels[train]), (pick(test), labels[test]),
                f"test is {TEST:g} of each class, drawn by seed {self.options.split_seed}")

    def _pictures(self, path: Path, about: Mapping[str, Json], workers: int) -> PreparedData:
        o, (spec, _, classes) = self.options, self.describe()
        if o.encoding == "codes":
            raise ValueError("encoding must be 'direct' or 'rate' for a folder of images, not 'codes'")
        if o.shape[2] not in (1, 3):
            raise ValueError(f"shape must have 1 channel (grey) or 3 (colour) for images, not {o.shape[2]}")
        if o.resize is not None and o.resize < max(o.shape[:2]):
            raise ValueError(f"resize must be at least {max(o.shape[:2])}, the longer side of shape, not {o.resize}")
        if (path / "train").is_dir() != (path / "test").is_dir():
            here, there = ("train", "test") if (path / "train").is_dir() else ("test", "train")
            raise FileNotFoundError(f"{path / there} is missing beside {here}: a folder must have both, or classes only")
        if (path / "train").is_dir():
            names, paths, labels = class_folders(path / "train")
            train, test, rule = (paths, labels), class_folders(path / "test", names)[1:], "that of the folder"
        else:
            names, paths, labels = class_folders(path)
            train, test, rule = self._halves(paths, labels)
        if len(names) != classes:
            raise CorruptFile(f"{path} must have {classes} classes, not {len(names)} ({', '.join(names[:5])}...): set `classes`")
        return prepare_images(o, spec, classes, train, test, about, rule, workers=workers,
                              read=partial(read_picture, shape=spec.shape, resize=o.resize))

    def _arrays(self, path: Path, about: Mapping[str, Json]) -> PreparedData:
        o, (spec, steps, classes) = self.options, self.describe()
        if not is_zipfile(path):
            raise CorruptFile(f"{path} must be a folder of images or an .npz file, and is neither, or is cut short")
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:     # numpy leaves a bad one open
                arrays = {name: file[name] for name in file.files}
        except Exception as error:                                  # whatever a file can do to numpy's reader
            raise CorruptFile(f"{path} is no whole .npz file of plain arrays ({' '.join(str(error).split())[:150]})") from None
        names = [("x_train", "y_train"), ("x_test", "y_test")] if "x_train" in arrays else [("x", "y")]
        for name in (name for pair in names for name in pair):
            if name not in arrays:
                raise CorruptFile(f"{path} must have arrays x_train, y_train, x_test, y_test, or x and y; {name} is missing among "
                                  f"{', '.join(arrays) or 'none'}")
        shape = spec.shape if o.encoding != "codes" or spec.constant else (steps, *spec.shape)
        pairs = [self._pair(path, names[k], arrays, shape, spec) for k in range(len(names))]
        train, test, rule = (pairs[0], pairs[1], "that of the file") if len(pairs) == 2 else self._halves(*pairs[0])
        if o.encoding != "codes":
            return prepare_images(o, spec, classes, train, test, about, rule)
        parts = split_parts(o, train[1], test[1])
        of = {"train": train, "validation": train, "test": test}
        kind = np.uint8 if o.bits <= 8 else np.uint16
        return PreparedData(spec, steps, classes, {part: of[part][0][parts[part]].astype(kind) for part in PARTS},
                            {part: of[part][1][parts[part]] for part in PARTS},
                            {**about, "images": sum(map(len, parts.values())), "split": describe_split(o, parts, rule)})

    def _pair(self, path: Path, names: tuple[str, str], arrays: Mapping[str, Array], shape: tuple[int, ...],
              spec: InputSpec) -> tuple[Array, Array]:
        """(samples, labels) of two arrays, checked."""
        x, y = (np.atleast_1d(arrays[name]) for name in names)
        if x.shape == (len(x), *shape[:-1]) and shape[-1] == 1:
            x = x[..., None]
        most = 255 if self.options.encoding != "codes" else spec.max_code
        if x.dtype.kind not in "iu" or x.shape[1:] != shape:
            raise CorruptFile(f"{path}: {names[0]} must be integers [n, {', '.join(map(str, shape))}], not {x.dtype} "
                              f"{list(x.shape)}")
        if x.size and (x.min() < 0 or x.max() > most):
            raise CorruptFile(f"{path}: {names[0]} must be 0 to {most}, not {x.min()} to {x.max()}")
        y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
        if y.dtype.kind not in "iu" or y.shape != (len(x),):
            raise CorruptFile(f"{path}: {names[1]} must be {len(x)} integers, one for each sample, not {y.dtype} {list(y.shape)}")
        if len(y) and (y.min() < 0 or y.max() >= self.options.classes):
            raise CorruptFile(f"{path}: {names[1]} must be 0 to {self.options.classes - 1}, not {y.min()} to {y.max()}")
        return (x if self.options.encoding == "codes" else x.astype(np.uint8)), y.astype(np.int64)
