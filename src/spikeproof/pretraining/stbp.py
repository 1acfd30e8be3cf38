"""Spatio-temporal backpropagation (STBP; Wu, Deng, Li, Zhu and Shi, 2018)."""
from typing import Literal

from ..training_options import TrainingOptions
from .surrogate import SurrogateGradient

__all__ = ["Stbp"]


class Stbp(SurrogateGradient):
    """Direct training with a rectangular surrogate and the mean squared error between firing rates and the one-hot label.

    Defaults are those of the network that CBP-QSNN quantizes: SGD with momentum 0.9, 0.3 times 0.1 every 45 of 100 epochs. The
    surrogate's half-width is that of the paper in thresholds (0.5 at a threshold of 0.5).
    """
    class Options(SurrogateGradient.Options):
        kind: Literal["stbp"]
        training: TrainingOptions = TrainingOptions(
            epochs=100, batch_size=50, optimizer="sgd", learning_rate=0.3, schedule="step", step_epochs=45, step_factor=0.1,
            weight_decay=0.0, surrogate="rectangle", surrogate_width=1.0, loss="mse_rate")
