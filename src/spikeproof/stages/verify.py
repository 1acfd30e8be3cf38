"""Check a study's results: no file changed since its report, and its table agrees with that of an earlier run.

Of the manifest that the report stage wrote, the SHA-256 of every file is computed again. Tables agree within stated tolerances.

Exact: runs, memory of weights and membranes, what was compared, equality, no DSP, verdicts on claims. Accuracies may differ between
machines (floating-point training), and so may all that follows from trained weights.
"""
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Source

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import pandas as pd

    from ..annotations import Json
    from ..cli import Stage

EXACT = ("weight_bits", "membrane_bits", "initial_bits", "images_compared", "values_compared", "torch_values_compared", "equal",
         "memory_equal", "lanes", "dsp")
#: Largest difference: absolute for accuracies, relative for the rest.
ABSOLUTE = {"accuracy_float": 0.025, "accuracy": 0.03}
RELATIVE = {"memory_bits": 0.05, "cycles_per_image": 0.3, "synops_per_image": 0.3, "lut": 0.2, "ff": 0.2, "fmax_mhz": 0.3}


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--manifest", type=Source, help="results/<study>/manifest.json; its paths are seen from the current folder")
    parser.add_argument("--table", type=Source, help="summary.csv of this run")
    parser.add_argument("--reference", type=Source, help="summary.csv to compare with (results/reference/<study>/)")
    parser.add_argument("--claims", type=Source, help="claims.csv of this run")
    parser.add_argument("--reference-claims", type=Source, help="claims.csv to compare with: verdicts must be the same")


def changed_files(manifest: dict[str, Json]) -> list[str]:
    """List of sentences, one per file of a manifest that is absent or has another SHA-256 now."""
    from ..files import sha256_file
    found = []
    for path, digest in manifest["files"].items():
        # A link inside, to another disk, is followed.
        if os.path.isabs(path) or os.path.normpath(path).split(os.sep)[0] == os.pardir:
            raise ValueError(f"the manifest names {path}, which is not below this folder: run this where its paths are seen from")
        try:
            if Path(path).exists() and not Path(path).is_file():
                raise OSError(None, "it is no plain file")
            found += [f"{path} was changed after the report"] if sha256_file(path) != digest else []
        except OSError as error:
            found.append(f"{path} cannot be read: {error.strerror}")
    return found


def differences(table: pd.DataFrame, reference: pd.DataFrame) -> list[str]:
    """List of sentences, one per value outside its tolerance; empty if the tables agree.

    Parameters
    ----------
    table, reference : DataFrames as :func:`spikeproof.report.summary` makes them, read from CSV
    """
    import pandas as pd
    key = ["run", "seed"]
    ours, theirs = table.set_index(key), reference.set_index(key)
    # A reference may be older than a column.
    columns = [column for column in (*EXACT, *ABSOLUTE, *RELATIVE) if column in reference]
    found = [f"column {column} must be in both tables" for column in columns if column not in table]
    columns = [column for column in columns if column in table]
    found += [f"{run} seed {seed} is in only one of the tables" for run, seed in ours.index.symmetric_difference(theirs.index)]
    for at in ours.index.intersection(theirs.index):
        for column in columns:
            new, old = ours.loc[at, column], theirs.loc[at, column]
            if pd.isna(new) and pd.isna(old):
                continue
            if column in EXACT:
                bad, bound = str(new) != str(old), "exactly"
            elif column in ABSOLUTE:
                bad, bound = not abs(new - old) <= ABSOLUTE[column], f"within {ABSOLUTE[column]}"
            else:
                bad, bound = not abs(new - old) <= RELATIVE[column] * abs(old), f"within {100 * RELATIVE[column]:.0f} %"
            if bad:
                found.append(f"{at[0]} seed {at[1]}: {column} must be {old} {bound}, not {new}")
    return found


def changed_verdicts(claims: pd.DataFrame, reference: pd.DataFrame) -> list[str]:
    """List of sentences, one per claim whose verdict differs; DataFrames of :func:`spikeproof.claims.table`."""
    ours, theirs = (dict(zip(table.claim, table.verdict)) for table in (claims, reference))
    return [f"claim {name}: the verdict must be {theirs.get(name, 'absent')!r}, not {ours.get(name, 'absent')!r}"
            for name in sorted(ours.keys() | theirs.keys()) if ours.get(name) != theirs.get(name)]


def run(args: argparse.Namespace, stage: Stage) -> None:
    import pandas as pd

    from ..files import read_result
    if not args.manifest and not args.table or bool(args.table) != bool(args.reference):
        raise ValueError("--manifest must be given, or --table and --reference")
    said = []
    if args.manifest:
        if not Path(args.manifest).is_file():
            raise FileNotFoundError(f"{args.manifest} does not exist: a study or grid that is finished has one beside its report")
        manifest = read_result(args.manifest)
        if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
            raise ValueError(f"{args.manifest} is no manifest of a study or grid: run the report stage again")
        if not manifest["files"]:
            raise ValueError(f"{args.manifest} names no files: run the report stage again")
        found = changed_files(manifest)
        if found:
            raise RuntimeError(f"{len(found)} of {len(manifest['files'])} files are not what {args.manifest} says: "
                               + "; ".join(found) + ". Delete those, and the same Snakemake command makes them again")
        said.append(f"{len(manifest['files'])} files are those of the report")
    if args.table:
        table, reference = (pd.read_csv(path) for path in (args.table, args.reference))
        found = differences(table, reference)
        if args.claims and args.reference_claims:
            found += changed_verdicts(*(pd.read_csv(path) for path in (args.claims, args.reference_claims)))
        if found:
            raise RuntimeError(f"{len(found)} values differ from {args.reference}: " + "; ".join(found))
        said.append(f"{len(table)} rows agree with {args.reference}")
    stage.say("; ".join(said))
