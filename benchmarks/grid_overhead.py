"""What scheduling a grid costs: seconds per point beyond the point's own work, for a thousand points.

Two numbers are measured in one run, in a new folder:

- the CPU time that Snakemake takes to read the configuration and to build the graph of jobs (a dry run);
- the overhead of running: wall time times cores, less the seconds that the points say they took, per point. Points are as short as
  possible, so that the run ends soon; batches are those of points of ``--seconds``, so that the overhead is that of such points.

    python benchmarks/grid_overhead.py                  # 1,000 points, batches as for points of 20 s
    python benchmarks/grid_overhead.py --points 50 100 200 400
"""
import argparse
import csv
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / of) for of in ("src", "hdl", "tests", "benchmarks")]

from side_by_side import exponent, keep  # noqa: E402
from source_tree import SourceTree  # noqa: E402

CONFIG = {"datasets": {"digits": {"kind": "digits", "steps": 1, "bits": 1}},
          "architectures": {"tiny": {"kind": "feedforward", "layers": "10"}}, "neurons": {"lif": {"kind": "lif"}},
          "pretraining": {"quick": {"kind": "surrogate", "training": {"epochs": 1, "max_steps": 1}}},
          "quantizers": {"int": {"kind": "int", "bits": 4, "training": {"epochs": 1, "max_steps": 1}}}}


def grid(points, seconds):
    """A grid of so many points, in batches as for points of so many seconds."""
    rates = [round(0.001 + 0.00001 * n, 5) for n in range(points)]
    return {"title": "Overhead", "seconds_per_point": seconds, "axes": {"quantizer.training.learning_rate": rates},
            "base": {"dataset": "digits", "architecture": "tiny", "neuron": "lif", "pretraining": "quick", "quantizer": "int"}}


def snakemake(tree, *arguments):
    """Run it -> (wall seconds, CPU seconds of it and of its children)."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    tree.snakemake("--quiet", "all", "--config", "grid=overhead", *arguments)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(points, seconds):
    """Of a grid of so many points: CPU seconds to plan, wall seconds to run on ``cores``, the points' own seconds."""
    with tempfile.TemporaryDirectory() as folder:
        tree = SourceTree(Path(folder))
        tree.write(CONFIG, {"title": "None", "hardware": False, "runs": {"a": grid(1, 1)["base"]}})
        (tree.at / "config/grids/overhead.yaml").write_text(yaml.safe_dump(grid(points, seconds)))
        _, planning = snakemake(tree, "-n")
        wall, _ = snakemake(tree)
        with open(tree.at / "results/grids/overhead/summary.csv") as file:
            own = sum(float(row["seconds"]) for row in csv.DictReader(file))
    cores = min(2, len(os.sched_getaffinity(0)))
    return {"points": points, "planning": planning, "wall": wall, "own": own, "cores": cores,
            "overhead": (wall * cores - own) / points}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[1000], help="several: how it grows")
    parser.add_argument("--seconds", type=float, default=20.0, help="a point's own time, for which batches are made")
    parser.add_argument("--keep", action="store_true", help="keep the result in results/reference/benchmarks")
    args = parser.parse_args()
    rows = []
    for points in args.points:
        rows.append(row := measure(points, args.seconds))
        print(f"{points} points: {row['planning']:.1f} s of CPU to read the configuration and build the graph of jobs; run on "
              f"{row['cores']} cores in {row['wall']:.0f} s, of which points took {row['own'] / row['cores']:.0f} s: "
              f"{row['overhead']:.2f} s of overhead a point, {100 * row['overhead'] / args.seconds:.1f} % of a point of "
              f"{args.seconds:g} s", flush=True)
    exponents = {}
    if len(rows) > 1:
        exponents = {name: exponent(args.points, [row[name] for row in rows]) for name in ("planning", "wall")}
        print(", ".join(f"{name}: exponent {of:.2f}" for name, of in exponents.items()))
    if args.keep:
        keep("grid_growth", {"rows": rows, "seconds": args.seconds, "exponents": exponents})


if __name__ == "__main__":
    main()
