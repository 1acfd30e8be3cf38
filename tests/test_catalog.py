"""The conformance suite: it loops over everything in the catalog, so a new line there brings its tests."""
import json

import numpy as np
import pytest
import torch
from native_files import WRITERS
from pydantic import ValidationError

from spikeproof.architectures.shapes import map_after
from spikeproof.catalog import CATALOG, load
from spikeproof.datasets.base import PARTS, PreparedData, load_prepared, save_prepared
from spikeproof.datasets.sources import Sources
from spikeproof.entries import make as make_entry
from spikeproof.model_files import build
from spikeproof.options import Options
from spikeproof.projections import InputSpec
from spikeproof.spec import Leak

EVERY = [(section, kind) for section in CATALOG for kind in CATALOG[section]]
#: What an entry must say besides its kind.
NAMES = {"dataset": "d", "architecture": "a", "neuron": "n", "pretraining": "p"}
NEEDED = {("architectures", "feedforward"): {"layers": "8C3-AP2-10"},
          ("architectures", "graph"): {"layers": [
              {"name": "a", "channels": 8, "connections": [{"kernel": [3, 3], "padding": 1}]},
              {"name": "b", "channels": 8, "connections": [{"source": "a", "kernel": [3, 3], "padding": 1},
                                                           {"source": "a", "identity": True}]},
              {"name": "out", "channels": 10, "connections": [{"source": "b", "pool": 2}]}]},
          ("neurons", "per_layer"): {"layers": {"a": {"decay": 0.875}}},
          ("pretraining", "continued"): {"first": {"kind": "surrogate", "training": {"epochs": 3, "batch_size": 32}}},
          ("pretraining", "imported"): {"weights": "w.safetensors", "sha256": "0" * 64},
          ("analyses", "exploration"): {"network": NAMES, "weights": [2, 4], "membranes": [6], "roundings": ["half_up"],
                                        "most_loss": 100.0},
          ("analyses", "membrane_clipping"): {"network": NAMES},
          ("analyses", "network_costs"): {"networks": {"small": {
              "architecture": {"kind": "feedforward", "layers": "3C3-MP2-5"}, "shape": [4, 4, 2], "classes": 5, "steps": 2,
              "weight_bits": 2}}},
          ("analyses", "network_sizes"): {"networks": {"small": {"architecture": {"kind": "feedforward", "layers": "3C3-MP2-5"},
                                                                 "shape": [4, 4, 2], "classes": 5}}},
          ("datasets", "folder"): {"path": "pets", "shape": [8, 8, 1], "classes": 2}}


def make(section, kind, **values):
    implementation = load(section, kind)
    return implementation(implementation.Options(kind=kind, **{**NEEDED.get((section, kind), {}), **values}))


def of(section):
    return pytest.mark.parametrize("kind", sorted(CATALOG[section]))


def test_catalog_is_whole():
    assert set(CATALOG) == {"datasets", "architectures", "neurons", "pretraining", "quantizers", "pruners",
                            "analyses"}
    assert len(EVERY) >= 10


@pytest.mark.parametrize("section, kind", EVERY)
def test_entry_is_documented_and_strict(section, kind):
    implementation = load(section, kind)
    assert implementation.__doc__ and len(implementation.__doc__) > 30
    assert issubclass(implementation.Options, Options)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        make(section, kind, misspelt=1)
    with pytest.raises(ValidationError):
        implementation.Options(kind="another", **NEEDED.get((section, kind), {}))


@of("datasets")
def test_dataset_is_complete_and_repeatable(kind, tmp_path):
    entry = WRITERS[kind](tmp_path, np.random.default_rng(1))
    dataset = make_entry("datasets", entry)
    one, two = (dataset.prepare(Sources(tmp_path, download=False, workers=workers)) for workers in (1, 2))
    assert isinstance(one, PreparedData) and set(one.frames) == set(PARTS)
    assert {"name", "source", "licence", "split", "images"} <= set(one.about)
    assert sum(len(one.frames[part]) for part in PARTS) == one.about["images"]
    assert dataset.describe() == (one.input, one.steps, one.classes)
    digests = [save_prepared(tmp_path / f"{n}.safetensors", data) for n, data in enumerate((one, two))]
    assert digests[0] == digests[1] and (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()
    data, same = load_prepared(tmp_path / "0.safetensors")
    assert same == digests[0]
    shape = data.input.shape if data.input.constant else (data.steps, *data.input.shape)
    for part in PARTS:
        assert data.frames[part].shape == (len(one.frames[part]), *shape)
        assert 0 < data.frames[part][:].max() <= data.input.max_code
        if data.boxes is None:
            assert set(data.labels[part]) == set(range(data.classes))
        else:
            assert set(data.boxes[part].rows[:, 4]) <= set(range(data.classes)) and data.labels == {}


def test_digits_facts():
    """1797 images; no image is in two parts; the split is stratified."""
    data = make("datasets", "digits").prepare()
    assert [len(data.labels[part]) for part in PARTS] == [1258, 180, 359]
    whole = np.concatenate([data.frames[part] for part in PARTS]).reshape(1797, -1)
    assert len(np.unique(whole, axis=0)) >= 1790                 # a few digits coincide in 4 bits
    for part, share in zip(PARTS, (0.7, 0.1, 0.2)):
        everything = np.bincount(np.concatenate(list(data.labels.values())))
        assert np.allclose(np.bincount(data.labels[part]) / everything, share, atol=0.02)


@of("neurons")
def test_neuron_leak_is_that_of_the_contract(kind):
    neuron = make("neurons", kind).of("a")
    assert isinstance(neuron.leak, Leak) and neuron.reset in ("soft", "hard") and neuron.activation in ("spike", "relu")
    assert neuron.leak(1 << 20) == pytest.approx(neuron.beta * (1 << 20))


@of("quantizers")
@pytest.mark.parametrize("per_channel", [False, True])
def test_quantizer_laws(kind, per_channel):
    torch.manual_seed(0)
    quantizer = make("quantizers", kind)
    weight = torch.randn(6, 4, 3, 3) * torch.logspace(-2, 0, 6)[:, None, None, None]
    scale = quantizer.scale(weight, per_channel)
    assert scale.shape == ((6, 1, 1, 1) if per_channel else (1, 1, 1, 1)) and (scale > 0).all()
    x = (weight / scale).requires_grad_()
    codes = quantizer.codes(x)
    # Codes are legal, on-grid values pass unchanged, and every grid point is its own nearest.
    assert quantizer.codec.contains(codes.detach().numpy().astype(int)).all()
    assert torch.equal(codes.detach(), codes.detach().round())
    grid = codes.detach().unique()
    assert torch.equal(quantizer.codes(grid), grid)
    # No other code is nearer, but for the ternary quantizer's own cut, which is at half a scale too.
    legal = torch.tensor(quantizer.codec.codes[np.abs(quantizer.codec.codes) <= codes.detach().abs().max().item()], dtype=x.dtype)
    nearest = (x.detach()[..., None] - legal).abs().min(-1).values
    assert torch.allclose((x.detach() - codes.detach()).abs(), nearest, atol=1e-5)
    # The straight-through gradient: 1 where nothing is clipped.
    codes.sum().backward()
    assert set(x.grad.unique().tolist()) <= {0.0, 1.0}
    assert x.grad.mean() > 0.5


@of("architectures")
def test_architecture_describes_layers(kind):
    architecture = make("architectures", kind)
    layers = architecture.layers(InputSpec((8, 8, 1)), 10)
    if architecture.boxes:                        # two anchors in each cell
        assert layers[-1].out_channels == 2 * (5 + 10) and layers[-1].out_map == architecture.head(InputSpec((8, 8, 1)), 10).cells
    else:
        assert layers[-1].out_channels == 10 and layers[-1].out_map == (1, 1)
    maps = {"input": (8, 8, 1)}
    for layer in layers:
        for c in layer.connections:
            height, width, channels = maps[c.source]
            assert c.in_channels == channels and c.out_channels == layer.out_channels
            assert height % c.pool == width % c.pool == 0
            out = map_after((height // c.pool, width // c.pool), c.kernel, c.stride, c.padding)
            assert out == layer.out_map and (not c.identity or channels == layer.out_channels)
        maps[layer.name] = (*layer.out_map, layer.out_channels)


def test_feedforward_wants_as_many_outputs_as_classes():
    with pytest.raises(ValueError, match="^layers must end in 11, the number of classes, not 10$"):
        make("architectures", "feedforward").layers(InputSpec((8, 8, 1)), 11)


def test_channel_pruner_keeps_what_drives_the_next_layer_most():
    pruner = make("pruners", "channel", keep=0.5)
    rates = torch.tensor([0.5, 0.0, 0.5, 0.1])
    outgoing = torch.ones(3, 4, 1, 1) * torch.tensor([1.0, 9.0, 2.0, 3.0])[:, None, None]
    assert pruner.kept([(rates, [outgoing])]).tolist() == [0, 2]
    # A layer whose channels go with these, and a second reader, have their say.
    assert pruner.kept([(rates, [outgoing]), (torch.tensor([0.0, 0.0, 0.0, 9.0]), [outgoing])]).tolist() == [2, 3]
    assert pruner.kept([(rates, [outgoing, outgoing.flip(1) * 10])]).tolist() == [0, 2]


@of("analyses")
def test_analysis_gives_quantities_tables_and_figures(kind):
    short = {"iterations": 60, "sweep": [1, 2], "slopes": [10.0]} if kind == "atif_sqnr" else {}
    analysis, given = make("analyses", kind, **short), {}
    if hasattr(analysis.options, "network"):
        from test_models import tiny_data, tiny_of
        given = {"data": tiny_data(), "models": [tiny_of(tiny_data(), {"kind": "lif"}, seed=seed) for seed in (0, 1)]}
    result = json.loads(json.dumps(analysis.run(say=lambda text: None, **given)))
    assert result["quantities"] and all(value is None or isinstance(value, (bool, int, float))
                                        for value in result["quantities"].values())
    for title, caption, svg in analysis.figures(result):
        assert title and caption and svg.startswith("<?xml") and "</svg>" in svg
    for title, columns, rows in analysis.tables(result):
        assert title and rows and all(len(row) == len(columns) for row in rows)


@of("pruners")
def test_pruner_gives_a_network_that_equals_its_integers(kind):
    from test_models import tiny_data, tiny_of

    from spikeproof.convert import check_equal, to_spec
    from spikeproof.models import CodeNetwork
    data = tiny_data()
    model = CodeNetwork.from_float(tiny_of(data, {"kind": "lif"}, {"kind": "feedforward", "layers": "6C3-AP2-4C3-5"}),
                                   make("quantizers", "int"))
    pruned, said = make("pruners", kind).prune(model, data)
    assert said and check_equal(pruned, to_spec(pruned), data.frames["test"]) > 0


def test_membranes_are_clipped_and_rounded_as_stated():
    """One layer of two neurons by hand: IF, thresholds of 1, drives of -3, 2 and 1.5, 0.75."""
    from spikeproof.neuron_steps import float_steps
    from spikeproof.surrogates import Surrogate
    neuron = make("neurons", "if")
    drive = torch.tensor([[-3.0, 1.5], [2.0, 0.75]])[:, None, :, None, None]

    def run(bound):
        with torch.no_grad():
            s, v = float_steps(drive, torch.ones(1), 2, neuron, True, Surrogate(), bound=bound)
        return s.flatten(1).tolist(), v.flatten().tolist()
    assert run(None) == ([[0, 1], [0, 1]], [-1.0, 0.25])             # 1.5 - 1 + 0.75 - 1
    assert run((-1, False)) == ([[0, 1], [1, 1]], [0.0, 0.25])       # -1 + 2 fires
    assert run((-1, True)) == ([[0, 1], [1, 1]], [0.0, 1.0])         # 0.5 is kept as 1: 1 + 0.75 - 1 = 0.75, kept as 1
    with pytest.raises(RuntimeError, match="have no gradient"):
        float_steps(drive, torch.ones(1), 2, neuron, True, Surrogate(), bound=(-1, False))


def test_spikes_of_clipped_neurons_are_counted():
    from test_models import tiny_data, tiny_of
    data = tiny_data(images=8)
    model = tiny_of(data, {"kind": "if"}, {"kind": "feedforward", "layers": "5"})
    layer = model.layers[0]
    with torch.no_grad():
        layer.connections[0].weight.zero_()
        layer.connections[0].bias.fill_(-2.0)                        # silent
        layer.connections[0].bias[0] = 0.6                           # 0.6, 1.2 (a spike), 0.8
    analysis = make("analyses", "membrane_clipping", bounds=[-1])
    assert analysis._of_clipped(model.eval(), data, -1) == (0.0, 0.0)
    with torch.no_grad():
        layer.initial[1] = -5.0
        layer.connections[0].bias[1] = 3.5                           # -1.5, then 2 and 4.5: below -1 at first, fires twice
    assert analysis._of_clipped(model, data, -1) == (2 / 3, 2 / 10)


def test_network_costs_are_the_papers_formulas():
    """Two layers by hand: 3x3 on 2 channels of 4x4 to 3, then 48 to 5; 4 bits, ternary membranes in 2, outputs in 8, T = 2."""
    network = {"architecture": {"kind": "feedforward", "layers": "3C3-5"}, "shape": [4, 4, 2], "classes": 5, "steps": 2,
               "weight_bits": 4}
    found = make("analyses", "network_costs", networks={"a": network}).run(say=lambda text: None)["quantities"]
    weights, neurons = 54 + 240, 48 + 5
    full, small = 4 * weights + 8 * neurons, weights / 2 + neurons / 4 + neurons
    assert found["a_full_mb"] == pytest.approx(full / 1e6) and found["a_ratio"] == pytest.approx(full / small)
    assert found["a_packed_ratio"] == pytest.approx(full / (weights / 2 + neurons / 5 + neurons))
    assert found["a_operations_ratio"] == 1 and found["a_printed_ratio"] is None
    layers = {**network, "architecture": {"kind": "feedforward", "layers": "3C3-4C3-5"}, "closed_positions": 0.35,
              "closed_channels": 0.5}
    found = make("analyses", "network_costs", networks={"b": layers}, memory_pj=0.1).run(say=lambda text: None)["quantities"]
    first, second, head = 54 * 16, 108 * 16, 320
    operations = [2 * (first + second * left + head) for left in (1, 0.65 * 0.5)]
    assert found["b_operations_ratio"] == pytest.approx(operations[0] / operations[1])
    energy = [operations[0] * 0.38 + 2 * first * 1.31, operations[1] * 0.007 + 2 * first * 0.07]
    assert found["b_energy_ratio"] == pytest.approx(energy[0] / energy[1])
    moved = [0.1 * (operations[0] * 32 + 2 * 2 * 117 * 32), 0.1 * (operations[1] * 4 + 2 * 2 * 117 * 2)]
    assert found["b_energy_with_memory_ratio"] == pytest.approx((energy[0] + moved[0]) / (energy[1] + moved[1]))


def test_network_costs_count_attention():
    """K^T V and Q times that: two products of (tokens x channels of a head) with (channels of a head squared), for each head."""
    entry = {"kind": "spikformer", "stem": "8C3s2", "blocks": 1, "heads": 2}
    network = {"architecture": entry, "shape": [8, 8, 1], "classes": 5, "steps": 3, "weight_bits": 4}
    found = make("analyses", "network_costs", networks={"a": network}).run(say=lambda text: None)
    shapes = make("architectures", "spikformer", **{k: v for k, v in entry.items() if k != "kind"}).layers(InputSpec((8, 8, 1)), 5)
    synapses = sum(s.out_map[0] * s.out_map[1] * sum(c.weights for c in s.connections) for s in shapes)
    assert found["costs"][0][1] == pytest.approx(3 * (synapses + 2 * 2 * 16 * 4 * 4) / 1e9)


@pytest.mark.parametrize("entry, weights, neurons", [
    # The neurons are those that SpQuant-SNN's sizes of membranes stand for: 3.686 MB and 5.50 MiB in full precision.
    ({"kind": "feedforward", "layers": "64C3-128C3-AP2-256C3-256C3-AP2-512C3-512C3-AP2-512C3-512C3-AP2-10"}, 9_263_232, 921_610),
    ({"kind": "resnet", "width": 128, "blocks": [3, 3, 2], "hidden": 256}, 12_687_232, 1_442_058)])
def test_published_networks_have_their_sizes(entry, weights, neurons):
    shape = (48, 48, 2) if entry["kind"] == "feedforward" else (32, 32, 3)
    layers = make("architectures", entry["kind"], **{k: v for k, v in entry.items() if k != "kind"}).layers(InputSpec(shape), 10)
    assert sum(c.weights for layer in layers for c in layer.connections if not c.identity) == weights
    assert sum(layer.neurons for layer in layers) == neurons


def test_network_size_counts_every_trained_parameter():
    """3 kernels of 3x3 on 2 channels with gain and offset each, then 2x2x3 weights and a bias for each of 5 classes."""
    quantities = make("analyses", "network_sizes").run(say=lambda text: None)["quantities"]
    assert quantities == {"small_parameters": 3 * 18 + 6 + 5 * 12 + 5, "small_mb": 4 * 125 / 1e6}
    networks = {"r": {"architecture": {"kind": "resnet"}, "shape": [32, 32, 3], "classes": 10}}
    small = {"architecture": {"kind": "feedforward", "layers": "3C3-4C3-5"}, "shape": [4, 4, 2], "classes": 5, "weight_bits": 1,
             "weights_only": True}
    quantities = make("analyses", "network_sizes", networks={"s": small}).run(say=lambda text: None)["quantities"]
    assert quantities["s_parameters"] == 54 + 108 + 320 and quantities["s_compressed_mbit"] == (108 + 32 * (54 + 320)) / 1e6
    resnet = make("analyses", "network_sizes", networks=networks)
    assert resnet.run(say=lambda text: None)["quantities"]["r_parameters"] == 11_173_962       # the ResNet-18 of the literature


@pytest.mark.parametrize("kind", sorted({*CATALOG["pretraining"]} - {"imported", "stdp"}))   # see test_nir; below
def test_pretraining_learns_something(kind):
    """With its own loss and surrogate, on real digits: the network that comes out decides most of those that it did not see."""
    from test_models import CHAIN

    from spikeproof.training import accuracy
    neurons = {"conversion": {"kind": "atif_u"}, "stbp": {"kind": "decay", "decay": 0.75}, "tssl_bp": {"kind": "synaptic"},
               "decolle": {"kind": "synaptic", "reset": "soft", "readout": "sum", "tau_s": 1.5, "tau_m": 3.0}}
    neuron = neurons.get(kind, CHAIN["neuron"])
    rates = {"tssl_bp": {"learning_rate": 5e-3}, "decolle": {"learning_rate": 0.01, "surrogate_width": 1.0}}
    options = {"training": {"epochs": 5, "batch_size": 32, **rates.get(kind, {})},
               **({"burn_in": 1, "trained_readout": True} if kind == "decolle" else {})}
    method, data = make("pretraining", kind, **options), make("datasets", "digits").prepare(None)
    torch.manual_seed(0)
    architecture = {"kind": "feedforward", "layers": "8C3-AP2-16C3-AP2-10", "norm": kind != "decolle"}
    model = build({"architecture": architecture, "neuron": neuron}, data.input, data.steps, data.classes)
    history = method.train(model, data, seed=0, say=lambda text: None)
    assert [epoch["epoch"] for epoch in history] == [*range(1, 9 if kind == "continued" else 6)]
    assert history[-1]["loss"] < history[0]["loss"] and accuracy(model, data, "validation") > 0.8


def test_neurons_learn_digits_without_labels():
    from spikeproof.training import accuracy
    data = make("datasets", "digits", encoding="rate", max_rate=0.5, steps=40).prepare(None)
    chain = {"architecture": {"kind": "feedforward", "layers": "100-10", "norm": False},
             "neuron": {"kind": "diehl_cook", "inhibition": 16.0}}
    model = build(chain, data.input, data.steps, data.classes)
    history = make("pretraining", "stdp", epochs=3, largest_weight=0.25).train(model, data, say=lambda text: None)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3] and history[-1]["validation_accuracy"] > 0.75
    assert history[-1]["validation_accuracy"] == accuracy(model, data, "validation")
