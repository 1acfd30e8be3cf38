"""Bundle a generated core for hardware engineers: a folder that is complete without Python.

Verilog, memory images, stimulus and golden traces, a self-checking testbench for Icarus Verilog and Verilator (`make sim`),
a cocotb test, a waveform save file, a block diagram, interface and memory map with timing diagrams, constraints, and a resource
report. The folder appears when its testbench has passed in Verilator.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import OutputFolder, Source, count

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--network", type=Source, required=True, help="network.safetensors")
    parser.add_argument("--rtl", type=Source, required=True, help="folder of the generated core")
    parser.add_argument("--data", type=Source, required=True, help="prepared data; vectors are of its first test images")
    parser.add_argument("--equivalence", type=Source, required=True, help="equivalence.json of the core")
    parser.add_argument("--synthesis", type=Source, required=True, help="synthesis.json of the core")
    parser.add_argument("--images", type=count, default=4, help="images with stimulus and golden traces (default 4)")
    parser.add_argument("--out", type=OutputFolder, required=True, help="folder of the bundle; one that is there is replaced")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from spikeproof_hdl.audit import load_plan
    from spikeproof_hdl.bundle import write_bundle

    from ..datasets.base import load_prepared
    from ..netfile import load_network
    net, digest = load_network(args.network)
    plan = load_plan(args.rtl, net, digest)
    data, _ = load_prepared(args.data)
    reports = {"equivalence": args.equivalence, "synthesis": args.synthesis}
    result = write_bundle(plan, args.rtl, data.frames["test"][:args.images], args.out, reports)
    stage.say(f"{result['files']} files, vectors of {result['images']} images ({result['updates']:,} updates); testbench passed")
