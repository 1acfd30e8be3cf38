"""Direct training of the spiking network with surrogate gradients (Neftci, Mostafa and Zenke, 2019)."""
from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ..options import Options
from ..training_options import TrainingOptions
from .base import Pretraining

if TYPE_CHECKING:
    from typing import Any

    from ..annotations import Json
    from ..datasets.base import PreparedData
    from ..models import FloatNetwork

__all__ = ["SurrogateGradient"]


class SurrogateGradient(Pretraining):
    """Backpropagation through time; the spike's derivative is replaced by a smooth one."""
    class Options(Options):
        kind: Literal["surrogate"]
        training: TrainingOptions = TrainingOptions()

    options: Options

    def train(self, model: FloatNetwork, data: PreparedData, **kwargs: Any) -> list[dict[str, Json]]:
        """Train a FloatNetwork in place -> history (list of dicts, one per epoch)."""
        from ..training import fit
        return fit(model, data, self.options.training, **kwargs)
