"""Neurons of networks in torch by the kernels of :mod:`spikeproof.kernels`, forward and backward.

:mod:`spikeproof.neuron_steps` says what they compute, and has the same in torch's operations, with the same bits.
"""
from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch

from . import kernels
from .fixed_point import ROUNDINGS
from .surrogates import SURROGATES

if TYPE_CHECKING:
    from .spec import NeuronSpec
    from .surrogates import Surrogate

__all__ = ["TYPES", "CodeKernels", "FloatKernels"]

TYPES = {torch.float32: "single", torch.float64: "double", torch.bfloat16: "half"}
#: Surrogates that the kernels compute; what others give is handed to them.
SHAPES, GIVEN = {"atan": 0, "triangle": 1, "rectangle": 2}, 3
LEAKS = {"none": 0, "subtract_shift": 1, "shift": 2, "multiply": 2}


class _Layout:
    """How a layer's numbers lie in memory, for the kernels.

    Parameters
    ----------
    like : [steps or 1, B, H, W, C], contiguous
    steps : int
    theta : [T or 1] or [T or 1, C]
    """
    def __init__(self, like: torch.Tensor, steps: int, theta: torch.Tensor) -> None:
        _, images, *places, channels = like.shape
        self.steps, self.driven, self.shape = steps, len(like), (steps, *like.shape[1:])
        self.per_channel = theta.dim() > 1 and theta.shape[1] > 1
        inner = places[0] * places[1]
        self.rows_of, self.columns = (inner, channels) if self.per_channel else (1, inner * channels)
        self.rows = images * self.rows_of
        #: Numbers are computed in float32 where they are kept in bfloat16.
        self.computed = torch.float32 if like.dtype == torch.bfloat16 else like.dtype

    def along(self, values: torch.Tensor) -> torch.Tensor:
        """What holds for channels or all neurons, [T or 1, C or 1] -> [steps, C] or [steps]."""
        values = values.detach().to(self.computed).reshape(len(values), -1)
        return values.expand(self.steps, self.columns if self.per_channel else 1).contiguous()

    def starts(self, initial: torch.Tensor | None) -> torch.Tensor | None:
        """Membranes at the start, [H or 1, W or 1, C or 1] -> [H, W, C]: the kernels read one of each neuron."""
        return None if initial is None else initial.to(self.computed).expand(self.shape[2:]).contiguous()

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.steps, self.rows, self.columns


class _Kernels:
    """What both kinds have: the functions for a type of numbers, and what lies where."""
    kind = ""

    def __init__(self, found: ctypes.CDLL, like: torch.Tensor, steps: int, theta: torch.Tensor) -> None:
        self.library, self.type, self.layout = found, like.dtype, _Layout(like, steps, theta)

    def call(self, what: str, *arguments: object) -> None:
        """A function for this type of numbers, as the source declares it, with the number of threads as its last argument."""
        kernels.call(self.library, f"{TYPES[self.type]}_{self.kind}_{what}", *arguments, torch.get_num_threads())

    def empty(self, length: int | None = None, dtype: torch.dtype | None = None) -> torch.Tensor:
        """[steps or length, B, H, W, C]"""
        steps, *rest = self.layout.shape
        return torch.empty((steps if length is None else length, *rest), dtype=dtype or self.type)

    @staticmethod
    def slopes(surrogate: Surrogate, x: torch.Tensor) -> torch.Tensor:
        """A surrogate's derivative, by torch."""
        return SURROGATES[surrogate.name](x, surrogate.width)


class FloatKernels(_Kernels):
    """Neurons in full precision that fire, by the kernels; see :func:`spikeproof.neuron_steps.float_steps`.

    Parameters
    ----------
    found : what :func:`spikeproof.kernels.library` gave
    drive : [T or 1, B, H, W, C], contiguous, values; in bfloat16 membranes are float32, and bfloat16 where they are kept
    steps : int
    theta : [T or 1] or [T or 1, C]
    """
    kind = "float"

    def forward(self, drive: torch.Tensor, theta: torch.Tensor, initial: torch.Tensor | None, beta: float, soft: bool,
                keep: bool) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor]:
        """(membranes before reset [T, B, H, W, C] or None if they are not to be kept, spikes, membranes at the end)."""
        layout, level, start = self.layout, self.layout.along(theta), self.layout.starts(initial)
        h, s, v = self.empty() if keep else None, self.empty(), self.empty(1)[0]
        self.call("forward", drive, layout.driven, level, layout.per_channel, start, layout.rows_of, h, s, v, *layout.sizes,
                  float(beta), soft)
        return h, s, v

    def backward(self, grad_s: torch.Tensor | None, grad_v: torch.Tensor | None, h: torch.Tensor, s: torch.Tensor,
                 theta: torch.Tensor, driven: int, beta: float, soft: bool, surrogate: Surrogate) -> torch.Tensor:
        """Gradient of the drive [T or 1, B, H, W, C]."""
        layout, level, shape = self.layout, self.layout.along(theta), SHAPES.get(surrogate.name, GIVEN)
        slopes = None
        if shape == GIVEN:
            slopes = self.slopes(surrogate, h - level.reshape(len(level), 1, 1, 1, -1).to(h.dtype))
        total = self.empty(driven)
        self.call("backward", grad_s, grad_v, h, s, slopes, level, layout.per_channel, total, driven, *layout.sizes,
                  float(beta), soft, shape, float(surrogate.width))
        return total


class _Codes(ctypes.Structure):
    """The numbers of a NeuronSpec, as the source declares them."""
    _fields_ = [("leak_kind", ctypes.c_int), ("rounding", ctypes.c_int), ("leak", ctypes.c_double), ("unit", ctypes.c_double),
                ("lo", ctypes.c_double), ("hi", ctypes.c_double), ("v_reset", ctypes.c_double), ("soft", ctypes.c_int)]

    @classmethod
    def of(cls, neuron: NeuronSpec) -> _Codes:
        store, leak = neuron.store, neuron.leak
        factor = 2.0**-leak.shift if leak.kind == "subtract_shift" else leak.factor
        return cls(LEAKS[leak.kind], ROUNDINGS.index(store.rounding), factor, 2.0**store.shift, store.lo, store.hi, neuron.v_reset,
                   neuron.reset == "soft")


class CodeKernels(_Kernels):
    """Neurons in integer codes that fire, by the kernels; see :func:`spikeproof.neuron_steps.code_steps`.

    Parameters
    ----------
    found : what :func:`spikeproof.kernels.library` gave
    acc : [T or 1, B, H, W, C], contiguous
    steps : int
    theta : [T or 1, C or 1]
    neuron : NeuronSpec
    """
    kind = "code"

    def __init__(self, found: ctypes.CDLL, acc: torch.Tensor, steps: int, theta: torch.Tensor, neuron: NeuronSpec) -> None:
        super().__init__(found, acc, steps, theta)
        self.neuron, self.given = neuron, _Codes.of(neuron)

    def forward(self, acc: torch.Tensor, theta: torch.Tensor, initial: torch.Tensor | None, draws: torch.Tensor,
                keep: bool) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """(membranes before reset or None, spikes, stored codes, where the store clipped nothing or None)."""
        layout, level, start = self.layout, self.layout.along(theta), self.layout.starts(initial)
        drawn = draws.contiguous() if self.neuron.store.rounding == "stochastic" else None
        h, s, codes, passed = self.empty() if keep else None, self.empty(), self.empty(), None
        if keep:
            passed = self.empty(dtype=torch.uint8)
        self.call("forward", acc, layout.driven, level, layout.per_channel, start, drawn, layout.rows_of, h, s, codes, passed,
                  *layout.sizes, self.given)
        return h, s, codes, passed

    def backward(self, grad_s: torch.Tensor | None, grad_codes: torch.Tensor | None, h: torch.Tensor, s: torch.Tensor,
                 passed: torch.Tensor, theta: torch.Tensor, worth: torch.Tensor, driven: int, surrogate: Surrogate) -> torch.Tensor:
        """Gradient of the sums [T or 1, B, H, W, C]; ``worth`` [T or 1, C or 1] is a code's value."""
        layout, shape = self.layout, SHAPES.get(surrogate.name, GIVEN)
        level, value, slopes = layout.along(theta), layout.along(worth), None
        if shape == GIVEN:
            along, each = (of.reshape(len(of), 1, 1, 1, -1) for of in (level, value))
            slopes = self.slopes(surrogate, (h - along) * each).mul_(each)
        total = self.empty(driven)
        self.call("backward", grad_s, grad_codes, h, s, passed, slopes, level, value, layout.per_channel, total, driven,
                  *layout.sizes, float(self.neuron.leak.factor), self.given, shape, float(surrogate.width))
        return total
