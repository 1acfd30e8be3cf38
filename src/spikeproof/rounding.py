"""What training in fixed point adds to the loop: fresh draws of stochastic rounding, and weights that are kept rounded."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .training import Method, seed_of

if TYPE_CHECKING:
    from .annotations import Json
    from .models import CodeNetwork
    from .quantizers.fixed_point import FixedPointQuantizer

__all__ = ["RoundedTraining"]


class RoundedTraining(Method):
    """Fresh draws in every forward pass of training, the same ones after a restart; weights rounded after every update where the
    quantizer says so.

    Parameters
    ----------
    quantizer : FixedPointQuantizer
    """
    model: CodeNetwork | None

    def __init__(self, quantizer: FixedPointQuantizer) -> None:
        self.quantizer, self.model = quantizer, None

    def start(self, model: CodeNetwork) -> None:  # type: ignore[override]
        self.model = model
        self.quantizer.generator = torch.Generator().manual_seed(seed_of("rounding"))

    def after_step(self) -> None:
        if self.quantizer.options.updates == "rounded":
            assert self.model is not None
            for layer in self.model.layers:
                if layer.shape.weighted and layer.quantizer is self.quantizer:
                    weight, scale = layer.weights[0], self.quantizer.scale(layer.weights[0].detach(), layer.per_channel)
                    weight.data.copy_(self.quantizer.codes(weight / scale).detach() * scale)

    def state(self) -> tuple[Json, dict[str, torch.Tensor]]:
        assert self.quantizer.generator is not None
        return None, {"generator": self.quantizer.generator.get_state()}

    def restore(self, value: Json, tensors: dict[str, torch.Tensor]) -> None:
        assert self.quantizer.generator is not None
        self.quantizer.generator.set_state(tensors["generator"])
