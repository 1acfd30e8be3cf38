"""Convolutions by minimal filtering: direct sums and their gradients but for rounding, in trainings that ask for them alone."""
import re

import pytest
import torch
from test_models import tiny_data

from spikeproof import kernels, winograd
from spikeproof.api import prepare, train
from spikeproof.architectures.shapes import Connection
from spikeproof.entries import ConfigError, make
from spikeproof.models.operations import convolve

LAYERS = {"kind": "feedforward", "layers": "32C3-32C3-MP2-32C3-10", "norm": True}


@pytest.fixture(autouse=True)
def built_anew():
    kernels._found.cache_clear()
    yield
    kernels._found.cache_clear()


def connection_of(channels, to, **others):
    return Connection("input", channels, to, kernel=(3, 3), padding=1, **others)


def result(x, weight, bias, dy, way, connection):
    """Output and gradients of all that it has."""
    given = [part.detach().clone().requires_grad_() for part in (x, weight, bias)]
    y = way(*given, connection)
    return y.detach(), *torch.autograd.grad(y, given, dy)


@pytest.mark.parametrize("dtype, close", [(torch.float64, 1e-13), (torch.float32, 1e-4)])
@pytest.mark.parametrize("images, channels, to, height, width", [
    (1, 32, 32, 4, 4), (2, 32, 64, 9, 7), (3, 64, 32, 16, 5), (5, 96, 32, 3, 4), (40, 32, 32, 12, 12), (17, 64, 96, 8, 8)])
def test_sums_and_gradients_are_those_of_direct_convolutions(dtype, close, images, channels, to, height, width):
    """Of maps of one tile and of many, whole tiles and parts; one, two and many blocks of tiles."""
    torch.manual_seed(images)
    x, weight, bias = torch.randn(images, channels, height, width), torch.randn(to, channels, 3, 3), torch.randn(to)
    dy, connection = torch.randn(images, to, height, width), connection_of(channels, to)
    parts = [part.to(dtype) for part in (x, weight, bias, dy)]
    with winograd.used(True):
        assert winograd.takes(parts[0], connection)
        found = result(*parts, winograd.convolve, connection)
    exact = result(*(part.double() for part in parts), convolve, connection)
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == dtype and ours.shape == theirs.shape
        assert (ours.double() - theirs).abs().max() < close * theirs.abs().max()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 3)
        with winograd.used(True):
            again = result(*parts, winograd.convolve, connection)
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for pair in zip(found[:3], again))  # as many threads as you like


def test_only_what_is_asked_for_and_can_be_is_taken():
    x, connection = torch.zeros(2, 32, 8, 8), connection_of(32, 64)
    assert not winograd.takes(x, connection)
    with winograd.used(True):
        with winograd.used(False):
            assert not winograd.takes(x, connection)
        assert winograd.takes(x, connection) and winograd.takes(torch.zeros(2, 32, 3, 3), connection)
        others = [(x.bfloat16(), connection), (x.to("meta"), connection), (torch.zeros(2, 32, 2, 2), connection),
                  (torch.zeros(2, 16, 8, 8), connection_of(16, 64)), (x, connection_of(32, 40)),
                  (x, connection_of(32, 64, stride=2)), (x, connection_of(32, 32, depthwise=True)),
                  (x, Connection("input", 32, 64, kernel=(1, 1))), (x, Connection("input", 32, 64, kernel=(3, 3)))]
        assert not any(winograd.takes(*other) for other in others)
    assert not winograd.takes(x, connection)


@pytest.mark.slow
def test_a_training_by_it_learns_as_one_by_direct_sums(monkeypatch):
    data = prepare({"kind": "digits", "bits": 4, "steps": 2})
    taken, real = [], winograd.convolve
    monkeypatch.setattr(winograd, "convolve", lambda x, *rest: taken.append(x.shape[-1]) or real(x, *rest))
    networks, said = {}, []
    for convolutions in ("direct", "winograd", "winograd"):
        before = len(taken)
        network = train(data, LAYERS, say=said.append, pretraining={
            "kind": "surrogate", "training": {"epochs": 2, "batch_size": 64, "convolutions": convolutions}})
        networks.setdefault(convolutions, []).append(network)
        # Of the three layers of 3 x 3 the first has one channel; evaluations take direct sums.
        steps = 2 * -(-len(data.labels["train"]) // 64)
        assert sorted(taken[before:]) == ([] if convolutions == "direct" else [4] * steps + [8] * steps)
    assert said == ["Winograd's kernels compute 2 of the network's convolutions"] * 2
    train(data, {"kind": "feedforward", "layers": "16C3-10"}, say=said.append, pretraining={
        "kind": "surrogate", "training": {"epochs": 1, "max_steps": 1, "convolutions": "winograd"}})
    assert said[2:] == [
        "Winograd's kernels compute 0 of the network's convolutions: none has what they take, which config/README.md says"]
    (direct,), (first, second) = networks.values()
    scores = [network.history[-1]["validation_accuracy"] for network in (direct, first)]
    assert scores[0] > 0.8 and abs(scores[0] - scores[1]) < 0.06
    weights = [[p.detach() for p in network.parameters()] for network in (direct, first, second)]
    assert all(map(torch.equal, *weights[1:])) and not all(map(torch.equal, *weights[:2]))
    losses = [network.history[0]["loss"] for network in (direct, first)]
    assert abs(losses[0] - losses[1]) < 0.01 * losses[0]


def test_it_is_for_trainings_in_full_precision():
    for section, entry in (("quantizers", {"kind": "int", "bits": 4}), ("pruners", {"kind": "channel"}),
                           ("pretraining", {"kind": "decolle"})):
        with pytest.raises((ConfigError, ValueError), match="convolutions: winograd is for pre-trainings by .* need direct sums$"):
            make(section, {**entry, "training": {"convolutions": "winograd"}})
    with pytest.raises((ConfigError, ValueError), match="convolutions must be direct for precision bfloat16: winograd computes in "
                                                        "float32$"):
        make("pretraining", {"kind": "surrogate", "training": {"convolutions": "winograd", "precision": "bfloat16"}})


@pytest.mark.parametrize("variable, value, told", [
    ("CXX", "no-such-compiler", "no-such-compiler does not build their kernels ([Errno 2] No such file or directory: "
     "'no-such-compiler')"),
    ("SPIKEPROOF_KERNELS", "off", "SPIKEPROOF_KERNELS=off forbids their kernels")])
def test_without_a_compiler_it_is_refused(monkeypatch, tmp_path, variable, value, told):
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=re.escape(f"convolutions must be direct where there is no Winograd: {told}") + "$"):
        train(tiny_data(), {"kind": "feedforward", "layers": "4C3-AP2-5"}, say=lambda said: None, pretraining={
            "kind": "surrogate", "training": {"epochs": 1, "max_steps": 1, "convolutions": "winograd"}})
