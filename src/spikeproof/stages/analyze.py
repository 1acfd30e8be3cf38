"""Run an analysis: quantities and curves, as JSON. Some look at trained networks, others need nothing."""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--config", type=json_argument, required=True, help="analysis entry, JSON or a file of it")
    parser.add_argument("--data", type=Source, help="prepared data, where the analysis is of trained networks")
    parser.add_argument("--models", type=Source, nargs="+", help="trained models, likewise")
    parser.add_argument("--rows", type=Source, nargs="+",
                        help="of an exploration, what its jobs have found: all parts of each model")
    parser.add_argument("--out", type=Output, required=True, help="result, .json")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from ..datasets.base import load_prepared
    from ..entries import make
    from ..files import write_json
    from ..model_files import load_model
    from ..provenance import provenance
    from ..torch_setup import set_up
    set_up(args.threads)
    analysis, given = make("analyses", args.config), {}
    if hasattr(analysis.options, "network"):
        if not args.data or not args.models:
            raise ValueError(f"--data and --models are missing: {args.config['kind']} is an analysis of trained networks")
        data, data_digest = load_prepared(args.data)
        given = {"data": data, "models": [load_model(path)[0] for path in args.models]}
        if args.rows:
            from .explore import digests, read_rows
            parts = len(args.rows) // len(args.models)
            given["found"] = [read_rows(args.rows[k * parts:(k + 1) * parts], analysis.options.space, digests(path, data_digest))
                              for k, path in enumerate(args.models)]
    result = analysis.run(say=stage.say, **given)
    write_json(args.out, {"config": args.config, **result, "provenance": provenance()})
