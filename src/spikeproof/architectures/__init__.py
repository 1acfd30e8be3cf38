"""Architectures: one file each. They describe layers; :mod:`spikeproof.models` builds them."""
