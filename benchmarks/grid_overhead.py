"""What scheduling a grid costs: seconds per point beyond the point's own work, for a thousand points.

Two numbers are measured in one run, in a new folder:

- the CPU time that Snakemake takes to read the configuration and to build the graph of jobs (a dry run);
- the overhead of running: wall time times cores, less the seconds that the points say they took, per point. Points are as short as
  possible, so that the run ends soon; batches are those of points of ``--seconds``, so that the overhead is that of such points.

    python benchmarks/grid_overhead.py                  # 1,000 points, batches as for points of 20 s
    python benchmarks/grid_overhead.py --points 200
"""
import argparse
import csv
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
CONFIG = {"datasets": {"digits": {"kind": "digits", "steps": 1, "bits": 1}},
          "architectures": {"tiny": {"kind": "feedforward", "layers": "10"}}, "neurons": {"lif": {"kind": "lif"}},
          "pretraining": {"quick": {"kind": "surrogate", "training": {"epochs": 1, "max_steps": 1}}},
          "quantizers": {"int": {"kind": "int", "bits": 4, "training": {"epochs": 1, "max_steps": 1}}}}


def grid(points, seconds):
    """A grid of so many points, in batches as for points of so many seconds."""
    rates = [round(0.001 + 0.00001 * n, 5) for n in range(points)]
    return {"title": "Overhead", "seconds_per_point": seconds, "axes": {"quantizer.training.learning_rate": rates},
            "base": {"dataset": "digits", "architecture": "tiny", "neuron": "lif", "pretraining": "quick", "quantizer": "int"}}


def snakemake(at, *arguments):
    """Run it -> (wall seconds, CPU seconds of it and of its children)."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "snakemake", "--cores", "all", "--scheduler", "greedy", "--quiet", "all", "--config",
                    "grid=overhead", *arguments], cwd=at, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - began, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0, help="a point's own time, for which batches are made")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        for name in ("src", "hdl", "workflow", "config"):
            shutil.copytree(ROOT / name, at / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Snakefile", "environment.yml"):
            shutil.copy(ROOT / name, at)
        (at / "config/config.yaml").write_text(yaml.safe_dump(CONFIG))
        (at / "config/studies/default.yaml").write_text(yaml.safe_dump(
            {"title": "None", "hardware": False, "runs": {"a": grid(1, 1)["base"]}}))
        (at / "config/grids/overhead.yaml").write_text(yaml.safe_dump(grid(args.points, args.seconds)))
        _, planning = snakemake(at, "-n")
        print(f"{args.points} points: {planning:.1f} s of CPU to read the configuration and build the graph of jobs")
        cores = len(os.sched_getaffinity(0))
        wall, _ = snakemake(at)
        with open(at / "results/grids/overhead/summary.csv") as file:
            own = sum(float(row["seconds"]) for row in csv.DictReader(file))
        over = (wall * cores - own) / args.points
        print(f"run on {cores} cores in {wall:.0f} s, of which points took {own / cores:.0f} s: {over:.2f} s of overhead a point, "
              f"{100 * over / args.seconds:.1f} % of a point of {args.seconds:g} s")


if __name__ == "__main__":
    main()
