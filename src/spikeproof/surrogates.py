"""The derivatives that stand in for that of the spike. Each integrates to 1 over x.

With w the width and x the distance of the membrane to the threshold, both in values (a fixed threshold is 1):

* atan: 1 / (w (1 + (pi x / w)^2)) (Fang et al. 2021, alpha = 2 / w)
* sigmoid: s (1 - s) / w with s = sigmoid(x / w) (Zenke and Ganguli 2018; ATIF, slope alpha = 1 / w)
* triangle: max(0, 1 - |x| / w) / w (Bellec et al. 2018; SpQuant-SNN Eq. 4, gamma = w)
* rectangle: 1 / (2 w) where |x| < w (Wu et al. 2018, STBP)

TSSL-BP (Zhang and Li, NeurIPS 2020) is a rule for all time steps at once, :func:`tssl_gradient`.
"""
from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from .spec import Store

__all__ = ["SURROGATES", "Surrogate", "filtered", "penalty_window", "stacked_gradient", "tssl_gradient"]

SURROGATES: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "atan": lambda x, w: 1 / (w * (1 + (math.pi / w * x) ** 2)),
    "sigmoid": lambda x, w: torch.sigmoid(x / w) * torch.sigmoid(-x / w) / w,
    "triangle": lambda x, w: (1 - x.abs() / w).clamp(min=0) / w,
    "rectangle": lambda x, w: (x.abs() < w).to(x.dtype) / (2 * w),
}


@dataclass
class Surrogate:
    """Name and width of the derivative that training uses; and the factor of the synapses' decay, where it looks at those."""
    name: str = "atan"
    width: float = 1.0
    decay: float = 0.0


def stacked_gradient(u: torch.Tensor, store: Store, temperature: float) -> torch.Tensor:
    """SpQuant-SNN's derivative of a membrane's quantizer (Eq. 13): T s (1 - s) of a sigmoid s(T (u - s_k)) at each step.

    Parameters
    ----------
    u : tensor, membranes before rounding, in units of the store's codes
    store : Store; its steps lie in the middles between codes, or, of a floor, at the codes above the lowest
    temperature : float, T; the paper's code has 2
    """
    found = torch.zeros_like(u)
    for code in range(store.lo, store.hi):
        s = torch.sigmoid(temperature * (u - (code + (1 if store.rounding == "floor" else 0.5))))
        found += temperature * s * (1 - s)
    return found


def penalty_window(x: torch.Tensor, spikes: torch.Tensor) -> torch.Tensor:
    """SpQuant-SNN's factor of a threshold's gradient (Eq. 26): sigmoid(x) where the neuron spiked, else 0.

    Parameters
    ----------
    x : tensor, distance of the membrane to the threshold, values
    spikes : tensor of the same shape, 0 or 1
    """
    return torch.sigmoid(x) * spikes


def filtered(x: torch.Tensor, decay: float) -> torch.Tensor:
    """x [T, ...] -> i [T, ...] with i(t) = decay i(t - 1) + x(t), from 0."""
    out: list[torch.Tensor] = []
    for now in x:
        out.append(now if not out else torch.add(now, out[-1], alpha=decay))
    return torch.stack(out)


def tssl_gradient(grad_s: torch.Tensor, h: torch.Tensor, s: torch.Tensor, before: torch.Tensor, threshold: torch.Tensor,
                  beta: float, surrogate: Surrogate) -> torch.Tensor:
    """TSSL-BP: gradient of the drive, from that of the spikes; by the authors' published code (stonezwr/TSSL-BP, tsslbp.py).

    With du(t) = h(t) - v(t - 1), where the neuron's output trace has at least a quarter of one spike's peak, a spike moves in time
    with the slope p = clamp(1 / du, 0, 8), and what reaches the spike at t from the next one is carried along; elsewhere the
    derivative is that of a sigmoid. The published rule takes the gradient of the filtered output; what comes in here is that of the
    spikes, filtered backwards already, which is the sum that the rule forms first.

    Parameters
    ----------
    grad_s : [T, ...], gradient of the spikes
    h, s, before : [T, ...], membranes before reset (values), spikes, and the membranes that each step starts from
    threshold : tensor, value
    beta : float, the membrane's factor
    surrogate : Surrogate
    """
    active = filtered(s, surrogate.decay) * (1 - surrogate.decay) >= (1 - surrogate.decay) / 4
    smooth = grad_s * SURROGATES["sigmoid"](h - threshold, surrogate.width)
    slope = (1 / (h - before)).clamp(0, 8)
    out, carry = torch.empty_like(grad_s), torch.zeros_like(grad_s[0])
    for t in reversed(range(len(grad_s))):
        now = grad_s[t] * slope[t]
        if t < len(grad_s) - 1:
            now = now + carry * (h[t] * slope[t] * (1 - beta) + beta * (1 - s[t]))
        carry = now * s[t] + carry * (1 - s[t]) * beta
        out[t] = torch.where(active[t], now, smooth[t])
    return out
