"""Convolutions 3 x 3 in full precision by Winograd's minimal filtering, forward and backward.

``templates/convolutions.cpp`` computes them: F(4 x 4, 3 x 3), a quarter of the products of direct sums (Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks", CVPR 2016). Numbers are the same but for rounding: errors are about ten times those
of direct sums in the same type. Sums of integer codes would not be exact, so networks of codes never take them.
"""
from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from . import kernels
from .fused_steps import TYPES

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator

    from .architectures.shapes import Connection

__all__ = ["convolve", "takes", "used"]

#: Channels come in such groups; a tile of 4 x 4 outputs takes so many products.
GROUP, TILE, PRODUCTS = 32, 4, 36
_library: ctypes.CDLL | None = None
_taken: set[int] = set()


@contextmanager
def used(wanted: bool) -> Iterator[set[int]]:
    """Within it :func:`takes` holds for what this algorithm can compute, if that is wanted; else for nothing.

    Yields
    ------
    set of the identities of the connections that were computed within it

    Raises
    ------
    ValueError
        Where its kernels cannot be built or must not be used.
    """
    global _library, _taken
    before = _library, _taken
    _taken = set()
    try:
        _library = kernels.needed("convolutions") if wanted else None
    except RuntimeError as error:
        raise ValueError(f"convolutions must be direct where there is no Winograd: {error}") from None
    try:
        yield _taken
    finally:
        _library, _taken = before


def takes(x: torch.Tensor, connection: Connection) -> bool:
    """Whether :func:`convolve` is to be used for a connection of x [M, C, H, W]: within :func:`used`, and for 3 x 3 of stride 1 and
    padding 1, in float32 or float64 on the CPU, of multiples of 32 channels and not on the smallest maps."""
    _, channels, height, width = x.shape
    tiles = -(-height // TILE) * -(-width // TILE)
    return (_library is not None and connection.kernel == (3, 3) and connection.stride == 1 and connection.padding == 1
            and not connection.depthwise and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
            and channels % GROUP == connection.out_channels % GROUP == 0 and 3 * tiles * PRODUCTS <= 2 * 9 * height * width)


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, connection: Connection) -> torch.Tensor:
    """x [M, C, H, W] -> [M, C_out, H, W] in values, as :func:`spikeproof.models.operations.convolve` but for rounding; a connection
    that :func:`takes` holds for."""
    _taken.add(id(connection))
    y: torch.Tensor = _Convolution.apply(x, weight, _library)
    return y if bias is None else y + bias[:, None, None]


class _Convolution(torch.autograd.Function):
    """A convolution without bias, and its gradients."""
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, library: ctypes.CDLL) -> torch.Tensor:
        x, weight = _last(x), weight.contiguous()
        ctx.save_for_backward(x, weight)
        ctx.library = library
        return _convolved(library, x, weight, False)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        library, grad = ctx.library, _last(grad)
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _convolved(library, grad, weight, True)
        if ctx.needs_input_grad[1]:
            of_weight = torch.empty_like(weight)
            _call(library, "kernel_gradient", x, grad, of_weight, weight.shape[1], weight.shape[0])
        return of_x, of_weight, None


def _last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _convolved(library: ctypes.CDLL, x: torch.Tensor, weight: torch.Tensor, turned: bool) -> torch.Tensor:
    """x [M, C, H, W] -> [M, C_out, H, W]; turned, with kernels [C, C_out, 3, 3] turned round, which is the gradient's way back."""
    to = weight.shape[1 if turned else 0]
    y = torch.empty((len(x), to, *x.shape[2:]), dtype=x.dtype, memory_format=torch.channels_last)
    _call(library, "convolve", x, weight, y, x.shape[1], to, int(turned))
    return y


def _call(library: ctypes.CDLL, what: str, x: torch.Tensor, other: torch.Tensor, to: torch.Tensor, *sizes: int) -> None:
    """A function for this type of numbers, as the source declares it, of maps x [M, C, H, W]."""
    images, _, height, width = x.shape
    kernels.call(library, f"{TYPES[x.dtype]}_{what}", x, other, to, images, height, width, *sizes, torch.get_num_threads())
