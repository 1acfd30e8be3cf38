"""The spike, and the derivatives that stand in for its own. Each integrates to 1 over x.

With w the width and x the distance to the threshold, both in units of the threshold:

* atan: 1 / (w (1 + (pi x / w)^2)) (Fang et al. 2021, alpha = 2 / w)
* sigmoid: s (1 - s) / w with s = sigmoid(x / w) (Zenke and Ganguli 2018; ATIF)
* triangle: max(0, 1 - |x| / w) / w (Bellec et al. 2018; SpQuant-SNN Eq. 4, gamma = w)
* rectangle: 1 / (2 w) where |x| < w (Wu et al. 2018, STBP)
"""
import math

import torch

__all__ = ["SURROGATES", "spike"]

SURROGATES = {
    "atan": lambda x, w: 1 / (w * (1 + (math.pi / w * x) ** 2)),
    "sigmoid": lambda x, w: torch.sigmoid(x / w) * torch.sigmoid(-x / w) / w,
    "triangle": lambda x, w: (1 - x.abs() / w).clamp(min=0) / w,
    "rectangle": lambda x, w: (x.abs() < w).to(x.dtype) / (2 * w),
}


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, name, width):
        ctx.save_for_backward(x)
        ctx.name, ctx.width = name, width
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * SURROGATES[ctx.name](x, ctx.width), None, None


def spike(x, name="atan", width=1.0):
    """x, any shape -> 1.0 where x >= 0 (equality fires), else 0.0; surrogate gradient ``name`` of ``width``."""
    return _Spike.apply(x, name, width)
