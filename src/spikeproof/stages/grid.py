"""Gather the points of a grid into a table and a page.

A row per point and seed: settings, accuracy on the validation and test parts, memory in bits by kind, operations, seconds.
"""


def add_arguments(parser, json_argument):
    parser.add_argument("--parts", nargs="+", required=True, help="what the grid-part stage wrote, in order")
    parser.add_argument("--grid", type=json_argument, required=True, help="{name, title, about}")
    parser.add_argument("--out", required=True, help="report.html")
    parser.add_argument("--table", required=True, help="summary.csv")
    parser.add_argument("--manifest", help="manifest.json: SHA-256 of the points' files, for the verify stage")


def run(args, stage):
    import pandas as pd

    from .. import report
    from ..files import digests, read_result, write_json, write_text
    from ..points import folder_of
    from ..provenance import provenance
    from ..runs import SECTION_OF
    rows = [row for path in args.parts for row in read_result(path)["rows"]]
    failed = sum("error" in row for row in rows)
    if failed == len(rows):
        raise RuntimeError(f"all {failed} points failed, first: {rows[0]['error']}")
    results = ["accuracy_float", "accuracy", "validation_accuracy", "firing_rate", "memory_bits"]
    settings = list(dict.fromkeys(key for row in rows for key in row if "." in key or key in SECTION_OF))
    others = [key for key in dict.fromkeys(key for row in rows for key in row) if key not in (*settings, "seed", *results)]
    table = pd.DataFrame([{key: str(value) if isinstance(value, list | dict) else value for key, value in row.items()}
                          for row in rows], columns=[*settings, "seed", *results, *others])
    write_text(args.table, table.to_csv(index=False))
    write_text(args.out, report.grid_page(args.grid, table[table.accuracy.notna()], settings))
    if args.manifest:
        paths = [args.out, args.table, *(folder_of(row["key"]) for row in rows)]
        write_json(args.manifest, {"grid": args.grid, "files": digests(paths), "provenance": provenance()})
    stage.say(f"{len(table)} points in {args.table}{f', {failed} of them failed' if failed else ''}; open {args.out}")
