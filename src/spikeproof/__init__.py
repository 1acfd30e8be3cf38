"""spikeproof: compressed spiking neural networks, from pixels to proven Verilog."""
from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"
#: What :mod:`spikeproof.api` offers, by name here; imported when it is asked for.
API = ("export", "generate", "load", "prepare", "quantize", "run_integer", "save", "simulate", "train")
__all__ = ["API", "__version__"]


def __getattr__(name: str) -> Any:
    if name in API:
        return getattr(import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
