"""What operations on all time steps of a layer share: layouts, membranes at the start, rivals, gradients of one drive."""
from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from typing import Protocol, TypeVar

    T_co = TypeVar("T_co", covariant=True)

    class PerStep(Protocol[T_co]):
        """What is given for all steps, or once."""
        def __len__(self) -> int: ...
        def __getitem__(self, t: int, /) -> T_co: ...

__all__ = ["Gather", "Rivals", "along", "at_step", "inside", "outside", "start_of"]


def inside(x: torch.Tensor) -> torch.Tensor:
    """[..., C, H, W] -> [..., H, W, C], contiguous; no copy of what a channels-last convolution gave."""
    return x.movedim(-3, -1).contiguous()


def outside(x: torch.Tensor) -> torch.Tensor:
    """[..., H, W, C] -> [..., C, H, W], a view."""
    return x.movedim(-1, -3)


def at_step(of: PerStep[T_co], t: int) -> T_co:
    """What holds at step t of something that is given for all steps, or once."""
    return of[t if len(of) > 1 else 0]


def start_of(initial: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """Membranes at the start, in the shape of ``like`` [B, H, W, C]: zero, or ``initial`` [H or 1, W or 1, C or 1]."""
    return torch.zeros_like(like) if initial is None else initial.expand_as(like).clone()


class Rivals:
    """What the neurons of a layer do to each other: see :class:`spikeproof.spec.Lateral`.

    Parameters
    ----------
    inhibition : float, code or value
    one_spike : bool
    """
    before: torch.Tensor | None

    def __init__(self, inhibition: float, one_spike: bool) -> None:
        self.inhibition, self.one_spike, self.before = inhibition, one_spike, None

    def inhibit(self, h: torch.Tensor) -> None:
        """Take off h [B, H, W, C], in place, what the spikes of the step before take off."""
        if self.before is not None and self.inhibition:
            h.sub_(self.before, alpha=self.inhibition)

    def compete(self, s: torch.Tensor) -> None:
        """Leave of the spikes [B, H, W, C], in place, the first of a layer, where one is all that there may be."""
        flat = s.view(len(s), -1)
        if self.one_spike:
            first = flat.argmax(1, keepdim=True)                    # the first of equals
            fired = flat.gather(1, first)
            flat.zero_().scatter_(1, first, fired)
        self.before = flat.sum(1).reshape(-1, 1, 1, 1)


class Gather:
    """Gradients of the drive, step by step: kept apart, or summed where one drive serves all steps."""
    def __init__(self, length: int, like: torch.Tensor) -> None:
        self.length = length
        self.total = (torch.zeros if length == 1 else torch.empty)((length, *like.shape), dtype=like.dtype, device=like.device)

    def put(self, t: int, grad: torch.Tensor) -> None:
        if self.length == 1:
            self.total[0] += grad
        else:
            self.total[t] = grad


def along(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """[T or 1] or [T or 1, C] -> broadcasts to x [T, B, H, W, C]."""
    values = values.reshape(len(values), -1)
    return values.reshape(len(values), *[1] * (x.dim() - 2), values.shape[1])
