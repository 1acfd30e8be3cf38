"""Propose lanes per layer for a device and a latency, before anything is generated.

Cycles are exact for the images given (or for random ones at a rate of spikes); block RAM follows from the shapes of the
memories; LUTs are an estimate, and too low for folds. Plans grow from one lane per layer, always at the busiest layer. The
proposal is the first that meets the latency; without one, the fastest that fits the device.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source, above_zero, count, share

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    from .generate import fold
    parser.add_argument("--network", type=Source, required=True, help="network.safetensors")
    parser.add_argument("--data", type=Source,
                        help="prepared data, whose first validation images are tried (default: random images)")
    parser.add_argument("--rate", type=share, default=0.15, help="share of inputs above 0 in random images (default 0.15)")
    parser.add_argument("--images", type=count, default=2, help="images tried (default 2)")
    parser.add_argument("--device", default="25k", choices=("25k", "45k", "85k"), help="ECP5 (default 25k)")
    parser.add_argument("--clock-mhz", type=above_zero, default=100, help="clock rate for latencies (default 100)")
    parser.add_argument("--latency-us", type=above_zero, help="latency of an image that is to be met")
    parser.add_argument("--fold", type=fold, default=False, help="as in generate: none, all, or how many layers each engine has")
    parser.add_argument("--out", type=Output, help="all plans tried, .json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    import sys

    import numpy as np
    from spikeproof_hdl.size import FULL, candidates
    from spikeproof_hdl.synth import DEVICES

    from ..datasets.base import load_prepared
    from ..files import write_json
    from ..netfile import load_network
    net, _ = load_network(args.network)
    if args.data:
        frames = load_prepared(args.data)[0].frames["validation"][:args.images]
    else:
        shape = net.input.shape if net.input.constant else (net.steps, *net.input.shape)
        rng = np.random.default_rng(0)
        frames = rng.integers(1, net.input.max_code + 1, (args.images, *shape)) * (rng.random((args.images, *shape)) < args.rate)
    chip = DEVICES[args.device]
    rows, best = [], None
    print(f"{'lanes':24} {'cycles/image':>12} {'latency us':>10} {'LUT est.':>8} {'block RAM':>9}")
    for candidate in candidates(net, frames, args.fold):
        latency = candidate.latency / args.clock_mhz
        fits = candidate.luts <= FULL * chip.luts and candidate.brams <= chip.brams
        rows.append({"lanes": candidate.lanes, "cycles_per_image": candidate.interval, "latency_us": latency,
                     "lut_estimate": candidate.luts, "bram_estimate": candidate.brams, "fits": fits})
        print(f"{','.join(map(str, candidate.lanes)):24} {candidate.interval:12.0f} {latency:10.1f} {candidate.luts:8} "
              f"{candidate.brams:9}{'' if fits else '  does not fit'}", file=sys.stdout, flush=True)
        if fits and (best is None or latency < best["latency_us"]):
            best = rows[-1]
        if candidate.luts > FULL * chip.luts or args.latency_us and fits and latency <= args.latency_us:
            break
    if args.out:
        write_json(args.out, {"device": chip.part, "clock_mhz": args.clock_mhz, "images": len(frames), "plans": rows,
                              "proposal": best})
    if best is None:
        raise RuntimeError(f"no plan fits {chip.part}: the smallest takes {rows[0]['lut_estimate']} LUT and "
                           f"{rows[0]['bram_estimate']} block RAMs of {chip.luts} and {chip.brams}")
    lanes = ",".join(map(str, best["lanes"]))
    if args.latency_us and best["latency_us"] > args.latency_us:
        raise RuntimeError(f"{args.latency_us:g} us cannot be met on {chip.part} at {args.clock_mhz:g} MHz: lanes {lanes} take "
                           f"{best['latency_us']:.1f} us")
    stage.say(f"{chip.part} at {args.clock_mhz:g} MHz: --lanes {lanes}, {best['latency_us']:.1f} us an image")
