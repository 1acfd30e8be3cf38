"""Put a core on a board: top level with a serial line (1 Mbaud), pins, and a bitstream by the open tools.

The folder holds a README, core.v with its images, top.v, constraints, the bitstream top.bit and host.py, the other end of the line:

  iceprog top.bit                                            # ULX3S: fujprog top.bit; its port is /dev/ttyUSB0
  python host.py /dev/ttyUSB1 .../rtl/vectors/input.hex      # needs pyserial; classifies the images of a bundle, and compares

A UP5K is small: cores for it want few lanes and a small fetch (`generate --lanes 8 --fetch 16`).
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import OutputFolder, Source, whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage

BOARDS = ("icebreaker", "ulx3s-25f", "ulx3s-85f")


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--network", type=Source, required=True, help="network.safetensors")
    parser.add_argument("--rtl", type=Source, required=True, help="folder of the generated core")
    parser.add_argument("--board", required=True, choices=BOARDS, help="iCEBreaker (iCE40 UP5K) or ULX3S (ECP5)")
    parser.add_argument("--placer-seed", type=whole, default=1, help="seed of nextpnr (default 1)")
    parser.add_argument("--out", type=OutputFolder, required=True, help="folder, made if absent")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from importlib import resources
    from pathlib import Path

    from spikeproof_hdl.audit import check_files, copy_core, load_manifest, load_plan
    from spikeproof_hdl.board import build, clear, describe, write_top

    from ..files import write_json, write_text
    from ..netfile import load_network
    from ..provenance import provenance
    net, digest = load_network(args.network)
    plan = load_plan(args.rtl, net, digest)
    manifest, out = load_manifest(args.rtl), Path(args.out)
    check_files(args.rtl, manifest)
    clear(out)
    link = write_top(plan, args.board, digest, out)                  # first: it marks the folder as a board's
    copy_core(args.rtl, out)
    write_text(out / "host.py", (resources.files("spikeproof_hdl") / "host.py").read_text())
    stage.say(f"{out / 'top.v'} is written; yosys and nextpnr need a minute, or more where the device is nearly full")
    result = build(out, args.board, args.placer_seed)
    memories = [{"name": name, **{key: manifest["memories"][f"core.{name}"][key] for key in ("width", "depth")}}
                for name in manifest["loadable"]]
    write_json(out / "board.json", {**result, "words": link.words, "word_bits": link.bits, "memories": memories,
                                    "network_sha256": digest, "provenance": provenance()})
    write_text(out / "README.md", describe(args.board, result))
    stage.say(f"{result['board']}: {result['lut']} LUT, {result['bram']} block RAM; its clock has {result['clock_mhz']} MHz, "
              f"and {result['fmax_mhz']} MHz were reached; {out / result['bitstream']}")
