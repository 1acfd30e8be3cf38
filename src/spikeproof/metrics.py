"""Memory by formula: bits from the architecture and the widths alone, without looking at any tensor."""
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch

    from .annotations import Array
    from .architectures.shapes import LayerShape
    from .models import CodeNetwork, FloatNetwork
    from .models.code_layers import CodeLayer
    from .models.float_network import FloatLayer

__all__ = ["float_bits_of", "float_memory_bits", "formula_memory_bits", "memory_columns", "overall_rate"]


def overall_rate(rates: Sequence[Array | torch.Tensor], shapes: Sequence[LayerShape]) -> float | None:
    """Spikes per neuron and step over all layers that fire (theta in ATIF, Eq. 20), or None where nothing does.

    Parameters
    ----------
    rates : list of arrays [C], mean spikes per neuron and step of each firing layer's channels
    shapes : LayerShapes, of which those that emit spikes come in the order of the rates
    """
    neurons = [shape.neurons for shape, _ in zip((shape for shape in shapes if shape.emits == "spikes"), rates)]
    return sum(float(of.mean()) * count for of, count in zip(rates, neurons)) / sum(neurons) if neurons else None


def float_bits_of(model: CodeNetwork | FloatNetwork) -> dict[str, int]:
    """:func:`float_memory_bits` of a trained network, by the biases, initial membranes and thresholds of neurons that it has."""
    layers = [layer for layer in model.layers if layer.shape.emits == "spikes"]
    biases = sum(layer.shape.out_channels for layer in model.layers if layer.shape.weighted and _biased(layer))
    initials = sum(layer.initial.numel() for layer in layers if layer.initial is not None and layer.initial.any())
    thresholds = sum(of.numel() for layer in layers if (of := layer.threshold()[0]).dim() > 1)
    return float_memory_bits(model.shapes, biases, initials, thresholds)


def _biased(layer: CodeLayer | FloatLayer) -> bool:
    """Whether anything is added to the sums of a layer, a normalisation's offset or a bias: zeros need no memory."""
    offset = getattr(layer, "offset", None)
    if offset is not None:                                           # in codes
        return bool(offset.any())
    if TYPE_CHECKING:
        assert isinstance(layer, FloatLayer)
    return any(bool(of.affine()[1].any()) for of in layer.connections if not of.connection.identity)


def float_memory_bits(shapes: Sequence[LayerShape], biases: int = 0, initials: int = 0, thresholds: int = 0) -> dict[str, int]:
    """32 bits for every weight and membrane, and for so many biases, initial membranes and thresholds that differ from neuron to
    neuron: dict with the kinds of memory, and total."""
    weights = 32 * sum(c.weights for s in shapes for c in s.connections if not c.identity)
    membranes = 32 * sum(s.neurons for s in shapes if s.emits != "sums" and not s.stateless)
    kinds = {"weights": weights, "membranes": membranes, "thresholds": 32 * thresholds, "biases": 32 * biases,
             "initials": 32 * initials}
    return {**kinds, "total": sum(kinds.values())}


def formula_memory_bits(shapes: Sequence[LayerShape], bits_per_weight: Sequence[Sequence[int]], bits_per_membrane: Sequence[int],
                        bits_per_threshold: Sequence[int], thresholds: Sequence[int], bits_per_bias: Sequence[int],
                        bits_per_initial: Sequence[int]) -> dict[str, int]:
    """Counts of the architecture times bits.

    Parameters
    ----------
    shapes : LayerShapes
    bits_per_weight : per layer a list of ints, one per connection
    bits_per_membrane, bits_per_threshold, bits_per_bias, bits_per_initial : one int per layer; what has 0 bits is not in memory.
        Biases are per channel, initial membranes per neuron.
    thresholds : per layer how many thresholds there are: channels, or steps times channels
    """
    kinds = {"weights": sum(connection.weights * bits for s, of in zip(shapes, bits_per_weight, strict=True)
                            for connection, bits in zip(s.connections, of, strict=True)),
             "membranes": sum(s.neurons * b for s, b in zip(shapes, bits_per_membrane, strict=True)),
             "thresholds": sum(n * b for n, b in zip(thresholds, bits_per_threshold, strict=True)),
             "biases": sum(s.out_channels * b for s, b in zip(shapes, bits_per_bias, strict=True)),
             "initials": sum(s.neurons * b for s, b in zip(shapes, bits_per_initial, strict=True))}
    return {**kinds, "total": sum(kinds.values())}


def memory_columns(memory: Mapping[str, int]) -> dict[str, int]:
    """Columns of a table from bits by kind of memory."""
    return {"weight_bits": memory["weights"], "membrane_bits": memory["membranes"], "threshold_bits": memory["thresholds"],
            "bias_bits": memory["biases"], "initial_bits": memory["initials"], "memory_bits": memory["total"]}
