"""Gather the points of a grid into a table and a page.

A row per point and seed: settings, accuracy on the validation and test parts, memory in bits by kind, operations, seconds.
"""
from __future__ import annotations

from typing import TYPE_CHECKING

from ..arguments import Output, OutputFolder, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--parts", type=Source, nargs="+", required=True, help="what the grid-part stage wrote, in order")
    parser.add_argument("--grid", type=json_argument, required=True, help="{name, title, about}")
    parser.add_argument("--out", type=Output, required=True, help="report.html")
    parser.add_argument("--table", type=Output, required=True, help="summary.csv")
    parser.add_argument("--figures", type=OutputFolder, help="folder for the page's figures, each as .svg with its data as .csv")
    parser.add_argument("--manifest", type=Output, help="manifest.json: SHA-256 of the points' files, for the verify stage")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from pathlib import Path

    import pandas as pd

    from .. import report
    from ..files import digests, read_result, write_json, write_text
    from ..pages import save_figures
    from ..points import folder_of
    from ..provenance import provenance
    from ..runs import SECTION_OF
    parts = [read_result(path) for path in args.parts]
    rows = [row for part in parts for row in part["rows"]]
    failed = [row for row in rows if "error" in row]
    if len(failed) == len(rows):
        raise RuntimeError(f"all {len(failed)} points failed, first: {rows[0]['error']}")
    results = ["accuracy_float", "accuracy", "validation_accuracy", "firing_rate", "memory_bits"]
    settings = list(dict.fromkeys(key for row in rows for key in row if "." in key or key in SECTION_OF))
    others = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in (*settings, "seed", *results)]

    def cell(key: str, value: Json) -> Json:
        """An option that is set to nothing is told apart from one that is not set."""
        return "null" if value is None and key in settings else str(value) if isinstance(value, list | dict) else value
    # Objects, so that an integer stays one in a column with holes.
    table = pd.DataFrame([{key: cell(key, value) for key, value in row.items()} for row in rows],
                         columns=[*settings, "seed", *results, *others], dtype=object)
    write_text(args.table, table.to_csv(index=False))
    numbers = [name for name in (*results, "seconds", "torch_values_compared") if name in table]
    good = table[table.accuracy.notna()].astype(dict.fromkeys(numbers, float))
    why = [(", ".join(f"{key} {row[key]}" for key in (*settings, "seed") if key in row), row["error"]) for row in failed]
    page, figures = report.grid_page(args.grid, good, settings, why)
    write_text(args.out, page)
    if args.figures:
        save_figures(args.figures, figures)
    if args.manifest:
        below = {folder_of(row["key"]) for row in rows} | {path for part in parts for path in part["rests_on"]}
        below |= {path for path in (args.out, args.table, args.figures) if path}
        paths = [path for path in below if Path(path).exists()]
        write_json(args.manifest, {"grid": args.grid, "files": digests(paths), "provenance": provenance()})
    stage.say(f"{len(table)} points in {args.table}{f', {len(failed)} of them failed' if failed else ''}; open {args.out}")
