"""The core equals the integer model in Amaranth's simulator: every spike, membrane and winner, and its cycles the model's."""

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator
from coverage_of_options import ALL, covering_plans, options_of, summary
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from spikeproof_hdl.core import Core
from spikeproof_hdl.cosim import input_ints
from spikeproof_hdl.plan import CorePlan
from spikeproof_hdl.timing import predict
from strategies import plans, random_frames, small_network
from traces import assert_equal_traces

from spikeproof import integer
from spikeproof.codecs import parse_codec
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import NeuronSpec, Store


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(0, 1000))
def test_core_equals_integer_model_on_random_networks(plan, seed):
    """Where this simulator takes seconds, not minutes: larger ones are test_cosim's."""
    frames = random_frames(plan.net, 2, seed)
    cycles = predict(plan, frames).cycles
    assume(cycles < 5000)
    assert assert_equal_traces(plan, frames) == cycles
    assert_equal_traces(plan, frames, seed=seed)


def test_core_equals_integer_model_on_networks_that_cover_all_options(record_property):
    """A few of many random networks that use every option, and most pairs of options; each with and without stalls."""
    chosen = covering_plans(12)
    record_property("coverage of options, Amaranth", summary(chosen))
    for plan in chosen:
        frames = random_frames(plan.net, 2, 1)
        assert assert_equal_traces(plan, frames) == predict(plan, frames).cycles
        assert_equal_traces(plan, frames, seed=1)
    assert ALL - set().union(*map(options_of, chosen)) == set()


def test_words_that_are_not_pooled_pass_the_pool_of_their_memory():
    """One memory of a folded engine keeps a map pooled and as it is: the prediction knows that both pass a stage more."""
    rng, neuron = np.random.default_rng(2), NeuronSpec(store=Store(-64, 63))
    codec = parse_codec("int4")

    def weights(*shape):
        return rng.choice(codec.codes, shape)
    first = LayerSpec("a", (2, 2, 2), (Projection("input", codec, weights(1, 1, 1, 2)),), neuron, np.full((1, 1, 1, 1), 2))
    second = LayerSpec("b", (1, 1, 2), (Projection("a", codec, weights(1, 1, 2, 2), pool=2, pool_kind="max"),), neuron,
                       np.full((1, 1, 1, 1), 2))
    third = LayerSpec("c", (1, 1, 3), (Projection("a", codec, weights(2, 2, 2, 3)), Projection("b", codec, weights(1, 1, 2, 3))),
                      neuron, np.full((1, 1, 1, 1), 2))
    plan = CorePlan.of(NetworkSpec(InputSpec((2, 2, 1)), (first, second, third), 2), 1, fold=True)
    pools = [{region.pool for region in store.regions} for engine in plan.engine_plans for _, store in engine.stores()]
    assert {1, 2} in pools
    frames = random_frames(plan.net, 2, 1)
    assert assert_equal_traces(plan, frames) == predict(plan, frames).cycles


def channelwise(channels, codec="int4", bits=1, kernel=(3, 3), steps=2, seed=0):
    """Depthwise convolution, then a convolution to which an identity adds its source: what residual networks are made of."""
    rng = np.random.default_rng(seed)
    codec = parse_codec(codec)
    neuron = NeuronSpec(store=Store(-128, 127))

    def layer(name, shape, *projections):
        return LayerSpec(name, shape, projections, neuron, rng.integers(2, 9, (steps, 1, 1, shape[2])))
    shape = (2, 3, channels)
    depthwise = Projection("input", codec, rng.choice(codec.codes, (*kernel, 1, channels)), padding=kernel[0] // 2, groups=channels)
    conv = Projection("a", codec, rng.choice(codec.codes, (3, 3, channels, channels)), padding=1)
    identity = Projection("a", parse_codec("int6"), rng.integers(1, 9, (1, 1, 1, channels)), groups=channels)
    dense = Projection("b", codec, rng.choice(codec.codes, (2, 3, channels, 3)))
    return NetworkSpec(InputSpec(shape, bits), (layer("a", shape, depthwise), layer("b", shape, conv, identity),
                                                layer("c", (1, 1, 3), dense)), steps)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("channels, lanes, word", [(8, (8, 8, 3), 8), (8, (4, 4, 1), 2), (6, (3, 6, 3), 3), (12, (6, 3, 1), 12),
                                                   (5, (5, 5, 3), 1), (32, (16, 16, 3), 32), (20, (4, 20, 3), 2)])
def test_channelwise_projections_use_all_lanes(channels, lanes, word, fold):
    """Lanes that are and are no power of two, words narrower and wider; a row of weights serves as many channels as lanes."""
    net = channelwise(channels, "binary" if channels == 8 else "int4", bits=2 if channels == 6 else 1)
    plan = CorePlan.of(net, list(lanes), word=word, fold=fold)
    frames = random_frames(net, 1, 3)
    assert assert_equal_traces(plan, frames) == predict(plan, frames).cycles
    assert_equal_traces(plan, frames, seed=4)
    rows = {(s.layer, s.number): s.rows for engine in plan.engine_plans for memory in engine.weights for s in memory.segments}
    assert rows["a", 0] == 9 * channels // lanes[0] and rows["b", 1] == channels // lanes[1]


def one_layer(projection, source_shape, channels):
    """A network of one convolution and a readout."""
    neuron, theta = NeuronSpec(store=Store(-128, 127)), np.full((1, 1, 1, 1), 4)
    layers = (LayerSpec("a", (1, 1, channels), (projection,), neuron, theta),
              LayerSpec("b", (1, 1, 3), (Projection("a", projection.codec, np.ones((1, 1, channels, 3), int)),), neuron, theta))
    return NetworkSpec(InputSpec(source_shape), layers, 2)


@pytest.mark.parametrize("kernel, groups, inputs, lanes, word", [((2, 3), 4, 4, 4, 4), ((1, 1), 2, 32, 16, 32)],
                         ids=["depthwise kernel as large as the map", "two groups in one word, rows counted by parts"])
def test_grouped_convolution(kernel, groups, inputs, lanes, word):
    codec, outputs = parse_codec("int4"), groups * (1 if groups == inputs else 16)
    weights = np.random.default_rng(0).choice(codec.codes, (*kernel, inputs // groups, outputs))
    net = one_layer(Projection("input", codec, weights, groups=groups), (*kernel, inputs), outputs)
    plan = CorePlan.of(net, [lanes, 3], word=word)
    frames = random_frames(net, 3, 3)
    assert assert_equal_traces(plan, frames) == predict(plan, frames).cycles


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
