"""Temporal spike sequence learning via backpropagation (TSSL-BP; Zhang and Li, NeurIPS 2020)."""
from __future__ import annotations

from typing import Literal

from ..training_options import TrainingOptions
from .surrogate import SurrogateGradient

__all__ = ["TsslBp"]


class TsslBp(SurrogateGradient):
    """Direct training by spike times where neurons are active, for neurons with synaptic currents (kind ``synaptic``).

    The loss is the squared difference between the filtered output spikes and filtered spikes in most steps of the right class.
    Defaults are those of the published CIFAR-10 network, but for its dropout of 0.2 and for its initial weights, five times the
    usual, for which batch normalisation stands here.
    """
    class Options(SurrogateGradient.Options):
        kind: Literal["tssl_bp"]  # type: ignore[assignment]
        training: TrainingOptions = TrainingOptions(
            epochs=150, batch_size=50, learning_rate=5e-4, schedule="step", step_factor=1.0, weight_decay=0.01, surrogate="tssl",
            surrogate_width=0.2, loss="kernel")
