"""What analyses share."""
from pydantic import Field

from ..options import Options

__all__ = ["NetworkNames"]


class NetworkNames(Options):
    """A network in full precision by the names of its entries, as a study has it; its data and models are the analysis' inputs."""
    dataset: str
    architecture: str
    neuron: str
    pretraining: str
    seeds: list[int] = Field([0], min_length=1)
