"""Find out which bits a trained network needs: candidates after training, a Pareto front, and one chosen under bounds.

Any model of the pipeline is taken, in full precision or quantized. Each candidate is the integer network that would be exported,
on validation images; members of the front are evaluated on the test part, with cycles to the cycle and estimated logic for each
width of the core. Example:

  spikeproof explore --model .../s0/pretrain.safetensors --data results/data/mnist.safetensors --out front.json \\
      --config '{"weights": [2, 4, 6, 8], "membranes": [4, 8, 12], "thresholds": [6, 8], "most_loss": 1.0}'

A search that was stopped goes on where it was, from the rows in <out>.partial. A grid on several machines: --part 1/8 to --part 8/8
write rows, and a last call takes them by --rows; bounds, mu and lanes may be others then.
"""
from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Output, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..annotations import Json, StrPath
    from ..cli import Stage
    from ..exploration import ExplorationOptions

    Row = dict[str, Json]

#: Seconds after which rows are kept.
KEEP_EVERY = 5.0
#: Width of a column of the table.
WIDTH = 10


def part(text: str) -> tuple[int, int]:
    """"2/8" -> (1, 8)."""
    try:
        number, count = (int(of) for of in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be like 2/8, the second of eight parts, not {text!r}") from None
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"must be from 1/{count} to {count}/{count}, not {text}")
    return number - 1, count


def add_arguments(parser: argparse.ArgumentParser, json_argument: Callable[[str], Json]) -> None:
    parser.add_argument("--model", type=Source, required=True, help="trained model (pretrain, quantize or prune)")
    parser.add_argument("--data", type=Source, required=True, help="prepared data")
    parser.add_argument("--config", type=json_argument, default={}, help="search space (config/README.md), JSON or a file of it")
    parser.add_argument("--part", type=part, help="evaluate this part of the grid alone, like 2/8, and write its rows")
    parser.add_argument("--rows", type=Source, nargs="+", help="rows of all parts, in order, in place of evaluating them again")
    parser.add_argument("--out", type=Output, required=True, help="result, .json")
    parser.add_argument("--table", type=Output, help="all candidates, .csv")
    parser.add_argument("--figure", type=Output, help="accuracy over memory, .svg")


def digests(model: StrPath, data_digest: str) -> list[str]:
    """What rows depend on beside the search: the model's file and the data."""
    from ..files import sha256_file
    return [sha256_file(model), data_digest]


def read_rows(paths: Sequence[StrPath], options: ExplorationOptions, model: list[str]) -> list[Row]:
    """Rows of all parts of a grid, in the order of its candidates.

    Parameters
    ----------
    paths : files that ``--part`` wrote
    options : ExplorationOptions
    model : :func:`digests` of what they must be of

    Raises
    ------
    ValueError
        If they are of another search or model, or a candidate is missing.
    """
    from ..exploration import COLUMNS, Candidate
    found: dict[Candidate, Row] = {}
    for path in paths:
        try:
            given = json.loads(Path(path).read_text(encoding="utf-8"))
            rows = {Candidate(*(row[key] for key in COLUMNS)): row for row in given["rows"]}
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(f"{path} has no rows of a part, as --part writes them") from None
        if given.get("space") != options.of_rows or given.get("model") != model:
            raise ValueError(f"{path} has rows of another search, model or data: evaluate its part again")
        found |= rows
    missing = [candidate for candidate in options.candidates if candidate not in found]
    if missing:
        raise ValueError(f"{len(missing)} of {len(options.candidates)} candidates are in none of {', '.join(map(str, paths))}: "
                         f"first {missing[0]}")
    return [found[candidate] for candidate in options.candidates]


class _Rows:
    """Rows that are kept while they are found, so that a search that is stopped goes on.

    Parameters
    ----------
    path : of the file
    which : JSON value, what rows depend on: others are not taken
    """
    def __init__(self, path: StrPath, which: Json) -> None:
        from ..files import CorruptFile, read_result
        self.path, self.which, self.kept = Path(path), which, time.monotonic()
        self.rows: list[Row] = []
        try:
            given = read_result(self.path) if self.path.exists() else {}
        except CorruptFile:
            given = {}
        self.known = given["rows"] if given.get("which") == which else []

    def add(self, row: Row) -> None:
        from ..files import write_json
        self.rows.append(row)
        if time.monotonic() - self.kept > KEEP_EVERY:
            write_json(self.path, {"which": self.which, "rows": self.rows})
            self.kept = time.monotonic()

    def done(self) -> None:
        """What they were kept for is written."""
        self.path.unlink(missing_ok=True)


def run(args: argparse.Namespace, stage: Stage) -> None:
    import sys

    from tqdm import tqdm

    from ..datasets.base import load_prepared
    from ..entries import validate
    from ..exploration import ExplorationOptions, Explorer, explore, shard
    from ..files import write_json, write_text
    from ..model_files import load_model
    from ..plots import exploration
    from ..provenance import provenance
    from ..torch_setup import set_up
    set_up(args.threads)
    options = validate(ExplorationOptions, args.config, "space")
    (model, _), (data, data_digest) = load_model(args.model), load_prepared(args.data)
    which: dict[str, Json] = {"space": options.of_rows, "model": digests(args.model, data_digest)}
    if args.part and args.rows:
        raise ValueError("--part evaluates rows and --rows takes them: leave out one of them")
    if args.part and options.strategy != "grid":
        raise ValueError(f"--part must be left out for strategy {options.strategy}, which goes from candidate to candidate")
    total = {"grid": len(options.candidates), "optuna": options.trials, "ordered": None}[options.strategy]
    if args.part:
        total = len(shard(options.candidates, *args.part))
    found = None if args.rows is None else [read_rows(args.rows, options, which["model"])]
    name, kept = f"explore {stage.label}".strip(), _Rows(f"{args.out}.partial", which)
    if kept.known and not found:
        stage.say(f"{len(kept.known)} candidates are known from a search that was stopped")

    def seen(row: Row) -> None:
        kept.add(row)
        bar.update()

    def watch(front: list[Row]) -> Iterable[Row]:
        return tqdm(front, desc=f"{name}: front", unit="network", mininterval=1)
    with tqdm(total=0 if found else total, desc=name, unit="candidate", mininterval=1) as bar:
        if args.part:
            number, parts = args.part
            rows = Explorer(model, data, options).search(number, parts, seen=seen, known=kept.known)
            write_json(args.out, {**which, "rows": rows, "provenance": provenance()})
            kept.done()
            stage.say(f"part {number + 1} of {parts}: {len(rows)} candidates")
            return
        result = explore([model], data, options, found, seen, watch, kept.known)
    print(table(result), file=sys.stdout, flush=True)
    write_json(args.out, {**which, "options": options.model_dump(mode="json"), **result, "provenance": provenance()})
    kept.done()
    if args.table:
        import pandas as pd
        write_text(args.table, pd.DataFrame(result["candidates"]).to_csv(index=False))
    if args.figure:
        write_text(args.figure, exploration(result))
    best = result["chosen"]
    said = "none is within the bounds" if best is None else f"chosen is number {best + 1} of the front"
    stage.say(f"{len(result['candidates'])} candidates, {len(result['front'])} on the front, {said}")


def table(result: Row) -> str:
    """The front as text: a line for each network."""
    from ..exploration import PARAMETERS
    share = 100 * result["accuracy_float"]
    lines = [f"full precision: validation {share:.2f} %, test {100 * result['test_accuracy_float']:.2f} %, "
             f"{result['float_bits'] / 1000:.1f} kbit",
             f"{'':2}{' '.join(f'{name:>{WIDTH}}' for name in (*PARAMETERS, 'rounding'))} {'kbit':>9} {'val. %':>7} "
             f"{'test %':>7} {'benefit':>7}   lanes: cycles, LUT est."]
    for n, row in enumerate(result["front"]):
        bits = [*("-" if row[key] is None else str(row[key]) for key in PARAMETERS), row["rounding"]]
        core = "; ".join(f"{of['lanes']}: {of['cycles']:,}, {of['lut_estimate']:,}" for of in row["hardware"])
        lines.append(f"{'* ' if n == result['chosen'] else '  '}{' '.join(f'{text:>{WIDTH}}' for text in bits)} "
                     f"{row['memory_bits'] / 1000:9.1f} {100 * row['accuracy']:7.2f} "
                     f"{100 * row['test_accuracy']:7.2f} {row['benefit']:7.4f}   {core}")
    return "\n".join(lines)
