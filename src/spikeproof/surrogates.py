"""The derivatives that stand in for that of the spike. Each integrates to 1 over x.

With w the width and x the distance of the membrane to the threshold, both in values (a fixed threshold is 1):

* atan: 1 / (w (1 + (pi x / w)^2)) (Fang et al. 2021, alpha = 2 / w)
* sigmoid: s (1 - s) / w with s = sigmoid(x / w) (Zenke and Ganguli 2018; ATIF, slope alpha = 1 / w)
* triangle: max(0, 1 - |x| / w) / w (Bellec et al. 2018; SpQuant-SNN Eq. 4, gamma = w)
* rectangle: 1 / (2 w) where |x| < w (Wu et al. 2018, STBP)
"""
import math
from dataclasses import dataclass

import torch

__all__ = ["SURROGATES", "Surrogate"]

SURROGATES = {
    "atan": lambda x, w: 1 / (w * (1 + (math.pi / w * x) ** 2)),
    "sigmoid": lambda x, w: torch.sigmoid(x / w) * torch.sigmoid(-x / w) / w,
    "triangle": lambda x, w: (1 - x.abs() / w).clamp(min=0) / w,
    "rectangle": lambda x, w: (x.abs() < w).to(x.dtype) / (2 * w),
}


@dataclass
class Surrogate:
    """Name and width of the derivative that training uses."""
    name: str = "atan"
    width: float = 1.0
