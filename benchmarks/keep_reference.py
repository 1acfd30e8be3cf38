"""Keep a study's results as its reference: tables and provenance into results/reference/<study>.

Run it in the clean checkout that made them, with the wall time and the command; the `verify` target compares later runs with them.
``--to`` is the root of the checkout that keeps them (default: this one).

    python benchmarks/keep_reference.py cbp --seconds 5400 --command "snakemake --cores 2 --config study=cbp" --to ../main
"""
import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from spikeproof.files import write_json, write_text  # noqa: E402
from spikeproof.provenance import provenance  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="a name in config/studies")
    parser.add_argument("--seconds", type=int, required=True, help="wall time of the run")
    parser.add_argument("--command", required=True, help="what was run")
    parser.add_argument("--note", help="a sentence on how it was run, where the command alone does not tell")
    parser.add_argument("--to", type=Path, default=ROOT, help="root of the checkout that keeps them (default: this one)")
    args = parser.parse_args()
    made = ROOT / "results" / args.study
    if not (made / "summary.csv").exists():
        sys.exit(f"{made / 'summary.csv'} does not exist: run the study first")
    about = provenance()
    if about["changed_tree"] is not False:
        sys.exit("a reference must come from a clean checkout: commit the changes and run the study again")
    kept = args.to / "results" / "reference" / args.study
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("summary.csv", "claims.csv"):
        text = (made / name).read_text() if (made / name).exists() else ""
        if len(text.splitlines()) > 1:
            write_text(kept / name, text)
    note = {"note": args.note} if args.note else {}
    run = {"command": args.command, "study": args.study, "wall_seconds": args.seconds}
    write_json(kept / "provenance.json", {**run, **note, **about})
    print(f"{kept}: {', '.join(sorted(path.name for path in kept.iterdir()))}")
    print(json.dumps({key: about[key] for key in ("commit", "cores")}))


if __name__ == "__main__":
    main()
