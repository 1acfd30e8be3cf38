"""spikeproof: compressed spiking neural networks, from pixels to proven Verilog."""

__version__ = "0.1.0"
