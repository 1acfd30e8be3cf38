"""ImageNet (ILSVRC 2012): 1,281,167 + 50,000 photographs of 1000 classes, or the classes of a list (Russakovsky et al., 2015).

The publisher gives the files on request (https://image-net.org/download.php; terms: non-commercial research and education), so
they are not downloaded. They must lie as ``train/<wnid>/*.JPEG`` and ``val/<wnid>/*.JPEG``. The test part is the official
validation part, as is usual; ours is drawn from the training part. Images are decoded one at a time while they are written.
"""
from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..files import CorruptFile
from .images import ImageOptions, image_spec, prepare_images
from .pictures import class_folders, read_picture
from .sources import Missing, check_count, lines_of

if TYPE_CHECKING:
    from ..projections import InputSpec
    from .base import PreparedData
    from .sources import Sources

__all__ = ["ImageNet"]

PAGE = "https://image-net.org/download.php"


class ImageNet:
    """Photographs: the shorter side is scaled to ``resize`` and the middle of ``size`` x ``size`` pixels cut out.

    ``class_list`` is a text file of one wnid a line, such as config/lists/imagenet100.txt; ``classes`` says how many.
    """
    class Options(ImageOptions):
        kind: Literal["imagenet"]
        classes: int = Field(1000, ge=2)
        class_list: str | None = None
        size: int = Field(224, ge=8, le=1024)
        resize: int = Field(256, ge=8, le=1024)
        validation: float = Field(0.02, gt=0, lt=1)

    def __init__(self, options: Options) -> None:
        self.options = options

    def describe(self) -> tuple[InputSpec, int, int]:
        """(InputSpec, steps, classes), without reading anything."""
        o = self.options
        if o.size > o.resize:
            raise ValueError(f"size must be at most resize, {o.resize}, not {o.size}")
        return image_spec(o, (o.size, o.size, 3)), o.steps, o.classes

    def prepare(self, sources: Sources) -> PreparedData:
        """List the files; they are decoded when the data are written -> PreparedData."""
        o, (spec, _, classes) = self.options, self.describe()
        names = None
        if o.class_list is not None:
            if not Path(o.class_list).is_file():
                raise FileNotFoundError(f"{o.class_list} does not exist: `class_list` must be a file of one wnid a line")
            names = [line.partition("#")[0].strip() for line in lines_of(o.class_list) if not line.startswith("#")]
            for name in names:
                if not re.fullmatch(r"n\d{8}", name) or names.count(name) > 1:
                    raise CorruptFile(f"{o.class_list} must have different wnids like n01440764, each once, not {name!r}")
        parts = {}
        for part, folder in (("train", "train"), ("test", "val")):
            place = sources.find("imagenet", folder)
            if place is None:
                raise Missing(f"{sources.data_dir / 'imagenet' / folder} is missing, and its publisher gives it on request only: "
                              f"get it from {PAGE} and unpack it to a folder for each class")
            found, paths, labels = class_folders(place, names)
            if len(found) != classes:
                raise CorruptFile(f"{o.class_list or place} must have {classes} classes, not {len(found)}: set `classes`")
            if part == "test" or o.class_list is None:
                check_count(place, "images", len(paths), 50 * classes if part == "test" else 1_281_167, o.official)
            names = found
            parts[part] = paths, labels
        about = {"name": "ImageNet" if o.class_list is None else f"ImageNet, {classes} classes of {Path(o.class_list).name}",
                 "source": f"{PAGE} (Russakovsky et al. 2015)", "licence": "ImageNet terms: non-commercial research and education"}
        return prepare_images(o, spec, classes, parts["train"], parts["test"], about, "test is the official validation part",
                              read=partial(read_picture, shape=spec.shape, resize=o.resize), workers=sources.workers)
