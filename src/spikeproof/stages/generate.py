"""Generate the neuron core of a network: Verilog and memory images.

Lanes and updaters are the most that a layer gets; each takes the largest divisor of its channels. With a comma-separated
list, each layer gets exactly its number of lanes. Layers that are folded share one engine and are computed in turn.
"""
from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..arguments import OutputFolder, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def lanes(text: str) -> int | list[int]:
    """"16", or "16,8,2": a number, or one per layer."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, or numbers with commas between them, not {text!r}") from None
    return numbers[0] if len(numbers) == 1 else numbers


def fold(text: str) -> bool | list[int]:
    """"none", "all", or "1,3,1": numbers of neighbouring layers that share an engine."""
    if text in ("none", "all"):
        return text == "all"
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be none, all, or numbers with commas between them, not {text!r}") from None


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--lanes", type=lanes, default=16,
                        help="neurons that accumulate at once: at most so many in every layer, or exactly as many as a list "
                             "says, as 16,8,2 (default 16)")
    parser.add_argument("--updaters", type=int, default=1, help="neurons updated in a cycle, per layer (default 1)")
    parser.add_argument("--fold", type=fold, default=False,
                        help="layers that share an engine: none (a pipeline), all, or how many each, as 1,3,1 (default none)")
    parser.add_argument("--word", type=int, help="input codes per word of the input stream (default at most 16)")
    parser.add_argument("--fetch", type=int, default=64, help="input codes that a busy layer reads at once: more skip silence "
                        "faster and need more memory ports (default 64)")
    parser.add_argument("--loadable", action="store_true", help="weights, thresholds, biases and initial membranes can be "
                        "written and read back at run time, through a port of the core")
    parser.add_argument("--network", type=Source, required=True, help="network.safetensors")
    parser.add_argument("--out", type=OutputFolder, required=True, help="folder for core.v, *.mem and manifest.json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from spikeproof_hdl.export import export_core
    from spikeproof_hdl.plan import CorePlan

    from ..netfile import load_network
    net, digest = load_network(args.network)
    plan = CorePlan.of(net, args.lanes, args.updaters, args.word, args.fold, args.fetch, args.loadable)
    manifest = export_core(plan, args.out, network=digest)
    engines = "; ".join(f"{name}: lanes " + ", ".join(str(plan.layers[plan.index(layer)].lanes) for layer in layers)
                        for name, layers in manifest["engines"].items())
    stage.say(f"{len(manifest['memories'])} memories; {engines}")
