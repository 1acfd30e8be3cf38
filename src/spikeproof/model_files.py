"""Trained networks on disk: tensors, and the chain of configuration entries that rebuilds the module."""
from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from .architectures.shapes import with_currents
from .entries import make
from .files import CorruptFile, read_container, write_container
from .models import CodeNetwork, FloatNetwork
from .projections import InputSpec
from .spec import NeuronSpec, check_int
from .training import seed_of

if TYPE_CHECKING:
    from .annotations import Entry, StrPath
    from .datasets.base import PreparedData
    from .training import Network

__all__ = ["build", "load_model", "save_model", "untrained"]

KIND = "spikeproof model"
#: Where channels were taken away, the whole network may have had so many times the numbers that are left, and so many at most.
MOST_PRUNED, MOST = 1000, 1 << 27


def build(chain: Entry, input_spec: InputSpec, steps: int, classes: int) -> Network:
    """An untrained FloatNetwork, or an empty CodeNetwork if the chain has a quantizer."""
    architecture, neuron = make("architectures", chain["architecture"]), make("neurons", chain["neuron"])
    shapes = architecture.layers(input_spec, classes)
    shapes = with_currents(shapes, neuron.synapses(shapes))
    if chain.get("pruner") is not None:
        shapes = make("pruners", chain["pruner"]).layers(shapes)
    if chain.get("quantizer") is None:
        model: Network = FloatNetwork(shapes, neuron, input_spec, steps)
    else:
        model = CodeNetwork(shapes, neuron, input_spec, steps, make("quantizers", chain["quantizer"]))
    if architecture.boxes:
        model.head = architecture.head(input_spec, classes)
    return model


def untrained(chain: Entry, data: PreparedData, seed: int) -> Network:
    """The network of a chain for PreparedData, with the initial weights of a seed."""
    torch.manual_seed(seed_of(seed, "weights"))
    return build(chain, data.input, data.steps, data.classes)


def save_model(path: StrPath, model: Network, chain: Entry, classes: int) -> str:
    """Write a model atomically; returns its digest."""
    description: Entry = {"chain": chain, "steps": model.steps, "classes": classes,
                          "input": model.input_spec.to_dict()}
    if isinstance(model, CodeNetwork):
        description |= {"channels": {shape.name: shape.out_channels for shape in model.shapes},
                        "neurons": [asdict(layer.neuron) for layer in model.layers]}
    return write_container(path, KIND, description, {n: v.numpy() for n, v in model.state_dict().items()})


def _check_size(parts: tuple[Entry, InputSpec, int, int], numbers: int, pruned: bool) -> None:
    """ValueError where the model of ``build(*parts)`` would have more numbers than a file of so many can be of."""
    with torch.device("meta"):                                       # shapes alone, no memory
        model = build(*parts)
    whole = sum(of.numel() for of in (*model.parameters(), *model.buffers()))
    if whole > max(2 * numbers + 1000, min(MOST_PRUNED * numbers, MOST) if pruned else 0):
        raise ValueError(f"the network that it tells of has {whole:,} numbers, and the file has {numbers:,}")


def load_model(path: StrPath) -> tuple[Network, Entry]:
    """Read a model -> (module in evaluation mode, description).

    Raises
    ------
    FileNotFoundError, CorruptFile
        If the file is absent, truncated, altered or describes no model.
    """
    remedy = "delete it and run its stage again"
    description, tensors, _ = read_container(path, KIND, remedy)
    try:
        spec = InputSpec.from_dict(description["input"])
        check_int("steps", description["steps"], 1, 4096)
        parts = description["chain"], spec, description["steps"], description["classes"]
        channels = description.get("channels", {})
        # A network that channels were taken from is built whole first.
        _check_size(parts, sum(array.size for array in tensors.values()), bool(channels))
        model = build(*parts)
        if isinstance(model, CodeNetwork):
            for shape in model.shapes[:-1]:
                check_int(f"channels of {shape.name}", channels[shape.name], 1, shape.out_channels)
            model = model.pruned({shape.name: torch.arange(channels[shape.name]) for shape in model.shapes[:-1]})
            for layer, n in zip(model.layers, description["neurons"], strict=True):
                layer.neuron = NeuronSpec.from_dict(n)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptFile(f"{path} describes no valid model ({' '.join(str(error).split())}): {remedy}") from None
    return model.eval(), description
