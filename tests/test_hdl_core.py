"""The core equals the integer model in Amaranth's simulator: every spike, membrane and winner, and its cycles the model's."""
import numpy as np
from coverage_of_options import ALL, covering_plans, options_of, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeproof_hdl.pysim import simulate
from spikeproof_hdl.timing import predict
from strategies import plans, random_frames

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


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(0, 1000))
def test_core_equals_integer_model_on_random_networks(plan, seed):
    net = plan.net
    frames = random_frames(net, 2, seed)
    assert assert_equal_traces(plan, frames) == predict(plan, frames).cycles
    assert_equal_traces(plan, frames, seed=seed)


def test_core_equals_integer_model_on_networks_that_cover_all_options(record_property):
    """A few of many random networks that use every option, and most pairs of options; each with and without stalls."""
    chosen = covering_plans(20)
    record_property("coverage of options, Amaranth", summary(chosen))
    for plan in chosen:
        frames = random_frames(plan.net, 2, 1)
        assert assert_equal_traces(plan, frames) == predict(plan, frames).cycles
        assert_equal_traces(plan, frames, seed=1)
    assert ALL - set().union(*map(options_of, chosen)) == set()
