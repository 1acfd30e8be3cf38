"""spikeproof: compressed spiking neural networks, from pixels to proven Verilog."""
from importlib import import_module

__version__ = "0.1.0"
#: What :mod:`spikeproof.api` offers, by name here; imported when it is asked for.
API = ("export", "generate", "load", "prepare", "quantize", "run_integer", "save", "simulate", "train")
__all__ = ["API", "__version__"]


def __getattr__(name):
    if name in API:
        return getattr(import_module(f"{__name__}.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
