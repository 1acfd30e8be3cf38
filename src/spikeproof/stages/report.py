"""Gather a study's results into one self-contained page and tables, and hold them against the papers' claims.

The page needs no network and no other file; one table has a row per run and seed, the other a row per claim.
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
    parser.add_argument("--study", type=json_argument, required=True,
                        help="{name, title, about, scaled_down, smoke, runs: [[name, dataset, ..., seed, hardware], ...], "
                             "analyses: {name: entry}}")
    parser.add_argument("--claims", type=Source, help="claims.yaml")
    parser.add_argument("--out", type=Output, required=True, help="report.html")
    parser.add_argument("--table", type=Output, required=True, help="summary.csv")
    parser.add_argument("--claims-table", type=Output, help="claims.csv: verdicts on the claims that the study tests")
    parser.add_argument("--figures", type=OutputFolder, help="folder for the page's figures, each as .svg with its data as .csv")
    parser.add_argument("--manifest", type=Output,
                        help="manifest.json: SHA-256 of all files that the report rests on, for the verify stage")


def run(args: argparse.Namespace, stage: Stage) -> None:
    from .. import claims, report
    from ..files import digests, read_result, write_json, write_text
    from ..pages import save_figures
    from ..provenance import provenance
    from ..runs import Run, analysis_file
    study = {**args.study, "runs": [Run(*fields) for fields in args.study["runs"]]}
    results = report.collect(study["runs"])
    table = report.summary(results)
    analyses = {name: read_result(analysis_file(name)) for name in study["analyses"]}
    verdicts = claims.table(claims.load_claims(args.claims) if args.claims else {}, study["name"], study["scaled_down"], table,
                            analyses, skipped="a smoke run" if study["smoke"] else None)
    write_text(args.table, table.to_csv(index=False))
    if args.claims_table:
        write_text(args.claims_table, verdicts.to_csv(index=False))
    page, figures = report.page(study, results, table, analyses, verdicts)
    write_text(args.out, page)
    if args.figures:
        save_figures(args.figures, figures)
    if args.manifest:
        paths = {path for run in study["runs"] for path in run.files} | {analysis_file(name) for name in analyses}
        paths |= {path for path in (args.out, args.table, args.claims_table, args.figures) if path}
        write_json(args.manifest, {"study": args.study, "files": digests(paths), "provenance": provenance()})
    said = ", ".join(f"{count} {verdict}" for verdict in claims.VERDICTS if (count := int((verdicts.verdict == verdict).sum())))
    stage.say(f"{len(table)} rows in {args.table}{f'; claims: {said}' if said else ''}; open {args.out}")
