"""Spiking networks out of artificial ones, and blocks that add spikes."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from spikeproof_hdl.plan import CorePlan
from test_models import ATIF, CHAIN, QUANTIZERS, RESNET, tiny_data, tiny_of
from traces import assert_equal_traces

from spikeproof import convert, training
from spikeproof.convert import check_equal, to_codes, to_spec
from spikeproof.entries import make
from spikeproof.model_files import build
from spikeproof.models import CodeNetwork
from spikeproof.pretraining.conversion import best_threshold, mean_error

SEW = {"kind": "feedforward", "layers": "4C3-4S3-4S3-MP2-4S3-AP2-5"}


@pytest.mark.parametrize("neuron", [{"kind": "plif"}, {"kind": "if"}, {"kind": "lif"}], ids=["plif", "if", "lif"])
@pytest.mark.parametrize("entry", [QUANTIZERS[1], QUANTIZERS[6]], ids=["int4", "binary"])
def test_sew_blocks_add_spikes_to_spikes(entry, neuron):
    """The sum of a block is a layer without membrane or threshold, read as an n-bit code, by a maximum pool too."""
    data = tiny_data()
    source = tiny_of(data, neuron, SEW)
    for norm in (module for module in source.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.bias.data.add_(1)
    model = CodeNetwork.from_float(source, make("quantizers", entry))
    net = to_spec(model)
    sums = [layer for layer in net.layers if layer.theta is None and layer is not net.layers[-1]]
    assert [layer.neuron.store.hi for layer in sums] == [2, 3, 4]            # at most so many spikes
    assert all(layer.memory_bits() == {"weights": 8, "membranes": 0, "thresholds": 0, "biases": 0, "initials": 0} for layer in sums)
    assert net.by_name["sew8a"].projections[0].pool_kind == "max" and net.by_name["sew8a"].projections[0].reads == "membranes"
    assert check_equal(model, net, data.frames["test"]) > 0
    with torch.no_grad():
        trace, _ = model.trace(to_codes(data.frames["test"], True))
        (first, _), (second, _), (_, added) = trace[0], trace[2], trace[3]
    assert torch.equal(added, first + second) and added.max() == 2
    plan = CorePlan.of(net)
    assert_equal_traces(plan, data.frames["test"][:2])


def test_a_sum_readout_is_a_linear_layer_of_the_mean_spikes():
    data = tiny_data(constant=False, steps=5)
    model = tiny_of(data, {"kind": "plif", "readout": "sum"}, {"kind": "feedforward", "layers": "4C3-5"}).eval()
    with torch.no_grad():
        logits, (spikes,), _ = model(to_codes(data.frames["test"], False))
        last = model.layers[1].connections[0]
        linear = torch.nn.functional.linear(spikes.mean(0).flatten(1), last.weight.flatten(1), last.bias)
    assert torch.allclose(logits, 5 * linear, atol=1e-4) and 0 < spikes.mean() < 1
    net = to_spec(CodeNetwork.from_float(model, make("quantizers", QUANTIZERS[0])))
    assert [layer.neuron.leak.kind for layer in net.layers] == ["multiply", "none"] and net.readout == "membrane"


def test_sew_blocks_want_spikes_of_one_worth():
    data = tiny_data()
    with pytest.raises(ValueError, match="^layer sew2: spikes that are summed must be worth 1 each: use neurons of a fixed "
                                         "threshold$"):
        CodeNetwork.from_float(tiny_of(data, {"kind": "atif_u"}, SEW), make("quantizers", QUANTIZERS[0]))
    with pytest.raises(ValueError, match="^'8S3' must come after a layer of 8 channels, or a maximum pool of one: its spikes are "
                                         "added to that$"):
        tiny_of(data, {"kind": "if"}, {"kind": "feedforward", "layers": "4C3-8S3-5"})


def test_conversion_makes_a_spiking_network_of_the_twin():
    """With many steps it decides as the twin, from the twin's own weights; with few, shift and calibration help."""
    data = tiny_data(steps=64, images=100)

    def converted(steps, **options):
        torch.manual_seed(0)
        few = replace(data, steps=steps)
        model = build({**CHAIN, "neuron": {"kind": "atif_u"}, "architecture": RESNET}, data.input, steps, data.classes)
        method = make("pretraining", {"kind": "conversion", "images": 100,
                                      "training": {"epochs": 30, "batch_size": 16, "learning_rate": 0.01}, **options})
        history = method.train(model, few, seed=0, say=lambda text: None)
        return model, history, training.accuracy(model, few, "train")
    model, history, many = converted(64)
    assert many > history[-1]["train_accuracy"] - 0.05
    assert all(0 < float(layer.threshold.threshold.detach()) < 100 for layer in model.layers[:-1])
    coded = CodeNetwork.from_float(model, make("quantizers", QUANTIZERS[0]))
    assert check_equal(coded, to_spec(coded), data.frames["test"][:20]) > 0
    plain, better = converted(4, shift=False, calibrate=False)[2], converted(4)[2]
    assert better > plain
    # Potentials: neuron by neuron the mean error falls, and the initial membranes are codes in the network and in the core.
    x, missing = to_codes(data.frames["train"], True), []
    uncalibrated = converted(4, shift=False, calibrate=False)[0]
    for potentials in (False, True):
        model = converted(4, potentials=potentials)[0]
        with torch.no_grad():
            wanted = uncalibrated.layers[0]({"input": (x, 1 / data.input.max_code)}).relu().mean(0)
            missing.append(float(mean_error(model, x, 0, wanted).abs().mean()))
    assert missing[1] < 0.7 * missing[0]
    coded = CodeNetwork.from_float(model, make("quantizers", QUANTIZERS[0]))
    net = to_spec(coded)
    for layer, spec, (*_, value) in zip(coded.layers, net.layers, coded.codes()):
        if layer.fires:                                              # nothing saturates
            unit = value.detach()[:, None, None] * 2.0**spec.neuron.store.shift
            held = torch.from_numpy(spec.v_init.transpose(2, 0, 1).copy()) * unit
            assert ((held - layer.initial).abs() <= 0.501 * unit).all()
    assert [layer.v_init is not None and layer.v_init.shape == layer.shape for layer in net.layers] \
        == [coded.fires(k) for k in range(len(net.layers))]
    assert check_equal(coded, net, data.frames["test"][:20]) > 0
    assert_equal_traces(CorePlan.of(net), data.frames["test"][:2])
    with pytest.raises(ValueError, match="^neurons must be atif_u to be converted to: soft reset, and one threshold per layer that "
                                         "can be set$"):
        make("pretraining", {"kind": "conversion"}).train(tiny_of(data, ATIF[0]), data, seed=0)


def test_conversion_calibrates_on_images_of_all_classes(monkeypatch):
    """Folders are read class by class: the first images of the training part are of one class."""
    data = tiny_data(images=100)
    order = np.argsort(data.labels["train"], kind="stable")
    for of in (data.frames, data.labels):
        of["train"] = of["train"][order]
    seen = []
    monkeypatch.setattr(convert, "to_codes", lambda frames, *rest: seen.append(frames) or to_codes(frames, *rest))
    model = build({**CHAIN, "neuron": {"kind": "atif_u"}}, data.input, 3, data.classes)
    entry = {"kind": "conversion", "images": 20, "training": {"epochs": 1, "batch_size": 16}}
    make("pretraining", entry).train(model, data, seed=0, say=lambda text: None)
    calibrating, = (frames for frames in seen if len(frames) == 20)
    drawn = {frame.tobytes() for frame in calibrating}
    labels = {int(label) for frame, label in zip(data.frames["train"], data.labels["train"]) if frame.tobytes() in drawn}
    assert len(labels) == 5


def test_threshold_balancing_takes_the_least_error():
    """Half the mass at 1, a few outliers at 10: cutting the outliers off costs less than coarse steps for all the others."""
    activations = torch.cat([torch.full((999,), 1.0), torch.full((1,), 10.0)])
    found = best_threshold(activations, 4, 95)
    counts = (activations * 4 / found).floor().clamp(0, 4)
    error = float(((counts * found / 4 - activations) ** 2).mean())
    for candidate in (10 * (1 - 0.01 * i) for i in range(95)):
        counts = (activations * 4 / candidate).floor().clamp(0, 4)
        assert error <= float(((counts * candidate / 4 - activations) ** 2).mean()) + 1e-9
    assert best_threshold(torch.zeros(5), 4, 95) == 1.0


def test_relu_twin_has_one_pass_and_no_codes():
    data = tiny_data()
    model = tiny_of(data, {"kind": "relu"}).eval()
    logits, spikes, _ = model(to_codes(data.frames["test"], True))
    assert spikes == [] and logits.shape == (40, 5)
    with pytest.raises(ValueError, match="^neurons must spike to be quantized, and relu neurons do not: use quantizer 'float'$"):
        CodeNetwork.from_float(model, make("quantizers", QUANTIZERS[0]))


def test_a_spiking_network_at_high_thresholds_in_many_steps_is_its_relu_twin():
    """The rate of an integrate-and-fire neuron with soft reset tends to the ReLU, layer after layer, where no rate exceeds one."""
    data = tiny_data(steps=400, images=20)
    twin = tiny_of(data, {"kind": "relu"}).eval()
    model = tiny_of(data, {"kind": "atif_u", "readout": "membrane", "first_threshold": [8.0, 8.0]}).eval()
    model.load_state_dict(twin.state_dict(), strict=False)
    x = to_codes(data.frames["test"], True)
    with torch.no_grad():
        expected, got = twin(x)[0], model(x)[0] / 400
    assert float((expected - got).abs().median()) < 0.03 * float(expected.abs().median())
