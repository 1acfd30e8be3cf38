"""Masks decided per input: gates in torch are those of the integer contract, their open shares hold, and they save work."""
import numpy as np
import pytest
import torch
from spikeproof_hdl.plan import CorePlan
from test_models import CHAIN, tiny_data, tiny_of
from traces import assert_equal_traces

from spikeproof import integer
from spikeproof.convert import check_equal, to_spec
from spikeproof.entries import make
from spikeproof.model_files import load_model, save_model
from spikeproof.models import CodeNetwork
from spikeproof.training import Together, fit
from spikeproof.training_options import TrainingOptions

LAYERS = {"kind": "feedforward", "layers": "6C3-8C3s2-8C3-5"}
QUANTIZER = {"kind": "pot", "bits": 3, "scale": "layer", "power_of_two_scale": True,
             "membrane": {"levels": [-1, 1], "unit": "threshold", "gradient": "stacked"}}


def ternary(data, architecture=LAYERS):
    source = tiny_of(data, {"kind": "lif", "leak_shift": 1}, architecture)
    for layer in source.layers[:-1]:
        layer.connections[0].norm.weight.data.mul_(2)                # lively
    return CodeNetwork.from_float(source, make("quantizers", QUANTIZER))


def masked(data, epochs=0, **options):
    pruner = make("pruners", {"kind": "masks", "ramp_epochs": 0, **options})
    model, said = pruner.prune(ternary(data), data)
    history = []
    if epochs:
        history = fit(model, data, TrainingOptions(epochs=epochs, batch_size=8), seed=0, say=lambda text: None,
                      method=Together([pruner.method()]))
    return model, history, said


@pytest.mark.parametrize("options", [{}, {"spatial": None}, {"channels": None}, {"block": 1, "kernel": 1, "weight_bits": 8}],
                         ids=str)
@pytest.mark.parametrize("constant", [True, False])
def test_gates_equal_the_integer_model(options, constant):
    data = tiny_data(constant=constant)
    model, _, said = masked(data, **options)
    side = options.get("block", 2)
    blocks = "" if options.get("spatial", 0) is None else f" (blocks of {side}x{side})"
    assert said == f"masks on conv2{blocks}, conv3{blocks}; 2 layers stay open"
    net = to_spec(model)
    assert check_equal(model, net, data.frames["test"]) > 0
    gated = [layer for layer in net.layers if layer.gate is not None and not layer.neuron.stateless]
    assert [layer.name for layer in gated] == ["conv2", "conv3"]
    trace = integer.run(net, data.frames["test"])
    for layer in gated:
        assert 0 < trace.spikes[layer.gate].mean() < 1
        source = net.by_name[layer.gate]
        assert source.neuron.stateless and source.memory_bits()["membranes"] == 0


def test_a_closed_neuron_gets_nothing():
    """Against plain arithmetic: without gates the drive of the second layer is what it is with them, but for zeros where closed."""
    data = tiny_data()
    model, *_ = masked(data)
    net = to_spec(model)
    trace = integer.run(net, data.frames["test"])
    where, which, both = (trace.spikes[f"conv2_{name}"] for name in ("where", "which", "open"))
    images, steps = where.shape[:2]
    expected = where.reshape(images, steps, -1, 1) & which.reshape(images, steps, 1, -1)
    assert np.array_equal(both.reshape(expected.shape), expected)
    spikes = trace.spikes["conv2"].reshape(images, steps, 2, 2, 8)
    closed = expected.reshape(images, steps, 1, 1, 8) == 0
    first = spikes[:, 0][np.broadcast_to(closed[:, 0], spikes[:, 0].shape)]
    assert first.size and not first.any()                            # nothing integrated, so nothing fired


def test_the_core_computes_gates_of_gates():
    """Spikes and membranes of every layer in the core are the integers, sums and gates included."""
    data = tiny_data()
    net = to_spec(masked(data)[0])
    frames = data.frames["test"][:3]
    for fold in (False, True):
        assert_equal_traces(CorePlan.of(net, fold=fold), frames)


def test_open_shares_are_held():
    data = tiny_data(images=160)
    model, history, _ = masked(data, epochs=6, block=1)
    assert history[-1]["open_positions"] == pytest.approx(0.65, abs=0.06)
    assert history[-1]["open_channels"] == pytest.approx(0.31, abs=0.06)
    net, frames = to_spec(model), data.frames["test"]
    trace = integer.run(net, frames)
    assert trace.spikes["conv2_where"].mean() == pytest.approx(0.65, abs=0.15)


def test_gates_cost_less_than_they_save():
    """Operations of the whole network, those of the gates included, against the network without masks."""
    data, layers = tiny_data(), {"kind": "feedforward", "layers": "16C3-32C3-32C3-5"}
    plain = ternary(data, layers)
    model, _ = make("pruners", {"kind": "masks", "ramp_epochs": 0}).prune(plain, data)
    frames, cost = data.frames["test"], {}
    for name, of in (("plain", plain), ("masked", model)):
        net = to_spec(of)
        cost[name] = integer.count_synops(net, frames, integer.run(net, frames)).sum()
    assert cost["masked"] < 0.6 * cost["plain"]


def test_the_share_of_synapses_behind_closed_gates_is_not_counted():
    data = tiny_data(images=160)
    net, frames = to_spec(masked(data)[0]), data.frames["test"]
    trace = integer.run(net, frames)
    inside = {layer.name: layer for layer in net.layers}
    without = integer.count_synops(type(net)(net.input, tuple(
        type(layer)(layer.name, layer.shape, layer.projections, layer.neuron, layer.theta, layer.bias,
                    None if layer.name in ("conv2", "conv3") else layer.gate, layer.v_init) for layer in inside.values()),
        net.steps, net.readout), frames, trace)
    assert integer.count_synops(net, frames, trace).sum() < without.sum()


def test_training_reaches_the_gates_weights():
    data = tiny_data()
    model, *_ = masked(data)
    before = {name: of.clone() for name, of in model.named_parameters()}
    pruner = make("pruners", {"kind": "masks", "ramp_epochs": 0})
    options = TrainingOptions(epochs=1, batch_size=8, weight_decay=0.0)
    fit(model, data, options, seed=0, say=lambda text: None, method=pruner.method())
    moved = {layer.shape.name for k, layer in enumerate(model.layers)
             if len(layer.weights) and not torch.equal(before[f"layers.{k}.weights.0"], layer.weights[0])}
    assert {"conv2_where", "conv2_which", "conv3_where", "conv3_which"} <= moved


def test_a_masked_network_is_stored_and_read(tmp_path):
    data = tiny_data()
    model, *_ = masked(data, epochs=1)
    chain = {**CHAIN, "architecture": LAYERS, "neuron": {"kind": "lif", "leak_shift": 1}, "quantizer": QUANTIZER,
             "pruner": {"kind": "masks", "ramp_epochs": 0}}
    save_model(tmp_path / "m.safetensors", model, chain, data.classes)
    again, _ = load_model(tmp_path / "m.safetensors")
    assert check_equal(again, to_spec(model), data.frames["test"]) > 0


@pytest.mark.parametrize("layers, shape, sentence", [
    ("5", (4, 4, 2), "masks must have a convolution to close: none of dense1 is one"),
    ("6C3-AP2-8C3-5", (4, 8, 2), "layer conv2: the map of conv1 must be square and at most 64x64 to be summed for channel "
                                 "masks, not 4x8"),
    ("6C3-8C3-5", (5, 7, 2), r"layer conv2: no block of 2x2 or more divides its 5x7 map and the 5x7 map of conv1")])
def test_networks_that_masks_cannot_close_are_refused(layers, shape, sentence):
    from spikeproof.projections import InputSpec
    shapes = make("architectures", {"kind": "feedforward", "layers": layers}).layers(InputSpec(shape), 5)
    with pytest.raises(ValueError, match=sentence):
        make("pruners", {"kind": "masks"}).layers(shapes)
