"""NIR in and out: spikes of other libraries, round trips, and what is refused."""
import json
import os
import subprocess

import nir
import numpy as np
import pytest
import torch
from conftest import ROOT, not_run
from test_models import tiny_data, tiny_of

from spikeproof import integer
from spikeproof.cli import main
from spikeproof.convert import check_equal, to_codes, to_spec
from spikeproof.entries import make
from spikeproof.model_files import build
from spikeproof.models import CodeNetwork
from spikeproof.netfile import VERSION, describe, load_network, save_network
from spikeproof.nir_export import ExportRefused, export_float, export_integer, network_of
from spikeproof.nir_files import DIALECTS, Dialect, ImportRefused, read_nir, read_sidecar, sidecar_of
from spikeproof.nir_import import import_graph
from spikeproof.pretraining.imported import take_over
from spikeproof.projections import InputSpec

WHOLE = Dialect(1e-4, "euler", "euler", ">", "hard")


def float_network(found, spec, steps):
    """The FloatNetwork of an import."""
    chain = {"architecture": {"kind": "graph", "layers": found.layers},
             "neuron": {"kind": "per_layer", "layers": found.neurons, "readout": found.readout,
                        **{key: getattr(found.dialect, key) for key in ("fires", "reset") if getattr(found.dialect, key)}}}
    model = build(chain, spec, steps, found.classes)
    take_over(model, found.weights)
    return model.eval()


GOLDEN = {"snntorch": {"conv_hard": "hard", "dense_soft": "soft", "synaptic_hard": "hard"}, "sinabs": {"conv_iaf": None}}


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """Function of a library: the folder of what it saved and computed, in its own environment."""
    folders = {}

    def of(library):
        python = os.environ.get(f"SPIKEPROOF_{library.upper()}_PYTHON")
        if python is None:
            not_run(f"comparison with {library}: SPIKEPROOF_{library.upper()}_PYTHON names no Python that has it (make golden-env)")
        if library not in folders:
            folders[library] = tmp_path_factory.mktemp(library)
            done = subprocess.run([python, ROOT / "tests" / "golden" / "nir_models.py", library, folders[library]],
                                  capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
            assert done.returncode == 0, done.stderr[-3000:]
        return folders[library]
    return of


@pytest.mark.slow
@pytest.mark.parametrize("library, name", [(library, name) for library, names in GOLDEN.items() for name in names])
def test_spikes_are_those_of_the_library_that_wrote_the_file(golden, library, name):
    """Every spike of every layer, neuron, step and image; weights on a grid, so that many membranes stand at their threshold."""
    folder = golden(library)
    found = import_graph(read_nir(folder / f"{name}.nir"), Dialect(reset=GOLDEN[library][name]).over(DIALECTS[library]))
    saved = np.load(folder / f"{name}.npz")
    frames = torch.from_numpy(saved["frames"])                       # [B, T, 1, 8, 8]
    assert found.input_shape == (8, 8, 1) and found.classes == 10
    model = float_network(found, InputSpec((8, 8, 1), 1, False), frames.shape[1])
    with torch.no_grad():
        spikes = model(frames.movedim(1, 0))[1]
    assert len(spikes) == len([name for name in saved if name.startswith("spikes")]) == 2
    for k, ours in enumerate(spikes):
        theirs = saved[f"spikes{k}"]
        assert np.array_equal(ours.numpy().reshape(theirs.shape), theirs) and theirs.any()


def lif(count, tau=4e-4, **more):
    def of(value):
        return np.full(count, value)
    given = {"r": tau / 1e-4, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0, **more}
    return nir.LIF(tau=of(tau), **{key: of(value) for key, value in given.items()})


def graph(edges=None, **nodes):
    """Nodes in a row between an input of 4 and an output of 3, or joined by ``edges``."""
    nodes = {"input": nir.Input({"input": np.array([4])}), **nodes, "output": nir.Output({"output": np.array([3])})}
    names = list(nodes)
    return nir.NIRGraph(nodes, edges or list(zip(names, names[1:])), type_check=False)


def affine(inputs=4, outputs=3):
    generator = np.random.default_rng(0)
    return nir.Affine(generator.normal(size=(outputs, inputs)), generator.normal(size=outputs))


@pytest.mark.parametrize("fires, expected", [(">", [0, 0, 1]), (">=", [0, 1, 1])])
def test_what_equality_does_is_exact_in_values_and_in_codes(fires, expected):
    """Weights of 0.5, 1 and 1.5 at a threshold of 1; in codes of 1/2 they are 1, 2 and 3, and 2 is the threshold."""
    one = nir.Affine(np.array([[0.5], [1.0], [1.5]]), np.zeros(3))
    given = graph(w=one, out=nir.IF(r=np.ones(3), v_threshold=np.ones(3), v_reset=np.zeros(3)))
    given.nodes["input"] = nir.Input({"input": np.array([1])})
    found = import_graph(given, Dialect(fires=fires, reset="hard"))
    model = float_network(found, InputSpec((1, 1, 1), 1, True), 1)
    with torch.no_grad():
        assert model(torch.ones(1, 1, 1, 1, 1))[1][0].flatten().tolist() == expected
    coded = CodeNetwork.from_float(model, make("quantizers", {"kind": "int", "bits": 3, "scale": "layer"}))
    net = to_spec(coded)
    assert net.layers[0].projections[0].weights.flatten().tolist() == [1, 2, 3]
    frames = np.ones((1, 1, 1, 1), np.uint8)
    assert integer.run(net, frames).spikes["out"].flatten().tolist() == expected and check_equal(coded, net, frames) > 0


def plain(x, weight, bias, decay, gain, constant, fires, reset):
    """One dense layer of neurons by hand, x [T, inputs] -> spikes [T, outputs]."""
    v, out = np.zeros(len(weight)), []
    for now in x:
        v = decay * v + gain * (weight @ now + bias) + constant
        spikes = v > 1 if fires == ">" else v >= 1
        v = v - spikes if reset == "soft" else v * ~spikes
        out.append(spikes)
    return np.array(out)


def pool2(kind):
    return getattr(nir, kind)(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))


BY_HAND = {
    "plain": ({}, WHOLE, 0.75, 1.0, 0.0),
    "resistance": ({"r": 2.0}, WHOLE, 0.75, 0.5, 0.0),
    "leak to another voltage": ({"v_leak": 0.8}, WHOLE, 0.75, 1.0, 0.2),
    "exponential": ({"r": 3.0}, Dialect(1e-4, "exponential", "exponential", ">=", "soft"), np.exp(-0.25),
                    3 * (1 - np.exp(-0.25)), 0.0),
    "no gain": ({"r": 1.5}, Dialect(1e-4, "exponential", "none", ">=", "soft"), np.exp(-0.25), 1.5, 0.0),
}


@pytest.mark.parametrize("constants, dialect, decay, gain, constant", BY_HAND.values(), ids=BY_HAND)
@pytest.mark.parametrize("before", ["", "scale", "scale behind", "sum pool", "input scale"])
def test_constants_and_factors_are_those_of_the_equations(constants, dialect, decay, gain, constant, before):
    """Bias and weights apart: what scales one of them alone would show."""
    generator = np.random.default_rng(5)
    weight, bias = generator.normal(size=(3, 4)), generator.normal(size=3) / 4
    nodes, shape, x = {"w": nir.Affine(weight, bias)}, (1, 1, 4), generator.integers(0, 2, (40, 9, 4))
    factor, behind, scale = 1.0, 1.0, 1.0
    given = graph(**nodes, lif=lif(3, **constants))
    seen = x.astype(float)
    if before.startswith("scale"):
        step = {"s": nir.Scale(np.full(4 if before == "scale" else 3, 0.6))}
        given = graph(**(step | nodes if before == "scale" else nodes | step), lif=lif(3, **constants))
        factor, behind = (0.6, 1.0) if before == "scale" else (1.0, 0.6)
    elif before == "sum pool":
        given = graph(pool=pool2("SumPool2d"), flat=nir.Flatten({"input": np.array([4, 1, 1])}, 0, -1), **nodes,
                      lif=lif(3, **constants))
        given.nodes["input"] = nir.Input({"input": np.array([4, 2, 2])})
        shape, x = (2, 2, 4), generator.integers(0, 2, (40, 9, 2, 2, 4))
        seen = x.sum((2, 3)).astype(float)
    elif before == "input scale":
        scale = 0.7
    found = import_graph(given, dialect, scale)
    assert found.input_shape == shape
    model = float_network(found, InputSpec(shape, 1, False), 9)
    with torch.no_grad():
        ours = model(to_codes(x.reshape(40, 9, *shape).astype(np.uint8), False))[1][0].movedim(1, 0).flatten(2).numpy()
    expected = np.array([plain(of * factor * scale, weight * behind, bias * behind, decay, gain, constant, dialect.fires,
                               dialect.reset) for of in seen])
    assert np.array_equal(ours, expected) and 0.02 < expected.mean() < 0.98


def test_factors_of_one_and_zero_come_through():
    """As snnTorch writes beta = 1 (infinite constants) and beta = 0 (a constant that float32 made a little less than a step)."""
    for tau, r, decay in ((np.inf, np.inf, 1.0), (9.9999997e-05, 1.0, 0.0)):
        found = import_graph(graph(w=affine(), lif=lif(3, tau=tau, r=r)), WHOLE)
        assert found.neurons["lif"]["decay"] == decay
        assert np.allclose(found.weights["layers.0.connections.0.weight"].reshape(3, 4), affine().weight)


def test_neurons_behind_a_flatten_drive_dense_layers():
    given = graph(c=conv(), flat=nir.Flatten({"input": np.array([2, 4, 4])}, 0, -1), h=lif(32), w=affine(32), lif=lif(3))
    given.nodes["input"] = nir.Input({"input": np.array([1, 4, 4])})
    found = import_graph(given, WHOLE)
    assert found.weights["layers.1.connections.0.weight"].shape == (3, 2, 4, 4)


def broken(node, **values):
    for name, value in values.items():
        setattr(node, name, value)
    return node


def conv(shape=(4, 4), **more):
    given = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1, **more}
    return nir.Conv2d(shape, np.ones((2, 1, 3, 3)), bias=np.zeros(2), **given)


REFUSED = [
    (graph(w=affine(), lif=lif(3)), Dialect(), r"node lif \(LIF\) leaves open the time step, .* NIR does not say: give --dt"),
    (graph(w=affine(), lif=lif(3)), DIALECTS["snntorch"], r"node lif \(LIF\) leaves open how a spike resets .* give --reset"),
    (graph(w=affine(), lif=lif(3, tau=np.array([1e-3, 2e-3, 3e-3]), r=10.0)), WHOLE,
     "node lif .* must have one tau for the whole layer, not 3"),
    (graph(w=affine(), lif=lif(3, v_reset=0.25)), WHOLE, "node lif .* must be reset to 0 or by its threshold, not to 0.25"),
    (graph(w=affine(), lif=lif(3, v_threshold=-1.0)), WHOLE, "node lif .* must have a threshold above 0, not -1"),
    (graph(w=affine(), lif=lif(3, tau=5e-5)), WHOLE, "node lif .* has a time constant of 5e-05, less than a step of 0.0001"),
    (graph(w=affine(), d=nir.Delay(np.ones(3)), lif=lif(3)), WHOLE, "node d is a Delay, which the integer contract cannot say"),
    (graph(w=affine(), sub=graph(v=affine(3, 3))), WHOLE, "node sub is a NIRGraph, .*: a graph within the graph$"),
    (graph([("input", "w"), ("w", "lif"), ("lif", "v"), ("v", "lif"), ("lif", "output")], w=affine(), lif=lif(3), v=affine(3)),
     WHOLE, "drives itself: a recurrent network cannot be said"),
    (graph(w=affine(), v=affine(3), lif=lif(3)), WHOLE, "node w .* leads to v without neurons between them"),
    (graph(w=affine()), WHOLE, "node w .* must not be the end of the network"),
    (graph(w=affine(), li=nir.LI(np.full(3, 1e-3), np.ones(3), np.zeros(3)), v=affine(3), lif=lif(3)), WHOLE,
     "node li .* does not spike, so it must be the last layer"),
    (graph(w=affine(5), lif=lif(3)), WHOLE, r"node w \(Affine\) takes 5 inputs, and input gives \[4\]"),
    (graph(lif=lif(4)), WHOLE, "node lif .* must have weights before it"),
    (graph(c=conv(groups=2), lif=lif((2, 4, 4))), WHOLE, "node c .* must have dilation 1 and one group"),
    (graph(c=conv(stride=(1, 2)), lif=lif((2, 4, 4))), WHOLE, r"node c .* takes 1 channels|must have the same stride both ways"),
    (graph(w=affine(), p=pool2("AvgPool2d"), lif=lif(3)), WHOLE, "node p .* pools behind the weights"),
    (graph(p=broken(pool2("AvgPool2d"), stride=np.array([1, 1])), w=affine(), lif=lif(3)), WHOLE, "node p .* must pool side by"),
    (graph(p=broken(pool2("AvgPool2d"), kernel_size=np.array([0, 0])), w=affine(), lif=lif(3)), WHOLE, "node p .* must pool side"),
    (graph(f=nir.Flatten({"input": np.array([1, 2, 2])}, 0, -1), p=pool2("AvgPool2d"), w=affine(), lif=lif(3)), WHOLE,
     "node f .* flattens what is pooled later"),
    (graph(w=broken(affine(), weight=np.full((3, 4), np.nan)), lif=lif(3)), WHOLE, "node w .* must have finite weights"),
    (graph(w=broken(affine(), bias=np.full(3, np.inf)), lif=lif(3)), WHOLE, "node w .* must have finite biases"),
    (graph(w=broken(affine(), bias=np.zeros(1)), lif=lif(3)), WHOLE, "node w .* must have a bias for each of its 3 outputs"),
    (graph(w=affine(), lif=lif(7)), WHOLE, r"node lif .* has constants for 7 neurons, and is driven by a map of \[3\]"),
    (graph(w=affine(), lif=lif(3, r=0.0)), WHOLE, "node lif .* must have a finite gain of its input, and not 0"),
    (graph(w=affine(4, 5), lif=lif(5)), WHOLE, "node output .* says 3 outputs, and lif has 5"),
    (graph([("input", "w"), ("w", "lif"), ("lif", "output"), ("lif", "v")], w=affine(), lif=lif(3), v=affine(3)), WHOLE,
     "node lif .* is the last layer, so it must drive the Output alone"),
    (graph([("input", "w"), ("w", "lif"), ("lif", "output"), ("input", "v")], w=affine(), lif=lif(3), v=affine()), WHOLE,
     "node v .* has nothing after it"),
    (graph([("input", "w"), ("w", "h"), ("h", "v"), ("v", "lif"), ("h", "s"), ("s", "lif"), ("lif", "output")], w=affine(),
           h=lif(3), v=affine(3), s=nir.Scale(np.full(3, 0.5)), lif=lif(3)), WHOLE,
     "node lif .* adds h times 0.5: only spikes that are worth 1"),
]


def test_an_edge_to_nowhere_and_a_single_node_are_refused(tmp_path):
    given = graph(w=affine(), lif=lif(3))
    given.edges.append(("lif", "nowhere"))
    with pytest.raises(ImportRefused, match="^edge lif -> nowhere is to a node nowhere that the graph has not$"):
        import_graph(given, WHOLE)
    nir.write(tmp_path / "one.nir", lif(3))
    with pytest.raises(ImportRefused, match="one.nir must hold a graph with an Input and an Output, not a single node$"):
        read_nir(tmp_path / "one.nir")


@pytest.mark.parametrize("given, dialect, sentence", REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_said_is_refused_with_the_node(given, dialect, sentence):
    with pytest.raises(ImportRefused, match=sentence):
        import_graph(given, dialect)


ROUND = {
    "lif": ({"kind": "decay", "decay": 0.75}, {"kind": "feedforward", "layers": "4C3-AP2-6-5"}),
    "if, membrane": ({"kind": "if", "readout": "membrane"}, {"kind": "feedforward", "layers": "4C3s2-5"}),
    "plif": ({"kind": "plif"}, {"kind": "feedforward", "layers": "4C3-AP2-6C3-5"}),
    "atif_u": ({"kind": "atif_u"}, {"kind": "feedforward", "layers": "4C3-AP2-6-5"}),
    "synaptic": ({"kind": "synaptic", "filter_input": True}, {"kind": "feedforward", "layers": "4C3-AP2-6-5"}),
    "residual": ({"kind": "if", "readout": "membrane"}, {"kind": "resnet", "width": 4, "blocks": [1, 2]}),
}


@pytest.mark.parametrize("neuron, architecture", ROUND.values(), ids=ROUND)
def test_full_precision_goes_out_and_comes_back(neuron, architecture, tmp_path):
    data = tiny_data(images=60)
    source = tiny_of(data, neuron, architecture).eval()
    for norm in (module for module in source.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.bias.data.add_(0.7)                                     # something fires
    export_float(source, tmp_path / "n.nir")
    dialect, network = read_sidecar(tmp_path / "n.nir")
    assert network is None
    found = import_graph(read_nir(tmp_path / "n.nir"), dialect)
    back = float_network(found, data.input, data.steps)
    x = to_codes(data.frames["test"], True)
    with torch.no_grad():
        (logits, spikes, _), (expected, fired, _) = back(x), source(x)
    assert len(spikes) == len(fired)
    assert torch.cat([s.flatten() for s in fired]).mean() > 0.01
    differ = sum(int((a != b).sum()) for a, b in zip(spikes, fired)) / sum(s.numel() for s in fired)
    assert differ < 2e-3                                             # ties, in another order of additions
    worth = float(source.layers[-1].threshold()[1]) if neuron["kind"] == "atif_u" else 1.0
    close = ((logits - expected / worth).abs() < 1e-3 * expected.abs().max()).all(1)
    assert close.float().mean() > 0.9


def test_what_has_no_node_is_not_exported(tmp_path):
    data = tiny_data()
    for neuron, layers, sentence in (({"kind": "atif_nu"}, "4C3-5", "layer conv1: thresholds per time step have no node"),
                                     ({"kind": "if"}, "4C3-MP2-5", "layer dense2: a maximum pool has no node"),
                                     ({"kind": "if"}, "4C3-4S3-5", "layer sew2: sums of spikes have no node"),
                                     ({"kind": "relu"}, "4C3-5", "relu neurons do not spike")):
        with pytest.raises(ExportRefused, match=sentence):
            export_float(tiny_of(data, neuron, {"kind": "feedforward", "layers": layers}).eval(), tmp_path / "n.nir")
    started = tiny_of(data, {"kind": "atif_u"}, {"kind": "feedforward", "layers": "4C3-5"}).eval()
    started.layers[0].initial[0, 1, 1] = 0.5
    net = to_spec(CodeNetwork.from_float(started, make("quantizers", {"kind": "int", "bits": 4})))
    for export, model in ((export_float, started), (export_integer, net)):
        with pytest.raises(ExportRefused, match="^layer conv1: a membrane that starts elsewhere than at 0 has no node in NIR$"):
            export(model, tmp_path / "n.nir")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("neuron", [{"kind": "lif"}, {"kind": "if", "readout": "membrane"}], ids=lambda n: n["kind"])
@pytest.mark.parametrize("entry", [{"kind": "ternary", "membrane": {"bits": 6}}, {"kind": "int", "bits": 4, "shortcut_bits": 8},
                                   {"kind": "binary", "scale": "layer"}], ids=lambda entry: entry["kind"])
def test_an_integer_network_comes_back_the_same(neuron, entry, tmp_path, capsys):
    data = tiny_data()
    architecture = {"kind": "resnet", "width": 4, "blocks": [1, 1]} if neuron["kind"] == "if" else \
        {"kind": "feedforward", "layers": "4C3-AP2-6-5"}
    net = to_spec(CodeNetwork.from_float(tiny_of(data, neuron, architecture).eval(), make("quantizers", entry)))
    save_network(tmp_path / "network.safetensors", net)
    assert main(["export-nir", "--network", str(tmp_path / "network.safetensors"), "--out", str(tmp_path / "n.nir")]) == 0
    assert main(["import", str(tmp_path / "n.nir"), "--out", str(tmp_path)]) == 0
    back, digest = load_network(tmp_path / "n.network.safetensors")
    assert digest == load_network(tmp_path / "network.safetensors")[1] and describe(back)[0] == describe(net)[0]
    # One weight of the graph is no integer: refused, by its node.
    changed = read_nir(tmp_path / "n.nir")
    name = next(name for name in changed.nodes if name.endswith("_weights0"))
    changed.nodes[name].weight.flat[0] += 0.5
    with pytest.raises(ImportRefused, match=f"node {name} does not fit the sidecar's integer network: codes must be integers"):
        network_of(changed, read_sidecar(tmp_path / "n.nir")[1])
    with pytest.raises(ImportRefused, match="the sidecar's network must be what export-nir wrote"):
        network_of(changed, {"layers": []})
    described = read_sidecar(tmp_path / "n.nir")[1]
    with pytest.raises(ImportRefused, match=f"^the sidecar's network has version 1, and this program reads {VERSION}: export "
                                              "it again$"):
        network_of(changed, {**described, "version": 1})


def test_sidecar_belongs_to_its_graph(tmp_path):
    data = tiny_data()
    net = to_spec(CodeNetwork.from_float(tiny_of(data, {"kind": "if"}, {"kind": "feedforward", "layers": "5"}).eval(),
                                         make("quantizers", {"kind": "binary"})))
    export_integer(net, tmp_path / "n.nir")
    nir.write(tmp_path / "n.nir", graph(w=affine(), lif=lif(3)))
    with pytest.raises(ImportRefused, match="n.nir.json belongs to another graph: its SHA-256 is not that of"):
        read_sidecar(tmp_path / "n.nir")
    digest = json.loads(sidecar_of(tmp_path / "n.nir").read_text())["nir_sha256"]
    for wrong in ([], {"foo": 1}):
        sidecar_of(tmp_path / "n.nir").write_text(json.dumps({"nir_sha256": digest, "dialect": wrong}))
        with pytest.raises(ImportRefused, match="is no sidecar that can be read .dialect must have keys of dt, "):
            read_sidecar(tmp_path / "n.nir")
    for wrong, absent in (([], "dialect"), ({"dialect": {}}, "nir_sha256")):
        sidecar_of(tmp_path / "n.nir").write_text(json.dumps(wrong))
        with pytest.raises(ImportRefused, match=f"is no sidecar that can be read .it has no {absent}"):
            read_sidecar(tmp_path / "n.nir")
    sidecar_of(tmp_path / "n.nir").write_text("{")
    with pytest.raises(ImportRefused, match="is no sidecar that can be read"):
        read_sidecar(tmp_path / "n.nir")
