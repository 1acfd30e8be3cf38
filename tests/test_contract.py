"""Codecs, invalid descriptions, and the network file: round trips, digests, refusals."""
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import CODECS, networks, random_frames

from spikeproof import integer
from spikeproof.codecs import parse_codec
from spikeproof.files import CorruptFile
from spikeproof.netfile import load_network, save_network
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import Lateral, Leak, NeuronSpec, Store

EXPECTED_CODES = {
    "binary": [-1, 1], "ternary": [-1, 0, 1], "int2": [-2, -1, 0, 1], "pot2": [-1, 0, 1],
    "shift1": [-2, -1, 0, 1, 2], "shift2": [-4, -2, -1, 0, 1, 2, 4], "pot3": [-4, -2, -1, 0, 1, 2, 4],
    "pot4": [-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64],
    "apot4": [-10, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 10],
    "apot5": sorted({sign * (a + b) for sign in (-1, 1) for a in (0, 32, 8, 2) for b in (0, 16, 4, 1)}),
    "apot8": sorted({sign * (a + b + c + d) for sign in (-1, 1) for a in (0, 512, 64, 4) for b in (0, 256, 32, 2)
                     for c in (0, 128, 16, 1) for d in (0, 8)}),
    "pot8": sorted({sign * magnitude for sign in (-1, 1) for magnitude in (0, *(1 << e for e in range(16)))}),
}


@pytest.mark.parametrize("name", CODECS)
def test_codec_packs_every_code_and_unpacks_it(name):
    codec = parse_codec(name)
    if name in EXPECTED_CODES:
        assert codec.codes.tolist() == EXPECTED_CODES[name]
    words = codec.pack(codec.codes)
    assert len(set(words.tolist())) == len(codec.codes) and words.max() < 1 << codec.bits
    assert np.array_equal(codec.unpack(words), codec.codes)
    assert parse_codec(codec.name) == codec


@pytest.mark.parametrize("name, bits", [("binary", 1), ("ternary", 2), ("shift1", 3), ("shift2", 3), ("pot4", 4), ("int8", 8),
                                        ("pot8", 8), ("apot4", 4), ("apot8", 8)])
def test_codec_widths(name, bits):
    assert parse_codec(name).bits == bits


def _projection(weights=None, codec="int4", **kwargs):
    return Projection("input", parse_codec(codec), np.ones((1, 1, 4, 2), int) if weights is None else weights, **kwargs)


def _layer(**changes):
    given = {"name": "a", "shape": (1, 1, 2), "projections": (_projection(),), "neuron": NeuronSpec(),
             "theta": np.full((1, 1, 1, 1), 3)} | changes
    return LayerSpec(**given)


def _network(**changes):
    given = {"input": InputSpec((1, 1, 4)), "layers": (_layer(),), "steps": 2} | changes
    return NetworkSpec(**given)


REFUSALS = [
    (lambda: Leak("decay"), "leak.kind must be one of none, subtract_shift, shift, multiply, not 'decay'"),
    (lambda: Leak("shift", shift=32), "leak.shift must be an integer from 1 to 31, not 32"),
    (lambda: Leak(shift=1), "leak.shift must be an integer from 0 to 0, not 1"),
    (lambda: Leak("multiply", multiplier=16, fraction=4), "leak.multiplier must be an integer from 0 to 15, not 16"),
    (lambda: Leak("multiply", multiplier=1, fraction=17), "leak.fraction must be an integer from 1 to 16, not 17"),
    (lambda: Store(1, 2), "store.lo must be an integer from -2147483648 to 0, not 1"),
    (lambda: Store(-1, -1), "store.hi must be an integer from 0 to 2147483647, not -1"),
    (lambda: Store(0, 0), "store.hi must be above store.lo, not both 0"),
    (lambda: Store(-1, 1, 25), "store.shift must be an integer from 0 to 24, not 25"),
    (lambda: Store(-1, 1, 0, "nearest"), "store.rounding must be one of floor, half_up, half_even, stochastic, not 'nearest'"),
    (lambda: Store(-1, 1, 0, "stochastic"), "store.seed must be an integer from 1 to 4294967295, not 0"),
    (lambda: Store(-1, 1, 0, "floor", 7), "store.seed must be an integer from 0 to 0, not 7"),
    (lambda: NeuronSpec(reset="zero"), "reset must be one of soft, hard, not 'zero'"),
    (lambda: NeuronSpec(v_reset=1), "v_reset must be an integer from 0 to 0, not 1"),
    (lambda: parse_codec("int17"), "codec must be binary, ternary, int2 to int16, pot2 to pot8, apot2 to apot8, shift1 or shift2, "
     "not 'int17'"),
    (lambda: parse_codec("pot9"), "pot weight bits must be from 2 to 8, not 9"),
    (lambda: parse_codec("apot9"), "apot weight bits must be from 2 to 8, not 9"),
    (lambda: _projection(np.full((1, 1, 4, 2), 8)), "weights must be codes of int4, not 8"),
    (lambda: _projection(np.zeros((1, 1, 4, 2), int), "binary"), "weights must be codes of binary, not 0"),
    (lambda: _projection(np.ones((1, 1, 4, 2))), "weights must be an integer array, not float64"),
    (lambda: _projection(np.ones((4, 2), int)),
     "weights must be [kernel_h, kernel_w, in_channels / groups, out_channels] with no axis of 0, not [4, 2]"),
    (lambda: _projection(stride=0), "stride must be an integer from 1 to 64, not 0"),
    (lambda: _projection(padding=-1), "padding must be an integer from 0 to 64, not -1"),
    (lambda: _projection(pool=0), "pool must be an integer from 1 to 64, not 0"),
    (lambda: _projection(pool_kind="avg"), "pool_kind must be one of sum, max, not 'avg'"),
    (lambda: _projection(groups=3), "groups must be an integer from 1 to 2, not 3"),
    (lambda: _layer(name="2a"),
     "layer name must be a letter followed by letters, digits or underscores, and not 'input'; got '2a'"),
    (lambda: _layer(theta=np.zeros((1, 1, 1, 1), int)), "layer a: theta must be from 1 to 4503599627370496, not 0"),
    (lambda: _layer(theta=np.ones((1, 1, 1, 3), int)),
     "layer a: theta must be [steps or 1, height or 1, width or 1, channels or 1] for shape [1, 1, 2], not [1, 1, 1, 3]"),
    (lambda: _layer(bias=np.ones(3, int)), "layer a: bias must be [2], one code per channel, not [3]"),
    (lambda: _layer(neuron=NeuronSpec(store=Store(-1, 1)), v_init=np.full((1, 1, 2), 2)),
     "layer a: v_init must be from -1 to 1, not 2"),
    (lambda: _layer(v_init=np.ones((1, 1, 3), int)),
     "layer a: v_init must be [1, 1, 1], [1, 1, channels] or the whole shape [1, 1, 2], not [1, 1, 3]"),
    (lambda: _layer(v_init=np.ones(2, int)),
     "layer a: v_init must be [1, 1, 1], [1, 1, channels] or the whole shape [1, 1, 2], not [2]"),
    (lambda: _layer(neuron=NeuronSpec(Leak("multiply", fraction=1)), v_init=np.ones((1, 1, 1), int)),
     "layer a: v_init must be 0 for neurons that keep nothing"),
    (lambda: Lateral(-1), "lateral.inhibition must be an integer from 0 to 2147483647, not -1"),
    (lambda: Lateral(1, one_spike=1), "lateral.one_spike must be true or false, not 1"),
    (Lateral, "lateral must inhibit, or allow one spike only; left out, neurons do not see each other"),
    (lambda: _layer(lateral={"inhibition": 1}), "layer a: lateral must be a Lateral or None, not {'inhibition': 1}"),
    (lambda: _layer(theta=None, lateral=Lateral(1)),
     "layer a: theta must be given for neurons that inhibit each other by their spikes"),
    (lambda: _layer(theta_shift=25), "layer a: theta_shift must be an integer from 0 to 24, not 25"),
    (lambda: _layer(theta=None, theta_shift=1), "layer a: theta_shift must be an integer from 0 to 0, not 1"),
    (lambda: _layer(theta_shift=1), "layer a: theta must be multiples of 2^1, as theta_shift says"),
    (lambda: _layer(shape=(1, 1, 3)), "layer a: weights must have 3 output channels, not 2"),
    (lambda: _layer(projections=()), "layer a: projections must be at least 1, not 0"),
    (lambda: InputSpec((1, 1, 4), bits=17), "input.bits must be an integer from 1 to 16, not 17"),
    (lambda: InputSpec((0, 1, 4)), "input.shape height must be an integer from 1 to 1048576, not 0"),
    (lambda: _network(steps=0), "steps must be an integer from 1 to 4096, not 0"),
    (lambda: _network(readout="vote"), "readout must be one of spike_count, membrane, not 'vote'"),
    (lambda: _network(input=InputSpec((1, 1, 5))), "layer a: weights must have 5 input channels for 'input', not 4"),
    (lambda: _network(input=InputSpec((2, 2, 4))), "layer a: shape must be 2x2 after 'input', not 1x1"),
    (lambda: _network(layers=(_layer(), _layer())), "layer name 'a' must be unique, but is used twice"),
    (lambda: _network(layers=(_layer(projections=(Projection("b", parse_codec("int4"), np.ones((1, 1, 4, 2), int)),)),)),
     "layer a: source must be one of input, not 'b'"),
    (lambda: _network(layers=(_layer(theta=np.ones((3, 1, 1, 1), int)),)), "layer a: theta must have 1 or 2 steps, not 3"),
    (lambda: _network(layers=(_layer(theta=None),)), "layer a: theta must be given for a spike_count readout"),
    (lambda: _network(layers=(_layer(neuron=NeuronSpec(Leak("multiply", multiplier=4095, fraction=16),
                                                       Store(-(1 << 31), (1 << 31) - 1, 24))),)),
     "layer a: the membrane in its leak must stay within +-4503599627370496, but store and leak allow "
     f"{(1 << 31 << 24) * 4095}"),
    (lambda: _network(layers=(_layer(bias=np.array([1 << 52, 0])),)),
     "layer a: h must stay within +-4503599627370496, but the codes allow -32768 .. 4503599627403267"),
]


@pytest.mark.parametrize("make, message", REFUSALS, ids=[message[:60] for _, message in REFUSALS])
def test_invalid_description_is_refused_with_field_and_bound(make, message):
    with pytest.raises(ValueError) as refused:
        make()
    assert str(refused.value) == message


def test_pool_must_divide_the_map():
    with pytest.raises(ValueError, match="^layer a: pool must divide the 3x3 map of 'input', not 2$"):
        _network(input=InputSpec((3, 3, 4)), layers=(_layer(projections=(_projection(pool=2),)),))


@settings(max_examples=40, deadline=None)
@given(networks())
def test_network_file_round_trip(tmp_path_factory, net):
    path = tmp_path_factory.mktemp("net") / "network.safetensors"
    digest = save_network(path, net)
    again, same = load_network(path)
    assert same == digest
    assert again.memory_bits() == net.memory_bits()
    frames = random_frames(net, 2)
    before, after = integer.run(net, frames), integer.run(again, frames)
    for layer in net.layers:
        assert np.array_equal(before.membranes[layer.name], after.membranes[layer.name])
    assert np.array_equal(before.winner, after.winner)


def test_corrupt_network_files_are_refused(tmp_path):
    path = tmp_path / "network.safetensors"
    save_network(path, _network())
    good = path.read_bytes()
    with pytest.raises(FileNotFoundError) as error:
        load_network(tmp_path / "none.safetensors")
    assert str(error.value) == f"{tmp_path / 'none.safetensors'} does not exist: run the export stage again"
    path.write_bytes(good[:-3])
    with pytest.raises(CorruptFile) as error:
        load_network(path)
    assert str(error.value) == f"{path} is truncated or not a spikeproof network file: run the export stage again"
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(CorruptFile) as error:
        load_network(path)
    assert str(error.value) == (f"{path} was altered after it was written (its digest does not match): "
                                "run the export stage again")
    path.write_bytes(good.replace(b'steps\\":2', b'steps\\":3'))
    with pytest.raises(CorruptFile, match="was altered after it was written"):
        load_network(path)
    assert path.read_bytes() != good
