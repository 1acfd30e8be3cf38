"""The constraint of CBP: saw-tooth, window, multipliers, and their schedule (Kim, Kim and Jeong, 2021).

With the levels q_1 < ... < q_n of a weight (values) and m_i the middle between q_i and q_{i+1}:

* Y(w) = twice the distance to the nearest level: slopes +-2, zero at every level;
* the window of the middle m_i has the half-width (q_{i+1} - q_i) / (2 g); in it cs(w) = 0, outside cs(w) = Y(w);
* g = 1 leaves all between the outer levels free, g to infinity nothing.

The loss of a batch is C + sum of lambda cs(w), lambda per weight and fixed within an epoch. After an epoch, if the loss summed over
the batches did not fall below that of the epoch before, or ``period`` epochs passed: g rises by 1 (by 10 from 10 on), and lambda
makes one step of Adam up the gradient of sum of lambda cs(w), which is cs(w) under the new window. When g first reaches 20 the
learning rate falls to a tenth.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .training import Method

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .annotations import Json
    from .models.code_layers import CodeLayer
    from .quantizers.cbp import CbpQuantizer
    from .training import Network

__all__ = ["Constraint", "distance_to_level", "saw_tooth"]


def distance_to_level(w: torch.Tensor, levels: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(distance to the nearest level, gap to which w belongs or infinity outside the outer levels), of w's shape.

    Parameters
    ----------
    w : tensor, values
    levels : list of tensors that broadcast to w, ascending, values
    """
    distance = torch.stack([(w - q).abs() for q in levels]).amin(0)
    gap = torch.full_like(w, float("inf"))
    for low, high in zip(levels, levels[1:]):
        gap = torch.where((w >= low) & (w < high), (high - low).expand_as(w), gap)
    return distance, gap


def saw_tooth(w: torch.Tensor, levels: Sequence[torch.Tensor], g: float = float("inf")) -> torch.Tensor:
    """cs(w), of w's shape: 2 x the distance to the nearest level, 0 in the windows of the middles.

    Parameters
    ----------
    g : float, the windows' half-width is a half gap / g
    """
    distance, gap = distance_to_level(w, levels)
    # The distance to the middle is half a gap less the distance to the level.
    free = gap / 2 - distance < gap / (2 * g)
    return 2 * distance * ~(free & torch.isfinite(gap))


class Constraint(Method):
    """Penalty, window and multipliers of the layers that have the quantizer.

    Parameters
    ----------
    quantizer : CbpQuantizer
    """
    def __init__(self, quantizer: CbpQuantizer) -> None:
        self.quantizer, self.options = quantizer, quantizer.options
        self.g, self.passed, self.before, self.updates = 1, 0, 1e10, 0

    def start(self, model: Network) -> None:
        self.layers = [layer for layer in model.layers if layer.step is not None and layer.quantizer is self.quantizer]
        self.multipliers = [torch.zeros_like(layer.weights[0]) for layer in self.layers]
        self.first = [torch.zeros_like(of) for of in self.multipliers]
        self.second = [torch.zeros_like(of) for of in self.multipliers]
        self._ascend()

    @staticmethod
    def _step(layer: CodeLayer) -> torch.Tensor:
        assert layer.step is not None
        return layer.step

    def _levels(self, layer: CodeLayer) -> list[torch.Tensor]:
        return [self._step(layer) * int(code) for code in self.quantizer.codec.codes]

    def penalty(self) -> torch.Tensor | None:
        if not self.options.constrained:
            return None
        return sum((of * saw_tooth(layer.weights[0], self._levels(layer), self.g)).sum()       # type: ignore[return-value]
                   for of, layer in zip(self.multipliers, self.layers))

    @torch.no_grad()
    def after_step(self) -> None:
        for layer in self.layers:
            outer = (self._step(layer) * self.quantizer.codec.max_code).clamp(min=self.options.bound)
            layer.weights[0].clamp_(-outer, outer)

    @torch.no_grad()
    def _ascend(self) -> None:
        """One step of Adam on every multiplier, up the constraint; without it they stay zero."""
        if not self.options.constrained:
            return
        self.updates += 1
        for layer, of, first, second in zip(self.layers, self.multipliers, self.first, self.second):
            gradient = saw_tooth(layer.weights[0], self._levels(layer), self.g)
            first.mul_(0.9).add_(gradient, alpha=0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            mean, square = first / (1 - 0.9**self.updates), second / (1 - 0.999**self.updates)
            of.add_(self.options.multiplier_rate * mean / (square.sqrt() + 1e-8))

    @torch.no_grad()
    def _failure(self) -> float:
        """The constraint-failure score of the weights as they are."""
        count = sum(of.numel() for of in self.multipliers)
        failure = sum(float((saw_tooth(layer.weights[0], self._levels(layer)) / self._step(layer)).sum()) for layer in self.layers)
        return failure / count / self.quantizer.codec.max_code

    @torch.no_grad()
    def after_epoch(self, loss: float) -> dict[str, float]:
        self.passed += 1
        if loss >= self.before or self.passed == self.options.period:
            self.g += 1 if self.g < 10 else 10
            if self.g >= 20:
                self.rate = 0.1
            self._ascend()
            self.before, self.passed = 1e10, 0
        else:
            self.before = loss
        count = sum(of.numel() for of in self.multipliers)
        return {"g": self.g, "constraint_failure": self._failure(),
                "multiplier": sum(float(of.sum()) for of in self.multipliers) / count}

    def remark(self) -> str:
        if not self.options.constrained:
            return f"multipliers held at 0, constraint failure {self._failure():.3f}"
        if self.g == 1:
            return (f"constraint failure {self._failure():.3f}, but its windows never began to close (g = 1): give more epochs "
                    f"than period, {self.options.period}")
        return f"g = {self.g}, constraint failure {self._failure():.3f}"

    def state(self) -> tuple[Json, dict[str, torch.Tensor]]:
        tensors = {f"{name}.{k}": of for name in ("multipliers", "first", "second") for k, of in enumerate(getattr(self, name))}
        return {"g": self.g, "passed": self.passed, "before": self.before, "updates": self.updates, "rate": self.rate}, tensors

    def restore(self, value: Json, tensors: dict[str, torch.Tensor]) -> None:
        self.g, self.passed, self.before, self.updates, self.rate = (value[k] for k in ("g", "passed", "before", "updates", "rate"))
        for name in ("multipliers", "first", "second"):
            for k, of in enumerate(getattr(self, name)):
                of.copy_(tensors[f"{name}.{k}"])
