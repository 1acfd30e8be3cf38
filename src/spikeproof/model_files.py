"""Trained networks on disk: tensors, and the chain of configuration entries that rebuilds the module."""
from dataclasses import asdict

import torch

from .architectures.shapes import with_currents
from .config import make
from .files import CorruptFile, read_container, write_container
from .models import CodeNetwork, FloatNetwork
from .network import InputSpec
from .spec import NeuronSpec

__all__ = ["build", "load_model", "make", "save_model"]

KIND = "spikeproof model"


def build(chain, input_spec, steps, classes):
    """An untrained FloatNetwork, or an empty CodeNetwork if the chain has a quantizer."""
    architecture, neuron = make("architectures", chain["architecture"]), make("neurons", chain["neuron"])
    shapes = architecture.layers(input_spec, classes)
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
        model = build(description["chain"], spec, description["steps"], description["classes"])
        if isinstance(model, CodeNetwork):
            channels = description["channels"]
            model = model.pruned({shape.name: torch.arange(channels[shape.name]) for shape in model.shapes[:-1]})
            for layer, n in zip(model.layers, description["neurons"], strict=True):
                layer.neuron = NeuronSpec.from_dict(n)
        model.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptFile(f"{path} describes no valid model ({' '.join(str(error).split())}): {remedy}") from None
    return model.eval(), description
