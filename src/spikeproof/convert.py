"""The only bridge from torch to integers: a CodeNetwork as a NetworkSpec, and the check that both agree."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from . import integer
from .network import LayerSpec, NetworkSpec
from .projections import Projection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .annotations import Array
    from .integer import Trace
    from .models import CodeNetwork, FloatNetwork

__all__ = ["ModelMismatch", "batch_size", "batches", "check_equal", "exact_dtype", "to_codes", "to_spec", "values_of"]


#: Values of one kind (neurons times steps times images) that evaluation keeps at once.
AT_ONCE = 50_000_000


class ModelMismatch(RuntimeError):
    """Torch and the integer model differ; the message names layer, neuron, step and both values."""


def _integers(tensor: torch.Tensor, what: str) -> Array:
    array = tensor.detach().cpu().numpy()
    whole = np.rint(array).astype(np.int64)
    if not np.array_equal(whole, array):
        raise ModelMismatch(f"{what} must be integers in evaluation, but {float(array[whole != array].flat[0])} is not")
    return whole


def to_spec(model: CodeNetwork) -> NetworkSpec:
    """CodeNetwork -> NetworkSpec. Torch maps are channels-first, those of the contract channels-last.

    Raises
    ------
    ValueError
        If the contract cannot say what the model computes; the message names layer, field and bound.
    """
    layers = []
    with torch.no_grad():
        coded = list(model.codes())
    emits = {layer.shape.name: layer.shape.emits for layer in model.layers}
    for layer, (weights, bias, theta, initial, value) in zip(model.layers, coded):
        shape, projections = layer.shape, []
        for connection, weight, codec in zip(shape.connections, weights, layer.codecs()):
            codes = _integers(weight, f"weights of {shape.name}")
            if connection.identity:                                  # one weight per channel: as many groups as channels
                groups = len(codes) if connection.in_channels == len(codes) else 1
                codes = codes.reshape(1, 1, 1, -1)
            else:
                codes, groups = codes.transpose(2, 3, 1, 0), connection.in_channels if connection.depthwise else 1
            projections.append(Projection(connection.source, codec, codes, connection.stride, connection.padding, groups,
                                          connection.pool, connection.pool_kind,
                                          "membranes" if emits.get(connection.source, "spikes") != "spikes" else connection.reads))
        biases = _integers(bias, f"biases of {shape.name}")
        starts = _integers(initial, f"initial membranes of {shape.name}").transpose(1, 2, 0)
        # [T or 1, C or 1] -> [T or 1, 1, 1, C or 1]
        thresholds = _integers(theta, f"thresholds of {shape.name}")[:, None, None] if layer.fires else None
        layers.append(LayerSpec(shape.name, (*shape.out_map, shape.out_channels), tuple(projections), layer.neuron, thresholds,
                                biases if biases.any() else None, shape.gate, starts if starts.any() else None,
                                layer.rivals(value), layer.quantizer.theta_shift(theta) if layer.fires else 0))
    return NetworkSpec(model.input_spec, tuple(layers), model.steps, model.neuron.readout)


def exact_dtype(net: NetworkSpec) -> torch.dtype:
    """float32, or float64 where some integer of the network could reach 2^24, beyond which float32 is not exact."""
    for layer in net.layers:
        lo, hi = net.h_range(layer)
        if max(-lo, hi) * max(layer.neuron.leak.multiplier, 1) >= 1 << 24:
            return torch.float64
    return torch.float32


def values_of(model: CodeNetwork, net: NetworkSpec, scores: Array) -> torch.Tensor:
    """Membranes of the last layer in values, as torch has them: tensor [B, neurons], channels first.

    Parameters
    ----------
    model : CodeNetwork
    net : NetworkSpec of it
    scores : int array [B, neurons], stored codes in the contract's order
    """
    with torch.no_grad():
        *_, (*_, value) = model.codes()
    height, width, channels = net.layers[-1].shape
    codes = torch.from_numpy(scores.reshape(-1, height, width, channels)).permute(0, 3, 1, 2).flatten(1).to(exact_dtype(net))
    return codes * 2.0**net.layers[-1].neuron.store.shift * value.to(codes.dtype)


def to_codes(frames: Array, constant: bool, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Input codes [B, H, W, C] or [B, T, H, W, C] -> torch [1 or T, B, C, H, W]."""
    x = torch.from_numpy(np.require(frames, requirements=("C", "W"))).to(dtype)
    return x.permute(0, 3, 1, 2)[None] if constant else x.permute(1, 0, 4, 2, 3)


def batches(frames: Array, constant: bool, dtype: torch.dtype = torch.float32, batch: int = 512) -> Iterator[torch.Tensor]:
    """Input codes -> torch tensors [1 or T, b, C, H, W] of at most ``batch`` images, in order."""
    for at in range(0, len(frames), batch):
        yield to_codes(frames[at:at + batch], constant, dtype)


def batch_size(model: CodeNetwork | FloatNetwork, most: int) -> int:
    """How many images at once, at most ``most``: of a large network fewer, so that its spikes and membranes fit into memory."""
    return max(1, min(most, AT_ONCE // (model.steps * sum(shape.neurons for shape in model.shapes))))


def check_equal(model: CodeNetwork, net: NetworkSpec, frames: Array, batch: int = 256,
                seen: Callable[[Array, Trace], object] | None = None) -> int:
    """Compare torch in evaluation mode with the integer model on every neuron, step and image.

    Parameters
    ----------
    model : CodeNetwork
    net : NetworkSpec
    frames : input codes [B, (T,) H, W, C]
    batch : int, at most so many images at once
    seen : function of (frames, Trace) of each batch, or None

    Returns
    -------
    int, how many values were compared (a spike and a stored membrane per neuron, step and image)

    Raises
    ------
    ModelMismatch
        At the first image and step that differ.
    """
    model.eval()
    dtype = exact_dtype(net)
    values, batch = 0, batch_size(model, batch)
    with model.exact(dtype):
        for at in range(0, len(frames), batch):
            part = frames[at:at + batch]
            expected = integer.run(net, part)
            if seen is not None:
                seen(part, expected)
            with torch.no_grad():
                got, _ = model.trace(to_codes(part, net.input.constant, dtype))
            first = None
            for n, (layer, (spikes, codes)) in enumerate(zip(net.layers, got)):
                for what, tensor, reference in (("spike", spikes, expected.spikes[layer.name]),
                                                ("membrane", codes, expected.membranes[layer.name])):
                    if tensor is None:
                        continue
                    # [T, B, C, H, W] -> [B, T, H, W, C] -> neuron index order
                    array = tensor.permute(1, 0, 3, 4, 2).flatten(2).numpy()
                    values += array.size
                    if not np.array_equal(array, reference):
                        image, step, neuron = (int(i) for i in np.argwhere(array != reference)[0])
                        found = (image, step, n, f"{what} of layer {layer.name}, neuron {neuron}, differs at image "
                                 f"{at + image}, step {step}: the integer model has {reference[image, step, neuron]}, "
                                 f"torch {array[image, step, neuron]:g}")
                        first = found if first is None else min(first, found)
            if first is not None:
                raise ModelMismatch(first[3])
    return values
