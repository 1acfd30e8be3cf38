"""Torch: surrogates against their formulas, codes against the integer model, training that resumes to the same bits."""
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spikeproof import training
from spikeproof.architectures.shapes import Connection, channel_groups
from spikeproof.convert import ModelMismatch, check_equal, exact_dtype, to_codes, to_spec
from spikeproof.datasets.base import PARTS, PreparedData
from spikeproof.entries import make
from spikeproof.files import CorruptFile
from spikeproof.model_files import build, load_model, save_model
from spikeproof.models import CodeNetwork
from spikeproof.models.float_network import FloatConnection
from spikeproof.projections import InputSpec
from spikeproof.spec import Leak, NeuronSpec, Store
from spikeproof.surrogates import SURROGATES
from spikeproof.training_options import TrainingOptions

CHAIN = {"architecture": {"kind": "feedforward", "layers": "6C3-AP2-4C3s2-5"},
         "neuron": {"kind": "lif", "reset": "hard", "readout": "membrane"}, "pretraining": {"kind": "surrogate"}}


def tiny_data(bits=2, constant=True, images=40, steps=3):
    rng = np.random.default_rng(3)
    spec = InputSpec((4, 4, 2), bits, constant)
    shape = spec.shape if constant else (steps, *spec.shape)
    labels = {part: np.arange(images) % 5 for part in PARTS}
    frames = {part: np.clip(rng.integers(0, spec.max_code + 1, (images, *shape)) *
                            (rng.random((images, *shape)) < 0.3 + 0.14 * labels[part].reshape(-1, *[1] * len(shape))), 0, None)
              .astype(np.uint8) for part in PARTS}
    return PreparedData(spec, steps, 5, frames, labels, {"name": "tiny"})


def tiny_float(data=None, **neuron):
    data = data or tiny_data()
    torch.manual_seed(0)
    model = build({**CHAIN, "neuron": {**CHAIN["neuron"], **neuron}}, data.input, data.steps, data.classes)
    unsettle(model)
    model.layers[0].initial.copy_(0.3 * torch.randn(model.layers[0].initial.shape))
    return model


def assert_same_function(source, model, data, spikes_alike, logit_error):
    """In every layer more than a share of the spikes are the same, and the median logit differs by less than a share of itself."""
    x = to_codes(data.frames["test"], True)
    with torch.no_grad():
        exact, spikes, _ = source(x)
        coded, coded_spikes, _ = model(x)
    for one, other in zip(spikes, coded_spikes):
        assert float((one == other).float().mean()) > spikes_alike
    assert float((exact - coded).abs().median()) < logit_error * float(exact.abs().median())


def unsettle(model):
    """Batch statistics away from their defaults, one gamma of each layer negative."""
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.3)
        norm.running_var.uniform_(0.3, 1.5)
        norm.weight.data.uniform_(0.6, 1.6)
        norm.weight.data[0] *= -1
        norm.bias.data.uniform_(0, 0.6)


@pytest.mark.parametrize("name", sorted(SURROGATES))
def test_surrogate_is_the_stated_formula(name):
    x, w = torch.linspace(-3, 3, 601, dtype=torch.float64), 0.8
    v = x.numpy()
    formula = {"atan": 1 / (w * (1 + (math.pi * v / w) ** 2)),
               "sigmoid": np.exp(-v / w) / (1 + np.exp(-v / w)) ** 2 / w,
               "triangle": np.maximum(0, 1 - np.abs(v) / w) / w, "rectangle": (np.abs(v) < w) / (2 * w)}[name]
    assert np.allclose(SURROGATES[name](x, w).numpy(), formula)
    wide = torch.linspace(-400, 400, 800_001, dtype=torch.float64)
    assert float(SURROGATES[name](wide, w).sum() * 1e-3) == pytest.approx(1, abs=2e-3)     # integrates to 1


@pytest.mark.parametrize("neuron", [{"kind": "lif"}, {"kind": "if"}, {"kind": "lif", "readout": "sum"},
                                    {"kind": "plif", "readout": "sum"}, {"kind": "decay", "readout": "sum"}],
                         ids=lambda n: "-".join(n.values()))
@pytest.mark.parametrize("constant", [True, False])
def test_outputs_of_all_steps_make_the_readout(neuron, constant):
    """v(T) is what the leak leaves of every step's drive; a spike count is the sum of all steps' spikes."""
    data = tiny_data(constant=constant)
    source = tiny_of(data, neuron, CHAIN["architecture"])
    source.eval()
    for layer in source.layers[:-1]:
        layer.connections[0].norm.weight.data.mul_(4)                # lively under every leak
    coded = CodeNetwork.from_float(source, make("quantizers", {"kind": "int", "bits": 8}))
    for model, tolerance in ((source, 1e-5), (coded, 0.02)):
        with torch.no_grad():
            logits, _, outputs = model(to_codes(data.frames["test"], constant))
        beta = 0.75 if neuron == {"kind": "lif"} else 1.0
        v = torch.zeros_like(logits)
        for output in outputs.expand(model.steps, -1, -1):
            v = beta * v + output
        assert torch.allclose(v, logits, atol=tolerance * float(logits.abs().max())) and logits.std() > 0


QUANTIZERS = [{"kind": "int", "bits": 8, "membrane": {"bits": 16}}, {"kind": "int", "bits": 4, "membrane": {"bits": 6}},
              {"kind": "int", "bits": 8, "membrane": {"bits": 5, "rounding": "stochastic"}},
              {"kind": "int", "bits": 8, "membrane": {"bits": 5, "rounding": "half_even"}},
              {"kind": "pot", "bits": 4, "membrane": {"bits": 6, "rounding": "floor"}},
              {"kind": "ternary", "scale": "layer", "membrane": {"levels": [-1, 1]}},
              {"kind": "binary", "membrane": {"bits": 8}}, {"kind": "lsq", "bits": 3, "membrane": {"bits": 8}}]


@pytest.mark.parametrize("neuron", [{}, {"reset": "soft", "readout": "spike_count"}], ids=["hard-membrane", "soft-count"])
@pytest.mark.parametrize("constant", [True, False], ids=["constant", "frames"])
@pytest.mark.parametrize("entry", QUANTIZERS, ids=[f"{q['kind']}-{q['membrane']}" for q in QUANTIZERS])
def test_torch_equals_integer_model(entry, constant, neuron):
    data = tiny_data(constant=constant)
    model = CodeNetwork.from_float(tiny_float(data, **neuron), make("quantizers", entry))
    net = to_spec(model)
    neurons = sum(layer.neurons for layer in net.layers)
    silent = 0 if neuron else net.layers[-1].neurons              # no spikes where nothing fires
    assert check_equal(model, net, data.frames["test"]) == 40 * 3 * (2 * neurons - silent)
    with torch.no_grad():
        trace, _ = model.trace(to_codes(data.frames["test"], constant))
    assert 0.02 < float(trace[0][0].mean()) < 0.9                 # something fires, not everything


RESNET = {"kind": "resnet", "width": 4, "blocks": [1, 2]}
ATIF = [{"kind": "if", "readout": "membrane"}, {"kind": "atif_u"}, {"kind": "atif_nu"},
        {"kind": "atif_nu", "readout": "spike_count"}]


def tiny_of(data, neuron, architecture=RESNET, seed=0):
    torch.manual_seed(seed)
    model = build({**CHAIN, "neuron": neuron, "architecture": architecture}, data.input, data.steps, data.classes)
    unsettle(model)
    for name, parameter in model.named_parameters():
        if name.endswith("gaps"):                                    # levels that are not uniform
            parameter.data.mul_(torch.linspace(1.5, 0.5, len(parameter)))
    return model


@pytest.mark.parametrize("layers", ["6C3-D3-8C1-D3s2-5", "6C3-MP2-D3-6C1-5"])
def test_depthwise_convolutions_equal_the_integer_model(layers):
    data = tiny_data()
    source = tiny_of(data, {"kind": "lif"}, {"kind": "feedforward", "layers": layers})
    model = CodeNetwork.from_float(source.eval(), make("quantizers", {"kind": "int", "bits": 8}))
    net = to_spec(model)
    depthwise = next(layer for layer in net.layers if layer.name.startswith("depthwise"))
    assert depthwise.projections[0].groups == 6 and depthwise.projections[0].weights.shape == (3, 3, 1, 6)
    assert check_equal(model, net, data.frames["test"]) > 0
    assert_same_function(source, model, data, 0.98, 0.05)
    kept = dict.fromkeys(channel_groups(model.shapes)[0], torch.tensor([0, 2, 5]))
    small = model.pruned(kept)
    assert len(kept) == 2 and check_equal(small, to_spec(small), data.frames["test"]) > 0


@pytest.mark.parametrize("neuron", ATIF, ids=[f"{n['kind']}-{n.get('readout', 'membrane')}" for n in ATIF])
@pytest.mark.parametrize("entry", [QUANTIZERS[k] for k in (0, 4, 6, 7)], ids=["int8", "pot4", "binary", "lsq3"])
def test_residual_networks_and_trained_thresholds_equal_the_integer_model(entry, neuron):
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_of(data, neuron), make("quantizers", entry))
    net = to_spec(model)
    assert check_equal(model, net, data.frames["test"]) > 0
    theta = {layer.name: layer.theta for layer in net.layers}
    assert theta["s1b1c1"].shape[0] == (3 if neuron["kind"] == "atif_nu" else 1)
    # An identity adds what a spike of its source is worth: one code per channel, in its own projection.
    _, identity = net.by_name["s1b1c2"].projections
    assert identity.source == "stem" and identity.groups == 4 and identity.weights.shape == (1, 1, 1, 4)
    worth = float(torch.as_tensor(model.layers[0].threshold()[1]).detach())
    with torch.no_grad():
        value = list(model.codes())[2][-1]
    assert identity.weights.flatten().tolist() == (worth / value.expand(4)).round().tolist()
    convolution = net.by_name["s2b1c2"].projections[1]
    assert convolution.kernel == (1, 1) and convolution.stride == 2 and convolution.groups == 1


FOLDED = [*ATIF[:3], {"kind": "plif", "tau": 3.0, "bits": 16, "readout": "membrane"},
          {"kind": "plif", "tau": 3.0, "bits": 16, "readout": "sum"},
          {"kind": "decay", "decay": 0.7, "readout": "membrane"}, {"kind": "synaptic", "tau_m": 4.0, "readout": "membrane"},
          {"kind": "synaptic", "filter_input": True, "readout": "membrane"}]


@pytest.mark.parametrize("neuron", FOLDED, ids=[n["kind"] + "-input" * ("filter_input" in n) for n in FOLDED])
def test_quantized_residual_network_keeps_the_function(neuron):
    """Amplitudes, shortcuts, per-step thresholds and trained leaks fold: 16-bit codes decide almost as full precision does."""
    data = tiny_data(images=200)
    source = tiny_of(data, neuron).eval()
    if (leaks := neuron["kind"] in ("plif", "decay", "synaptic")):   # what leaks wants more current to fire
        for norm in (module for module in source.modules() if isinstance(module, torch.nn.BatchNorm2d)):
            norm.weight.data.mul_(3)
            norm.bias.data.mul_(3)
    for n, layer in enumerate(source.layers):
        if layer.leak is not None:                                   # each layer its own time constant
            layer.leak.raw.data.sub_(0.1 * n)
    entry = {"kind": "int", "bits": 10, "shortcut_bits": 16, "membrane": {"bits": 24, "output_bits": 24}}
    model = CodeNetwork.from_float(source, make("quantizers", entry))
    assert_same_function(source, model, data, 0.96 if leaks else 0.98, 0.05)
    assert check_equal(model, to_spec(model), data.frames["test"]) > 0


@pytest.mark.parametrize("kind", ["atif_u", "atif_nu"])
def test_thresholds_and_steps_are_trained_in_codes_too(kind):
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_of(data, {"kind": kind}), make("quantizers", QUANTIZERS[7]))
    before = {name: value.clone() for name, value in model.named_parameters()}
    training.fit(model, data, TrainingOptions(epochs=2, batch_size=16, learning_rate=0.01), seed=0, say=lambda text: None)
    for name, value in model.named_parameters():
        assert value.numel() == 0 or not torch.equal(value, before[name]), name
    assert check_equal(model, to_spec(model), data.frames["test"]) > 0


def test_residual_channels_are_pruned_together(tmp_path):
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_of(data, {"kind": "atif_u"}), make("quantizers", QUANTIZERS[7]))
    groups = channel_groups(model.shapes)
    assert groups == [["stem", "s1b1c2"], ["s1b1c1"], ["s2b1c1"], ["s2b1c2", "s2b2c2"], ["s2b2c1"]]
    kept = {name: torch.tensor([0, 2]) for names in groups for name in names}
    small = model.pruned(kept)
    net = to_spec(small)
    assert [layer.shape[2] for layer in net.layers] == [2, 2, 2, 2, 2, 2, 2, 5]
    assert check_equal(small, net, data.frames["test"]) > 0
    chain = {**CHAIN, "architecture": RESNET, "neuron": {"kind": "atif_u"}, "quantizer": QUANTIZERS[7]}
    save_model(tmp_path / "model.safetensors", small, chain, data.classes)
    again, _ = load_model(tmp_path / "model.safetensors")
    x = to_codes(data.frames["test"], True)
    assert torch.equal(small(x)[0], again(x)[0])


@pytest.mark.parametrize("leak", [Leak(), Leak("shift", shift=1), Leak("multiply", multiplier=11, fraction=4)])
def test_every_leak_in_torch(leak):
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_float(data), make("quantizers", QUANTIZERS[1]))
    for layer in model.layers:
        layer.neuron = replace(layer.neuron, leak=leak)
    assert check_equal(model, to_spec(model), data.frames["test"]) > 0


def test_a_difference_is_named():
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_float(data), make("quantizers", QUANTIZERS[0]))
    net = to_spec(model)
    layer = model.layers[1]
    layer.neuron = replace(layer.neuron, store=Store(-3, 3))
    with pytest.raises(ModelMismatch, match=r"^membrane of layer conv2, neuron \d+, differs at image \d+, step \d+: "
                                            r"the integer model has -?\d+, torch -?3$"):
        check_equal(model, net, data.frames["test"])


def test_networks_past_2_to_the_24_run_in_float64():
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_float(data), make("quantizers", {"kind": "int", "bits": 16, "membrane": {"bits": 24}}))
    for layer in model.layers:
        layer.neuron = NeuronSpec(Leak("multiply", multiplier=51001, fraction=16), Store(-(1 << 23), (1 << 23) - 1), "hard")
    net = to_spec(model)
    assert exact_dtype(net) == torch.float64
    assert check_equal(model, net, data.frames["test"]) > 0


def test_folding_batch_norm_keeps_the_function():
    """16-bit weights and 24-bit membranes decide almost as full precision does; a negative gamma is folded too."""
    data = tiny_data(images=200)
    source = tiny_float(data).eval()
    entry = {"kind": "int", "bits": 16, "membrane": {"bits": 24, "output_bits": 24}}
    model = CodeNetwork.from_float(source, make("quantizers", entry))
    assert_same_function(source, model, data, 0.995, 0.01)


def test_gradients_reach_every_parameter():
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_float(data), make("quantizers", QUANTIZERS[1]))
    logits, *_ = model(to_codes(data.frames["train"], True))
    torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.labels["train"])).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_pruned_network_is_smaller_and_still_exact():
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_float(data), make("quantizers", QUANTIZERS[1]))
    small = model.pruned({"conv1": torch.tensor([1, 3, 4]), "conv2": torch.tensor([0, 2])})
    net = to_spec(small)
    assert [layer.shape[2] for layer in net.layers] == [3, 2, 5]
    assert net.memory_bits()["weights"] == 4 * (2 * 3 * 9 + 3 * 2 * 9 + 2 * 5)
    assert torch.equal(small.layers[0].initial, model.layers[0].initial[[1, 3, 4]]) and net.layers[0].v_init.shape == (4, 4, 3)
    assert check_equal(small, net, data.frames["test"]) > 0


def test_model_file_round_trip_and_refusals(tmp_path):
    data, path = tiny_data(), tmp_path / "model.safetensors"
    entry = {"kind": "int", "bits": 4, "membrane": {"bits": 6}}
    kept = {"conv1": torch.tensor([0, 5]), "conv2": torch.tensor([1, 2])}
    model = CodeNetwork.from_float(tiny_float(data), make("quantizers", entry)).pruned(kept)
    save_model(path, model, {**CHAIN, "quantizer": entry}, data.classes)
    again, _ = load_model(path)
    x = to_codes(data.frames["test"], True)
    assert torch.equal(model(x)[0], again(x)[0])
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFile) as error:
        load_model(path)
    assert str(error.value) == f"{path} is truncated or not a spikeproof model file: delete it and run its stage again"


def test_gradients_of_strided_shortcuts_are_right():
    """oneDNN's are not, where a kernel of 1 x 1 has a stride and few channels, on processors without AVX-512."""
    torch.manual_seed(1)
    for channels, stride, side, images in itertools.product((2, 3, 4, 6), (2, 4), (4, 8, 9), (16, 50)):
        module = FloatConnection(Connection("input", channels, 8, kernel=(1, 1), stride=stride), norm=False)
        x, weights = torch.randn(1, images, channels, side, side), []
        for dtype in (torch.float64, torch.float32):
            y = module.to(dtype)(x.to(dtype), 1.0)
            assert y.shape[-2:] == (-(-side // stride),) * 2
            waves = torch.arange(y.numel(), dtype=dtype).reshape(y.shape).cos()
            weights.append(torch.autograd.grad((y * waves).sum(), module.weight)[0])
        assert (weights[1].double() - weights[0]).abs().max() < 1e-4 * weights[0].abs().max()
