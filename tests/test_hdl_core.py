"""The core equals the integer model in Amaranth's simulator: every spike, membrane and winner."""
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spikeproof_hdl.plan import CorePlan, Unbuildable
from spikeproof_hdl.pysim import simulate
from strategies import networks, random_frames

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


@settings(max_examples=40, deadline=None)
@given(networks(), st.integers(0, 1000), st.sampled_from([1, 2, 16]), st.sampled_from([1, 2, 4]), st.data())
def test_core_equals_integer_model(net, seed, lanes, updaters, data):
    try:
        word = data.draw(st.integers(1, min(CorePlan.of(net).input_shape[2], 40)), label="word")
        plan = CorePlan.of(net, lanes, updaters, word)
    except Unbuildable:
        assume(False)
    frames = random_frames(net, 2, seed)
    assert_equal_traces(plan, frames)
    assert_equal_traces(plan, frames, seed=seed)
