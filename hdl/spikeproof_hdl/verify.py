"""The proof by simulation: a whole image set through the generated Verilog, every neuron and step."""
import hashlib
import shutil
from pathlib import Path

import numpy as np

from spikeproof.files import sha256_file, write_json, write_text

from .audit import audit_memories, check_files, read_images
from .cosim import Simulator, idle_limit, write_golden
from .netlist import netlist
from .timing import predict
from .tools import tool_versions

__all__ = ["Divergence", "verify"]

#: Images of the runs with random stalls and of the latency measurement.
SAMPLE = 20
#: Images whose cycles are predicted, and must be the simulation's.
PREDICTED = 2
#: Parts of the images at least; the core fills anew for each, so cycles would depend on how many processes there are.
SHARDS = 2
#: Cycles of waveform before and after a divergence.
WAVES = (3000, 300)


class Divergence(RuntimeError):
    """The Verilog and the integer model differ; the message names layer, neuron, step and both values."""


def _sentence(outcome):
    if outcome["status"] == "stuck":
        at = ", ".join(f"{name} after {n} updates" for name, n in outcome["updates"].items())
        return f"the core stopped after {outcome['images']} images and {outcome['cycles']} cycles: {at}"
    d = outcome["divergence"]
    return (f"{d['what']} of layer {d['layer']}, neuron {d['neuron']}, differs at image {d['image']}, step {d['step']}: "
            f"the integer model has {d['expected']}, the Verilog {d['got']} (cycle {d['cycle']})")


def _report(plan, rtl, work, report, outcome, run):
    """Write the first-divergence report: divergence.json, divergence.txt and a waveform around the cycle."""
    report.mkdir(parents=True, exist_ok=True)
    # Of a core that is stuck, the last progress is of interest, not the wait for more.
    cycle = outcome["divergence"]["cycle"] if "divergence" in outcome else outcome["cycles"] - idle_limit(plan)
    simulator = Simulator(plan, rtl, work, waves=True)
    simulator.load_images()
    waves = report / "divergence.vcd"
    part = {**run, "first": outcome["first"], "images": outcome["shard_images"], "shards": 1, "processes": 1}
    simulator.compare(work / "golden", waves=(waves, max(0, cycle - WAVES[0]), cycle + WAVES[1]), **part)
    sentence = _sentence(outcome)
    write_json(report / "divergence.json", {**outcome, "waveform": waves.name, "run": part})
    write_text(report / "divergence.txt", f"{sentence}\nwaveform: {waves.name}, time unit = a tenth of a clock cycle\n")
    raise Divergence(f"{sentence}; report and waveform in {report}")


def _digest(folder, names):
    total = hashlib.sha256()
    for name in names:
        total.update(f"{name}:{sha256_file(folder / name)}\n".encode())
    return total.hexdigest()


def verify(plan, rtl, frames, work, report, labels=None, processes=1, netlist_images=0):
    """Simulate the generated Verilog on all ``frames`` and compare everything with the integer model.

    Runs: all images back to back; a sample with random stalls and idle cycles; a sample one at a time, for the latency;
    the first images, whose cycles must be those that :mod:`spikeproof_hdl.timing` predicts. Then every memory word of the
    simulated design is read back and decoded.

    Parameters
    ----------
    plan : CorePlan
    rtl : folder of the exported core
    frames : int array of input codes, [B, (T,) H, W, C]
    work : scratch folder
    report : folder of the first-divergence report, should there be one
    processes : int, simulations at once; up to SHARDS of them, the result does not depend on it
    netlist_images : int, images that the synthesised netlist computes too

    Returns
    -------
    dict: what was compared, how many values, cycles, digests, memory bits, tool versions

    Raises
    ------
    Divergence, MemoryMismatch, MissingTool
    """
    work, report, images = Path(work), Path(report), len(frames)
    shutil.rmtree(report, ignore_errors=True)             # a report there is of an earlier core
    winners = write_golden(plan, frames, work / "golden")
    simulator = Simulator(plan, rtl, work)
    simulator.load_images()
    # The images first: what they hold must be the network before anything runs on them.
    audit_memories(plan, simulator.manifest, read_images(rtl, simulator.manifest))
    files = check_files(rtl, simulator.manifest)

    shards = min(max(SHARDS, processes), images)
    runs = {"all": {"images": images, "shards": shards, "processes": processes},
            "stalled": {"images": min(SAMPLE, images), "seed": 1}, "alone": {"images": min(SAMPLE, images), "sequential": True},
            "predicted": {"images": min(PREDICTED, images)}}
    outcomes = {}
    for name in ("stalled", "alone", "predicted", "all"):          # "all" last: its final memories are read back
        outcomes[name] = simulator.compare(work / "golden", **runs[name])
        if outcomes[name]["status"] != "equal":
            _report(plan, rtl, work, report, outcomes[name], runs[name])

    timing = predict(plan, frames[:PREDICTED])
    predicted = timing.cycles
    if predicted != outcomes["predicted"]["cycles"]:
        raise RuntimeError(f"the cycle model must give the simulation's {outcomes['predicted']['cycles']} cycles for "
                           f"{runs['predicted']['images']} images, not {predicted}")

    final = {layer.name: np.fromfile(work / "golden" / f"{layer.name}.membranes.i32", "<i4",
                                     offset=4 * (images * plan.net.steps - 1) * layer.neurons)
             for layer in plan.net.layers}
    memory = audit_memories(plan, simulator.manifest, simulator.read_back(), final)
    gates = None
    if netlist_images:
        gates = Simulator(plan, rtl, work / "gates", netlist=netlist(rtl, work / "netlist"))
        gates = gates.compare(work / "golden", min(netlist_images, images))
        if gates["status"] != "equal":
            raise Divergence(f"the netlist differs from the integer model: {_sentence(gates)}")
    traces = [f"{layer.name}.{part}" for layer in plan.net.layers for part in ("spikes.u8", "membranes.i32")]
    result = {
        "equal": True, "memory_equal": True, "images_compared": images,
        "values_compared": outcomes["all"]["values"],
        "values_compared_stalled": outcomes["stalled"]["values"],
        "updates": outcomes["all"]["updates"],
        "cycles": outcomes["all"]["cycles"],
        "cycles_per_image": outcomes["all"]["cycles"] / images,
        "cycles_predicted": {"images": runs["predicted"]["images"], "cycles": predicted},
        "memory_rows_per_image": {what: count / len(timing.results) for what, count in timing.activity.items()},
        "latency_cycles": outcomes["alone"]["latency_cycles"] / runs["alone"]["images"],
        "memory": memory,
        "netlist": "not run" if gates is None else {"cells": "iCE40", "images": gates["images"], "values": gates["values"]},
        "digests": {"traces": _digest(work / "golden", traces), "stimulus": _digest(work / "golden", ["stimulus.u32"]),
                    "verilog": files["core.v"],
                    "images": _digest(Path(rtl), sorted(name for name in files if name.endswith(".mem")))},
        "tools": tool_versions("verilator", "compiler"),
    }
    if labels is not None:
        result["accuracy"] = float((winners == np.asarray(labels)).mean())
    return result
