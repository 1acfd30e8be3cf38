"""Torch networks: in full precision (FloatNetwork) and in integer codes (CodeNetwork).

Both keep tensors as [T, B, C, H, W] and follow the five steps of :mod:`spikeproof.spec`. A constant input
is [1, B, C, H, W]: its currents are computed once and used at every step.

A CodeNetwork computes the *same integers in training and in evaluation* as the exported network: weights,
biases, thresholds and membranes are integer-valued floats, exact below 2^24 in float32. Only gradients
see real numbers (straight-through for every rounding, a surrogate for the spike).
"""
from .code_network import CodeNetwork
from .float_network import FloatNetwork

__all__ = ["CodeNetwork", "FloatNetwork"]
