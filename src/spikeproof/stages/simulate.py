"""Simulate the generated Verilog on the test set and compare everything.

Every spike and stored membrane of every layer, neuron and step, every winner, and every memory word must be
the integer model's. A difference ends the run with a first-divergence report beside the result.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source, count, whole

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--network", type=Source, required=True, help="network.safetensors")
    parser.add_argument("--rtl", type=Source, required=True, help="folder of the generated core")
    parser.add_argument("--data", type=Source, required=True, help="prepared data; its test part is simulated")
    parser.add_argument("--images", type=count, help="at most so many images of the test part, evenly spaced (default: all)")
    parser.add_argument("--netlist-images", type=whole, default=0, help="images that are simulated once more in the synthesised "
                        "netlist, iCE40 cells (default 0: not run)")
    parser.add_argument("--out", type=Output, required=True, help="equivalence.json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    import tempfile
    from pathlib import Path

    from spikeproof_hdl.audit import load_plan
    from spikeproof_hdl.verify import verify

    from ..datasets.base import limited, load_prepared
    from ..files import write_json
    from ..netfile import load_network
    from ..provenance import provenance
    net, digest = load_network(args.network)
    plan = load_plan(args.rtl, net, digest)
    data, data_digest = load_prepared(args.data)
    if args.images is not None:
        data = limited(data, args.images)
    with tempfile.TemporaryDirectory(prefix="spikeproof-") as work:
        result = verify(plan, args.rtl, data.frames["test"], work, Path(args.out).parent / "divergence", data.labels.get("test"),
                        args.threads, args.netlist_images)
    result = {**result,
              "engines": [[net.layers[k].name for k in engine] for engine in plan.engines],
              "lanes": [part.lanes for part in plan.layers], "network_sha256": digest,
              "data_sha256": data_digest, "provenance": provenance()}
    write_json(args.out, result)
    stage.say(f"Verilog = integers on {result['values_compared']:,} values of {result['images_compared']} images; "
              f"{result['cycles_per_image']:.0f} cycles an image; {result['memory']['words_compared']} memory words equal")
