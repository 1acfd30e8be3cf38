"""What datasets of images share: options, and pixels as integer input codes."""
from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from ..files import Pieces
from ..options import Options
from ..projections import InputSpec
from .base import PARTS, PreparedData, in_order
from .splits import SplitOptions, describe_split, split_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, Self

    from ..annotations import Array, Json

__all__ = ["EncodingOptions", "ImageOptions", "encode", "image_spec", "prepare_images"]

#: Images that are encoded at once; the draws of a rate code are seeded per such piece.
PIECE = 256
LEVELS = 255


class EncodingOptions(Options):
    """How pixels become input codes.

    ``direct``: pixels as unsigned codes of ``bits`` bits, the same at every step. ``rate``: spikes, a seeded Bernoulli draw
    per pixel and step with probability ``max_rate`` times pixel / full scale: the Poisson spikes of rate-coded networks.
    """
    encoding: Literal["direct", "rate"] = "direct"
    bits: int = Field(8, ge=1, le=8)
    max_rate: float = Field(1.0, gt=0, le=1)
    steps: int = Field(4, ge=1, le=1024)

    @model_validator(mode="after")
    def _rate_of_spikes(self) -> Self:
        if self.encoding != "rate" and self.max_rate != 1:
            raise ValueError(f"max_rate must be left out where encoding is {self.encoding}: only a rate code has one")
        return self


class ImageOptions(EncodingOptions, SplitOptions):
    """What every dataset of images may say."""


def image_spec(options: EncodingOptions, shape: tuple[int, int, int]) -> InputSpec:
    """InputSpec of images (height, width, channels)."""
    direct = options.encoding == "direct"
    return InputSpec(shape, options.bits if direct else 1, constant=direct)


def encode(pixels: Array, options: EncodingOptions, seed: int | Sequence[int], levels: int = LEVELS) -> Array:
    """Pixels 0 .. levels -> codes, uint8 [B, H, W, C], or spikes, uint8 [B, T, H, W, C].

    Parameters
    ----------
    pixels : unsigned array [B, H, W, C]
    options : EncodingOptions
    seed : int or sequence of int, of the draws
    levels : int, full scale
    """
    if options.encoding == "direct":
        most = (1 << options.bits) - 1
        if most == levels:
            return np.ascontiguousarray(pixels, np.uint8)
        return ((pixels.astype(np.uint16) * most + levels // 2) // levels).astype(np.uint8)
    rng, shape = np.random.default_rng(seed), (len(pixels), options.steps, *pixels.shape[1:])
    if options.max_rate == 1:
        return (rng.integers(0, levels, shape, np.uint8) < pixels[:, None]).astype(np.uint8)
    chance = np.minimum(np.round(pixels * (options.max_rate * (1 << 16) / levels)), (1 << 16) - 1).astype(np.uint16)
    return (rng.integers(0, 1 << 16, shape, np.uint16) < chance[:, None]).astype(np.uint8)


def prepare_images(options: ImageOptions, spec: InputSpec, classes: int, train: tuple[Any, Array], test: tuple[Any, Array],
                   about: Mapping[str, Json], rule: str, read: Callable[[Any], Array] | None = None,
                   workers: int = 1) -> PreparedData:
    """Images, as arrays or to be read one by one, as PreparedData.

    Parameters
    ----------
    options : ImageOptions
    spec : InputSpec
    classes : int
    train, test : (uint8 pixels [N, H, W, C], or a list of what ``read`` takes; int64 labels [N])
    about : dict: name, source, licence
    rule : str, where training and test part come from
    read : function of an item -> uint8 [H, W, C]; it is called in other processes
    workers : int, processes
    """
    of = {"train": train, "validation": train, "test": test}
    parts = split_parts(options, train[1], test[1])

    def pieces(part: str) -> Pieces:
        images, index = of[part][0], parts[part]

        def make() -> Iterator[Array]:
            stream = None if read is None else in_order(read, (images[k] for k in index), workers)
            for number, at in enumerate(range(0, len(index), PIECE)):
                chosen = index[at:at + PIECE]
                pixels = images[chosen] if stream is None else np.stack(list(islice(stream, len(chosen))))
                yield encode(pixels, options, (options.split_seed, PARTS.index(part), number))
        shape = spec.shape if spec.constant else (options.steps, *spec.shape)
        return Pieces((len(index), *shape), np.dtype(np.uint8), make)
    return PreparedData(spec, options.steps, classes, {part: pieces(part) for part in PARTS},
                        {part: of[part][1][parts[part]] for part in PARTS},
                        {**about, "images": sum(map(len, parts.values())), "split": describe_split(options, parts, rule)})
