"""Constrained backpropagation (CBP): weights are pulled to their levels by Lagrange multipliers.

Kim, Kim and Jeong, NeurIPS 2021; CBP-QSNN applies it to spiking networks after any pre-training. Facts are from the papers and
their published code; what is ours is said so.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..codecs import parse_codec
from ..training_options import ExactTrainingOptions
from .base import Quantizer, QuantizerOptions, nearest, straight_through

if TYPE_CHECKING:
    import torch

    from ..architectures.shapes import LayerShape
    from ..lagrange import Constraint
    from ..neurons.base import Neuron

__all__ = ["CbpQuantizer"]


class CbpQuantizer(Quantizer):
    """Levels -1, 1 (binary), with 0 (ternary), +-1/2 (1-bit shift) and +-1/4 (2-bit shift), times a scale that stays mean|w|.

    The forward pass has the nearest level, the backward pass goes straight through; so far this is plain quantization-aware
    training. CBP adds the penalty sum of lambda cs(w): a saw-tooth cs, zero at every level, outside a window around the middles
    between levels that shrinks as training goes on, and one multiplier per weight that rises with it
    (:mod:`spikeproof.lagrange`). ``constrained: false`` holds the multipliers at zero: the same training without the constraint.

    By default the first and the last layer are integers of 16 bits, for the full precision that the paper leaves them in
    (``edge_bits: null`` gives them the levels too). The scale is one per output channel here, since batch normalisation is folded
    into the weights before; the papers have one per layer beside it.
    """
    class Options(QuantizerOptions):
        kind: Literal["cbp"]
        levels: Literal["binary", "ternary", "shift1", "shift2"] = "binary"
        constrained: bool = True
        multiplier_rate: float = Field(5e-4, gt=0)
        period: int = Field(20, ge=1)
        bound: float = Field(1.0, gt=0)
        edge_bits: int | None = Field(16, ge=2, le=16)
        training: ExactTrainingOptions = ExactTrainingOptions(
            epochs=100, optimizer="sgd", learning_rate=5e-3, schedule="step", step_factor=1.0, weight_decay=0.0, clip_gradient=1.0)

    options: Options
    keeps_scale = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.codec = parse_codec(options.levels)

    def fitted_scale(self, weight: torch.Tensor, per_channel: bool) -> torch.Tensor:
        return self._reduce(weight.abs(), per_channel, "mean") / self.codec.max_code

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        return straight_through(x, nearest(x, self.codec.codes.tolist()))

    def check(self, shapes: tuple[LayerShape, ...], neuron: Neuron) -> None:
        super().check(shapes, neuron)
        count = sum(shape.weighted for shape in shapes)
        if not any(self.of_layer(k, count) is self for k in range(count)):
            raise ValueError("cbp has no layer to constrain: the first and the last keep edge_bits; give them the levels too "
                             "(edge_bits: null), or add layers between")

    def method(self) -> Constraint:
        from ..lagrange import Constraint
        return Constraint(self)
