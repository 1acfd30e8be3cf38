"""A network of another library as a study: imported, proven, refused where it does not fit."""
import json
import subprocess
import sys

import nir
import numpy as np
import pytest
import yaml
from conftest import ROOT
from test_nir import affine, graph, lif

from spikeproof.cli import main
from spikeproof.config import load_study, parse_config, smoke_config, with_entries
from spikeproof.entries import make
from spikeproof.files import read_container, write_container
from spikeproof.model_files import build
from spikeproof.pretraining.imported import WEIGHTS


def digits_graph():
    """A network for the digits, untrained: 8 x 8 pixels, 10 classes."""
    generator = np.random.default_rng(1)
    nodes = {
        "input": nir.Input({"input": np.array([1, 8, 8])}),
        "conv": nir.Conv2d((8, 8), generator.normal(size=(4, 1, 3, 3)) / 2, (1, 1), (1, 1), (1, 1), 1,
                           np.zeros(4)),
        "hidden": lif((4, 8, 8)), "pool": nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        "flat": nir.Flatten({"input": np.array([4, 4, 4])}, 0, -1),
        "w": nir.Affine(generator.normal(size=(10, 64)) / 3, np.zeros(10)),
        "out": lif(10), "output": nir.Output({"output": np.array([10])})}
    names = list(nodes)
    return nir.NIRGraph(nodes, list(zip(names, names[1:])), type_check=False)


def imported(folder, *more):
    nir.write(folder / "mynet.nir", digits_graph())
    return main(["import", str(folder / "mynet.nir"), "--from", "snntorch", "--reset", "hard", "--data", "digits", "--out",
                 str(folder), "--config", str(ROOT / "config" / "config.yaml"), *more])


def test_import_writes_a_study_of_its_own(tmp_path, capsys):
    assert imported(tmp_path, "--quantizer", "int4_v8", "--quantizer", "ternary_v6") == 0
    study, raw = tmp_path / "mynet.yaml", yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    _, runs = load_study(study, parse_config(with_entries(raw, study)))
    assert [(run.name, run.dataset, run.architecture, run.quantizer) for run in runs] == [
        (name, "digits", "mynet", name) for name in ("float", "int4_v8", "ternary_v6")]
    assert f"snakemake --cores all --config study={study}" in capsys.readouterr().out
    entry = yaml.safe_load(study.read_text())["entries"]["neurons"]["mynet"]
    assert entry["fires"] == ">" and entry["layers"]["hidden"] == {"decay": 0.75, "threshold": 1.0}


@pytest.mark.parametrize("more, sentence", [
    (("--data", "mnist"), "takes inputs of (8, 8, 1), and mnist has (28, 28, 1)"),
    (("--quantizer", "int3"), "has no entry quantizers.int3: it has "), (("--name", "a b"), "--name must be letters, digits"),
    (("--dt", "-1"), "dt must be a number above 0, not -1.0"),
    (("--input-scale", "0"), "--input-scale must be a number above 0, not 0"),
    (("--leak-bits", "99"), "entries.neurons.mynet.bits must be less than or equal to 16, not 99"),
    (("--data", "moving_shapes"), "moving_shapes has")])
def test_an_import_that_does_not_fit_writes_nothing(tmp_path, capsys, more, sentence):
    assert imported(tmp_path, *more) != 0
    assert sentence in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["mynet.nir"]


def test_the_outputs_must_be_the_classes(tmp_path, capsys):
    given = graph(f=nir.Flatten({"input": np.array([1, 8, 8])}, 0, -1), w=affine(64), lif=lif(3))
    given.nodes["input"] = nir.Input({"input": np.array([1, 8, 8])})
    nir.write(tmp_path / "n.nir", given)
    assert main(["import", str(tmp_path / "n.nir"), "--from", "norse", "--dt", "1e-4", "--data", "digits", "--out", str(tmp_path),
                 "--config", str(ROOT / "config" / "config.yaml")]) != 0
    assert "n.nir has 3 outputs, and digits has 10 classes" in capsys.readouterr().err


def test_a_study_is_not_replaced_unasked(tmp_path, capsys):
    assert imported(tmp_path) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert imported(tmp_path) != 0
    assert "mynet.yaml exists: choose another --name, or give --force to replace it" in capsys.readouterr().err
    assert imported(tmp_path, "--force", "--leak-bits", "99") != 0
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert imported(tmp_path, "--force", "--leak-bits", "4") == 0
    assert (tmp_path / "mynet.yaml").read_bytes() != before["mynet.yaml"]


def test_weights_lie_beside_their_study_wherever_it_runs(tmp_path, monkeypatch):
    """The path in the study is relative to the study; a smoke run, which has a folder of its own, gets the whole one."""
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    (tmp_path / "studies").mkdir()
    assert imported(tmp_path / "studies") == 0
    monkeypatch.chdir(tmp_path)
    whole = with_entries(raw, "studies/mynet.yaml")
    assert whole["pretraining"]["mynet"]["weights"] == "studies/mynet.safetensors"
    path = smoke_config(whole)["pretraining"]["mynet"]["weights"]
    assert path == str(tmp_path / "studies" / "mynet.safetensors")
    monkeypatch.chdir("/")
    assert with_entries(raw, tmp_path / "studies" / "mynet.yaml")["pretraining"]["mynet"]["weights"] == path.lstrip("/")


def test_bad_files_are_refused(tmp_path, capsys):
    (tmp_path / "mynet.nir").write_bytes(b"not HDF5")
    assert main(["import", str(tmp_path / "mynet.nir"), "--data", "digits"]) != 0
    assert "mynet.nir is no NIR graph that can be read" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "absent.nir"), "--data", "digits"]) != 0
    assert "absent.nir" in capsys.readouterr().err


def test_study_entries_do_not_hide_those_of_the_configuration(tmp_path):
    raw = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    (tmp_path / "s.yaml").write_text(json.dumps({"title": "x", "entries": {"neurons": {"lif": {"kind": "lif"}}}}))
    with pytest.raises(ValueError, match="s.yaml: entries.neurons.lif: the configuration has an entry of this name already"):
        with_entries(raw, tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text(json.dumps({"title": "x", "entries": {"neurons": {"new": {"kind": "lif", "x": 1}}}}))
    with pytest.raises(ValueError, match="s.yaml: entries.neurons.new.x is not a known key"):
        with_entries(raw, tmp_path / "s.yaml")


@pytest.mark.slow
def test_an_imported_network_is_proven(tmp_path):
    """From NIR to Verilog that computes the same integers, by the pipeline."""
    assert imported(tmp_path, "--quantizer", "int4_v8_short") == 0
    (tmp_path / "config").symlink_to(ROOT / "config")
    target = "results/models/digits/mynet/mynet/mynet/s0/int4_v8_short/none/equivalence.json"
    done = subprocess.run([sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(tmp_path), "--snakefile",
                           str(ROOT / "Snakefile"), "--config", f"study={tmp_path / 'mynet.yaml'}", "--", target],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    found = json.loads((tmp_path / target).read_text())
    assert found["equal"] and found["memory_equal"] and found["values_compared"] > 10_000


def test_an_imported_file_that_was_changed_is_refused(tmp_path):
    assert imported(tmp_path) == 0
    entries = yaml.safe_load((tmp_path / "mynet.yaml").read_text())["entries"]
    chain = {"architecture": entries["architectures"]["mynet"], "neuron": entries["neurons"]["mynet"]}
    entry = {**entries["pretraining"]["mynet"], "weights": str(tmp_path / "mynet.safetensors")}
    method, data = make("pretraining", entry), make("datasets", {"kind": "digits"}).prepare(None)
    model = build(chain, data.input, data.steps, 10)
    history = method.train(model, data, say=lambda text: None)
    assert len(history) == 1 and 0 <= history[0]["validation_accuracy"] <= 1
    path = tmp_path / "mynet.safetensors"
    _, tensors, _ = read_container(path, WEIGHTS, "")
    write_container(path, WEIGHTS, {}, {name: value * 2 for name, value in tensors.items()})
    with pytest.raises(ValueError, match="mynet.safetensors is not the file that was imported, its SHA-256 differs: import"):
        method.train(model, data, say=lambda text: None)
