"""The core's parts: decoders word by word, edges and ties by hand, one update against the contract for every input."""
import itertools
from unittest.mock import patch

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator
from core_efficiency import mnist_shape
from spikeproof_hdl import parts
from spikeproof_hdl.codecs import decode
from spikeproof_hdl.layout import Unbuildable
from spikeproof_hdl.plan import CorePlan
from spikeproof_hdl.timing import predict
from strategies import CODECS
from test_hdl_core import assert_equal_traces

from spikeproof import integer
from spikeproof.codecs import parse_codec
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import Leak, NeuronSpec, Store


@pytest.mark.parametrize("name", CODECS)
def test_decoder_equals_codec_on_every_stored_word(name):
    codec = parse_codec(name)
    m, word = Module(), Signal(codec.bits)
    value = decode(codec, word)
    code = Signal(value.shape())
    m.d.comb += code.eq(value)
    seen = []

    async def testbench(ctx):
        for stored in codec.pack(codec.codes).tolist():
            ctx.set(word, stored)
            seen.append(ctx.get(code))

    simulator = Simulator(m)
    simulator.add_testbench(testbench)
    simulator.run()
    assert seen == codec.codes.tolist()


def dense(weights, theta, neuron, codec="int8", bits=1, steps=4, bias=None, readout="spike_count", constant=False,
          v_init=None):
    weights = np.array(weights)[None, None]
    layer = LayerSpec("out", (1, 1, weights.shape[3]), (Projection("input", parse_codec(codec), weights),), neuron,
                      None if theta is None else np.array(theta).reshape(1, 1, 1, -1), bias, v_init=v_init)
    return NetworkSpec(InputSpec((1, 1, weights.shape[2]), bits, constant), (layer,), steps, readout)


@pytest.mark.parametrize("reset, leak, rounding", list(itertools.product(
    ["soft", "hard"], [Leak(), Leak("subtract_shift", 1), Leak("shift", 1), Leak("multiply", multiplier=5, fraction=3)],
    ["floor", "half_up", "half_even", "stochastic"])))
def test_every_membrane_and_input_of_a_small_neuron(reset, leak, rounding):
    """All stored membranes -4 .. 3 (as v_init) with all sums -8 .. 7 (as weights), one update each.

    Covers equality with the threshold, both signs of every tie and both ends of saturation.
    """
    seed = 0xACE1ACE1 if rounding == "stochastic" else 0
    for v_init in range(-4, 4):
        neuron = NeuronSpec(leak, Store(-4, 3, 1, rounding, seed), reset, v_reset=-3 if reset == "hard" else 0)
        net = dense([list(range(-8, 8))], 4, neuron, "int4", steps=2, v_init=np.full((1, 1, 1), v_init))
        frames = np.ones((2, 2, 1, 1, 1), int)
        assert_equal_traces(CorePlan.of(net, 4), frames)


def test_ties_of_the_readout_go_to_the_lowest_index():
    neuron = NeuronSpec(store=Store(-128, 127))
    for weights, winner in (([4, 4, 4], 0), ([1, 4, 4], 1), ([1, 2, 4], 2), ([4, 1, 4], 0)):
        for readout, theta in (("spike_count", 4), ("membrane", None)):
            net = dense([weights], theta, neuron, readout=readout, steps=3)
            frames = np.ones((1, 3, 1, 1, 1), int)
            assert integer.run(net, frames).winner.tolist() == [winner]
            assert_equal_traces(CorePlan.of(net, 1), frames, seed=winner)


def test_silent_frames_and_negative_sums():
    net = dense([[-7, 7], [-7, 7], [3, -3]], 5, NeuronSpec(Leak("subtract_shift", 2), Store(-8, 7)), bias=np.array([1, -1]))
    frames = np.zeros((4, 4, 1, 1, 3), int)
    frames[1] = 1
    frames[3, 2, 0, 0, 1] = 1
    assert_equal_traces(CorePlan.of(net, 2), frames)
    assert_equal_traces(CorePlan.of(net, 1), frames, seed=5)


def test_silent_words_are_skipped_while_the_core_accumulates():
    """A group costs its spikes, and one cycle more where the row of words that ends it is silent."""
    rng, cycles = np.random.default_rng(0), []
    for inputs in (64, 128):
        net = dense(rng.integers(-8, 8, (inputs, 4)), 20, NeuronSpec(), "int4", steps=2)
        frames = np.zeros((6, 2, 1, 1, inputs), int)
        frames[..., :16] = 1
        cycles.append(assert_equal_traces(CorePlan.of(net, 1, word=16), frames))
    # 4 groups x 2 steps x 6 images x 16 events are 768 cycles, and 816 with the end of a silent row; the rest is filling
    # and draining.
    assert 768 <= cycles[0] <= 768 + 30 and 816 <= cycles[1] <= 816 + 30


def test_pruned_channels_cost_no_cycles():
    rng = np.random.default_rng(1)
    weights = rng.integers(-8, 8, (32, 8))
    frames = np.ones((4, 2, 1, 1, 32), int)
    whole, half = (assert_equal_traces(CorePlan.of(dense(w, 20, NeuronSpec(), "int4", steps=2), 1, word=16), frames)
                   for w in (weights, weights[:, ::2]))
    assert 0.45 < half / whole < 0.6


@pytest.mark.parametrize("changes, message", [
    ({"lanes": [3]}, "layer out: lanes must divide the 4 output channels, not 3"),
    ({"lanes": 0}, "lanes must be a whole number, at least 1, not 0"),
    ({"updaters": 0}, "updaters must be a whole number, at least 1, not 0"),
    ({"word": 9}, "word must be from 1 to 8, the input channels, not 9"),
])
def test_plans_that_do_not_divide_are_refused(changes, message):
    net = dense(np.ones((8, 4), int), 1, NeuronSpec())
    with pytest.raises(Unbuildable) as error:
        CorePlan.of(net, **changes)
    assert str(error.value) == message


def test_what_the_core_lacks_is_refused_by_name():
    one = np.ones((1, 1, 2, 2), int)
    theta = np.ones((1, 1, 1, 1), int)

    def layer(name, *sources):
        return LayerSpec(name, (1, 1, 2), tuple(Projection(s, parse_codec("int4"), one) for s in sources), NeuronSpec(), theta)

    with pytest.raises(Unbuildable) as error:
        CorePlan.of(NetworkSpec(InputSpec((1, 1, 2), 4), (layer("a", "input", "input"),), 1))
    assert str(error.value) == "layer a: at most one source may have n-bit codes"
    with pytest.raises(Unbuildable) as error:
        CorePlan.of(NetworkSpec(InputSpec((1, 1, 2)), (layer("a", "input"), layer("b", "input")), 1))
    assert str(error.value) == "layer a: its spikes must be the source of a layer, but nothing reads them"


def test_a_residual_block_under_back_pressure():
    """input -> a -> b -> c, with a added again at c: the fork hands a's spikes to b and c, c waits for b."""
    rng, ternary = np.random.default_rng(4), parse_codec("ternary")

    def layer(name, *sources):
        projections = tuple(Projection(s, ternary, rng.choice(ternary.codes, (3, 3, 4, 4)), padding=1) if s == sources[0]
                            else Projection(s, parse_codec("int4"), 3 * np.eye(4, dtype=int)[None, None]) for s in sources)
        return LayerSpec(name, (4, 4, 4), projections, NeuronSpec(store=Store(-16, 15)), np.full((1, 1, 1, 4), 3))

    out = LayerSpec("out", (1, 1, 3), (Projection("c", ternary, rng.choice(ternary.codes, (4, 4, 4, 3))),), NeuronSpec(),
                    np.full((1, 1, 1, 1), 5))
    net = NetworkSpec(InputSpec((4, 4, 4)), (layer("a", "input"), layer("b", "a"), layer("c", "b", "a"), out), 3)
    frames = (rng.random((3, 3, 4, 4, 4)) < 0.3).astype(int)
    for lanes in ([4, 4, 4, 3], [4, 1, 2, 1], [1, 4, 1, 3]):
        assert_equal_traces(CorePlan.of(net, lanes), frames)
        assert_equal_traces(CorePlan.of(net, lanes), frames, seed=sum(lanes))


def test_rows_that_memories_read_and_write_are_counted():
    """Two frames a layer's groups of 4 lanes walk in turn: a row, a spike and 4 updates each; one write a step."""
    net = dense([list(range(-8, 8))], 4, NeuronSpec(), "int4", steps=2)
    found = predict(CorePlan.of(net, 4), np.ones((3, 2, 1, 1, 1), int)).activity
    assert found == {"frame_writes": 3 * 2, "frame_reads": 3 * 2 * 4, "weight_reads": 3 * 2 * 4,
                     "membrane_reads": 3 * 2 * 16, "membrane_writes": 3 * 2 * 16}


@pytest.mark.parametrize("lanes, updaters", [(16, 1), (64, 4)])
@pytest.mark.parametrize("rate", [0.05, 0.13, 0.5])
def test_a_busy_layer_does_one_synaptic_operation_per_lane_and_cycle(lanes, updaters, rate):
    """MNIST's shape: at least 95 % of it, by the cycle model, which the simulations hold to."""
    rng = np.random.default_rng(0)
    net = mnist_shape(rng)
    frames = (rng.random((10, 4, 1, 1, 784)) < rate).astype(int)
    operations = frames.sum() * 128
    assert operations / (lanes * predict(CorePlan.of(net, lanes, updaters), frames).cycles) >= 0.95


@pytest.mark.parametrize("fold", [False, True])
def test_memories_in_many_banks(fold):
    """Block RAMs of a few rows, so that weights, membranes, thresholds and biases all lie in several banks."""
    rng = np.random.default_rng(3)
    codec = parse_codec("int4")
    conv = LayerSpec("conv", (5, 5, 4), (Projection("input", codec, rng.choice(codec.codes, (3, 3, 2, 4)), padding=1),),
                     NeuronSpec(Leak("shift", 1), Store(-16, 15)), rng.integers(3, 9, (1, 5, 5, 4)), rng.integers(-3, 4, 4))
    out = LayerSpec("out", (1, 1, 6), (Projection("conv", codec, rng.choice(codec.codes, (5, 5, 4, 6))),), NeuronSpec(),
                    rng.integers(5, 20, (3, 1, 1, 6)))
    net = NetworkSpec(InputSpec((5, 5, 2)), (conv, out), 3)
    frames = (rng.random((3, 3, 5, 5, 2)) < 0.4).astype(int)
    with patch.dict(parts.BLOCK_RAM, {2: 16, 4: 8, 8: 4}, clear=True):
        for seed in (None, 7):
            assert_equal_traces(CorePlan.of(net, 2, fold=fold), frames, seed)
