"""Types of command-line arguments: text -> number, or a sentence; paths that say what a stage does with them."""
from __future__ import annotations

from argparse import ArgumentTypeError

__all__ = ["Output", "OutputFolder", "Source", "above_zero", "count", "share", "threads", "whole"]


class Source(str):
    """Path of a file or folder that a stage reads."""


class Output(str):
    """Path of a file that a stage writes."""


class OutputFolder(Output):
    """Path of a folder that a stage writes into, or replaces."""


def count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)


def threads(text: str) -> int:
    """A number of threads; OpenMP ends the process where the system has not so many."""
    if count(text) > 1024:
        raise ArgumentTypeError(f"must be 1024 at most, not {text}")
    return int(text)


def whole(text: str) -> int:
    """A whole number from 0."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"must be a whole number, 0 or more, not {text!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ArgumentTypeError(f"must be a number, not {text!r}") from None


def above_zero(text: str) -> float:
    """A number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"must be above 0, not {text}")
    return value


def share(text: str) -> float:
    """A number above 0, at most 1."""
    value = _number(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f"must be above 0 and at most 1, not {text}")
    return value
