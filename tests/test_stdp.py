"""Learning by STDP: equal to plain loops over synapses, to torch's neurons, and to the quantized network when it rounds."""
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spikeproof.catalog import load
from spikeproof.convert import check_equal, to_spec
from spikeproof.datasets.base import PreparedData
from spikeproof.entries import make, parse_entry
from spikeproof.model_files import build
from spikeproof.models import CodeNetwork
from spikeproof.projections import InputSpec
from spikeproof.stdp import Competition, Precision, RoundedPrecision, label_neurons, learn, responses
from spikeproof.training import accuracy

RULE = load("pretraining", "stdp").Options(kind="stdp", learning_rate=0.2, theta_plus=0.05, theta_decay=1e-3, weight_sum=1.5,
                                           largest_weight=0.25, label_images=40)


def data_of(images=60, steps=12, seed=0):
    """Two classes: spikes on the left half of a 3x4 map, or on the right."""
    rng = np.random.default_rng(seed)
    frames, labels = {}, {}
    for part, count in (("train", images), ("validation", 20), ("test", 20)):
        labels[part] = np.arange(count) % 2
        side = np.arange(4) // 2
        rate = np.where(side[None] == labels[part][:, None], 0.5, 0.05)[:, None, None, :, None]
        frames[part] = (rng.random((count, steps, 3, 4, 1)) < rate).astype(np.uint8)
    return PreparedData(InputSpec((3, 4, 1)), steps, 2, frames, labels, {})


def network(data, neurons=6, **neuron):
    torch.manual_seed(0)
    chain = {"architecture": {"kind": "feedforward", "layers": f"{neurons}-2", "norm": False},
             "neuron": {"kind": "diehl_cook", "inhibition": 1.0, "decay": 0.75, **neuron}, "pretraining": RULE.model_dump()}
    return build({name: parse_entry(section, chain[name], name).model_dump() for name, section in
                  (("architecture", "architectures"), ("neuron", "neurons"), ("pretraining", "pretraining"))},
                 data.input, data.steps, data.classes).eval()


def competition(one_spike, neurons=6, precision=None, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.random((neurons, 12), np.float32) * np.float32(0.25)
    return Competition(weights, np.zeros(neurons, np.float32), np.float32(0.75), 1.0, one_spike, RULE, precision or Precision())


def plain(layer, spikes):
    """One image in loops over steps, neurons and synapses, as the documentation says it."""
    rule, w, adapted = layer.rule, layer.weights.astype(float).tolist(), layer.adapted.astype(float).tolist()
    neurons, inputs = layer.weights.shape
    v, trace, counts, before = [0.0] * neurons, [0.0] * inputs, [0] * neurons, 0
    for frame in spikes.tolist():
        trace = [1.0 if s else rule.trace_decay * x for s, x in zip(frame, trace)]
        drive = [sum(w[n][p] for p in range(inputs) if frame[p]) for n in range(neurons)]
        theta, now = [1 + a for a in adapted], 0
        for n in range(neurons):
            v[n] = float(layer.beta) * v[n] + drive[n] - layer.inhibition * before
            if v[n] >= theta[n] and not (layer.one_spike and now):
                v[n], now, counts[n] = 0.0, now + 1, counts[n] + 1
                for p in range(inputs):
                    w[n][p] += rule.learning_rate * (trace[p] - rule.target) * (rule.largest_weight - w[n][p])
                    w[n][p] = min(max(w[n][p], 0.0), rule.largest_weight)
                adapted[n] += rule.theta_plus
        before = now
    adapted = [a * (1 - rule.theta_decay) ** len(spikes) for a in adapted]
    for n in range(neurons):
        if counts[n] and sum(w[n]):
            w[n] = [min(x * rule.weight_sum / sum(w[n]), rule.largest_weight) for x in w[n]]
    return counts, w, adapted


@pytest.mark.parametrize("one_spike", [True, False])
def test_learning_equals_plain_loops(one_spike):
    data, layer = data_of(8), competition(one_spike)
    fired = 0
    for frames in data.frames["train"]:
        spikes = frames.reshape(len(frames), -1)
        expected, weights, adapted = plain(layer, spikes)
        counts = layer.present(spikes, np.random.default_rng(0))
        assert counts.tolist() == expected
        assert np.allclose(layer.weights, weights, atol=1e-5) and np.allclose(layer.adapted, adapted, atol=1e-5)
        fired += counts.sum()
    assert fired > 20 and len(set(layer.adapted.round(3))) > 1


@pytest.mark.parametrize("one_spike", [True, False])
def test_neurons_that_do_not_learn_are_those_of_torch(one_spike):
    data = data_of(10)
    model, layer = network(data, one_spike=one_spike), competition(one_spike)
    layer.beta = np.float32(model.neuron.beta)
    with torch.no_grad():
        model.layers[0].connections[0].weight.copy_(torch.from_numpy(layer.weights).reshape(6, 1, 3, 4))
        model.layers[0].threshold.adapted.uniform_(0, 0.2)
    layer.adapted[:] = model.layers[0].threshold.adapted.numpy()
    found = [layer.present(frames.reshape(12, -1), None, learns=False) for frames in data.frames["train"]]
    counts = responses(model, data, "train", np.arange(10))
    assert np.array_equal(found, counts) and counts.sum() > 20 and (counts > 0).any(0).sum() >= 4


@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even"])
def test_learning_in_codes_sees_the_neurons_of_the_integer_network(rounding):
    data = data_of(10)
    source = network(data)
    quantizer = make("quantizers", parse_entry("quantizers", {
        "kind": "fixed_point", "bits": 5, "rounding": rounding, "updates": "rounded", "membrane": {"bits": 5, "rounding": rounding},
        "thresholds": {"bits": 4, "rounding": rounding}, "leak": {"bits": 3}}, "q").model_dump())
    precision = RoundedPrecision(CodeNetwork.from_float(source, quantizer), RULE)
    layer = competition(True, precision=precision)
    layer.beta = np.float32(CodeNetwork.from_float(source, quantizer).layers[0].neuron.leak.factor)
    layer.adapted[:] = np.linspace(0, 1, 6)
    for frames in data.frames["train"]:
        layer.present(frames.reshape(12, -1), np.random.default_rng(0))
    assert np.array_equal(layer.weights, layer.used) and len(np.unique(layer.used / precision.step)) > 4
    codes = layer.used / precision.step
    assert np.array_equal(codes, codes.round()) and codes.max() <= 15
    with torch.no_grad():
        source.layers[0].connections[0].weight.copy_(torch.from_numpy(layer.used).reshape(6, 1, 3, 4))
        source.layers[0].threshold.adapted.copy_(torch.from_numpy(layer.adapted))
    model = CodeNetwork.from_float(source, quantizer).eval()
    net = to_spec(model)
    assert check_equal(model, net, data.frames["test"]) > 0
    assert net.layers[0].theta_width <= 4 and net.layers[0].neuron.leak.fraction == 3
    found = [layer.present(frames.reshape(12, -1), None, learns=False) for frames in data.frames["train"]]
    counts = responses(model, data, "train", np.arange(10))
    assert np.array_equal(found, counts) and counts.sum() > 10


@pytest.mark.parametrize("updates, rounding", [(None, None), ("rounded", "stochastic"), ("shadow", "half_up")])
def test_training_learns_and_continues_to_the_same_bits(tmp_path, monkeypatch, updates, rounding):
    data = data_of(80)

    def train(checkpoint, images=None):
        model, precision = network(data), Precision()
        if updates:
            quantizer = make("quantizers", parse_entry("quantizers", {
                "kind": "fixed_point", "bits": 6, "updates": updates, "rounding": rounding,
                "membrane": {"bits": 8, "rounding": rounding}}, "q").model_dump())
            precision = RoundedPrecision(CodeNetwork.from_float(model, quantizer), RULE)
        if images:                                                   # ends in the middle of the second epoch
            seen = iter(range(images))
            present = Competition.present
            monkeypatch.setattr(Competition, "present", lambda *given: present(*given) if next(seen, None) is not None else stop())
        try:
            learn(model, data, RULE, precision, 2, checkpoint=checkpoint, say=lambda text: said.append(text))
        except KeyboardInterrupt:
            pass
        monkeypatch.undo()
        return model

    def stop():
        raise KeyboardInterrupt
    said = []
    whole = train(None)
    monkeypatch.setattr("spikeproof.stdp.CHECKPOINT_EVERY", 0.0)
    train(tmp_path / "checkpoint", 107)
    again = train(tmp_path / "checkpoint")
    assert said == ["continuing after 107 images"]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    for vote in ("proportion", "label"):
        label_neurons(whole, whole, data, RULE.model_copy(update={"vote": vote}))
        assert accuracy(whole, data, "test") > 0.9


def test_labels_are_what_neurons_respond_to():
    data = data_of(40)
    model = network(data)
    with torch.no_grad():                                            # three neurons see the left half, two the right, one nothing
        model.layers[0].connections[0].weight.zero_()
        model.layers[0].connections[0].weight[:3, 0, :, :2] = 0.3
        model.layers[0].connections[0].weight[3:5, 0, :, 2:] = 0.3
        model.layers[0].threshold.adapted.copy_(torch.tensor([0.0, 0.3, 0.6, 0.0, 0.3, 0.0]))
    counts = responses(model, data, "train", np.arange(40))
    label_neurons(model, model, data, RULE.model_copy(update={"vote": "label"}))
    found = model.layers[1].connections[0].weight[..., 0, 0]
    heard = [n for n in range(6) if counts[:, n].sum()]
    left, right = [n for n in heard if n < 3], [n for n in heard if n >= 3]
    assert left and right and 5 not in heard
    expected = torch.zeros(2, 6)
    expected[0, left], expected[1, right] = 1 / len(left), 1 / len(right)
    assert torch.allclose(found, expected)
    label_neurons(model, model, data, RULE)
    mean = np.stack([counts[np.arange(40) % 2 == c].mean(0) for c in range(2)])
    share = model.layers[1].connections[0].weight[..., 0, 0].detach().numpy()
    assert np.allclose(share[:, heard], mean[:, heard] / mean[:, heard].sum(0)) and not share[:, 5].any()


def test_what_cannot_learn_so_is_refused():
    stdp = make("pretraining", RULE.model_dump())
    lif, competing = (make("neurons", parse_entry("neurons", {"kind": kind}, "n").model_dump()) for kind in ("lif", "diehl_cook"))
    two, normal = ([SimpleNamespace(connections=[SimpleNamespace(norm=norm)])] * 2 for norm in (False, True))
    for neuron, spec, shapes, message in (
            (lif, InputSpec((3, 4, 1)), two, "stdp wants neurons that compete, of kind diehl_cook"),
            (competing, InputSpec((3, 4, 1), 4), two, "stdp wants spikes as input: images with encoding: rate, or events of one "
                                                      "bit"),
            (competing, InputSpec((3, 4, 1)), two * 2, "stdp wants two dense layers, like 400-10, the neurons that learn and their "
                                                       "labels, read as sums"),
            (competing, InputSpec((3, 4, 1)), normal, "stdp wants an architecture without batch normalisation: set norm: false"),
            (competing, InputSpec((3, 2, 1)), two, "weight_sum must be at most 0.75, half of what 6 inputs at largest_weight sum "
                                                   "up to, so that there is something to choose, not 1.5")):
        with pytest.raises(ValueError) as error:
            stdp.check(neuron, spec, shapes)
        assert str(error.value) == message
    quantizer = make("quantizers", parse_entry("quantizers", {"kind": "ternary", "training": {"epochs": 1}}, "q").model_dump())
    with pytest.raises(ValueError, match="^stdp learns in codes of quantizer fixed_point alone: use that, or training: "):
        stdp.check_quantizer(quantizer, competing, InputSpec((3, 4, 1)))
    entry = {"kind": "fixed_point", "edge_bits": 8, "training": {"epochs": 1}}
    edges = make("quantizers", parse_entry("quantizers", entry, "q").model_dump())
    with pytest.raises(ValueError, match="^stdp learns with the quantizer's bits in both layers: leave out edge_bits, or use "):
        stdp.check_quantizer(edges, competing, InputSpec((3, 4, 1)))
    surrogate = make("pretraining", parse_entry("pretraining", {"kind": "surrogate"}, "p").model_dump())
    with pytest.raises(ValueError, match="^neurons that inhibit each other have no gradient: use pretraining of kind stdp"):
        surrogate.check(competing, InputSpec((3, 4, 1)), two)
