"""Trained thresholds: their gradients against finite differences of the stated formula, path by path; the ATIF-nu recursion."""
from itertools import combinations

import numpy as np
import pytest
import torch

from spikeproof.neuron_steps import code_steps, float_steps
from spikeproof.spec import NeuronSpec, Store
from spikeproof.surrogates import SURROGATES, Surrogate
from spikeproof.thresholds import LearnedThreshold, LevelThresholds, TrainedThreshold, at_least, thresholds_of_levels

STEPS = 4
SURROGATE = Surrogate("sigmoid", 0.5)
EVERY = [paths for count in range(4) for paths in combinations(("amplitude", "comparison", "reset"), count)]


class Neuron:
    beta, reset = 1.0, "soft"


class Hard:
    beta, reset = 0.5, "hard"


def linearised(drive, theta, amplitude, weights, last, at, moving, neuron=Neuron, surrogate=SURROGATE):
    """The loss as a function of thresholds near the point ``at``, where spikes are replaced by their stated linearisation.

    s(t) = s0(t) + sigma'(h0(t) - V0(t)) ((h - h0) - (V - V0)): forward value and derivative are those that the formula states. A
    path that is not in ``moving`` sees the thresholds of ``at``; under "window" a spike sees them by the share sigmoid(h0 - V0).
    """
    slope = SURROGATES[surrogate.name]
    theta0, amplitude0 = at
    v = v0 = torch.zeros_like(drive[0])
    loss = torch.zeros((), dtype=drive.dtype)
    for t in range(STEPS):
        level, level0 = (of[t if len(of) > 1 else 0] for of in (theta, theta0))
        h, h0 = neuron.beta * v + drive[t], neuron.beta * v0 + drive[t]
        s0 = (h0 >= level0).to(h.dtype)
        seen = level if "comparison" in moving else level0
        if "window" in moving:
            seen = level0 + s0 / (1 + torch.exp(level0 - h0)) * (level - level0)
        s = s0 + slope(h0 - level0, surrogate.width) * ((h - h0) - (seen - level0))
        if neuron.reset == "soft":
            v, v0 = h - s * (level if "reset" in moving else level0), h0 - s0 * level0
        else:
            v, v0 = h * (1 - s), h0 * (1 - s0)
        loss = loss + (weights[t] * s * (amplitude if "amplitude" in moving else amplitude0)).sum()
    return loss + (last * v).sum()


@pytest.mark.parametrize("paths", EVERY, ids=lambda paths: "+".join(paths) or "none")
@pytest.mark.parametrize("kind", ["atif_u", "atif_nu"])
def test_threshold_gradient_is_the_finite_difference_of_the_stated_formula(kind, paths):
    generator = torch.Generator().manual_seed(2)
    drive = torch.rand(STEPS, 6, 2, 3, 3, dtype=torch.float64, generator=generator) * 1.2 - 0.2
    weights, last = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in (drive.shape, drive.shape[1:]))
    torch.manual_seed(3)
    module = (TrainedThreshold(0.8, 1.0, paths) if kind == "atif_u" else LevelThresholds(STEPS, 0.8, 1.0, paths)).double()
    parameter, = module.parameters()
    if kind == "atif_nu":                                            # away from the ties of a uniform quantizer
        parameter.data.copy_(torch.tensor([0.45, 0.25, 0.13, 0.09]))
    theta, amplitude = module()
    s, v = float_steps(drive, theta, STEPS, Neuron, True, SURROGATE, paths)
    ((weights * s).sum() * amplitude + (last * v).sum()).backward()
    grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad

    def loss(values):
        with torch.no_grad():
            before = tuple(of.clone() for of in module())
            kept = parameter.clone()
            parameter.copy_(values)
            moved = module()
            parameter.copy_(kept)
            return linearised(drive, *moved, weights, last, before, paths)
    step = 1e-6
    for k in range(len(parameter)):
        move = torch.zeros_like(parameter)
        move[k] = step
        difference = (loss(parameter.detach() + move) - loss(parameter.detach() - move)) / (2 * step)
        assert float(grad[k]) == pytest.approx(float(difference), rel=1e-6, abs=1e-6), k
    assert bool(grad.abs().sum() > 1e-3) == bool(paths)


@pytest.mark.parametrize("comparison", ["window", "comparison"])
@pytest.mark.parametrize("neuron", [Neuron, Hard])
def test_learned_threshold_gradient_is_the_finite_difference_of_the_stated_formula(comparison, neuron):
    """SpQuant-SNN: spikes of value 1, the triangle, and the gradient penalty window beside the plain gradient."""
    generator = torch.Generator().manual_seed(2)
    drive = torch.rand(STEPS, 6, 2, 3, 3, dtype=torch.float64, generator=generator) * 1.6 - 0.2
    weights, last = (torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in (drive.shape, drive.shape[1:]))
    paths, triangle = (comparison, "reset"), Surrogate("triangle", 1.0)
    module = LearnedThreshold(0.9, paths).double()
    theta, amplitude = module()
    s, v = float_steps(drive, theta, STEPS, neuron, True, triangle, paths)
    ((weights * s).sum() + (last * v).sum()).backward()
    assert amplitude == 1.0
    step = 1e-6

    def loss(value):
        moved = torch.tensor([value], dtype=torch.float64)
        return float(linearised(drive, moved, 1.0, weights, last, (theta.detach(), 1.0), paths, neuron, triangle))
    at = module.threshold.item()
    difference = (loss(at + step) - loss(at - step)) / (2 * step)
    assert abs(difference) > 0.01 and module.threshold.grad.item() == pytest.approx(difference, rel=1e-6)


def test_threshold_learns_from_spikes_alone_by_equation_26():
    """One step, so no reset matters: dL/dV = - sum over spikes of dL/do max(0, 1 - |u - V|) sigmoid(u - V)."""
    u, wanted = torch.tensor([0.2, 0.8, 1.1, 1.5, 3.0]), torch.tensor([5.0, -2.0, 3.0, -1.0, 4.0])
    module = LearnedThreshold(1.0, ("window", "reset"))
    s, _ = float_steps(u.reshape(1, 1, 5, 1, 1), module()[0], 1, Hard, True, Surrogate("triangle", 1.0), module.paths)
    (s.flatten() * wanted).sum().backward()
    by_hand = -sum(g * (1 - (x - 1)) / (1 + np.exp(1 - x)) for x, g in ((1.1, 3.0), (1.5, -1.0)))
    assert module.threshold.grad.item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("paths", [("comparison", "reset"), ("window", "reset")])
def test_gradients_in_codes_are_those_in_values(paths):
    """A fine unit: the coded neuron's threshold gradient, through theta = V / value, tends to the one in values."""
    generator = torch.Generator().manual_seed(2)
    drive = torch.rand(STEPS, 6, 2, 3, 3, dtype=torch.float64, generator=generator) * 1.2 - 0.2
    weights = torch.randn(drive.shape, dtype=torch.float64, generator=generator)
    found = []
    value = 2.0**-20
    for coded in (False, True):
        level = torch.tensor([0.9], dtype=torch.float64, requires_grad=True)
        if coded:
            theta = level[:, None] / value
            theta = theta + (theta.round() - theta).detach()
            neuron = NeuronSpec(store=Store(-(1 << 30), (1 << 30)))
            acc = (drive / value).round()
            s, _ = code_steps(acc, theta, level[:, None], STEPS, neuron, acc.new_zeros(STEPS, 1, 1, 1), True, SURROGATE, paths)
        else:
            s, _ = float_steps(drive, level, STEPS, Neuron, True, SURROGATE, paths)
        (weights * s).sum().backward()
        found.append(float(level.grad))
    assert found[0] != 0 and found[1] == pytest.approx(found[0], rel=1e-4)


def counts(thresholds, inputs):
    """Spikes over T steps of a neuron without leak at constant inputs [N], thresholds [T]: plain loops in float64."""
    v, count = np.zeros_like(inputs), np.zeros(len(inputs), int)
    for threshold in thresholds:
        v = v + inputs
        fired = v >= threshold - 1e-12
        v = v - fired * threshold
        count += fired
    return count


def wrong(levels, thresholds):
    """Share of inputs whose spike count is not the number of levels that they reach; inputs at a level's very edge left out."""
    inputs = np.linspace(0.0005, 1.3 * levels[0], 20_011)
    inputs = inputs[np.abs(inputs[:, None] - levels).min(1) > 1e-9]
    return (counts(thresholds, inputs) != (inputs[:, None] >= levels).sum(1)).mean()


def printed(levels):
    """The thresholds of T = 4 by the paper's equations as printed (Eq. 14, 15, 17, 19)."""
    p1, p2, p3, p4 = levels
    v4 = 4 * p4
    return [p1, 3 * p2 - 4 * (p3 - p4), 4 * (p3 - p4), v4]


@pytest.mark.parametrize("steps", [2, 3, 4])
def test_general_rule_gives_the_staircase(steps):
    """Exact for levels whose gaps do not shrink with amplitude, up to T = 4."""
    rng = np.random.default_rng(5)
    for _ in range(40):
        gaps = np.sort(rng.random(steps) + 0.05)                     # the gap below p_T is the smallest
        levels = np.cumsum(gaps)[::-1].copy()
        assert wrong(levels, thresholds_of_levels(torch.tensor(levels)).tolist()) == 0


def test_uniform_levels_give_one_threshold():
    for steps in range(1, 9):
        levels = torch.arange(steps, 0, -1, dtype=torch.float64) / steps * 0.9
        assert torch.allclose(thresholds_of_levels(levels), torch.full((steps,), 0.9, dtype=torch.float64))


def test_printed_equation_19_fails_for_the_uniform_quantizer():
    uniform = np.array([1.0, 0.75, 0.5, 0.25])
    assert printed(uniform) == [1.0, 1.25, 1.0, 1.0]                 # V_2 should be 1
    assert 0.12 < wrong(uniform, printed(uniform)) * 1.3 < 0.19       # of the inputs from 0 to p_1
    assert wrong(uniform, thresholds_of_levels(torch.tensor(uniform)).tolist()) == 0
    # Inside the region where the printed equations hold, both rules are one.
    gaussian = np.array([0.1868, 0.12, 0.0683, 0.0223])
    assert np.allclose(printed(gaussian), thresholds_of_levels(torch.tensor(gaussian)).tolist())
    assert wrong(gaussian, printed(gaussian)) == 0


def test_thresholds_are_positive_and_their_gradient_is_that_of_the_rule():
    rng = np.random.default_rng(0)
    for steps in (1, 2, 5, 8):
        gaps = torch.tensor(rng.random(steps) + 0.01, requires_grad=True)
        assert (thresholds_of_levels(gaps.flip(0).cumsum(0).flip(0)) > 0).all()
        assert torch.autograd.gradcheck(lambda g: thresholds_of_levels(g.flip(0).cumsum(0).flip(0)), gaps)


def test_lower_bound_lets_parameters_come_back():
    x = torch.tensor([0.5, -1.0, -1.0], requires_grad=True)
    out = at_least(x, 0.1)
    out.backward(torch.tensor([1.0, 1.0, -1.0]))                     # a positive gradient would lower x
    assert out.tolist() == pytest.approx([0.5, 0.1, 0.1]) and x.grad.tolist() == [1.0, 0.0, -1.0]


def test_a_spike_of_atif_nu_counts_the_first_level():
    module = LevelThresholds(4, 0.9, 0.9, ("comparison", "reset", "amplitude"))
    module.gaps.data = torch.tensor([0.1, 0.2, 0.3, 0.4])
    theta, amplitude = module()
    assert amplitude.item() == pytest.approx(1.0) and module.levels().tolist() == pytest.approx([1.0, 0.9, 0.7, 0.4])
    assert theta.tolist() == pytest.approx(thresholds_of_levels(module.levels()).tolist())
