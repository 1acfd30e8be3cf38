"""The bundle: a generated core as a folder that is complete without Python.

Verilog, memory images, stimulus and golden traces, a self-checking testbench for Icarus Verilog and Verilator, a cocotb test,
a waveform save file, constraints, and a README with block diagram, interface, memory map, timing and resources.
"""
import csv
import json
import os
import shlex
import shutil
import tempfile
from collections import deque
from importlib import resources
from itertools import islice
from pathlib import Path

import jinja2
import numpy as np
from amaranth.hdl import Shape
from vcd.gtkw import GTKWSave

from spikeproof import integer
from spikeproof.files import CorruptFile, sha256_file, write_text

from .audit import check_files, copy_core, load_manifest
from .core import loadable_memories
from .cosim import idle_limit, input_words, load_ties
from .diagrams import block_diagram, timing_diagram
from .export import KINDS
from .synth import CLOCK_PIN, DEVICES, commands, shell
from .tools import compiler, run, runtime_kept, verilator
from .updates import Update

__all__ = ["trace_fields", "write_bundle", "write_testbench", "write_vectors"]

STREAMS = [f"{stream}_{part}" for stream in "io" for part in ("valid", "ready", "payload")]
HEX = set("0123456789abcdef")
TEMPLATES = resources.files("spikeproof_hdl") / "templates/bundle"


def trace_fields(layer, part):
    """The fields of a layer's trace payload: list of dict with name, at (first bit), width, signed; lowest first."""
    layout, found = Update(layer, part.updaters), []
    for name, field in layout:
        if name != "membranes":
            found.append({"name": name, "at": field.offset, "width": field.width, "signed": False})
            continue
        code = Shape.cast(field.shape.elem_shape)
        found += [{"name": f"membrane_{k}", "at": field.offset + k * code.width, "width": code.width, "signed": code.signed}
                  for k in range(part.updaters)]
    return [field for field in found if field["width"]]


def _bits(values, width):
    """int [rows] -> uint8 [rows, width], lowest bit first, two's complement."""
    return ((np.asarray(values, np.int64)[:, None] >> np.arange(width)) & 1).astype(np.uint8)


def _hex(bits):
    """uint8 [rows, width], lowest bit first -> one line of hexadecimal digits a row."""
    rows, width = bits.shape
    padded = np.zeros((rows, -(-width // 8) * 8), np.uint8)
    padded[:, :width] = bits
    packed = np.packbits(padded[:, ::-1], axis=1)
    digits = -(-width // 4)
    return "".join(f"{row.tobytes().hex()[-digits:]}\n" for row in packed)


def _payloads(layer, part, steps, spikes, membranes):
    """Golden updates of a layer -> uint8 [updates, bits of the payload]: what its trace port must show, in order.

    ``spikes``, ``membranes`` : int [images * steps, neurons]
    """
    units, updates = part.updaters, layer.neurons // part.updaters
    frames = len(spikes)
    index = np.tile(np.arange(updates), frames)
    step_end = index == updates - 1
    columns = {"index": index, "group_end": (index + 1) % (part.lanes // units) == 0, "step_end": step_end,
               "image_end": step_end & (np.repeat(np.arange(frames), updates) % steps == steps - 1)}
    spikes, membranes = spikes.reshape(-1, units), membranes.reshape(-1, units)
    layout = Update(layer, units)
    bits = np.zeros((frames * updates, Shape.cast(layout).width), np.uint8)
    bits[:, :units] = spikes
    for field in trace_fields(layer, part):
        if field["name"] == "spikes":
            continue
        name, _, k = field["name"].rpartition("_")
        values = membranes[:, int(k)] if name == "membrane" else columns[field["name"]]
        bits[:, field["at"]:field["at"] + field["width"]] = _bits(values, field["width"])
    return bits


def write_vectors(plan, frames, folder):
    """Write stimulus (input.hex), golden traces (trace_<layer>.hex) and classes (classes.hex), a word a line.

    Parameters
    ----------
    frames : int array of input codes, [B, (T,) H, W, C]
    """
    folder, net = Path(folder), plan.net
    folder.mkdir(parents=True, exist_ok=True)
    trace = integer.run(net, frames)
    width = plan.word * net.input.bits
    words = np.unpackbits(input_words(plan, frames).view(np.uint8), axis=1, bitorder="little")[:, :width]
    (folder / "input.hex").write_text(_hex(words))
    (folder / "classes.hex").write_text("".join(f"{winner:x}\n" for winner in trace.winner))
    for layer, part in zip(net.layers, plan.layers):
        spikes, membranes = (found[layer.name].reshape(-1, layer.neurons) for found in (trace.spikes, trace.membranes))
        (folder / f"trace_{layer.name}.hex").write_text(_hex(_payloads(layer, part, net.steps, spikes, membranes)))


def _ports(plan):
    """Widths of the streams' payloads, and the words of an image."""
    return {"i_bits": plan.word * plan.net.input.bits, "o_bits": plan.class_bits,
            "image_words": plan.image_words}


def _render(name, folder, **known):
    """Write a file from its template."""
    jinja = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
                               undefined=jinja2.StrictUndefined)
    jinja.filters["count"] = _count
    write_text(folder / name, jinja.from_string((TEMPLATES / f"{name}.j2").read_text()).render(**known))


def write_testbench(plan, frames, folder):
    """Write testbench.sv, verilator_main.cpp and the vectors of ``frames`` beside a core's files."""
    folder = Path(folder)
    write_vectors(plan, frames, folder / "vectors")
    layers = _layers(plan)
    columns = ["rst", *STREAMS, *(f"trace_{layer['name']}_{name}" for layer in layers
                                  for name in ("valid", *(field["name"] for field in layer["fields"])))]
    _render("testbench.sv", folder, layers=layers, images=len(frames), steps=plan.net.steps, idle_limit=idle_limit(plan),
            columns=columns, ties=load_ties(plan), **_ports(plan))
    write_text(folder / "verilator_main.cpp", (TEMPLATES / "verilator_main.cpp").read_text())


def _layers(plan):
    return [{"name": layer.name, "neurons": layer.neurons, "units": part.updaters, "updates": layer.neurons // part.updaters,
             "bits": Shape.cast(Update(layer, part.updaters)).width, "fields": trace_fields(layer, part)}
            for layer, part in zip(plan.net.layers, plan.layers)]


def _save_file(plan, path):
    """core.gtkw: streams at the top, then a group for each layer; membranes as signed numbers."""
    def ranged(name, width):
        return f"testbench.{name}[{width - 1}:0]"
    with open(path, "w", encoding="utf-8") as file:
        save = GTKWSave(file)
        save.dumpfile("core.vcd")
        save.sst_expanded(True)
        save.trace("testbench.clk")
        save.trace("testbench.rst")
        for name, title, radix in (("i", "input", "hex"), ("o", "class", "dec")):
            with save.group(title):
                save.trace(f"testbench.{name}_valid")
                save.trace(f"testbench.{name}_ready")
                save.trace(ranged(f"{name}_payload", _ports(plan)[f"{name}_bits"]), datafmt=radix)
        for layer in _layers(plan):
            with save.group(f"layer {layer['name']}"):
                save.trace(f"testbench.trace_{layer['name']}_valid")
                for field in layer["fields"]:
                    save.trace(ranged(f"trace_{layer['name']}_{field['name']}", field["width"]),
                               datafmt="signed" if field["signed"] else "bin" if field["name"] == "spikes" else "dec")


def _count(number, what):
    """ "1 code", "16 codes"."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _blocks(plan, manifest):
    """(blocks, edges) of the block diagram."""
    net = plan.net
    memories = {}
    for path, memory in manifest["memories"].items():
        engine = path.removeprefix("core.").split(".")[0]
        whole = memories.setdefault(engine, {}).setdefault(memory["of"], [memory["kind"], 0, memory["width"], 0])
        whole[1] += memory["depth"]
        whole[3] += 1
    shown = {engine: [(kind, f"{path.split('.', 2)[-1]}: {depth} x {width} bit" + (f", {banks} banks" if banks > 1 else ""))
                      for path, (kind, depth, width, banks) in held.items()] for engine, held in memories.items()}
    height, width, channels = plan.input_shape
    blocks = [{"title": "input stream i", "memories": [],
               "lines": [f"frames {height} x {width} x {channels}, {net.input.bits} bit; words of {_count(plan.word, 'code')}"]}]
    for engine in plan.engine_plans:
        lines = []
        for k in engine.layers:
            layer, part = net.layers[k], plan.layers[k]
            kernels = " + ".join(f"{p.kernel[0]}x{p.kernel[1]} {p.codec.name}" for p in layer.projections)
            lines.append(f"{layer.name}: {' x '.join(map(str, layer.shape))}, {kernels}, {_count(part.lanes, 'lane')}")
        blocks.append({"title": f"engine {engine.name}" if len(engine.layers) > 1 else engine.name, "lines": lines,
                       "memories": shown.get(engine.name, [])})
    blocks.append({"title": "readout: " + net.readout, "lines": [f"{net.classes} classes; stream o"],
                   "memories": shown.get("readout", [])})
    edges = set()
    for e, engine in enumerate(plan.engine_plans):
        for _, store in engine.stores():
            for region in store.regions:
                source = plan.engine_of(region.source)
                if source != e:
                    edges.add((source + 1, e + 1, _count(region.word, "code" if source == -1 else region.reads[:-1])))
    edges.add((len(blocks) - 2, len(blocks) - 1, "updates"))
    return blocks, sorted(edges)


#: What a word holds, by kind of memory: one, and several.
NAMES = {"membranes": ("membrane", "membranes"), "thresholds": ("threshold", "thresholds"), "biases": ("bias", "biases"),
         "initials": ("initial membrane", "initial membranes")}


def _memory_rows(plan, manifest):
    """The memory map as a list of dict: path, file, kind, words, bits of a word, what a word holds."""
    held = {}
    for whole, content in manifest["contents"].items():
        texts = []
        for name, number in content["layers"]:
            layer, part = plan.net.by_name[name], plan.layers[plan.index(name)]
            if content["kind"] == "weights":
                p = layer.projections[number]
                source = f" from {p.source}" if len(layer.projections) > 1 else ""
                texts.append(f"{name}{source}: {_count(part.lanes, 'code')} of {p.codec.bits} bit ({p.codec.name})")
            else:
                single = content["kind"] == "thresholds" and layer.theta[0].size == 1
                one, several = NAMES[content["kind"]]
                texts.append(f"{name}: {one}" if single or part.updaters == 1 else f"{name}: {part.updaters} {several}")
        held[whole] = "; ".join(texts)
    return [{"path": path.removeprefix("core."), "bank": memory["bank"], "kind": memory["kind"], "depth": memory["depth"],
             "width": memory["width"], "image": memory["image"], "holds": held.get(memory["of"], "data under way")}
            for path, memory in manifest["memories"].items()]


def _window(path, found, before, cycles):
    """The rows of ports.csv around the first that ``found`` takes -> (number of the first one, rows), or None.

    A row is {signal: int, or None where bits are unknown}, the ports as one clock edge sees them.
    """
    with open(path, newline="") as file:
        rows = ({name: int(value, 16) if set(value) <= HEX else None for name, value in row.items()}
                for row in csv.DictReader(file))
        held = deque(maxlen=before)
        for number, row in enumerate(rows):
            if found(row):
                return number - len(held), [*held, row, *islice(rows, cycles - len(held) - 1)]
            held.append(row)
    return None


def _simulate(plan, folder, images):
    """Run the bundle's testbench in Verilator, as shipped, at full speed and stalled, and draw signals of it.

    Returns
    -------
    list of (file in docs/, sentence), the timing diagrams

    Raises
    ------
    RuntimeError
        If the testbench does not pass.
    """
    program, env = verilator()
    compiler()
    layer = _layers(plan)[0]
    trace = f"trace_{layer['name']}"
    fields = [f"{trace}_{field['name']}" for field in layer["fields"]]
    ports = _ports(plan)
    width = {"i_payload": ports["i_bits"], "o_payload": ports["o_bits"],
             **{name: field["width"] for name, field in zip(fields, layer["fields"])}}
    show = {"i_payload": lambda v: f"{v:x}"}
    show |= {name: lambda v, w=field["width"]: str(v - (v >> (w - 1) << w))
             for name, field in zip(fields, layer["fields"]) if field["signed"]}
    windows = (
        (0, "timing_start", "reset and the first words of an image", ["rst", *STREAMS[:3]], lambda row: True, 0, 14,
         "Reset for one cycle or more; words follow back to back."),
        (0, "timing_update", f"the first updates of layer {layer['name']}", [f"{trace}_valid", *fields],
         lambda row: row[f"{trace}_valid"], 2, 16,
         "Updates of neurons leave in index order as groups of lanes finish; a trace is valid for one cycle."),
        (1, "timing_refused", "a refused input word", STREAMS[:3], lambda row: row["i_valid"] and not row["i_ready"], 3, 14,
         "`i_valid` without `i_ready`: the word stays until both are high. (The sender pauses at random here.)"),
        (1, "timing_result", "the class of an image", STREAMS[3:], lambda row: row["o_valid"] and row["o_ready"], 5, 12,
         "`o_valid` stays until `o_ready`."))
    with runtime_kept(Path(folder) / "build" / "verilator", (TEMPLATES / "Makefile.j2").read_text()) as kept:
        # All C++ at once, which costs half; Verilator's helper for that is a Python script.
        run(["make", "--no-print-directory", "build/verilator/Vtestbench", f"VERILATOR={shlex.join([program, *kept])}",
             "VERILATED=VM_PARALLEL_BUILDS=0"], folder, env=env)
    drawn, seen = [], Path(folder) / "ports.csv"
    for seed, shown in ((0, 1), (1, 3)):                     # all that is drawn of the first is in one image
        run(["build/verilator/Vtestbench", f"+images={images}", f"+seed={seed}"], folder)
        run(["build/verilator/Vtestbench", f"+images={min(images, shown)}", f"+seed={seed}", "+ports"], folder)
        for of, name, title, signals, found, before, cycles, sentence in windows:
            window = _window(seen, found, before, cycles) if of == seed else None
            if window is None:                              # a core that refuses no word has no picture of it
                continue
            first, rows = window
            lines = [(signal, width.get(signal, 1), [row[signal] for row in rows], show.get(signal, str)) for signal in signals]
            (Path(folder) / "docs" / f"{name}.svg").write_text(timing_diagram(lines, first, title))
            drawn.append((f"{name}.svg", sentence))
        seen.unlink()
    return drawn


def _reports(core, reports):
    """Read the results of a core; CorruptFile where one is absent, unreadable or of another core."""
    results, digest = {}, sha256_file(core / "core.v")
    for name, path in reports.items():
        try:
            results[name] = json.loads(Path(path).read_text(encoding="utf-8"))
            of = results[name]["digests"]["verilog"] if name == "equivalence" else results[name]["verilog"]
        except (OSError, ValueError, KeyError, TypeError):
            raise CorruptFile(f"{path} is absent or no {name} report: run its stage again") from None
        if of != digest:
            raise CorruptFile(f"{path} must be of the core in {core}, but is of another: run its stage again")
    return results


def write_bundle(plan, core, frames, out, reports):
    """Write the bundle of a generated core, run its testbench in Verilator, and draw its signals.

    The folder appears when the testbench has passed on the files that it holds; else nothing is left.

    Parameters
    ----------
    plan : CorePlan
    core : folder of the generated core
    frames : int array of input codes [B, (T,) H, W, C], the images whose vectors are shipped
    out : folder to write; one that is there is replaced
    reports : {"equivalence": path, "synthesis": path} of the results that the README tells

    Returns
    -------
    dict: images, updates (lines of the traces in all), files

    Raises
    ------
    ValueError
        If ``out`` holds anything but a bundle.
    CorruptFile
        If the core is not what ``generate`` wrote, or a report is not of this core.
    RuntimeError
        If the testbench does not pass, or a tool is absent (MissingTool).
    """
    core, out = Path(core), Path(out)
    manifest = load_manifest(core)
    check_files(core, manifest)
    net, results = plan.net, _reports(core, reports)
    if out.exists() and (not out.is_dir() or any(out.iterdir()) and not (out / "SHA256SUMS").is_file()):
        raise ValueError(f"{out} must be a new folder, or a bundle to replace, but holds other files")
    device, chip = next((key, chip) for key, chip in DEVICES.items() if chip.part == results["synthesis"]["device"])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".bundle.") as work:
        folder = Path(work) / "rtl"
        copy_core(core, folder)
        shutil.copyfile(core / "manifest.json", folder / "manifest.json")
        for name, path in reports.items():
            shutil.copyfile(path, folder / f"{name}.json")
        write_testbench(plan, frames, folder)
        _save_file(plan, folder / "core.gtkw")
        (folder / "shell.v").write_text(shell(core))
        crowded = results["synthesis"]["crowded"]
        clock = results["synthesis"]["fmax_mhz"] or results["synthesis"]["target_mhz"]
        clock = min(int(clock), results["synthesis"]["target_mhz"])
        (folder / "constraints").mkdir()
        for file, text in (("core.sdc", f"create_clock -name clk -period {1000 / clock:.3f} [get_ports clk]\n"),
                           ("core.lpf", f'FREQUENCY PORT "clk" {clock} MHZ;\n' + (CLOCK_PIN if crowded else "")),
                           ("core.pcf", f"set_frequency clk {clock}\n")):
            (folder / "constraints" / file).write_text(text)

        synthesis, placement = commands(device, results["synthesis"]["seed"], crowded)
        constraint = {"ecp5": ["--lpf", "core.lpf"], "ice40": ["--pcf", "core.pcf"]}.get(chip.family)
        known = {"net": net, "plan": plan, "layers": _layers(plan), "images": len(frames), "steps": net.steps, **_ports(plan),
                 "part": chip.part, "family": chip.family, "clock": clock, "kinds": KINDS,
                 "memories": _memory_rows(plan, manifest), "manifest": manifest, **results,
                 "load_bits": max(loadable_memories(plan).values()), "synthesis_command": shlex.join(synthesis),
                 "placement": placement and shlex.join([*placement, *constraint])}
        _render("Makefile", folder, **known)
        write_text(folder / "test_core.py", (TEMPLATES / "test_core.py").read_text())
        (folder / "docs").mkdir()
        (folder / "docs" / "block_diagram.svg").write_text(block_diagram(*_blocks(plan, manifest)))
        _render("README.md", folder, **known, timing=_simulate(plan, folder, len(frames)))
        shutil.rmtree(folder / "build")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        (folder / "SHA256SUMS").write_text("".join(f"{sha256_file(path)}  {path.relative_to(folder)}\n" for path in files))
        shutil.rmtree(out, ignore_errors=True)
        os.replace(folder, out)
    return {"images": len(frames), "updates": sum(layer["updates"] for layer in _layers(plan)) * net.steps * len(frames),
            "files": len(files) + 1}
