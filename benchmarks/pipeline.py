"""What a study takes beside the work of its jobs: wall time of the default study on all cores against the sum of its jobs' seconds.

Every job tells its own seconds when it ends, from its first import on; one with two threads counts twice. What Snakemake adds is
its own start, one process a job, and cores that wait for the last jobs; so the share of the cores' time that jobs used is what to
look at. From an empty results folder, with environments and compiled kernels at hand.

    python benchmarks/pipeline.py [--study default] # 10 minutes on 2 cores
"""
import argparse
import os
import re
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / of) for of in ("src", "hdl", "tests", "benchmarks")]

from side_by_side import keep  # noqa: E402
from source_tree import SourceTree  # noqa: E402

#: Stages that the workflow gives two threads.
THREADS = dict.fromkeys(("prepare", "simulate", "synthesize"), 2)


def measure(study):
    """Wall seconds of a study, its jobs and their seconds, and CPU seconds of everything."""
    with tempfile.TemporaryDirectory() as folder:
        tree = SourceTree(Path(folder))
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        said = tree.snakemake("--config", f"study={study}")
        wall = time.monotonic() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The last line of a job: [stage label] sentence (12 s)
    jobs = [(stage, int(seconds)) for stage, seconds in re.findall(r"^\[([a-z-]+)(?: [^\]]*)?\] .*\((\d+) s\)$", said, re.M)]
    stages = {}
    for stage, seconds in jobs:
        stages[stage] = stages.get(stage, 0) + seconds
    cores = min(2, len(os.sched_getaffinity(0)))
    own = sum(seconds * THREADS.get(stage, 1) for stage, seconds in jobs)
    return {"study": study, "wall": wall, "jobs": len(jobs), "own": own, "cores": cores, "used": own / wall / cores,
            "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "stages": stages}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="default")
    parser.add_argument("--keep", action="store_true", help="keep the result in results/reference/benchmarks")
    arguments = parser.parse_args()
    found = measure(arguments.study)
    print(f"study {found['study']}: {found['jobs']} jobs in {found['wall']:.0f} s on {found['cores']} cores; their own core "
          f"seconds {found['own']}, so {100 * found['used']:.0f} % of the cores' time; CPU {found['cpu']:.0f} s")
    for stage, seconds in sorted(found["stages"].items(), key=lambda of: -of[1]):
        print(f"  {stage:12} {seconds:6} s")
    if arguments.keep:
        keep("pipeline", found)


if __name__ == "__main__":
    main()
