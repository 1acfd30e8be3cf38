"""The core equals the integer model in Amaranth's simulator: every spike, membrane and winner, and its cycles the model's."""
import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from coverage_of_options import ALL, covering_plans, options_of, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from spikeproof_hdl.core import Core
from spikeproof_hdl.cosim import input_ints
from spikeproof_hdl.plan import CorePlan
from spikeproof_hdl.pysim import simulate
from spikeproof_hdl.timing import predict
from strategies import plans, random_frames, small_network

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


@pytest.mark.parametrize("after", [1, 17, 400, 1500])
def test_reset_in_the_middle_of_an_image(after):
    """After a reset of one cycle the next word is the first of an image; nothing of what was under way is left."""
    plan = CorePlan.of(small_network(), 4)
    frames = random_frames(plan.net, 2, rate=0.6)
    words = input_ints(plan, frames)
    core, reset, membranes = Core(plan), Signal(), []
    expected = integer.run(plan.net, frames).membranes["out"].reshape(-1).tolist()

    async def drive(ctx):
        ctx.set(core.o.ready, 1)
        for k in range(after):                                               # part of an image, or more
            ctx.set(core.i.valid, k < len(words))
            ctx.set(core.i.payload.as_value(), words[k % len(words)])
            await ctx.tick()
        ctx.set(core.i.valid, 0)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        for word in words:
            ctx.set(core.i.valid, 1)
            ctx.set(core.i.payload.as_value(), word)
            await ctx.tick().until(core.i.ready)
        ctx.set(core.i.valid, 0)

    async def watch(ctx):
        while len(membranes) < len(expected):
            _, _, in_reset, valid, update = await ctx.tick().sample(reset, core.trace_out_valid, core.trace_out_payload)
            if in_reset:
                membranes.clear()
            elif valid:
                membranes.append(update.membranes[0])
    simulator = Simulator(ResetInserter(reset)(core))
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(watch)
    simulator.run_until(0.02)
    assert membranes == expected
