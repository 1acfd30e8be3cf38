"""Neurons as one operation against the same steps recorded by autograd; augmentation and its labels; batches from a map."""
import math

import numpy as np
import pytest
import torch
from test_models import CHAIN, tiny_data, tiny_of

from spikeproof.augmentation import Targets, augment
from spikeproof.entries import make
from spikeproof.neuron_steps import code_steps, float_steps
from spikeproof.spec import Leak, NeuronSpec, Store
from spikeproof.surrogates import SURROGATES, Surrogate, filtered, stacked_gradient
from spikeproof.training import fit
from spikeproof.training_options import AugmentationOptions, TrainingOptions

STEPS = 3


class Spike(torch.autograd.Function):
    """1 where x >= 0; the surrogate's derivative."""
    @staticmethod
    def forward(ctx, x, surrogate):
        ctx.save_for_backward(x)
        ctx.surrogate = surrogate
        return (x >= 0).to(x.dtype)

    @staticmethod
    def backward(ctx, grad):
        return grad * SURROGATES[ctx.surrogate.name](ctx.saved_tensors[0], ctx.surrogate.width), None


def through(x, value):
    """``value``, with the gradient of x."""
    return x + (value - x).detach()


def plain_float(drive, neuron, fires, surrogate, initial):
    v, spikes = initial.expand_as(drive[0]), []
    for t in range(STEPS):
        h = v * neuron.beta + drive[t if len(drive) > 1 else 0]
        s = Spike.apply(h - 1, surrogate) if fires else torch.zeros_like(h)
        v = h - s if neuron.reset == "soft" else h * (1 - s)
        spikes.append(s)
    return torch.stack(spikes), v


def plain_codes(acc, theta, level, neuron, draws, fires, surrogate, initial, temperature=None):
    store, leak = neuron.store, neuron.leak
    unit = 2.0**store.shift
    v, spikes, codes = (initial * unit).expand_as(acc[0]), [], []
    for t in range(STEPS):
        if leak.kind == "subtract_shift":
            part = v * 2.0**-leak.shift
            leaked = v - through(part, part.floor())
        elif leak.kind == "none":
            leaked = v
        else:
            part = v * (2.0**-leak.shift if leak.kind == "shift" else leak.multiplier * 2.0**-leak.fraction)
            leaked = through(part, part.floor())
        h = leaked + acc[t if len(acc) > 1 else 0]
        if fires:
            s = Spike.apply((h - theta) / theta * level, surrogate)
            h = h - s * theta if neuron.reset == "soft" else h * (1 - s) + s * neuron.v_reset
            spikes.append(s)
        x = h / unit
        rounded = {"floor": x.floor(), "half_up": (x + 0.5).floor(), "half_even": x.round(),
                   "stochastic": (x + draws[t] / unit).floor()}[store.rounding]
        code = through(x, rounded).clamp(store.lo, store.hi)
        if temperature is not None:                                  # SpQuant-SNN Eq. 11 and 12: a sigmoid for each step
            first = store.lo + (1 if store.rounding == "floor" else 0.5)
            stairs = store.lo + sum(torch.sigmoid(temperature * (x - first - k)) for k in range(store.hi - store.lo))
            code = through(stairs, code)
        codes.append(code)
        v = code * unit
    return torch.stack(spikes) if fires else None, torch.stack(codes)


class Neuron:
    def __init__(self, beta, reset):
        self.beta, self.reset = beta, reset


def compare(ours, theirs, inputs, exact, seed=0):
    """Equal outputs (of real numbers up to rounding), and equal gradients of a random combination of them."""
    generator = torch.Generator().manual_seed(seed)
    results = []
    for outputs in (ours, theirs):
        outputs = [out for out in outputs if out is not None]
        weights = [torch.rand(out.shape, generator=generator.manual_seed(seed), dtype=out.dtype) for out in outputs]
        sum((out * weight).sum() for out, weight in zip(outputs, weights)).backward()
        results.append((outputs, inputs.grad.clone()))
        inputs.grad = None
    (mine, grad), (reference, expected) = results
    for a, b in zip(mine, reference):
        assert torch.equal(a, b) if exact else torch.allclose(a, b, rtol=0, atol=1e-12)
    assert torch.allclose(grad, expected, rtol=1e-12, atol=1e-12) and grad.abs().sum() > 0


@pytest.mark.parametrize("length", [1, STEPS])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("fires", [True, False])
@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_float_steps_are_those_of_autograd(length, reset, fires, name):
    drive = torch.randn(length, 2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    neuron, surrogate = Neuron(0.75, reset), Surrogate(name, 0.8)
    initial = torch.randn(3, 4, 5, dtype=torch.float64)
    ours = float_steps(drive, torch.ones(1, dtype=torch.float64), STEPS, neuron, fires, surrogate, initial=initial)
    theirs = plain_float(drive, neuron, fires, surrogate, initial)
    compare(ours, theirs if fires else (None, theirs[1]), drive, exact=False)


@pytest.mark.parametrize("length", [1, STEPS])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("fires", [True, False])
def test_gradient_of_a_trained_leak_is_that_of_autograd(length, reset, fires):
    torch.manual_seed(0)
    drive = torch.randn(length, 2, 3, 4, 5, dtype=torch.float64) + 0.3
    weights, found, initial = torch.rand(STEPS + 1, 2, 3, 4, 5, dtype=torch.float64), [], torch.rand(3, 4, 5, dtype=torch.float64)
    for ours in (True, False):
        beta = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
        neuron, surrogate = Neuron(0.1 if ours else beta, reset), Surrogate("sigmoid", 0.4)
        if ours:
            s, v = float_steps(drive, torch.ones(1, dtype=torch.float64), STEPS, neuron, fires, surrogate, beta=beta,
                               initial=initial)
        else:
            s, v = plain_float(drive, neuron, fires, surrogate, initial)
        loss = (v * weights[-1]).sum() + ((s * weights[:-1]).sum() if fires else 0)
        loss.backward()
        found.append((float(loss.detach()), float(beta.grad)))
    assert found[0] == pytest.approx(found[1], rel=1e-10) and abs(found[0][1]) > 1e-3


@pytest.mark.parametrize("in_codes", [False, True])
@pytest.mark.parametrize("length", [1, STEPS])
def test_tssl_bp_is_the_published_rule(length, in_codes):
    """The rule as published, sums over filtered outputs included, one neuron at a time (stonezwr/TSSL-BP, functions/tsslbp.py)."""
    tau_m, tau_s, width = 4.0, 2.0, 0.2
    theta, unit = (8.0, 1 / 8) if in_codes else (1.0, 1.0)           # a code is worth 1/8
    generator = torch.Generator().manual_seed(3)
    drive = torch.randn(length, 40, 2, 1, 1, dtype=torch.float64, generator=generator) * 0.8 + 0.3
    drive = ((drive / unit).round() if in_codes else drive).requires_grad_()
    weights = torch.randn(STEPS, 40, 2, 1, 1, dtype=torch.float64, generator=generator)
    surrogate, one = Surrogate("tssl", width, 1 - 1 / tau_s), torch.ones(1, dtype=torch.float64)
    if in_codes:
        neuron = NeuronSpec(Leak("multiply", multiplier=3, fraction=2), Store(-4096, 4095), "hard")
        s, _ = code_steps(drive, theta * one[:, None], one[:, None], STEPS, neuron, torch.zeros(STEPS, 1, 1, 1, 1), True, surrogate)
    else:
        s, _ = float_steps(drive, one, STEPS, Neuron(1 - 1 / tau_m, "hard"), True, surrogate)
    (filtered(s, 1 - 1 / tau_s) / tau_s * weights).sum().backward()
    kernel = [(1 - 1 / tau_s)**k / tau_s for k in range(STEPS)]
    expected, used = torch.zeros_like(drive), set()
    for n in np.ndindex(40, 2):
        v, trace, steps = 0.0, 0.0, []
        for t in range(STEPS):
            x = float(drive[(t if length > 1 else 0, *n, 0, 0)].detach())
            u = (math.floor(v * 0.75) if in_codes else v * 0.75) + x
            spike = u >= theta
            trace += (spike - trace) / tau_s
            steps.append((unit * (u - v), unit * u, spike, trace))
            v = 0.0 if spike else u
        g, carry = [float(weights[(t, *n, 0, 0)]) for t in range(STEPS)], 0.0
        for t in reversed(range(STEPS)):
            delta, u, spike, trace = steps[t]
            partial_u = min(max(-1 / delta if delta else -8.0, -8.0), 0.0)
            back = sum(partial_u * kernel[k - t] / -tau_s * g[k] * tau_s for k in range(t, STEPS))
            if t != STEPS - 1:
                back += carry * u * -1 / tau_m * partial_u + carry * (1 - 1 / tau_m) * (not spike)
            carry = back * spike + carry * (not spike) * (1 - 1 / tau_m)
            if trace < 1 / (4 * tau_s):
                f = math.exp((1 - u) / width)
                back = sum(kernel[k - t] * g[k] for k in range(t, STEPS)) * f / ((1 + f)**2 * width)
            used.add((bool(spike), trace < 1 / (4 * tau_s)))
            expected[(t if length > 1 else 0, *n, 0, 0)] += back * unit
    assert torch.allclose(drive.grad, expected, rtol=1e-9, atol=1e-9) and len(used) == 3


def test_kernel_loss_is_that_of_filtered_spikes():
    """0.5 sum (filter(s) - filter(wanted))^2 per image, by hand for two classes and five steps, tau_s = 2."""
    spikes = torch.zeros(5, 2, 2)
    spikes[1:, 0, 0] = 1                                             # image 0 is right, and image 1 silent
    loss = Targets(torch.tensor([0, 1])).loss(torch.zeros(2, 2), "kernel", spikes, 0.5)
    trace, lost = 0.0, 0.0
    for wanted in (0, 1, 1, 1, 1):
        trace += (wanted - trace) / 2
        lost += trace**2 / 2
    assert float(loss) == pytest.approx(lost / 2)


def test_tet_loss_is_the_stated_formula():
    outputs, labels = torch.randn(3, 4, 5, dtype=torch.float64), torch.tensor([0, 3, 1, 4])
    entropy = -outputs.log_softmax(2)[:, torch.arange(4), labels].mean()
    expected = 0.9 * entropy + 0.1 * ((outputs - 1) ** 2).mean()
    assert float(Targets(labels).loss(outputs.sum(0), "tet", outputs, tet_share=0.1)) == pytest.approx(float(expected))


@pytest.mark.parametrize("options, sentence", [
    ({"loss": "kernel"}, "loss kernel wants neurons with a synapse"),
    ({"surrogate": "tssl"}, "surrogate tssl wants neurons with a synapse")])
def test_tssl_bp_wants_a_synapse(options, sentence):
    data = tiny_data()
    model = tiny_of(data, {"kind": "if"}, CHAIN["architecture"])
    with pytest.raises(ValueError, match=sentence):
        fit(model, data, TrainingOptions(**options), seed=0)


@pytest.mark.parametrize("levels", [(-1, 1), (0, 1), (-3, 1)])
@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even", "stochastic"])
def test_stacked_gradient_is_the_derivative_of_stacked_sigmoids(levels, rounding):
    generator = torch.Generator().manual_seed(1)
    acc = torch.randint(-30, 31, (STEPS, 2, 3, 4, 5), generator=generator).double().requires_grad_()
    theta = torch.tensor([8.0, 9.0, 7.0], dtype=torch.float64)[:, None, None]
    draws = torch.randint(0, 8, (STEPS, 1, 3, 4, 5), generator=generator).double()
    neuron = NeuronSpec(Leak("subtract_shift", 1), Store(*levels, 3, rounding, 5 if rounding == "stochastic" else 0), "hard")
    level, initial = torch.ones(1, 1, dtype=torch.float64), torch.zeros(3, 4, 5, dtype=torch.float64)
    arguments = (neuron, draws, True, Surrogate("triangle", 1.0))
    ours = code_steps(acc, theta.flatten()[None], level, STEPS, *arguments, temperature=2.0)
    compare(ours, plain_codes(acc, theta, level, *arguments, initial, 2.0), acc, exact=True)


def test_stacked_gradient_of_a_ternary_membrane_has_the_published_values():
    """Two steps at -0.5 and 0.5, T = 2: 0.79 at 0 and 0.72 at a step, close to a straight-through one with soft tails."""
    u, store = torch.tensor([0.0, 0.5, -0.5, 4.0]), Store(-1, 1, 3, "half_up")
    assert stacked_gradient(u, store, 2.0).tolist() == pytest.approx([0.786, 0.710, 0.710, 0.002], abs=1e-3)


LEAKS = (Leak(), Leak("subtract_shift", 2), Leak("shift", 1), Leak("multiply", multiplier=3, fraction=2))


@pytest.mark.parametrize("length", [1, STEPS])
@pytest.mark.parametrize("reset, v_reset", [("soft", 0), ("hard", 0), ("hard", -2)])
@pytest.mark.parametrize("leak", LEAKS, ids=str)
@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even", "stochastic"])
@pytest.mark.parametrize("fires", [True, False])
def test_code_steps_are_those_of_autograd(length, reset, v_reset, leak, rounding, fires):
    generator = torch.Generator().manual_seed(1)
    acc = torch.randint(-30, 31, (length, 2, 3, 4, 5), generator=generator).double().requires_grad_()
    theta = torch.tensor([7.0, 12.0, 20.0], dtype=torch.float64)[:, None, None]
    draws = torch.randint(0, 4, (STEPS, 1, 3, 4, 5), generator=generator).double()
    neuron = NeuronSpec(leak, Store(-8, 7, 2, rounding, 5 if rounding == "stochastic" else 0), reset, v_reset)
    initial = torch.randint(-8, 8, (3, 4, 5), generator=generator).double()
    arguments = (neuron, draws, fires, Surrogate("triangle", 1.0))
    level = torch.full((1, 1), 0.7, dtype=torch.float64)
    ours = code_steps(acc, theta.flatten()[None], level, STEPS, *arguments, initial=initial)
    compare(ours, plain_codes(acc, theta, level, *arguments, initial), acc, exact=True)


def batch(bits=4, steps=2, count=64, height=6, width=7):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 1 << bits, (steps, count, 2, height, width), generator=generator).float(), torch.arange(count)


def seeded(options, x, labels, seed=3):
    return augment(x, labels, AugmentationOptions(**options), torch.Generator().manual_seed(seed))


def test_mean_logits_are_the_readout_over_the_steps():
    data, losses = tiny_data(constant=False, steps=5), []
    for mean in (False, True):
        model = tiny_of(data, {"kind": "if", "readout": "membrane"}, {"kind": "feedforward", "layers": "4C3-5"})
        if mean:
            for parameter in model.layers[1].connections[0].parameters():
                parameter.data.mul_(5)
        options = TrainingOptions(epochs=1, batch_size=len(data.labels["train"]), mean_logits=mean)
        losses.append(fit(model, data, options, seed=0, say=lambda text: None)[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize("options", [{"crop": 2}, {"flip": True}, {"roll": 3}, {"cutout": 3}, {"mixup": 1.0},
                                     {"crop": 1, "flip": True, "cutout": 2, "mixup": 0.5}])
def test_augmentation_is_seeded_and_keeps_codes(options):
    x, labels = batch()
    first, second, other = seeded(options, x, labels), seeded(options, x, labels), seeded(options, x, labels, 4)
    assert torch.equal(first[0], second[0]) and not torch.equal(first[0], other[0]) and not torch.equal(first[0], x)
    assert torch.equal(first[0], first[0].round()) and first[0].min() >= 0 and first[0].max() <= 15
    assert first[0].shape == x.shape


def test_flip_turns_about_half_of_the_images_at_all_steps():
    x, labels = batch()
    out, targets = seeded({"flip": True}, x, labels)
    turned = [torch.equal(out[:, k], x[:, k].flip(-1)) for k in range(64)]
    same = [torch.equal(out[:, k], x[:, k]) for k in range(64)]
    assert all(a != b for a, b in zip(turned, same)) and 16 < sum(turned) < 48
    assert torch.equal(targets.labels, labels) and targets.others is None


def test_roll_and_crop_move_whole_images():
    x, labels = batch(count=24)
    rolled, _ = seeded({"roll": 2}, x, labels)
    cropped, _ = seeded({"crop": 2}, x, labels)
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    moves = set()
    for k in range(24):
        found = [(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)
                 if torch.equal(rolled[:, k], x[:, k].roll((-dy, -dx), (-2, -1)))]
        assert len(found) == 1
        moves.add(found[0])
        assert any(torch.equal(cropped[:, k], padded[:, k, :, dy:dy + 6, dx:dx + 7]) for dy in range(5) for dx in range(5))
    assert len(moves) > 8


def test_cutout_clears_one_square():
    x, labels = batch()
    out, _ = seeded({"cutout": 3}, x + 1, labels)
    for k in range(64):
        hole = (out[0, k, 0] == 0).nonzero()
        sides = hole.max(0).values - hole.min(0).values + 1
        assert sides.max() <= 3 and len(hole) == sides.prod()           # smaller where it reaches over the edge
        assert torch.equal(out[0, k] == 0, out[1, k] == 0) and torch.equal((out == 0) | (out == x + 1), torch.ones_like(out) == 1)


def test_mixup_weights_pixels_and_labels_alike():
    """An image of its own label's value everywhere: the mixture tells the shares."""
    labels = torch.arange(16)
    x = (labels.float() * 10)[None, :, None, None, None].expand(1, 16, 1, 2, 2).clone()
    out, targets = seeded({"mixup": 1.0}, x, labels)
    assert 0 < targets.share < 1 and not torch.equal(targets.others, labels)
    expected = targets.share * labels + (1 - targets.share) * targets.others
    assert (out[0, :, 0, 0, 0] / 10 - expected).abs().max() <= 0.05          # rounded to codes
    logits = torch.randn(16, 16)
    one_hot = targets.share * torch.eye(16)[labels] + (1 - targets.share) * torch.eye(16)[targets.others]
    assert targets.loss(logits).item() == pytest.approx(-(one_hot * logits.log_softmax(1)).sum(1).mean().item(), rel=1e-5)
    main = labels if targets.share >= 0.5 else targets.others
    assert targets.right(torch.eye(16)[main]) == 16
    assert Targets(labels).right(torch.eye(16)) == 16


def test_mixup_shares_have_the_beta_distribution():
    x, labels = batch(count=2)
    shares = np.array([seeded({"mixup": 0.5}, x, labels, seed)[1].share for seed in range(2000)])
    assert shares.mean() == pytest.approx(0.5, abs=0.03) and shares.var() == pytest.approx(1 / 8, abs=0.01)    # Beta(1/2, 1/2)


@pytest.mark.parametrize("normed", [True, False])
def test_stbp_starts_from_weights_for_its_threshold(normed):
    """The published network at a threshold of 0.5 is one of twice the weights at 1; normalised layers have no such scale."""
    data, chain = tiny_data(), {"architecture": {"kind": "feedforward", "layers": "6C3-4C3s2-5", "norm": normed},
                                "neuron": {"kind": "decay"}, "pretraining": {"kind": "stbp"}}
    model, same = (tiny_of(data, chain["neuron"], chain["architecture"]) for _ in range(2))
    method = make("pretraining", {"kind": "stbp", "training": {"epochs": 1, "max_steps": 1, "learning_rate": 1e-9}})
    method.train(model, data, seed=0, say=lambda text: None)
    for layer, other in zip(model.layers, same.layers):
        gain = 1 if layer.connections[0].connection.norm else 2
        assert torch.allclose(layer.connections[0].weight, gain * other.connections[0].weight, atol=1e-6)
