"""Neuron models: one file each. All follow the five steps of :mod:`spikeproof.spec`."""
