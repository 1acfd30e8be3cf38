"""Gather a study's results into one self-contained page and one table.

The page needs no network and no other file; the table has one row per run and seed.
"""


def add_arguments(parser, json_argument):
    parser.add_argument("--study", type=json_argument, required=True,
                        help="{name, title, about, scaled_down, runs: [[name, dataset, ..., seed], ...]}")
    parser.add_argument("--out", required=True, help="report.html")
    parser.add_argument("--table", required=True, help="summary.csv")


def run(args, stage):
    from .. import report
    from ..config import Run
    from ..files import write_text
    study = {**args.study, "runs": [Run(*fields) for fields in args.study["runs"]]}
    results = report.collect(study["runs"])
    table = report.summary(results)
    write_text(args.table, table.to_csv(index=False))
    write_text(args.out, report.page(study, results, table))
    stage.say(f"{len(table)} rows in {args.table}; open {args.out}")
