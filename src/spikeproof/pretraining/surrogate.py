"""Direct training of the spiking network with surrogate gradients (Neftci, Mostafa and Zenke, 2019)."""
from typing import Literal

from ..options import Options
from ..training_options import TrainingOptions
from .base import Pretraining

__all__ = ["SurrogateGradient"]


class SurrogateGradient(Pretraining):
    """Backpropagation through time; the spike's derivative is replaced by a smooth one."""
    class Options(Options):
        kind: Literal["surrogate"]
        training: TrainingOptions = TrainingOptions()

    def train(self, model, data, **kwargs):
        """Train a FloatNetwork in place -> history (list of dicts, one per epoch)."""
        from ..training import fit
        return fit(model, data, self.options.training, **kwargs)
