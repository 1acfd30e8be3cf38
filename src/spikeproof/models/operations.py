"""What layers compute with tensors [T or 1, B, C, H, W], in values and in codes alike."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from ..architectures.shapes import Attention, Connection, LayerShape

__all__ = ["attended", "convolve", "counted", "folded", "gated", "initial_of", "last_use", "pooled", "total", "weight_of"]


def pooled(x: torch.Tensor, connection: Connection) -> torch.Tensor:
    """x [M, C, H, W] -> pooled, sums as means (values) or maxima."""
    if connection.pool == 1:
        return x
    return (F.avg_pool2d if connection.pool_kind == "sum" else F.max_pool2d)(x, connection.pool)


def counted(x: torch.Tensor, connection: Connection) -> torch.Tensor:
    """Codes x [M, C, H, W] -> pooled codes: the contract's sums, or maxima."""
    if connection.pool > 1 and connection.pool_kind == "sum":
        return F.avg_pool2d(x, connection.pool, divisor_override=1)
    return pooled(x, connection)


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, connection: Connection) -> torch.Tensor:
    """x [M, C, H, W] -> [M, C_out, Ho, Wo]; a dense layer is one matrix product."""
    if connection.kernel == tuple(x.shape[-2:]) and connection.padding == 0 and not connection.depthwise:
        return F.linear(x.flatten(1), weight.flatten(1), bias)[..., None, None]
    stride = connection.stride
    if connection.kernel == (1, 1) and connection.padding == 0 and stride > 1:
        # At the places in use, the stride is 1. oneDNN 3.12 (of torch 2.13) without AVX-512 gives wrong gradients of 1 x 1
        # weights with a stride and fewer than 8 channels, and others in every run.
        x, stride = x[..., ::stride, ::stride], 1
    # Channels last: half the time of a convolution with its backward pass, and of a normalisation.
    return F.conv2d(x.contiguous(memory_format=torch.channels_last), weight, bias, stride, connection.padding,
                    groups=connection.in_channels if connection.depthwise else 1)


def folded(x: torch.Tensor, operation: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Apply an operation on [M, ...] to x [T, B, ...] with time folded into the batch."""
    out = operation(x.flatten(0, 1))
    return out.unflatten(0, x.shape[:2])


def total(currents: Sequence[torch.Tensor]) -> torch.Tensor:
    """Sum of tensors [T or 1, B, ...]."""
    found = currents[0]
    for current in currents[1:]:
        found = found + current
    return found


def last_use(shapes: Iterable[LayerShape]) -> dict[str, int]:
    """dict source -> index of the last layer that reads it."""
    return {name: k for k, shape in enumerate(shapes) for name in shape.sources}


def attended(maps: Mapping[str, tuple[torch.Tensor, float | torch.Tensor]], attention: Attention) -> torch.Tensor:
    """Drive [T or 1, B, C, H, W] of an attention, from spikes in values."""
    query, key, value = (maps[name][0] * maps[name][1] for name in (attention.query, attention.key, attention.value))
    def tokens(x: torch.Tensor) -> torch.Tensor:
        """[T, B, heads, channels of a head, tokens]"""
        return x.flatten(-2).unflatten(2, (attention.heads, -1))
    # K^T V first: as many numbers as channels of a head squared.
    out = (tokens(value) @ tokens(key).transpose(-1, -2)) @ tokens(query)
    return attention.scale * out.flatten(2, 3).reshape(query.shape)


def gated(drive: torch.Tensor, gates: torch.Tensor, shape: LayerShape) -> torch.Tensor:
    """Drive [T or 1, B, C, H, W] where gates [T, B, C or 1, h, w] are open, else 0; each gate serves a block of positions."""
    rows, columns = (n // m for n, m in zip(shape.out_map, gates.shape[-2:]))
    return drive * gates.repeat_interleave(rows, -2).repeat_interleave(columns, -1)


def weight_of(connection: Connection) -> nn.Parameter:
    return nn.Parameter(torch.empty(connection.out_channels, connection.fan_in, *connection.kernel))


def initial_of(shape: LayerShape) -> torch.Tensor | None:
    """Zeros for the membranes at the start of an image, [C, H, W]; None where there are none, or what keeps them is no neuron."""
    return torch.zeros(shape.out_channels, *shape.out_map) if shape.emits == "spikes" and not shape.stateless else None
