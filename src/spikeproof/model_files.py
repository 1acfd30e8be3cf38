"""Trained networks on disk: tensors, and the chain of configuration entries that rebuilds the module."""
from dataclasses import asdict

import torch

from .architectures.shapes import with_currents
from .config import make
from .files import CorruptFile, read_container, write_container
from .models import CodeNetwork, FloatNetwork
from .network import InputSpec
from .spec import NeuronSpec, check_int

__all__ = ["build", "load_model", "make", "save_model"]

KIND = "spikeproof model"
#: Where channels were taken away, the whole network may have had so many times the weights that are left, and so many at most.
MOST_PRUNED, MOST = 1000, 1 << 28


def build(chain, input_spec, steps, classes, most=None):
    """An untrained FloatNetwork, or an empty CodeNetwork if the chain has a quantizer.

    ``most``: ValueError where it would have more weights.
    """
    architecture, neuron = make("architectures", chain["architecture"]), make("neurons", chain["neuron"])
    shapes = architecture.layers(input_spec, classes)
    if most is not None and sum(shape.weights for shape in shapes) > most:
        raise ValueError(f"its layers have {sum(shape.weights for shape in shapes):,} weights, but there are {most:,} numbers")
    shapes = with_currents(shapes, neuron.synapses(shapes))
    if chain.get("pruner") is not None:
        shapes = make("pruners", chain["pruner"]).layers(shapes)
    if chain.get("quantizer") is None:
        model = FloatNetwork(shapes, neuron, input_spec, steps)
    else:
        model = CodeNetwork(shapes, neuron, input_spec, steps, make("quantizers", chain["quantizer"]))
    if architecture.boxes:
        model.head = architecture.head(input_spec, classes)
    return model


def save_model(path, model, chain, classes):
    """Write a model atomically; returns its digest."""
    description = {"chain": chain, "steps": model.steps, "classes": classes,
                   "input": model.input_spec.to_dict()}
    if isinstance(model, CodeNetwork):
        description |= {"channels": {shape.name: shape.out_channels for shape in model.shapes},
                        "neurons": [asdict(layer.neuron) for layer in model.layers]}
    return write_container(path, KIND, description, {n: v.numpy() for n, v in model.state_dict().items()})


def load_model(path):
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
        # A network that channels were taken from is built whole first; of what it says there must be a share in the file.
        numbers = sum(array.size for array in tensors.values())
        channels = description.get("channels", {})
        model = build(description["chain"], spec, description["steps"], description["classes"],
                      most=max(numbers, min(MOST_PRUNED * numbers, MOST)) if channels else numbers)
        if isinstance(model, CodeNetwork):
            for shape in model.shapes[:-1]:
                check_int(f"channels of {shape.name}", channels[shape.name], 1, shape.out_channels)
            model = model.pruned({shape.name: torch.arange(channels[shape.name]) for shape in model.shapes[:-1]})
            for layer, n in zip(model.layers, description["neurons"], strict=True):
                layer.neuron = NeuronSpec.from_dict(n)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError, MemoryError) as error:
        raise CorruptFile(f"{path} describes no valid model ({' '.join(str(error).split())}): {remedy}") from None
    return model.eval(), description
