"""Gather the claims of all studies with their verdicts, and our cores beside published ones, into one page and tables.

Of a study that was run here its own results count, else the committed reference's.
"""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Output, OutputFolder, Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from ..annotations import Json
    from ..cli import Stage


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--claims", type=Source, default="config/claims.yaml", help="claims (default config/claims.yaml)")
    parser.add_argument("--cores", type=Source, default="config/cores.yaml", help="published cores (default config/cores.yaml)")
    parser.add_argument("--results", type=Source, default="results", help="folder of the studies' results (default results)")
    parser.add_argument("--references", type=Source, default="results/reference",
                        help="the committed ones (default results/reference)")
    parser.add_argument("--reference-only", action="store_true", help="take the committed references alone")
    parser.add_argument("--out", type=Output, help="overview.html")
    parser.add_argument("--table", type=Output, help="claims.csv: every claim and its verdict")
    parser.add_argument("--cores-table", type=Output, help="cores.csv: our cores and published ones")
    parser.add_argument("--figures", type=OutputFolder, help="folder for the page's figures, each as .svg with its data as .csv")
    parser.add_argument("--markdown", type=Output, help="the same as a page of the documentation, .md")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from ..claims import VERDICTS, load_claims
    from ..files import write_text
    from ..overview import Places, Tables, claims_table, cores_table, load_cores, markdown, page
    from ..pages import save_figures
    if not any((args.out, args.table, args.cores_table, args.figures, args.markdown)):
        raise ValueError("one of --out, --table, --cores-table, --figures and --markdown must be given")
    places = Places(Path(args.references), None if args.reference_only else Path(args.results))
    if not places.references.is_dir():
        raise FileNotFoundError(f"{places.references} does not exist: run this in the root of the repository, or give --references")
    tables = Tables(claims_table(load_claims(args.claims), places), cores_table(load_cores(args.cores), places))
    if args.out or args.figures:
        text, figures = page(tables)
        if args.out:
            write_text(args.out, text)
        if args.figures:
            save_figures(args.figures, figures)
    for path, table in ((args.table, tables.claims), (args.cores_table, tables.cores)):
        if path:
            write_text(path, table.to_csv(index=False))
    if args.markdown:
        write_text(args.markdown, markdown(tables))
    counts = ", ".join(f"{int((tables.claims.verdict == verdict).sum())} {verdict}" for verdict in VERDICTS)
    stage.say(f"{len(tables.claims)} claims: {counts}" + (f"; open {args.out}" if args.out else ""))
