"""Prove the core's parts by model checking: every input and every stall of small ones, with yosys and ABC.

Four properties: one neuron update is the contract's five steps; accumulators and membranes never overflow; memory addresses
stay in range; streams neither drop nor duplicate. "proved" holds for all times; "bounded" names the cycles from the start
within which no counterexample exists. Not a stage of the pipeline: it is about the core's parts, not about one network.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--seconds", type=float, default=60, help="time for each proof attempt (default 60)")
    parser.add_argument("--only", help="proofs whose property or name contains this text")
    parser.add_argument("--out", type=Output, help="proofs.json (default: none)")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from pathlib import Path

    from spikeproof_hdl.proofs import PROOFS
    from spikeproof_hdl.tools import tool_versions

    from ..files import write_json
    from ..provenance import provenance
    if args.seconds <= 0:
        raise ValueError(f"--seconds must be above 0, not {args.seconds:g}")
    if args.out and Path(args.out).is_dir():
        raise ValueError(f"--out must be a file, but {args.out} is a folder")
    chosen = [proof for proof in PROOFS if not args.only or args.only in f"{proof.property}: {proof.name}"]
    if not chosen:
        known = ", ".join(sorted({proof.property for proof in PROOFS}))
        raise ValueError(f"--only {args.only!r} matches no proof; properties are {known}")
    results = []
    for number, proof in enumerate(chosen, 1):
        outcome = proof.run(args.seconds)
        results.append({"property": proof.property, "name": proof.name, "status": outcome.status, "cycles": outcome.cycles,
                        "seconds": round(outcome.seconds, 1)})
        within = f" up to cycle {outcome.cycles}" if outcome.status == "bounded" else ""
        within = f" in cycle {outcome.cycles}" if outcome.status == "refuted" else within
        stage.say(f"{number}/{len(chosen)} {proof.property}: {proof.name}: {outcome.status}{within}")
    if args.out:
        write_json(args.out, {"proofs": results, "tools": tool_versions("yosys"), "provenance": provenance()})
    refuted = [result["name"] for result in results if result["status"] == "refuted"]
    if refuted:
        raise RuntimeError(f"refuted: {'; '.join(refuted)}")
