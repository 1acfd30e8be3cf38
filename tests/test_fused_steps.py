"""The fused kernels of neurons give the bits that torch's operations give, forward and backward."""
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT, not_run
from test_models import tiny_data

from spikeproof import kernels, neuron_steps
from spikeproof.api import prepare, train
from spikeproof.entries import ConfigError, make
from spikeproof.spec import Leak, NeuronSpec, Store
from spikeproof.surrogates import Surrogate

STEPS, PLACES = 4, (5, 7, 3)                                        # C, H, W
#: Membranes at the start: of each neuron, of each channel, and one for all.
STARTS = (PLACES, (PLACES[0], 1, 1), (1, 1, 1))


class Neuron:
    def __init__(self, beta, reset):
        self.beta, self.reset = beta, reset


@pytest.fixture(autouse=True)
def built_anew():
    """Kernels are looked for again, and have more threads than one."""
    kernels._found.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)
    kernels._found.cache_clear()


def both(monkeypatch, compute, *given):
    """What is computed with the kernels and without."""
    assert kernels.library() is not None
    with_kernels = compute(*given)
    monkeypatch.setattr(neuron_steps, "library", lambda: None)
    without = compute(*given)
    monkeypatch.undo()
    return with_kernels, without


def same(given, expected):
    for ours, theirs in zip(given, expected, strict=True):
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs)
    assert 0 < given[0].mean() < 1 and given[-1].abs().sum() > 0      # some spike, and there is a gradient


def float_case(drive, initial, theta, neuron, surrogate):
    """(spikes, membranes, gradients of the drive through either) of random gradients."""
    torch.manual_seed(5)
    x = drive.clone().requires_grad_()
    s, v = neuron_steps.float_steps(x, theta, STEPS, neuron, True, surrogate, initial=initial)
    with torch.no_grad():                                            # nothing is kept then
        assert torch.equal(neuron_steps.float_steps(x, theta, STEPS, neuron, True, surrogate, initial=initial)[0], s)
    of_s, = torch.autograd.grad((s * torch.randn_like(s)).sum(), x, retain_graph=True)
    of_v, = torch.autograd.grad((v * torch.randn_like(v)).sum(), x)
    return s.detach(), v.detach(), of_v, of_s


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["atan", "rectangle", "sigmoid", "triangle"])
def test_float_kernels_give_torch_s_bits(monkeypatch, name, dtype):
    torch.manual_seed(0)
    for reset, length, channels, starts in itertools.product(("soft", "hard"), (1, STEPS), (0, 1, PLACES[0]), STARTS):
        drive, initial = torch.randn(length, 2, *PLACES, dtype=dtype), torch.randn(starts, dtype=dtype) / 3
        theta = 0.5 + torch.rand(*((STEPS, channels) if channels else (STEPS,)), dtype=dtype)
        same(*both(monkeypatch, float_case, drive, initial, theta, Neuron(0.7, reset), Surrogate(name, 0.9)))


def code_case(acc, initial, theta, neuron, draws, surrogate):
    """(spikes, stored codes, gradients of the sums through either) of random gradients."""
    torch.manual_seed(5)
    x = acc.clone().requires_grad_()
    s, codes = neuron_steps.code_steps(x, theta, torch.ones_like(theta), STEPS, neuron, draws, True, surrogate, initial=initial)
    of_s, = torch.autograd.grad((s * torch.randn_like(s)).sum(), x, retain_graph=True)
    of_codes, = torch.autograd.grad((codes * torch.randn_like(codes)).sum(), x)
    assert codes.abs().max() == 32                                   # the store clips
    return s.detach(), codes.detach(), of_codes, of_s


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rounding", ["floor", "half_up", "half_even", "stochastic"])
def test_code_kernels_give_torch_s_bits(monkeypatch, rounding, dtype):
    torch.manual_seed(1)
    store = Store(-32, 31, 1, rounding, 7 if rounding == "stochastic" else 0)
    leaks = (Leak(), Leak("subtract_shift", 2), Leak("shift", 1), Leak("multiply", 0, 13, 4))
    for leak, reset, length, channels, name, starts in itertools.product(leaks, ("soft", "hard"), (1, STEPS), (1, PLACES[0]),
                                                                         ("atan", "sigmoid"), STARTS):
        neuron = NeuronSpec(leak, store, reset, 3 if reset == "hard" else 0)
        acc, initial = torch.randint(-80, 90, (length, 2, *PLACES)).to(dtype), torch.randint(-9, 9, starts).to(dtype)
        theta, draws = torch.randint(20, 60, (STEPS, channels)).to(dtype), torch.randint(0, 2, (STEPS, 1, *PLACES)).to(dtype)
        same(*both(monkeypatch, code_case, acc, initial, theta, neuron, draws, Surrogate(name, 0.9)))


@pytest.mark.parametrize("places", [(5, 41, 45), (7000, 1, 1)])
def test_work_of_several_threads_gives_torch_s_bits(monkeypatch, places):
    """Maps and features of many tiles, the last of them not whole: more numbers than one thread's work."""
    torch.manual_seed(4)
    drive, theta = torch.randn(STEPS, 6, *places), 0.5 + torch.rand(STEPS, places[0])
    same(*both(monkeypatch, float_case, drive, torch.zeros(places), theta, Neuron(0.7, "soft"), Surrogate("atan", 0.9)))
    neuron = NeuronSpec(Leak("shift", 1), Store(-32, 31, 1), "soft", 0)
    acc, theta = torch.randint(-80, 90, drive.shape).float(), torch.randint(20, 60, theta.shape).float()
    draws = torch.zeros(STEPS, 1, *places)
    same(*both(monkeypatch, code_case, acc, torch.zeros(places), theta, neuron, draws, Surrogate("atan", 0.9)))


def test_kernels_stay_inside_their_arrays(tmp_path):
    """AddressSanitizer ends the process at the first number that a kernel reads or writes outside of what it was given."""
    compiler = os.environ.get("CXX") or "g++"

    def found(name):
        said = subprocess.run([*compiler.split(), f"-print-file-name={name}"], capture_output=True, text=True)
        return said.stdout.strip()
    sanitizer = found("libasan.so")
    if not Path(sanitizer).is_absolute():
        not_run(f"{compiler} has no AddressSanitizer")

    def run(*command):
        return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT, env={
            **os.environ, "CXX": f"{compiler} -fsanitize=address", "XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": "src",
            "LD_PRELOAD": f"{sanitizer} {found('libstdc++.so.6')}", "ASAN_OPTIONS": "detect_leaks=0"})
    tried = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_fused_steps.py", "tests/test_integer.py",
                "tests/test_catalog.py", "tests/test_winograd.py", "-k",
                "direct_convolutions or torch_s_bits or scalar_reference or sums_of_bytes or equals_its_integers")
    assert tried.returncode == 0 and " passed" in tried.stdout, tried.stdout + tried.stderr
    short = run("-c", "import numpy, torch\nfrom spikeproof import kernels\nx, out = torch.zeros(1), torch.zeros(8)\n"
                "kernels.call(kernels.library(), 'single_float_forward', x, 1, x, 0, None, 1, None, out, out, 1, 1, 8, 0.0, 1, 1)")
    assert short.returncode != 0 and "heap-buffer-overflow" in short.stderr   # it would have been seen


def test_gradients_of_thresholds_stay_what_they_are(monkeypatch):
    """The kernels leave them to torch, from what they kept."""
    torch.manual_seed(2)
    acc, neuron = torch.randint(-80, 90, (STEPS, 2, *PLACES)).float(), NeuronSpec(store=Store(-32, 31, 1))
    first = torch.randint(20, 60, (STEPS, 1)).float()

    def compute():
        x, theta, level = acc.clone().requires_grad_(), first.clone().requires_grad_(), torch.ones_like(first).requires_grad_()
        s, _ = neuron_steps.code_steps(x, theta, level, STEPS, neuron, torch.zeros(STEPS, 1, *PLACES), True, Surrogate())
        grads = torch.autograd.grad((s * torch.arange(PLACES[-1])).sum(), [theta, level, x])
        return s.detach(), *grads
    same(*both(monkeypatch, compute))


def test_bfloat16_neurons_compute_in_float32(monkeypatch):
    """Spikes are those of float32 neurons on the same drive; what is kept for the gradient is rounded to eight bits."""
    torch.manual_seed(3)
    drive, to_s = torch.randn(STEPS, 2, *PLACES).bfloat16(), torch.randn(STEPS, 2, *PLACES)
    assert kernels.library() is not None

    def compute(dtype):
        x = drive.to(dtype).requires_grad_()
        s, v = neuron_steps.float_steps(x, torch.ones(1), STEPS, Neuron(0.7, "soft"), True, Surrogate())
        return s, v, torch.autograd.grad((s * to_s.to(s.dtype)).sum(), x)[0]
    half, exact = compute(torch.bfloat16), compute(torch.float32)
    assert half[0].dtype == torch.bfloat16 and torch.equal(half[0].float(), exact[0])
    assert torch.equal(half[1], exact[1].bfloat16())
    assert (half[2].float() - exact[2]).abs().max() < 0.03 * exact[2].abs().max()
    monkeypatch.setattr(neuron_steps, "library", lambda: None)
    assert torch.equal(compute(torch.bfloat16)[0], exact[0])


@pytest.mark.parametrize("compiler, told", [("no-such-compiler", "No such file"), ("false", "non-zero exit status"),
                                            ("g++ '", "No closing quotation")])
def test_without_a_compiler_torch_computes(monkeypatch, tmp_path, compiler, told):
    monkeypatch.setenv("CXX", compiler)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    said = []
    data = tiny_data()
    model = train(data, {"kind": "feedforward", "layers": "4C3-AP2-5"}, say=said.append,
                  pretraining={"kind": "surrogate", "training": {"epochs": 1, "max_steps": 1}})
    assert kernels.library() is None and model.history[-1]["epoch"] == 1
    assert len(said) == 1 and f"takes longer: {compiler} does not build" in said[0] and told in said[0]


def test_kernels_are_built_once_and_where_they_may_be(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels.library() is not None
    kept, = (tmp_path / "spikeproof").iterdir()
    content = kept.read_bytes()
    kept.write_bytes(content[:1000])                                 # cut short: built again, to the same bytes
    kernels._found.cache_clear()
    assert kernels.library() is not None and [*kept.parent.iterdir()] == [kept] and kept.read_bytes() == content
    kernels._found.cache_clear()
    monkeypatch.setattr(kernels, "_build", lambda *_: pytest.fail("built again"))
    assert kernels.library() is not None
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))    # no folder can be made there
    monkeypatch.setenv("CXX", "g++ -pipe")
    kernels._found.cache_clear()
    assert kernels.library() is not None and not kernels.complaint()
    kernels._found.cache_clear()
    monkeypatch.setenv("SPIKEPROOF_KERNELS", "0")
    assert kernels.library() is None


def test_bfloat16_is_for_training_in_full_precision():
    """Integer codes must be summed exactly: quantizers, pruners and DECOLLE refuse it by name; a float training learns in it."""
    for section, entry in (("quantizers", {"kind": "int", "bits": 4}), ("pruners", {"kind": "channel"}),
                           ("pretraining", {"kind": "decolle"})):
        with pytest.raises((ConfigError, ValueError), match="precision: bfloat16 is for pre-trainings by .* need float32$"):
            make(section, {**entry, "training": {"precision": "bfloat16"}})
    data = prepare({"kind": "digits", "bits": 4, "steps": 2})
    networks = {precision: train(data, {"kind": "feedforward", "layers": "8C3-MP2-10"}, pretraining={
        "kind": "surrogate", "training": {"epochs": 3, "batch_size": 32, "precision": precision}})
        for precision in ("bfloat16", "float32")}
    scores = {precision: network.history[-1]["validation_accuracy"] for precision, network in networks.items()}
    assert scores["float32"] > 0.6 and abs(scores["bfloat16"] - scores["float32"]) < 0.1 and scores["bfloat16"] != 0
    weights = [network.layers[0].connections[0].weight for network in networks.values()]
    assert weights[0].dtype == torch.float32 and not torch.equal(*weights)
