"""The integer model, by kernels and by NumPy, equals the scalar reference, neuron by neuron and step by step."""
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import networks, random_frames

from spikeproof import integer, reference
from spikeproof.codecs import parse_codec
from spikeproof.network import LayerSpec, NetworkSpec
from spikeproof.projections import InputSpec, Projection
from spikeproof.spec import Lateral, NeuronSpec, Store


@settings(max_examples=150, deadline=None)
@given(networks(), st.integers(0, 1000))
def test_equals_scalar_reference(net, seed):
    frames = random_frames(net, 2, seed)
    assert integer.kernels.library() is not None
    trace = integer.run(net, frames)
    with patch.object(integer.kernels, "library", lambda: None):
        plain = integer.run(net, frames)
    for layer in net.layers:
        assert np.array_equal(trace.spikes[layer.name], plain.spikes[layer.name])
        assert np.array_equal(trace.membranes[layer.name], plain.membranes[layer.name])
    for image, frame in enumerate(frames):
        spikes, membranes, winner = reference.run_image(net, frame)
        for layer in net.layers:
            assert trace.spikes[layer.name][image].tolist() == spikes[layer.name]
            assert trace.membranes[layer.name][image].tolist() == membranes[layer.name]
        assert trace.winner[image] == winner


@settings(max_examples=60, deadline=None)
@given(networks(), st.integers(0, 1000))
def test_widths_proved_from_the_codes_hold(net, seed):
    """No accumulator leaves the range that the codes prove, even with every input at its maximum."""
    for rate in (0.3, 1.0):
        frames = random_frames(net, 2, seed, rate)
        frames = np.where(frames > 0, net.input.max_code, 0) if rate == 1.0 else frames
        trace = integer.run(net, frames)
        maps = {"input": frames if not net.input.constant else frames[:, None]}
        for layer in net.layers:
            lo, hi = net.acc_range(layer)
            for p in layer.projections:
                x = trace.membranes[p.source].reshape(maps[p.source].shape) if p.reads == "membranes" else maps[p.source]
                acc = integer.current(p, x.reshape(-1, *x.shape[2:]), net.input_range(p))
                assert lo <= acc.min() and acc.max() <= hi
            maps[layer.name] = trace.spikes[layer.name].reshape(2, net.steps, *layer.shape)


def _dense(weights, theta, steps=1, readout="spike_count", bits=1, **neuron):
    weights = np.array(weights)[None, None]
    layer = LayerSpec("out", (1, 1, weights.shape[3]), (Projection("input", parse_codec("int8"), weights),),
                      NeuronSpec(**neuron), None if theta is None else np.array([[[[theta]]]]))
    return NetworkSpec(InputSpec((1, 1, weights.shape[2]), bits, True), (layer,), steps, readout)


def test_equality_fires_and_ties_go_to_the_lowest_index():
    net = _dense([[4, 4, 3]], theta=4)
    trace = integer.run(net, np.ones((1, 1, 1, 1), int))
    assert trace.spikes["out"].tolist() == [[[1, 1, 0]]]
    assert trace.winner.tolist() == [0]


def test_lateral_inhibition_is_that_of_the_documentation():
    codec = parse_codec("int4")
    first = Projection("input", codec, np.array([[4, 5], [0, 0], [3, 3]]).reshape(1, 1, 3, 2))
    layer = LayerSpec("out", (1, 1, 2), (first,), NeuronSpec(), np.full((1, 1, 1, 1), 3), lateral=Lateral(2, one_spike=True))
    net = NetworkSpec(InputSpec((1, 1, 3)), (layer,), 3)
    frames = np.eye(3, dtype=int).reshape(1, 3, 1, 1, 3).repeat(2, 0)          # two images: nothing is left of the first
    trace = integer.run(net, frames)
    for image in range(2):
        assert trace.spikes["out"][image].tolist() == [[1, 0], [0, 1], [0, 0]]
        assert trace.membranes["out"][image].tolist() == [[1, 5], [-1, 0], [0, 1]]
    every = replace(net, layers=(replace(layer, lateral=Lateral(2)),))           # both fire: twice the inhibition
    trace = integer.run(every, frames)
    assert trace.spikes["out"][0].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert trace.membranes["out"][0].tolist() == [[1, 2], [-3, -2], [0, 1]]
    assert every.h_range(every.layers[0])[0] == net.h_range(layer)[0] - 2


def test_membrane_readout_takes_the_largest_stored_code():
    net = _dense([[-4, 7, 7, 6]], None, steps=2, readout="membrane", store=Store(-128, 9))
    trace = integer.run(net, np.ones((1, 1, 1, 1), int))
    assert trace.score.tolist() == [[-8, 9, 9, 9]]              # 14 and 12 saturate at 9
    assert trace.winner.tolist() == [1]


def test_sums_above_2_to_the_24_are_exact():
    """float32 would round 2^24 + 1; the bound proved from the codes chooses float64."""
    n = 4200
    net = _dense([[127]] * n, theta=1, bits=16)
    net_frames = np.full((1, 1, 1, n), 65535)
    net_frames[0, 0, 0, 0] = 65534
    expected = 127 * (65535 * n - 1)
    assert expected > 1 << 24
    acc = integer.current(net.layers[0].projections[0], net_frames, (0, 65535))
    assert acc.item() == expected


@pytest.mark.parametrize("inputs", [1, 7, 64])
@pytest.mark.parametrize("outputs", [1, 16, 33, 70])
def test_sums_of_bytes_of_any_number_of_images_are_exact(monkeypatch, inputs, outputs):
    """By three threads where there is enough work for them."""
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    rng = np.random.default_rng(inputs)
    p = Projection("input", parse_codec("int8"), rng.integers(-128, 128, (1, 1, inputs, outputs)))
    for images in (1, 8, 13, 300):
        x = rng.integers(0, 256, (images, 1, 1, inputs))
        assert np.array_equal(integer.current(p, x, (0, 255), np.int32)[:, 0, 0], x[:, 0, 0] @ p.weights[0, 0])


def test_synops_count_events_times_fan_out():
    net = _dense([[1, 1], [1, 1], [1, 1]], theta=100, bits=4, steps=3)
    frames = np.array([[[[0, 15, 5]]], [[[0, 0, 0]]]])           # 4 + 2 set bits
    assert integer.count_synops(net, frames, integer.run(net, frames)).tolist() == [6 * 2 * 3, 0]


@pytest.mark.parametrize("frames, message", [
    (np.zeros((1, 2)), r"^frames must be \[images, 1, 1, 1\], not \[1, 2\]$"),
    (np.full((1, 1, 1, 1), 2), "^input codes must be from 0 to 1, not 2 .. 2$"),
])
def test_wrong_frames_are_refused(frames, message):
    with pytest.raises(ValueError, match=message):
        integer.run(_dense([[1]], 1), frames)
