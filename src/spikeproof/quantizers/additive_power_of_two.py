"""Additive powers of two (APoT; Li, Dong and Wang, ICLR 2020): weights are sums of few shifts."""
from __future__ import annotations

from typing import Literal

from .power_of_two import PowerOfTwoQuantizer

__all__ = ["AdditivePowerOfTwoQuantizer"]


class AdditivePowerOfTwoQuantizer(PowerOfTwoQuantizer):
    """Codes of the codec ``apot<bits>``, nearest in value: finer near the largest weights than powers of two."""
    class Options(PowerOfTwoQuantizer.Options):
        kind: Literal["apot"]  # type: ignore[assignment]
