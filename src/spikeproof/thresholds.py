"""Thresholds of a layer in torch: fixed at 1, trained as in the ATIF and SpQuant-SNN papers, or adapted neuron by neuron. Values.

A module here gives the thresholds V(t) of one layer, and the amplitude of its spikes: the value that a spike has for the layers
that it drives. The amplitude is folded into those layers' scales when they are quantized, so that hardware sees ones.

The gradient of a trained threshold has three separate paths; ``paths`` names those that count:

* comparison: s(t) = H(h(t) - V(t)) has the derivative -sigma'(h(t) - V(t)), sigma' being the surrogate's;
* window: the same times the gradient penalty window, sigmoid(h - V) where h >= V and 0 below (SpQuant-SNN, Eq. 24 to 27; LT-SNN):
  a threshold learns from spikes alone, and takes the place of ``comparison``;
* reset: v(t) = h(t) - s(t) V(t) has the derivative -s(t);
* amplitude: a spike has the value ``amplitude``, which is V (ATIF-u) or p_1 (ATIF-nu).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["PATHS", "AdaptedThresholds", "FixedThreshold", "LearnedThreshold", "LevelThresholds", "Threshold", "TrainedThreshold",
           "at_least", "thresholds_of_levels"]

PATHS = ("amplitude", "comparison", "reset")

#: Below this value no threshold goes in training, nor a gap between two steps of a quantizer.
SMALLEST = 1e-3
#: Below this value no trained step of a quantizer goes.
SMALLEST_STEP = 1e-5


class _AtLeast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, bound: float) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp(min=bound)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        x, = ctx.saved_tensors
        return grad * ((x >= ctx.bound) | (grad < 0)), None


def at_least(x: torch.Tensor, bound: float) -> torch.Tensor:
    """max(x, bound); below the bound only gradients that raise x pass, so that x can come back."""
    return _AtLeast.apply(x, bound)


def thresholds_of_levels(levels: torch.Tensor) -> torch.Tensor:
    """Thresholds that make a neuron without leak, at constant input, a quantizer with steps at given inputs.

    V_T = T p_T and V_k = min over j = k .. T of (j p_k - V_{k+1} - ... - V_j): the spike count over T steps is then the number of
    levels that the input reaches, exactly up to T = 4 where gaps do not shrink with amplitude (docs/atif.md).

    Parameters
    ----------
    levels : tensor [T], p_1 > ... > p_T > 0, values of the input

    Returns
    -------
    tensor [T], V(1) .. V(T), each > 0
    """
    steps = len(levels)
    found = [steps * levels[-1]]                                     # V(k) .. V(T)
    for k in range(steps - 1, 0, -1):
        spent = torch.cat([levels.new_zeros(1), torch.stack(found).cumsum(0)])
        j = torch.arange(k, steps + 1, dtype=levels.dtype, device=levels.device)
        found.insert(0, (j * levels[k - 1] - spent).amin())
    return torch.stack(found)


class Threshold(nn.Module):
    """Base class; ``forward`` gives (thresholds [T or 1] or [1, C], value of a spike).

    Members
    -------
    paths : names of PATHS, which gradients count
    strict : bool, whether a neuron must be above its threshold to spike
    """
    paths: Sequence[str]
    strict: bool
    threshold: nn.Parameter                                          # where one is trained
    adapted: torch.Tensor                                            # where they adapt
    paths, strict = PATHS, False

    def kept(self, channels: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        """State of the thresholds when so many channels stay (indices, or a slice)."""
        return self.state_dict()


class AdaptedThresholds(Threshold):
    """One threshold for each neuron of a dense layer: 1 and what it adapted by (Diehl and Cook, 2015). Gradients do not train it.

    Members
    -------
    adapted : [C], value, at least 0
    """
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("adapted", torch.zeros(channels))

    def forward(self) -> tuple[torch.Tensor, float]:
        return (1 + self.adapted)[None], 1.0

    def kept(self, channels: torch.Tensor | slice) -> dict[str, torch.Tensor]:
        return {"adapted": self.adapted[channels]}


class FixedThreshold(Threshold):
    """The same V at every step; a spike counts 1.

    Parameters
    ----------
    value : float, V
    strict : bool, whether a neuron must be above V to spike; the threshold is then the next float32 above it
    """
    # ``paths`` are those of the scale that makes a code of it, where that is trained.
    value: torch.Tensor

    def __init__(self, value: float = 1.0, strict: bool = False) -> None:
        super().__init__()
        self.strict = strict
        level = torch.tensor([value])
        self.register_buffer("value", level.nextafter(torch.full_like(level, torch.inf)) if strict else level, persistent=False)

    def forward(self) -> tuple[torch.Tensor, float]:
        return self.value, 1.0


class TrainedThreshold(Threshold):
    """ATIF-u: one trained threshold, which is the amplitude too.

    Parameters
    ----------
    low, high : float, value; the threshold starts uniformly between them
    paths : names of PATHS
    """
    def __init__(self, low: float, high: float, paths: Sequence[str]) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.empty(1).uniform_(low, high))
        self.paths = paths

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        threshold = at_least(self.threshold, SMALLEST)
        return threshold, (threshold if "amplitude" in self.paths else threshold.detach())[0]


class LearnedThreshold(Threshold):
    """One trained threshold; a spike counts 1 (LT-SNN, SpQuant-SNN).

    Parameters
    ----------
    first : float, value, where training starts
    paths : names of PATHS but "amplitude", and "window" or "comparison"
    """
    def __init__(self, first: float, paths: Sequence[str]) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor([first]))
        self.paths = paths

    def forward(self) -> tuple[torch.Tensor, float]:
        return at_least(self.threshold, SMALLEST), 1.0


class LevelThresholds(Threshold):
    """ATIF-nu: a threshold per time step, from trained levels p_1 > ... > p_T by the general rule; the amplitude is p_1.

    What is trained are the gaps p_k - p_{k+1} (and p_T), which stay positive. They start equal, as a uniform quantizer: all
    thresholds are then p_1, as in ATIF-u.

    Parameters
    ----------
    steps : int, T
    low, high : float, value; p_1 starts uniformly between them
    paths : names of PATHS
    """
    def __init__(self, steps: int, low: float, high: float, paths: Sequence[str]) -> None:
        super().__init__()
        self.gaps = nn.Parameter(torch.empty(1).uniform_(low, high).repeat(steps) / steps)
        self.paths = paths

    def levels(self) -> torch.Tensor:
        """p_1 .. p_T, tensor [T]."""
        return at_least(self.gaps, SMALLEST).flip(0).cumsum(0).flip(0)

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        levels = self.levels()
        return thresholds_of_levels(levels), levels[0] if "amplitude" in self.paths else levels[0].detach()
