"""Memory by formula: bits from the architecture and the widths alone, without looking at any tensor."""
__all__ = ["float_memory_bits", "formula_memory_bits"]


def float_memory_bits(shapes):
    """32 bits for every weight, bias and membrane: dict with weights, membranes, thresholds, biases, total."""
    weights, membranes = 32 * sum(s.weights for s in shapes), 32 * sum(s.neurons for s in shapes)
    biases = 32 * sum(s.out_channels for s in shapes)
    return {"weights": weights, "membranes": membranes, "thresholds": 0, "biases": biases,
            "total": weights + membranes + biases}


def formula_memory_bits(shapes, bits_per_weight, bits_per_membrane, bits_per_threshold, bits_per_bias):
    """Counts of the architecture times bits.

    Parameters
    ----------
    shapes : LayerShapes
    bits_per_weight : int
    bits_per_membrane, bits_per_threshold, bits_per_bias : one int per layer; a threshold or bias of 0 bits is
        not in memory. Thresholds and biases are per channel.
    """
    channels = [s.out_channels for s in shapes]
    kinds = {"weights": sum(s.weights for s in shapes) * bits_per_weight,
             "membranes": sum(s.neurons * b for s, b in zip(shapes, bits_per_membrane, strict=True)),
             "thresholds": sum(c * b for c, b in zip(channels, bits_per_threshold, strict=True)),
             "biases": sum(c * b for c, b in zip(channels, bits_per_bias, strict=True))}
    return {**kinds, "total": sum(kinds.values())}
