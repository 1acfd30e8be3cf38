"""What a configuration may say about training."""
from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, field_validator, model_validator

from .options import Options

if TYPE_CHECKING:
    from .neurons.base import Neuron
    from .projections import InputSpec

__all__ = ["AugmentationOptions", "ExactTrainingOptions", "TrainingOptions"]


class AugmentationOptions(Options):
    """What is done to a training batch (:mod:`spikeproof.augmentation`); nothing by default.

    ``crop``: shift by at most so many pixels, zeros come in. ``roll``: the same, pixels come in on the other side. ``flip``: every
    second image left to right. ``cutout``: a square of zeros of that side. ``mixup``: alpha of the share with which two images
    are mixed, and rounded to codes; needs an input of more than one bit.
    """
    crop: int = Field(0, ge=0)
    roll: int = Field(0, ge=0)
    flip: bool = False
    cutout: int = Field(0, ge=0)
    mixup: float = Field(0.0, ge=0)


class TrainingOptions(Options):
    """How a network is trained.

    ``loss``: cross entropy of the readout, the mean squared error between firing rates and the one-hot label (STBP), the squared
    difference of the output's filtered spikes to those wanted (TSSL-BP's kernel loss; neurons with a synapse), or ``tet``: cross
    entropy of each step's output, and with the share ``tet_share`` their mean squared distance to 1 (TET: Deng et al., ICLR 2022).
    ``mean_logits``: cross entropy of the readout divided by the number of steps, what many steps want: of a network that was
    converted, this is the artificial network's loss.
    ``optimizer``: AdamW, SGD with ``momentum``, or Adamax with the betas 0 and 0.95 of DECOLLE. ``schedule``: the learning rate
    falls to 0 as a cosine, or is multiplied by ``step_factor`` every ``step_epochs``. ``weight_decay`` does not reach thresholds
    and steps of quantizers.
    ``surrogate`` and ``surrogate_width`` choose the derivative that stands in for that of the spike
    (:mod:`spikeproof.surrogates`); the width is in values, where a fixed threshold is 1: the slope alpha of a sigmoid is 1 / width.
    ``tssl`` is the rule of TSSL-BP, for neurons with a synapse; the width is that of its sigmoid.
    ``clip_gradient`` bounds every element of a gradient. ``max_steps`` ends every epoch after so many batches, to try a
    configuration out. With 0 ``epochs`` nothing is trained: quantization after training.
    ``precision``: with ``bfloat16`` convolutions and matrix products of a training are computed in it (``torch.autocast``), which
    takes as little as half the time where the processor has instructions for it (docs/benchmarks.md). Membranes are float32, and
    so are weights, their updates, the loss and every evaluation.
    ``convolutions``: with ``winograd`` those of 3 x 3 with multiples of 32 channels are computed by Winograd's minimal filtering in
    a training, in float32 on a CPU, which takes about half the time and rounds otherwise (:mod:`spikeproof.winograd`); evaluations
    take direct sums. It needs a C++ compiler. On a GPU cuDNN chooses.
    """
    epochs: int = Field(30, ge=0)
    loss: Literal["cross_entropy", "kernel", "mse_rate", "tet"] = "cross_entropy"
    tet_share: float = Field(0.05, ge=0, le=1)
    mean_logits: bool = False
    batch_size: int = Field(64, ge=2)
    optimizer: Literal["adamax", "adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)
    learning_rate: float = Field(2e-3, gt=0)
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: int = Field(30, ge=1)
    step_factor: float = Field(0.9, gt=0, le=1)
    weight_decay: float = Field(1e-4, ge=0)
    surrogate: Literal["atan", "rectangle", "sigmoid", "triangle", "tssl"] = "atan"
    surrogate_width: float = Field(1.0, gt=0)
    augmentation: AugmentationOptions = AugmentationOptions()
    clip_gradient: float | None = Field(None, gt=0)
    max_steps: int | None = Field(None, ge=1)
    precision: Literal["bfloat16", "float32"] = "float32"
    convolutions: Literal["direct", "winograd"] = "direct"

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.convolutions == "winograd" and self.precision != "float32":
            raise ValueError(f"convolutions must be direct for precision {self.precision}: winograd computes in float32")
        return self

    @property
    def wants_synapses(self) -> str | None:
        """What of this training only neurons with a synapse can have, or None."""
        return "loss kernel" if self.loss == "kernel" else "surrogate tssl" if self.surrogate == "tssl" else None

    def check(self, neuron: Neuron, input_spec: InputSpec) -> None:
        """ValueError where the neurons (Neuron) or the input (InputSpec) cannot be trained so."""
        if self.loss in ("kernel", "mse_rate") and neuron.readout != "spike_count":
            raise ValueError(f"loss must be cross_entropy or tet for a {neuron.readout} readout: {self.loss} wants spikes")
        if self.wants_synapses and neuron.synapse is None:
            raise ValueError(f"{self.wants_synapses} wants neurons with a synapse, of kind synaptic")
        if self.wants_synapses and self.precision != "float32":
            raise ValueError(f"precision must be float32 for {self.wants_synapses}, not {self.precision}")
        if self.augmentation.mixup and input_spec.bits == 1:
            raise ValueError("augmentation.mixup must be 0 for an input of one bit: a mixture of spikes has no code")
        side = min(input_spec.shape[:2])
        for name in ("crop", "roll", "cutout"):
            pixels = getattr(self.augmentation, name)
            if pixels and pixels >= side:
                raise ValueError(f"augmentation.{name} must be below {side}, the input's shorter side, not {pixels}")

    def check_boxes(self, neuron: Neuron) -> None:
        """ValueError where a detector of such neurons cannot be trained so."""
        if neuron.readout != "membrane":
            raise ValueError(f"neurons of a detector must have a membrane readout, not {neuron.readout}: boxes are real numbers")
        if self.loss != "cross_entropy" or self.mean_logits:
            raise ValueError("loss and mean_logits must be left out for a detector, which has the loss of YOLO-V2")
        if self.augmentation != AugmentationOptions():
            raise ValueError("augmentation must be left out for a detector: boxes would not move along")

    def rate(self, epoch: int, share: float) -> float:
        """Learning rate in an epoch (from 0), when a share (0 to 1) of the whole training is done."""
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** (epoch // self.step_epochs)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


class ExactTrainingOptions(TrainingOptions):
    """How a network of integer codes is trained, whose sums must be exact, or one that DECOLLE trains, layer by layer."""
    @field_validator("precision", "convolutions")
    @classmethod
    def _exact(cls, value: str) -> str:
        if value in ("bfloat16", "winograd"):
            raise ValueError(f"{value} is for pre-trainings by backpropagation: sums of integer codes, and DECOLLE's layers that "
                             f"learn by themselves, need {'float32' if value == 'bfloat16' else 'direct sums'}")
        return value
