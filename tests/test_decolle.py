"""DECOLLE: forward passes are the networks' own, gradients those of the rule, and it learns, in full precision and in codes."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeproof.augmentation import Targets
from spikeproof.convert import check_equal, to_spec
from spikeproof.datasets.base import PreparedData
from spikeproof.decolle import LocalLosses, local_spikes
from spikeproof.entries import make, parse_entry
from spikeproof.model_files import build
from spikeproof.models import CodeNetwork
from spikeproof.projections import InputSpec
from spikeproof.surrogates import SURROGATES
from spikeproof.training import accuracy

NEURON = {"kind": "synaptic", "reset": "soft", "readout": "sum", "tau_m": 4.0, "tau_s": 2.0}
STEPS = 9


def data_of(images=48, seed=0):
    """Three classes: spikes in one of three columns of a 4x3 map, which come early or late."""
    rng = np.random.default_rng(seed)
    frames, labels = {}, {}
    for part, count in (("train", images), ("validation", 30), ("test", 30)):
        labels[part] = np.arange(count) % 3
        rate = np.where(np.arange(3) == labels[part][:, None], 0.6, 0.1)[:, None, None, :, None]
        frames[part] = (rng.random((count, STEPS, 4, 3, 1)) < rate).astype(np.uint8)
    return PreparedData(InputSpec((4, 3, 1)), STEPS, 3, frames, labels, {})


def network(data, layers="6-5-3", **neuron):
    torch.manual_seed(1)
    chain = {"architecture": {"kind": "feedforward", "layers": layers, "norm": False}, "neuron": {**NEURON, **neuron}}
    return build({"architecture": parse_entry("architectures", chain["architecture"], "a").model_dump(),
                  "neuron": parse_entry("neurons", chain["neuron"], "n").model_dump()}, data.input, data.steps, data.classes)


def coded(model):
    entry = {"kind": "int", "bits": 6, "scale": "layer", "membrane": {"bits": 10, "output_bits": 20}}
    return CodeNetwork.from_float(model, make("quantizers", parse_entry("quantizers", entry, "q").model_dump()))


def batch(data, count=8):
    return torch.from_numpy(data.frames["train"][:count]).float().permute(1, 0, 4, 2, 3)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("layers, neuron", [("6-5-3", {}), ("4C3-AP2-3C3-3", {"filter_input": True}), ("6-3", {"tau_s": 7.0}),
                                            ("6-5-3", {"kind": "lif", "leak_shift": 1})])
def test_spikes_are_the_networks_own(layers, neuron, quantized):
    data = data_of()
    if "AP2" in layers:                                              # a map that the pool divides
        data = PreparedData(InputSpec((4, 6, 1)), STEPS, 3, {p: np.tile(of, (1, 1, 1, 2, 1)) for p, of in data.frames.items()},
                            data.labels, {})
    if neuron.get("kind") == "lif":
        chain = {"architecture": {"kind": "feedforward", "layers": layers, "norm": False},
                 "neuron": {"kind": "lif", "leak_shift": 1, "reset": "soft", "readout": "sum"}}
        model = build(chain, data.input, data.steps, data.classes)
    else:
        model = network(data, layers, **neuron)
    with torch.no_grad():
        for layer in model.layers:
            for connection in layer.connections:
                if not connection.connection.identity:
                    connection.weight.mul_(2)
    if quantized:
        model = coded(model.eval())
    x = batch(data)
    with torch.no_grad():
        expected = model(x)
    *spikes, (outputs, last) = local_spikes(model, x)
    assert not last and all(of for _, of in spikes)
    assert len(spikes) == len(expected[1]) and sum(float(s.detach().sum()) for s, _ in spikes) > 50
    for (mine, _), theirs in zip(spikes, expected[1]):
        assert torch.equal(mine, theirs)
    drive = outputs.flatten(2).expand(STEPS, -1, -1)
    assert torch.allclose(drive.sum(0), expected[0], atol=1e-4)


def test_gradients_are_errors_times_traces():
    """Kaiser et al., Eq. 9: dW = error through the readout, times the surrogate of U, times the trace P of the input."""
    data = data_of()
    model = network(data)
    model.surrogate.name, model.surrogate.width = "sigmoid", 0.5
    with torch.no_grad():
        for layer in model.layers:
            for connection in layer.connections:
                if not connection.connection.identity:
                    connection.weight.mul_(2)
    method, x, labels = LocalLosses(2, True, seed=3), batch(data), torch.from_numpy(data.labels["train"][:8])
    method.start(model)
    loss, logits, spikes = method.loss(model, x, Targets(labels))
    loss.backward()
    alpha, synapse = model.neuron.beta, model.neuron.synapse
    wanted = F.one_hot(labels, 3).float()
    weighted = [layer for layer in model.layers[:-1] if layer.shape.weighted]
    source, total, last = x.flatten(2), 0.0, model.layers[-1].connections[0]
    for n, layer in enumerate(weighted):
        weight, bias = layer.connections[0].weight.detach().flatten(1), layer.connections[0].bias.detach()
        readout, offset = (method.readouts[n], 0) if n < len(method.readouts) else (last.weight.data.flatten(1), last.bias.data)
        q, p, ones_q, ones_p, reset = torch.zeros_like(source[0]), torch.zeros_like(source[0]), 0.0, 0.0, 0.0
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        first_is_filtered = layer.shape.emits == "currents"
        for t in range(STEPS):
            if first_is_filtered:
                q = synapse.beta * q + synapse.gain * source[t]
                ones_q = synapse.beta * ones_q + synapse.gain
            else:
                q, ones_q = source[t], 1.0
            p, ones_p = alpha * p + q, alpha * ones_p + ones_q
            u = p @ weight.T + ones_p * bias - reset
            s = (u >= 1).float()
            assert torch.equal(s, spikes[n][t].flatten(1))
            reset = alpha * (reset + s)
            if t < 2:
                continue
            y = s @ readout.T + offset
            share = y.numel() * (STEPS - 2)
            total += float(F.smooth_l1_loss(y, wanted, reduction="sum")) / share
            error = (y - wanted).clamp(-1, 1) / share
            delta = (error @ readout) * SURROGATES["sigmoid"](u - 1, 0.5)
            by_weight += delta.T @ p
            by_bias += delta.sum(0) * ones_p
        found = layer.connections[0]
        assert by_weight.abs().max() > 1e-4 and torch.allclose(found.weight.grad.flatten(1), by_weight, rtol=1e-3, atol=1e-7)
        assert torch.allclose(found.bias.grad, by_bias, rtol=1e-3, atol=1e-7)
        source = spikes[n].flatten(2)
    assert float(loss.detach()) == pytest.approx(total, rel=1e-4)
    assert torch.allclose(logits, (spikes[-1].flatten(2) @ last.weight.flatten(1).T + last.bias).sum(0), atol=1e-4)


@pytest.mark.parametrize("quantized", [False, True])
def test_losses_reach_their_own_layer_alone(quantized):
    data = data_of()
    model = network(data)
    model = coded(model.eval()) if quantized else model
    outs = [out for out, spikes in local_spikes(model, batch(data)) if spikes]
    outs[1].sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.abs().sum()}
    assert reached and all("dense1" not in model.layers[int(name.split(".")[1])].shape.name for name in reached)


def test_it_learns_in_full_precision_and_in_codes():
    data = data_of(150)
    model = network(data, "32-24-3")
    training = {"epochs": 12, "batch_size": 16, "learning_rate": 0.01, "optimizer": "adamax", "surrogate": "sigmoid",
                "surrogate_width": 0.25}
    entry = {"kind": "decolle", "burn_in": 2, "training": training}
    method = make("pretraining", parse_entry("pretraining", entry, "p").model_dump())
    first = model.layers[-1].connections[0].weight.detach().clone()
    history = method.train(model, data, seed=0, say=lambda text: None)
    assert history[-1]["loss"] < history[0]["loss"] and accuracy(model, data, "test") > 0.85
    assert torch.equal(model.layers[-1].connections[0].weight, first)             # a random readout
    quantizer = make("quantizers", parse_entry("quantizers", {
        "kind": "fixed_point", "bits": 4, "membrane": {"bits": 8, "output_bits": 20}, "thresholds": {"bits": 6},
        "leak": {"bits": 4}, "training": {**training, "epochs": 4}}, "q").model_dump())
    codes, history = method.train_codes(CodeNetwork.from_float(model, quantizer), model, data, quantizer.method(), seed=0,
                                        say=lambda text: None)
    assert len(history) == 4 and accuracy(codes, data, "test") > 0.8
    net = to_spec(codes)
    assert check_equal(codes, net, data.frames["test"]) > 0 and net.layers[0].projections[0].codec.name == "int4"


@pytest.mark.parametrize("neuron, architecture, message", [
    ({"kind": "lif", "readout": "sum"}, {"layers": "6-3", "norm": False}, "decolle wants neurons of a fixed threshold that reset "
     "softly and are read by their membrane, like synaptic with reset: soft and readout: sum"),
    (NEURON, {"layers": "6-3"}, "decolle wants layers without batch normalisation (norm: false): it would mix steps"),
    (NEURON, {"layers": "3", "norm": False}, "decolle wants a hidden layer at least"),
    (NEURON, {"layers": "4C3-4S3-3", "norm": False}, "layer sew2: decolle wants a chain of layers, each of which reads the one "
     "before alone")])
def test_what_has_no_local_losses_is_refused(neuron, architecture, message):
    method = make("pretraining", parse_entry("pretraining", {"kind": "decolle"}, "p").model_dump())
    shapes = make("architectures", {"kind": "feedforward", **architecture}).layers(InputSpec((4, 3, 1)), 3)
    with pytest.raises(ValueError) as error:
        method.check(make("neurons", parse_entry("neurons", neuron, "n").model_dump()), InputSpec((4, 3, 1)), shapes)
    assert str(error.value) == message
