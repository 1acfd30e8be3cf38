"""Spatio-temporal backpropagation (STBP; Wu, Deng, Li, Zhu and Shi, 2018)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from ..training_options import TrainingOptions
from .surrogate import SurrogateGradient

if TYPE_CHECKING:
    from typing import Any

    from ..annotations import Json
    from ..datasets.base import PreparedData
    from ..models import FloatNetwork

__all__ = ["Stbp"]


class Stbp(SurrogateGradient):
    """Direct training with a rectangular surrogate and the mean squared error between firing rates and the one-hot label.

    Defaults are those of the network that CBP-QSNN quantizes (SGD with momentum 0.9, 0.3 times 0.1 every 45 of 100 epochs), whose
    threshold is 0.5: at a threshold of 1 the same network has twice the weights, first ones (``gain``) included, four times the
    learning rate, and a surrogate twice as wide. Without normalisation, smaller first weights leave deep layers silent.
    """
    class Options(SurrogateGradient.Options):
        kind: Literal["stbp"]  # type: ignore[assignment]
        gain: float = Field(2.0, gt=0, le=100)
        training: TrainingOptions = TrainingOptions(
            epochs=100, batch_size=50, optimizer="sgd", learning_rate=1.2, schedule="step", step_epochs=45, step_factor=0.1,
            weight_decay=0.0, surrogate="rectangle", surrogate_width=1.0, loss="mse_rate")

    options: Options

    def train(self, model: FloatNetwork, data: PreparedData, **kwargs: Any) -> list[dict[str, Json]]:
        """As in the base class, from first weights times ``gain``."""
        import torch
        with torch.no_grad():
            for layer in model.layers:
                for connection in layer.connections:
                    if not connection.connection.identity and not connection.connection.norm:
                        connection.weight.mul_(self.options.gain)
        return super().train(model, data, **kwargs)
