"""The Python API: the page's examples run, and give what the pipeline gives."""
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from spikeproof_hdl.layout import Unbuildable
from test_models import tiny_data

import spikeproof
from spikeproof.files import CorruptFile
from spikeproof.netfile import load_network, network_digest, save_network

LAYERS, TRAINING = {"kind": "feedforward", "layers": "4C3-AP2-5"}, {"epochs": 1, "batch_size": 8}


@pytest.fixture(scope="module")
def trained():
    data = tiny_data()
    return data, spikeproof.train(data, LAYERS, pretraining={"kind": "surrogate", "training": TRAINING}, say=lambda said: None)


@pytest.mark.slow
def test_the_examples_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(), re.S):
        exec(code, names)
    said = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("[")]
    assert float(said[0].split(" %")[0]) > 80 and "values equal" in said[1] and said[2] == "NetworkSpec True"
    reached = [float(line.split()[1]) for line in said[3:]]
    assert len(reached) == 4 and reached[0] > 80 and reached[0] > reached[3]
    assert (tmp_path / "core" / "core.v").exists() and names["proof"]["memory_equal"] and names["manifest"]["memories"]


def test_models_networks_and_data_are_saved_and_loaded(trained, tmp_path):
    data, model = trained
    coded = spikeproof.quantize(model, {"kind": "int", "bits": 4})
    net = spikeproof.export(coded, data.frames["test"])
    for name, thing in (("model", model), ("coded", coded), ("net", net), ("data", data)):
        assert re.fullmatch("[0-9a-f]{64}", spikeproof.save(tmp_path / name, thing))
    again = spikeproof.load(tmp_path / "coded")
    assert network_digest(spikeproof.export(again)) == network_digest(spikeproof.load(tmp_path / "net")) == network_digest(net)
    more = spikeproof.quantize(spikeproof.load(tmp_path / "model"), {"kind": "int", "bits": 4})
    assert network_digest(spikeproof.export(more)) == network_digest(net)
    loaded = spikeproof.load(tmp_path / "data")
    assert np.array_equal(loaded.frames["test"], data.frames["test"]) and loaded.classes == data.classes
    assert save_network(tmp_path / "n", net) == network_digest(net) == load_network(tmp_path / "n")[1]
    events = tiny_data(bits=1, constant=False)                       # of one bit: kept eight to a byte
    digest = spikeproof.save(tmp_path / "events", events)
    again = spikeproof.load(tmp_path / "events")
    assert np.array_equal(again.frames["test"], events.frames["test"]) and spikeproof.save(tmp_path / "more", again) == digest
    (tmp_path / "text").write_text("no container")
    with pytest.raises(CorruptFile, match="text is truncated, or no file of this pipeline: name another"):
        spikeproof.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError, match="nothing does not exist"):
        spikeproof.load(tmp_path / "nothing")


def test_quantize_trains_on_where_there_are_data(trained):
    data, model = trained
    entry = {"kind": "int", "bits": 3, "training": TRAINING}
    said = []
    once, on = spikeproof.quantize(model, entry, say=said.append), spikeproof.quantize(model, entry, data, say=lambda said: None)
    assert said == ["the quantizer's training is left out: it needs data"]
    assert once.history == [] and [of["epoch"] for of in on.history] == [1] and on.chain["quantizer"] == entry
    assert network_digest(spikeproof.export(once)) != network_digest(spikeproof.export(on, data.frames["test"]))
    with pytest.raises(ValueError, match="^the model must be in full precision, not quantized already$"):
        spikeproof.quantize(on, entry)


def test_the_core_of_another_network_is_not_simulated(trained, tmp_path):
    data, model = trained
    nets = [spikeproof.export(spikeproof.quantize(model, {"kind": "int", "bits": bits})) for bits in (4, 5)]
    spikeproof.generate(nets[0], tmp_path / "core", lanes=[2, 5])
    with pytest.raises(CorruptFile, match="must hold the core of this network, but was generated from another"):
        spikeproof.simulate(nets[1], tmp_path / "core", data.frames["test"][:1])


def test_importing_costs_nothing_and_names_what_there_is():
    code = "import spikeproof, sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules; spikeproof.trian"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src")
    assert "module 'spikeproof' has no attribute 'trian'" in done.stderr
    from spikeproof import api
    assert sorted(spikeproof.API) == sorted(api.__all__)
    assert all(callable(getattr(spikeproof, name)) and getattr(spikeproof, name).__doc__ for name in spikeproof.API)


def test_wrong_arguments_are_named(trained, tmp_path):
    _, model = trained
    with pytest.raises(TypeError, match="^data must be a PreparedData, not a dict$"):
        spikeproof.train({"kind": "digits"}, LAYERS)
    with pytest.raises(TypeError, match="^seed must be a int, not a str$"):
        spikeproof.train(tiny_data(), LAYERS, seed="x")
    with pytest.raises(ValueError, match="^the model must be in integer codes: quantize it first$"):
        spikeproof.export(model)
    with pytest.raises(TypeError, match="^what is saved must be a FloatNetwork or CodeNetwork or NetworkSpec or PreparedData, not"):
        spikeproof.save(tmp_path / "a", 42)
    net = spikeproof.export(spikeproof.quantize(model, {"kind": "int", "bits": 4}))
    with pytest.raises(ValueError, match="^frames must hold one image or more, not none$"):
        spikeproof.run_integer(net, np.zeros((0, *net.input.shape), np.uint8))
    for wrong, message in (({"fold": "x"}, r"^fold must be numbers of layers, .* that add up to 2, not \['x'\]$"),
                           ({"fold": 1.5}, "^fold must be numbers of layers"),
                           ({"lanes": 0}, "^lanes must be a whole number, at least 1, not 0$"),
                           ({"updaters": "two"}, "^updaters must be a whole number, at least 1, not two$")):
        with pytest.raises(Unbuildable, match=message):
            spikeproof.generate(net, tmp_path / "a", **wrong)
    assert not (tmp_path / "a").exists()
