"""Synthesise, place and route the core: LUT, FF, block RAM, DSP, clock rate.

Devices: ECP5 (25k, 45k, 85k; auto: the smallest that holds the core) and iCE40 (up5k) by yosys and nextpnr; Xilinx 7 series (xc7)
by yosys alone, without a clock rate.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source, count, whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage

DEVICES = ("auto", "25k", "45k", "85k", "up5k", "xc7")


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--rtl", type=Source, required=True, help="folder of the generated core")
    parser.add_argument("--device", default="auto", choices=DEVICES, help="FPGA (default auto, the smallest ECP5)")
    parser.add_argument("--placer-seed", type=whole, default=1, help="seed of nextpnr (default 1)")
    parser.add_argument("--target-mhz", type=count, default=100, help="clock rate that nextpnr works towards (default 100)")
    parser.add_argument("--out", type=Output, required=True, help="synthesis.json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    import tempfile

    from spikeproof_hdl.synth import synthesize

    from ..files import write_json
    from ..provenance import provenance
    with tempfile.TemporaryDirectory(prefix="spikeproof-") as work:
        result = synthesize(args.rtl, work, args.device, args.placer_seed, args.target_mhz)
    if result["dsp"]:
        raise RuntimeError(f"the core must use no DSP block, not {result['dsp']}")
    write_json(args.out, {**result, "provenance": provenance()})
    clock = "not placed" if result["fmax_mhz"] is None else f"{result['fmax_mhz']} MHz"
    stage.say(f"{result['device']}: {result['lut']} LUT, {result['ff']} FF, {result['bram']} block RAM, {clock}")
