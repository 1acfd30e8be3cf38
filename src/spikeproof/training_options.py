"""What a configuration may say about training."""
from typing import Literal

from pydantic import Field

from .options import Options

__all__ = ["AugmentationOptions", "TrainingOptions"]


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
    mixup: float = Field(0.0, ge=0, allow_inf_nan=False)


class TrainingOptions(Options):
    """AdamW with a cosine learning rate; cross entropy on the readout.

    ``surrogate`` and ``surrogate_width`` choose the derivative that stands in for that of the spike
    (:mod:`spikeproof.surrogates`); the width is in units of the threshold.
    """
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    learning_rate: float = Field(2e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(1e-4, ge=0, allow_inf_nan=False)
    surrogate: Literal["atan", "rectangle", "sigmoid", "triangle"] = "atan"
    surrogate_width: float = Field(1.0, gt=0, allow_inf_nan=False)
    augmentation: AugmentationOptions = AugmentationOptions()
