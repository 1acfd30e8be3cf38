"""The neuron core: Amaranth hardware generated from an integer network, and its verification.

Imports :mod:`spikeproof.network` and what stands under it; never torch.
"""
