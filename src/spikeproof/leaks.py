"""Trained leaks in torch: PLIF."""
from __future__ import annotations

import math

import torch
from torch import nn

__all__ = ["TrainedLeak"]


class TrainedLeak(nn.Module):
    """v(t) = v(t - 1) + (x - v(t - 1)) / tau, one trained tau > 1 per layer, 1 / tau = sigmoid(w) (Fang et al., ICCV 2021).

    Parameters
    ----------
    tau : float, above 1, time constant to start with, in steps
    """
    def __init__(self, tau: float) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(-math.log(tau - 1)))

    def forward(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(beta, gain), scalar tensors: what the membrane and the input are multiplied by."""
        gain = torch.sigmoid(self.raw)
        return 1 - gain, gain
