"""A core in Amaranth's simulator against the integer model."""
import numpy as np
from spikeproof_hdl.pysim import simulate

from spikeproof import integer


def assert_equal_traces(plan, frames, seed=None, core=None):
    """The core's updates, in order, are the integer model's; returns the cycles taken."""
    traces, winners, cycles = simulate(plan, frames, seed, core)
    expected = integer.run(plan.net, frames)
    for layer, part in zip(plan.net.layers, plan.layers):
        updates = layer.neurons // part.updaters
        assert [u[0] for u in traces[layer.name]] == list(range(updates)) * (len(frames) * plan.net.steps)
        shape = (len(frames), plan.net.steps, layer.neurons)
        spikes = np.array([u[1] for u in traces[layer.name]]).reshape(shape)
        membranes = np.array([u[2] for u in traces[layer.name]]).reshape(shape)
        assert np.array_equal(spikes, expected.spikes[layer.name]), layer.name
        assert np.array_equal(membranes, expected.membranes[layer.name]), layer.name
    assert winners == expected.winner.tolist()
    return cycles
