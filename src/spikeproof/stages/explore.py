"""Find out which bits a trained network needs: candidates after training, a Pareto front, and one chosen under bounds.

Any model of the pipeline is taken, in full precision or quantized. Each candidate is the integer network that would be exported,
on validation images; members of the front are evaluated on the test part, with cycles to the cycle and estimated logic for each
width of the core. Example:

  spikeproof explore --model .../s0/pretrain.safetensors --data results/data/mnist.safetensors --out front.json \\
      --config '{"weights": [2, 4, 6, 8], "membranes": [4, 8, 12], "thresholds": [6, 8], "most_loss": 1.0}'

A grid on several machines: --part 1/8 to --part 8/8 write rows, and a last call takes them by --rows.
"""
import argparse


def part(text):
    """"2/8" -> (1, 8)."""
    try:
        number, count = (int(of) for of in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be like 2/8, the second of eight parts, not {text!r}") from None
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"must be from 1/{count} to {count}/{count}, not {text}")
    return number - 1, count


def add_arguments(parser, json_argument):
    parser.add_argument("--model", required=True, help="trained model (pretrain, quantize or prune)")
    parser.add_argument("--data", required=True, help="prepared data")
    parser.add_argument("--config", type=json_argument, default={}, help="search space (config/README.md), JSON or a file of it")
    parser.add_argument("--part", type=part, help="evaluate this part of the grid alone, like 2/8, and write its rows")
    parser.add_argument("--rows", nargs="+", help="rows of all parts, in order, in place of evaluating them again")
    parser.add_argument("--out", required=True, help="result, .json")
    parser.add_argument("--table", help="all candidates, .csv")
    parser.add_argument("--figure", help="accuracy over memory, .svg")


def digests(model, data_digest):
    """What rows depend on beside the search: the model's file and the data."""
    from ..files import sha256_file
    return [sha256_file(model), data_digest]


def read_rows(paths, options, model):
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
    import json

    from ..exploration import COLUMNS, Candidate
    found = {}
    for path in paths:
        with open(path) as file:
            given = json.load(file)
        if given.get("space") != options.model_dump(mode="json") or given.get("model") != model:
            raise ValueError(f"{path} has rows of another search, model or data: evaluate its part again")
        found |= {Candidate(*(row[key] for key in COLUMNS)): row for row in given["rows"]}
    missing = [candidate for candidate in options.candidates if candidate not in found]
    if missing:
        raise ValueError(f"{len(missing)} of {len(options.candidates)} candidates are in none of {', '.join(map(str, paths))}: "
                         f"first {missing[0]}")
    return [found[candidate] for candidate in options.candidates]


def run(args, stage):
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
    which = {"space": options.model_dump(mode="json"), "model": digests(args.model, data_digest)}
    if args.part and options.strategy != "grid":
        raise ValueError(f"--part must be left out for strategy {options.strategy}, which goes from candidate to candidate")
    total = {"grid": len(options.candidates), "optuna": options.trials, "ordered": None}[options.strategy]
    if args.part:
        total = len(shard(options.candidates, *args.part))
    found = None if args.rows is None else [read_rows(args.rows, options, which["model"])]
    name = f"explore {stage.label}".strip()

    def watch(front):
        return tqdm(front, desc=f"{name}: front", unit="network", mininterval=1)
    with tqdm(total=0 if found else total, desc=name, unit="candidate", mininterval=1) as bar:
        if args.part:
            rows = Explorer(model, data, options).search(*args.part, seen=lambda row: bar.update())
            write_json(args.out, {**which, "rows": rows, "provenance": provenance()})
            stage.say(f"part {args.part[0] + 1} of {args.part[1]}: {len(rows)} candidates")
            return
        result = explore([model], data, options, found, seen=lambda row: bar.update(), watch=watch)
    print(table(result), file=sys.stdout, flush=True)
    write_json(args.out, {**which, **result, "provenance": provenance()})
    if args.table:
        import pandas as pd
        write_text(args.table, pd.DataFrame(result["candidates"]).to_csv(index=False))
    if args.figure:
        write_text(args.figure, exploration(result))
    best = result["chosen"]
    said = "none is within the bounds" if best is None else f"chosen is number {best + 1} of the front"
    stage.say(f"{len(result['candidates'])} candidates, {len(result['front'])} on the front, {said}")


def table(result):
    """The front as text: one line for each network, and below it one for each width of its core."""
    share = 100 * result["accuracy_float"]
    lines = [f"full precision: validation {share:.2f} %, test {100 * result['test_accuracy_float']:.2f} %, "
             f"{result['float_bits'] / 1000:.1f} kbit",
             f"{'':2}{'weights':>7} {'membranes':>9} {'thresholds':>10} {'leaks':>5} {'rounding':>10} {'kbit':>9} {'val. %':>7} "
             f"{'test %':>7} {'benefit':>7}   lanes: cycles, LUT est."]
    for n, row in enumerate(result["front"]):
        bits = [("-" if row[key] is None else str(row[key])) for key in ("weights", "membranes", "thresholds", "leaks")]
        core = "; ".join(f"{of['lanes']}: {of['cycles']:,}, {of['lut_estimate']:,}" for of in row["hardware"])
        lines.append(f"{'* ' if n == result['chosen'] else '  '}{bits[0]:>7} {bits[1]:>9} {bits[2]:>10} {bits[3]:>5} "
                     f"{row['rounding']:>10} {row['memory_bits'] / 1000:9.1f} {100 * row['accuracy']:7.2f} "
                     f"{100 * row['test_accuracy']:7.2f} {row['benefit']:7.4f}   {core}")
    return "\n".join(lines)
