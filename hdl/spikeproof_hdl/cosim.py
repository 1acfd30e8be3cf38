"""The generated Verilog in Verilator, against golden traces of the integer model.

The comparison runs inside the compiled harness: spikes and stored membranes of every layer, neuron and step,
the winner of every image, and the order and number of all of them.
"""
import json
import shlex
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import numpy as np
from amaranth.hdl import Shape

from spikeproof import integer

from .audit import load_manifest, read_words
from .codecs import span
from .load import INPUTS
from .tools import compiler, ended, run, runtime_kept, verilator
from .updates import Update

__all__ = ["Simulator", "idle_limit", "input_ints", "input_words", "load_ties", "write_golden"]


def idle_limit(plan):
    """Cycles without any update, word or result after which the core counts as stuck.

    Four times the longest group, and more than a result is ever refused.
    """
    net = plan.net
    projections = [p for layer in net.layers for p in layer.projections]
    longest = max(p.weights[..., 0].size * p.pool**2 * net.input_bits(p)[0] for p in projections)
    return 100_000 + 4 * longest


def input_words(plan, frames):
    """Input codes [B, (T,) H, W, C] -> uint32 [words, 32-bit parts], the input stream in order."""
    net, word = plan.net, plan.word
    channels, bits = plan.input_shape[2], net.input.bits
    codes = np.asarray(frames, dtype=np.uint32).reshape(-1, channels)
    padded = np.zeros((len(codes), -(-channels // word) * word), np.uint32)
    padded[:, :channels] = codes
    padded = padded.reshape(-1, word)
    planes = (padded[:, :, None] >> np.arange(bits, dtype=np.uint32)) & 1          # bit 0 of lane 0 first
    flat = planes.reshape(len(padded), word * bits).astype(np.uint8)
    parts = -(-word * bits // 32)
    packed = np.packbits(flat, axis=1, bitorder="little")
    out = np.zeros((len(padded), parts * 4), np.uint8)
    out[:, :packed.shape[1]] = packed
    return out.view("<u4")


def input_ints(plan, frames):
    """Input codes [B, (T,) H, W, C] -> list of int, the words of the input stream in order."""
    return [int.from_bytes(word.tobytes(), "little") for word in input_words(plan, frames)]


def write_golden(plan, frames, folder, batch=256):
    """Write stimulus and golden traces of the integer model for ``frames``; returns images' winners, int64 [B].

    Memory stays flat: images go through the model ``batch`` at a time.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    net, winners = plan.net, []
    names = ["stimulus.u32", "winners.i32"]
    names += [f"{layer.name}.{part}" for layer in net.layers for part in ("spikes.u8", "membranes.i32")]
    files = {name: open(folder / name, "wb") for name in names}
    try:
        for at in range(0, len(frames), batch):
            part = frames[at:at + batch]
            trace = integer.run(net, part)
            input_words(plan, part).tofile(files["stimulus.u32"])
            trace.winner.astype("<i4").tofile(files["winners.i32"])
            for layer in net.layers:
                trace.spikes[layer.name].tofile(files[f"{layer.name}.spikes.u8"])
                trace.membranes[layer.name].astype("<i4").tofile(files[f"{layer.name}.membranes.i32"])
            winners.append(trace.winner)
    finally:
        for file in files.values():
            file.close()
    return np.concatenate(winners)


def _layout_header(plan):
    """core_layout.h: where each field lies in the trace payloads, read off the layouts themselves."""
    net = plan.net
    rows, cases, widest = [], [], 1
    for n, (layer, part) in enumerate(zip(net.layers, plan.layers)):
        layout, store = Update(layer, part.updaters), layer.neuron.store
        width = span(store.lo, store.hi)
        rows.append(f'  {{"{layer.name}", {layer.neurons}, {part.updaters}, {layout["spikes"].offset}, '
                    f'{layout["membranes"].offset}, {width.width}, {int(width.signed)}, '
                    f'{layout["index"].offset}, {layout["index"].width}}},')
        cases.append(f"    case {n}: if (!d.trace_{layer.name}_valid) return false; "
                     f"p.load(d.trace_{layer.name}_payload); return true;")
        widest = max(widest, -(-Shape.cast(layout).width // 32))
    return "\n".join([
        f"constexpr int LAYERS = {len(net.layers)};",
        f"constexpr uint64_t STEPS = {net.steps};",
        f"constexpr uint64_t IMAGE_WORDS = {plan.image_words};",
        f"constexpr uint64_t WORD_U32 = {-(-plan.word * net.input.bits // 32)};",
        "constexpr LayerLayout LAYOUT[LAYERS] = {", *rows, "};",
        "template <class D> static bool trace(D& d, int layer, Bits& p) {", "  switch (layer) {", *cases,
        "  }", "  return false;", "}", ""]), widest


def load_ties(plan):
    """Connections of a loadable core's port that leave its memories alone."""
    return [f".load_{name}('0)" for name in INPUTS] if plan.loadable else []


def _verify_top(plan, manifest):
    """verify_top.sv: the core, and a signal that makes it write all its memories (none without a manifest) to files."""
    net = plan.net
    wires = [("input", "clk", 1), ("input", "rst", 1), ("input", "i_valid", 1), ("output", "i_ready", 1),
             ("input", "i_payload", plan.word * net.input.bits), ("output", "o_valid", 1), ("input", "o_ready", 1),
             ("output", "o_payload", plan.class_bits)]
    for layer, part in zip(net.layers, plan.layers):
        wires += [("output", f"trace_{layer.name}_valid", 1),
                  ("output", f"trace_{layer.name}_payload", Shape.cast(Update(layer, part.updaters)).width)]
    declared = ",\n".join(f"  {way} wire [{bits - 1}:0] {name}" for way, name, bits in wires)
    connected = ", ".join([*(f".{name}({name})" for _, name, _ in wires), *load_ties(plan)])
    if manifest is None:
        return f"module verify_top (\n{declared},\n  input wire dump\n);\n  core core ({connected});\nendmodule\n"
    dumps = "\n".join(f'    $writememb("{path.removeprefix("core.")}.read", {path});' for path in manifest["memories"])
    return (f"module verify_top (\n{declared},\n  input wire dump\n);\n  core core ({connected});\n"
            f"  always @(posedge dump) begin\n{dumps}\n  end\nendmodule\n")


class Simulator:
    """A generated core, compiled.

    Parameters
    ----------
    plan : CorePlan
    rtl : folder of core.v, its images and manifest.json
    work : folder for the build
    waves : bool, build with waveform tracing
    netlist : sequence of Verilog files to simulate in place of core.v, whose memories are not read back, or None

    Raises
    ------
    MissingTool
        If Verilator or a compiler is absent.
    RuntimeError
        If the Verilog does not compile.
    """
    def __init__(self, plan, rtl, work, waves=False, netlist=None):
        self.plan, self.rtl, self.work = plan, Path(rtl), Path(work)
        self.images, self.last_shard = self.rtl, None
        self.manifest = load_manifest(self.rtl)
        program, env = verilator()
        cxx = shlex.join(compiler())
        self.work.mkdir(parents=True, exist_ok=True)
        layout, widest = _layout_header(plan)
        (self.work / "core_layout.h").write_text(layout)
        (self.work / "verify_top.sv").write_text(_verify_top(plan, None if netlist else self.manifest))
        template = resources.files("spikeproof_hdl") / "templates" / "harness.cpp"
        (self.work / "harness.cpp").write_text(template.read_text())
        build = "waves" if waves else "fast"
        flags = f"-DPAYLOAD_WORDS_MAX={widest} -std=c++17 -I.."
        # The wheel's makefile fragment has an empty precompiled-header flag; -include is what it means.
        make = "OPT_FAST=-O1 OPT_SLOW=-O0 OPT_GLOBAL=-O1 CFG_CXXFLAGS_PCH_I=-include "
        make += shlex.join([f"CXX={cxx}", f"LINK={cxx}"])
        options = ["--cc", "--exe", "--build", "-j", "1", "--top-module", "verify_top", "--prefix", "Vverify_top",
                   "--x-assign", "fast", "--x-initial", "fast", "-O3", "-Wno-fatal", "-Wno-lint", "--no-timing", "--assert",
                   *(["-Wno-MULTIDRIVEN", "-DNO_ICE40_DEFAULT_ASSIGNMENTS"] if netlist else []),
                   *(["--trace-vcd"] if waves else []), "-MAKEFLAGS", make, "--Mdir", build, "-o", "harness"]
        with runtime_kept(self.work / build, *options) as kept:
            run([program, *options, *kept, "-CFLAGS", flags, "verify_top.sv",
                 *map(str, netlist or [self.rtl.resolve() / "core.v"]), "harness.cpp"],
                self.work, self.work / f"{build}.log", env)
        self.program = self.work / build / "harness"

    def load_images(self, source=None):
        """Simulate with the memory images of a folder (default the rtl folder)."""
        self.images = self.rtl if source is None else Path(source)

    def _shard(self, number):
        """The folder in which a shard runs, with fresh memory images."""
        folder = self.work / f"shard{number}"
        folder.mkdir(exist_ok=True)
        for memory in self.manifest["memories"].values():
            if memory["image"]:
                shutil.copyfile(self.images / memory["image"], folder / memory["image"])
        return folder

    def compare(self, golden, images, seed=0, sequential=False, waves=None, shards=1, first=0, processes=None):
        """Simulate ``images`` images of a golden folder, from the one with number ``first``, and compare everything.

        Parameters
        ----------
        seed : int; with one above 0, the input idles and the output stalls at random
        sequential : bool; send an image when the one before has its result
        waves : (path, first cycle, last cycle) of a VCD to write, or None; of one shard
        shards : int, parts of the images, each simulated from reset
        processes : int, how many of them at once; None for all

        Returns
        -------
        dict of the harness: status ("equal", "diverged" or "stuck"), images, cycles, values, latency_cycles (summed
        over images), updates, words_sent; numbers are summed over the shards. For a divergence its shard ("first" image and
        "shard_images"), layer, what, image, step, neuron, expected, got, and cycle of the shard
        """
        ends = [first + images * (k + 1) // shards for k in range(shards)]
        starts = [first, *ends[:-1]]

        def run_shard(number):
            return self._run(number, golden, starts[number], ends[number] - starts[number], seed, sequential, waves)
        with ThreadPoolExecutor(processes or shards) as pool:
            outcomes = list(pool.map(run_shard, range(shards)))
        self.last_shard = self.work / f"shard{shards - 1}"
        # Of several shards that differ the first is reported.
        whole = dict(next((o for o in outcomes if o["status"] != "equal"), outcomes[-1]))
        if whole["status"] != "equal":
            at = outcomes.index(whole)
            return {**whole, "first": starts[at], "shard_images": ends[at] - starts[at]}
        for key in ("images", "cycles", "values", "latency_cycles", "words_sent"):
            whole[key] = sum(o[key] for o in outcomes)
        whole["updates"] = {name: sum(o["updates"][name] for o in outcomes) for name in whole["updates"]}
        return whole

    def _run(self, number, golden, first, images, seed, sequential, waves):
        command = [str(self.program.resolve()), str(Path(golden).resolve()), str(first), str(images), str(seed),
                   str(int(sequential)), str(idle_limit(self.plan))]
        if waves:
            command += [str(Path(waves[0]).resolve()), str(waves[1]), str(waves[2])]
        done = subprocess.run(command, cwd=self._shard(number), capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or not done.stdout.strip().endswith("}"):
            raise RuntimeError(f"the simulation {ended(done.returncode)}: {done.stderr.strip()[-500:]}".rstrip(": "))
        return json.loads(done.stdout.strip().splitlines()[-1])

    def read_back(self):
        """The memories as the simulated design held them after the last image of an equal run: {path: list of int words}."""
        return {path: read_words(self.last_shard / f"{path.removeprefix('core.')}.read", memory["width"])
                for path, memory in self.manifest["memories"].items()}


