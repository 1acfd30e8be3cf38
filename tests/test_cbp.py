"""CBP: the saw-tooth and its window against their definitions, the schedule of the multipliers, what stays and what falls."""
import re

import numpy as np
import pytest
import torch
from test_models import tiny_data, tiny_float, tiny_of

from spikeproof import training
from spikeproof.codecs import parse_codec
from spikeproof.convert import check_equal, to_spec
from spikeproof.entries import make
from spikeproof.lagrange import Constraint, saw_tooth
from spikeproof.models import CodeNetwork
from spikeproof.training_options import TrainingOptions

LEVELS = ["binary", "ternary", "shift1", "shift2"]


def quantizer(levels="binary", **values):
    return make("quantizers", {"kind": "cbp", "levels": levels, "membrane": {"bits": 8}, **values})


def as_defined(w, q, g):
    """ucs(w) Y(w), written out level by level (scalars)."""
    if w < q[0]:
        return -2 * (w - q[0])
    for low, high in zip(q, q[1:]):
        if low <= w < high:
            middle, gap = (low + high) / 2, high - low
            y = gap - 2 * abs(w - middle)
            return 0.0 if gap / (2 * g) - abs(w - middle) > 0 else y
    return 2 * (w - q[-1])


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("g", [1, 2, 5, 40, float("inf")])
def test_constraint_is_window_times_saw_tooth(levels, g):
    codes = parse_codec(levels).codes
    q = codes / codes.max() * 0.3
    w = np.linspace(-0.71, 0.7, 1501)
    expected = [as_defined(x, q.tolist(), g) for x in w]
    found = saw_tooth(torch.tensor(w), [torch.tensor(level) for level in q], g)
    assert np.allclose(found.numpy(), expected, atol=1e-12)
    inside = (w > q[0]) & (w < q[-1])
    assert (found.numpy()[inside] == 0).all() if g == 1 else found.numpy()[inside].max() > 0


def test_constraint_has_slope_two_outside_the_window_and_none_inside():
    w = torch.tensor([-0.9, -0.35, -0.28, 0.01, 0.29, 0.31, 0.8], dtype=torch.float64, requires_grad=True)
    saw_tooth(w, [torch.tensor(-0.3), torch.tensor(0.3)], 2).sum().backward()
    assert w.grad.tolist() == [-2, -2, 2, 0, -2, 2, 2]


def prepared(levels="binary", seed=0, **values):
    torch.manual_seed(seed)
    model = CodeNetwork.from_float(tiny_float(tiny_data()), quantizer(levels, **values))
    return model


def test_schedule_of_window_and_multipliers():
    """A loss that falls changes nothing; one that does not, or the period, opens the constraint further and raises multipliers."""
    model = prepared(period=3, edge_bits=None)
    constraint = model.quantizer.method()
    constraint.start(model)
    first = [of.clone() for of in constraint.multipliers]
    for of, layer in zip(first, model.layers):
        # One update at g = 1, by the rate where a weight is outside.
        weight = layer.weights[0].abs()
        assert torch.allclose(of[weight > layer.step + 1e-6], torch.tensor(5e-4), rtol=1e-3)
        assert (of[weight < layer.step] == 0).all()
    seen = [constraint.after_epoch(loss)["g"] for loss in (5.0, 4.0, 4.0)]
    assert seen == [1, 1, 2] and constraint.rate == 1.0                  # the third is no lower
    assert all((new >= old).all() and (new > old).any() for new, old in zip(constraint.multipliers, first))
    assert [constraint.after_epoch(loss)["g"] for loss in (3.0, 2.0, 1.0)] == [2, 2, 3]      # period
    seen = []
    while constraint.g < 20:
        assert constraint.rate == 1.0
        seen.append(constraint.after_epoch(0.0)["g"])
    assert sorted(set(seen)) == [*range(3, 11), 20]
    assert constraint.g == 20 and constraint.rate == 0.1


@pytest.mark.parametrize("levels", LEVELS)
def test_levels_scale_and_edges(levels):
    model, data = prepared(levels), tiny_data()
    steps = [layer.step for layer in model.layers]
    assert steps[0] is None and steps[2] is None                         # first and last: 16 bits
    weight = model.layers[1].weights[0]
    assert torch.allclose(steps[1] * model.quantizer.codec.max_code, weight.abs().mean((1, 2, 3), keepdim=True))
    before = steps[1].clone()
    options = TrainingOptions(epochs=3, batch_size=16, learning_rate=0.01, optimizer="sgd", clip_gradient=1.0)
    training.fit(model, data, options, seed=0, say=lambda text: None, method=model.quantizer.method())
    assert torch.equal(model.layers[1].step, before)                     # set once
    net = to_spec(model)
    assert [layer.projections[0].codec.name for layer in net.layers] == ["int16", parse_codec(levels).name, "int16"]
    assert check_equal(model, net, data.frames["test"]) > 0


def test_without_a_layer_between_first_and_last_there_is_nothing_to_constrain():
    source = tiny_of(tiny_data(), {"kind": "lif"}, {"kind": "feedforward", "layers": "6-5"}).eval()
    with pytest.raises(ValueError, match="^cbp has no layer to constrain: the first and the last keep edge_bits; give them"):
        CodeNetwork.from_float(source, quantizer())
    assert CodeNetwork.from_float(source, quantizer(edge_bits=None))


@pytest.mark.parametrize("epochs, options, remark", [
    (1, {}, r"^constraint failure [01]\.\d+, but its windows never began to close \(g = 1\): give more epochs than period, 20$"),
    (2, {"period": 1}, r"^g = 3, constraint failure [01]\.\d+$"),
    (1, {"constrained": False}, r"^multipliers held at 0, constraint failure [01]\.\d+$")])
def test_the_closing_remark_says_how_far_the_constraint_came(epochs, options, remark):
    model = prepared("binary", **options)
    method = model.quantizer.method()
    training.fit(model, tiny_data(), TrainingOptions(epochs=epochs, batch_size=16), seed=0, say=lambda text: None, method=method)
    assert re.search(remark, method.remark())


def test_the_bound_never_lies_inside_the_levels():
    model = prepared("ternary", bound=0.01)
    constraint, layer = model.quantizer.method(), model.layers[1]
    constraint.start(model)
    with torch.no_grad():
        layer.weights[0].mul_(10)
    constraint.after_step()
    outer = (layer.step * model.quantizer.codec.max_code).expand_as(layer.weights[0])
    assert (layer.weights[0].abs() <= outer).all() and (layer.weights[0].abs() == outer).any() and (outer > 0.01).all()


def trained(constrained, epochs=60):
    model = prepared(constrained=constrained, period=2, multiplier_rate=0.02)
    options = TrainingOptions(epochs=epochs, batch_size=16, learning_rate=0.01, optimizer="sgd", clip_gradient=1.0)
    return model, training.fit(model, tiny_data(), options, seed=0, say=lambda text: None, method=model.quantizer.method())


def test_constraint_failure_falls_with_multipliers_and_not_without():
    _, with_them = trained(True)
    _, without = trained(False)
    assert with_them[-1]["constraint_failure"] < 0.3 * with_them[0]["constraint_failure"]
    assert without[-1]["constraint_failure"] > 0.6 * without[0]["constraint_failure"]
    assert with_them[-1]["multiplier"] > 0 and without[-1]["multiplier"] == 0
    assert with_them[-1]["g"] >= 20


def test_a_stopped_constrained_training_continues_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_EVERY", 0)
    data, path = tiny_data(), tmp_path / "c.safetensors"
    options = TrainingOptions(epochs=6, batch_size=16, optimizer="sgd", clip_gradient=1.0)

    def run(model, **more):
        return training.fit(model, data, options, seed=1, say=lambda text: None, method=model.quantizer.method(), **more)
    whole = prepared("ternary", period=1)
    expected = run(whole)
    save = training._save

    class Stopped(Exception):
        pass

    def stop(path, epoch, *rest):
        save(path, epoch, *rest)
        if epoch == 3:
            raise Stopped
    monkeypatch.setattr(training, "_save", stop)
    with pytest.raises(Stopped):
        run(prepared("ternary", period=1), checkpoint=path)
    monkeypatch.setattr(training, "_save", save)
    resumed = prepared("ternary", period=1)
    assert run(resumed, checkpoint=path) == expected
    for (name, one), other in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(one, other), name


def test_multipliers_belong_to_the_layers_with_the_levels():
    model = prepared()
    constraint = Constraint(model.quantizer)
    constraint.start(model)
    assert constraint.layers == [model.layers[1]]
