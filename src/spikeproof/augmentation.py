"""Augmentation of training batches: integer codes in, integer codes out, every draw from one seeded generator.

Crop and flip (of images, and of event frames at all steps alike), roll (event frames, as in the SpQuant-SNN and CBP-QSNN code for
DVS data), cutout (DeVries and Taylor, 2017) and mixup (Zhang et al., 2018).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from .surrogates import filtered

if TYPE_CHECKING:
    from .training_options import AugmentationOptions

__all__ = ["Targets", "augment"]


class Targets:
    """Labels of a batch, or the mixture of two.

    Parameters
    ----------
    labels : int64 [B]
    others : int64 [B], labels of the images that were mixed in, or None
    share : float, of the own image
    """
    def __init__(self, labels: torch.Tensor, others: torch.Tensor | None = None, share: float = 1.0) -> None:
        self.labels, self.others, self.share = labels, others, share

    def to(self, device: torch.device | str) -> Targets:
        """The same on another device."""
        return Targets(self.labels.to(device), None if self.others is None else self.others.to(device), self.share)

    def wanted(self, like: torch.Tensor) -> torch.Tensor:
        """[B, classes], the share of each class."""
        target = self.share * F.one_hot(self.labels, like.shape[1])
        if self.others is not None:
            target = target + (1 - self.share) * F.one_hot(self.others, like.shape[1])
        return target.to(like.dtype)

    def loss(self, logits: torch.Tensor, kind: str = "cross_entropy", outputs: torch.Tensor | None = None, decay: float = 0.0,
             tet_share: float = 0.0) -> torch.Tensor:
        """The loss, weighted by the shares.

        Parameters
        ----------
        logits : [B, classes]
        kind : "cross_entropy", "kernel", "mse_rate" or "tet", of :class:`spikeproof.training_options.TrainingOptions`
        outputs : [T, B, classes] of the last layer, spikes or drives; all but cross entropy look at them
        decay : float, the factor of the filter of "kernel"
        tet_share : float, lambda of "tet"
        """
        if kind == "mse_rate":
            assert outputs is not None
            return F.mse_loss(outputs.mean(0), self.wanted(logits))
        if kind == "kernel":
            assert outputs is not None
            # As the authors' code has it: a spike in every second step, or in four of five where there are few.
            steps = torch.arange(len(outputs), device=outputs.device)
            train = (steps % 2 == 1 if len(outputs) >= 10 else steps % 5 != 0).to(outputs.dtype)
            wanted = train[:, None, None] * self.wanted(logits)
            return (filtered(outputs - wanted, decay) * (1 - decay)).square().sum() / (2 * len(logits))
        if kind == "tet":
            assert outputs is not None
            each = torch.stack([self.loss(of) for of in outputs]).mean()
            return (1 - tet_share) * each + tet_share * (outputs - 1).square().mean()
        own = F.cross_entropy(logits, self.labels)
        if self.others is None:
            return own
        return self.share * own + (1 - self.share) * F.cross_entropy(logits, self.others)

    def right(self, logits: torch.Tensor) -> int:
        """How many images are decided as the one that has the larger share."""
        main = self.labels if self.others is None or self.share >= 0.5 else self.others
        return int((logits.argmax(1) == main).sum())


def augment(x: torch.Tensor, labels: torch.Tensor, options: AugmentationOptions,
            generator: torch.Generator) -> tuple[torch.Tensor, Targets]:
    """Change a batch of input codes and say what its labels are.

    Parameters
    ----------
    x : [T or 1, B, C, H, W], integer-valued codes
    labels : int64 [B]
    options : AugmentationOptions
    generator : torch.Generator; equal generators give equal batches

    Returns
    -------
    (x, Targets)
    """
    _, batch, _, height, width = x.shape

    def draw(low: int, high: int, *shape: int) -> torch.Tensor:
        """Integers low .. high."""
        return torch.randint(low, high + 1, (batch, *shape), generator=generator)
    if options.crop or options.roll or options.flip:
        rows, columns = torch.arange(height).expand(batch, -1), torch.arange(width).expand(batch, -1)
        if options.flip:
            columns = torch.where(draw(0, 1, 1) == 1, width - 1 - columns, columns)
        if options.roll:
            rows = (rows + draw(-options.roll, options.roll, 1)) % height
            columns = (columns + draw(-options.roll, options.roll, 1)) % width
        inside = None
        if options.crop:
            rows, columns = (line + draw(-options.crop, options.crop, 1) for line in (rows, columns))
            inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
            rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        # [B, H, W, T, C]: what is indexed comes first.
        x = x[:, torch.arange(batch)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(3, 0, 4, 1, 2)
        if inside is not None:
            x = x * inside[:, None]
    if options.cutout:
        y, left = draw(0, height - 1, 1), draw(0, width - 1, 1)
        half = options.cutout // 2
        rows, columns = torch.arange(height), torch.arange(width)
        hole = ((rows >= y - half) & (rows < y - half + options.cutout))[:, :, None] & \
            ((columns >= left - half) & (columns < left - half + options.cutout))[:, None, :]
        x = x * ~hole[:, None]
    if not options.mixup:
        return x, Targets(labels)
    order = torch.randperm(batch, generator=generator)
    # Beta(a, a) from two gamma draws, by the generator.
    alpha = torch.full((2,), options.mixup, dtype=torch.float64)
    first, second = torch._standard_gamma(alpha, generator=generator).tolist()
    share = first / (first + second) if first + second > 0 else 0.5
    return (share * x + (1 - share) * x[:, order]).round(), Targets(labels, labels[order], share)
