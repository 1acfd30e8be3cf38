"""What a layer reads: the network's input, and synapses between two maps."""
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from .codecs import Codec
from .fixed_point import bits_for_range
from .spec import check_choice, check_int

if TYPE_CHECKING:
    from typing import Any

    from .annotations import Array

__all__ = ["INPUT", "MAX_MAP", "InputSpec", "Projection", "check_shape", "frozen", "integers", "range_of", "width_of"]

INPUT = "input"
#: Most values of a map: files say shapes, and nothing is laid out for one that no memory holds.
MAX_MAP = 1 << 26


def check_shape(name: str, shape: tuple[int, int, int]) -> None:
    if not (isinstance(shape, tuple) and len(shape) == 3):
        raise ValueError(f"{name} must be a tuple (height, width, channels), not {shape!r}")
    for axis, size in zip(("height", "width", "channels"), shape):
        check_int(f"{name} {axis}", size, 1, 1 << 20)
    if prod(shape) > MAX_MAP:
        raise ValueError(f"{name} must have at most {MAX_MAP:,} values, not {prod(shape):,}")


def frozen(array: Array) -> Array:
    array = np.ascontiguousarray(array, dtype=np.int64)
    array.flags.writeable = False
    return array


def integers(name: str, array: Array) -> Array:
    array = np.asarray(array)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be an integer array, not {array.dtype}")
    return frozen(array)


def range_of(array: Array | None) -> tuple[int, int]:
    """(lo, hi) of an int array, or of the zeros that None stands for."""
    return (0, 0) if array is None else (int(array.min()), int(array.max()))


def width_of(of: tuple[int, int]) -> int:
    """Bits in memory of a code from lo to hi, or 0."""
    lo, hi = of
    return max(1, bits_for_range(min(0, lo), max(0, hi)))


@dataclass(frozen=True)
class InputSpec:
    """What one image is.

    Parameters
    ----------
    shape : (height, width, channels)
    bits : int, 1 to 16; 1 is spikes, n is unsigned n-bit codes, each counting as that many spikes
    constant : bool; True presents one frame at every time step, False takes a frame per step
    """
    shape: tuple[int, int, int]
    bits: int = 1
    constant: bool = False

    def __post_init__(self) -> None:
        check_shape("input.shape", self.shape)
        check_int("input.bits", self.bits, 1, 16)
        if not isinstance(self.constant, bool):
            raise ValueError(f"input.constant must be true or false, not {self.constant!r}")

    @property
    def max_code(self) -> int:
        return (1 << self.bits) - 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON values; :meth:`from_dict` reads it back."""
        return {"shape": list(self.shape), "bits": self.bits, "constant": self.constant}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> InputSpec:
        """From what :meth:`to_dict` gave; KeyError, TypeError or ValueError where it is not that."""
        return cls(tuple(given["shape"]), given["bits"], given["constant"])


@dataclass(frozen=True, eq=False)
class Projection:
    """Synapses from one source map to a layer: pooling, then a convolution.

    A dense layer is a convolution whose kernel covers the whole (pooled) map.

    Parameters
    ----------
    source : name of an earlier layer, or "input"
    codec : Codec
    weights : int array [kernel_h, kernel_w, in_channels / groups, out_channels], codes
    stride, padding : int; padding is in pooled pixels, on all four sides, with silence
    groups : int; input and output channels are split into so many independent parts
    pool : int; side of the square, non-overlapping pooling window
    pool_kind : "sum" (each spike of the window counts) or "max" (the window's largest code; of spikes, their OR)
    reads : "spikes" of the source, or the "membranes" (codes, as stored in this step) of an earlier layer
    """
    source: str
    codec: Codec
    weights: Array
    stride: int = 1
    padding: int = 0
    groups: int = 1
    pool: int = 1
    pool_kind: str = "sum"
    reads: str = "spikes"

    POOLS = ("sum", "max")
    READS = ("spikes", "membranes")

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", integers("weights", self.weights))
        if self.weights.ndim != 4 or 0 in self.weights.shape:
            raise ValueError("weights must be [kernel_h, kernel_w, in_channels / groups, out_channels] "
                             f"with no axis of 0, not {list(self.weights.shape)}")
        if not isinstance(self.codec, Codec):
            raise ValueError(f"codec must be a Codec, not {self.codec!r}")
        self.codec.pack(self.weights)
        check_int("stride", self.stride, 1, 64)
        check_int("padding", self.padding, 0, 64)
        check_int("pool", self.pool, 1, 64)
        check_int("groups", self.groups, 1, self.weights.shape[3])
        if self.weights.shape[3] % self.groups:
            raise ValueError(f"groups must divide the {self.weights.shape[3]} output channels, not {self.groups}")
        check_choice("pool_kind", self.pool_kind, self.POOLS)
        check_choice("reads", self.reads, self.READS)
        if self.reads == "membranes" and self.source == INPUT:
            raise ValueError("reads must be 'spikes' for the input, not 'membranes'")

    @property
    def kernel(self) -> tuple[int, int]:
        return self.weights.shape[:2]

    @property
    def in_channels(self) -> int:
        return self.weights.shape[2] * self.groups

    @property
    def out_channels(self) -> int:
        return self.weights.shape[3]

    def output_map(self, source_shape: tuple[int, int, int]) -> tuple[int, int]:
        """(height, width) of the result on a source map [H, W, C].

        Raises
        ------
        ValueError
            If the channels differ, pooling does not divide the map, or the kernel is larger than
            the padded map.
        """
        height, width, channels = source_shape
        if channels != self.in_channels:
            raise ValueError(f"weights must have {channels} input channels for {self.source!r}, not {self.in_channels}")
        if height % self.pool or width % self.pool:
            raise ValueError(f"pool must divide the {height}x{width} map of {self.source!r}, not {self.pool}")
        size = []
        for side, kernel in zip((height, width), self.kernel):
            free = side // self.pool + 2 * self.padding - kernel
            if free < 0:
                raise ValueError(f"kernel must be at most {side // self.pool + 2 * self.padding}, the padded map "
                                 f"of {self.source!r}, not {kernel}")
            size.append(free // self.stride + 1)
        return size[0], size[1]

    @cached_property
    def _sums_by_sign(self) -> Array:
        """Per output channel, int64 [2, C]: the sums of its negative and of its positive weights."""
        flat = self.weights.reshape(-1, self.out_channels)
        return np.stack([np.minimum(flat, 0).sum(0, np.int64), np.maximum(flat, 0).sum(0, np.int64)])

    @property
    def pooled(self) -> int:
        """How many codes of the source its pool adds up."""
        return self.pool**2 if self.pool_kind == "sum" else 1

    def acc_range(self, input_range: tuple[int, int]) -> Array:
        """Per output channel, int64 [2, C]: the least and the greatest sum of any set of inputs.

        Holds for every partial sum too, in whatever order events and bit planes come, because each
        bound counts only the products of its own sign.

        Parameters
        ----------
        input_range : (lo, hi) of an input code, lo <= 0 <= hi
        """
        lo, hi = input_range
        down, up = self._sums_by_sign
        return self.pooled * np.stack([down * hi + up * lo, up * hi + down * lo])

    @property
    def bits(self) -> int:
        """Bits of the packed weights."""
        return self.weights.size * self.codec.bits
