"""What benchmarks share: programs in processes and environments of their own that are asked in turns, ratios, and what is kept.

A benchmark is one script, which measures in one run what spikeproof does and what a user would otherwise pick. It starts itself
once for each program (``--worker NAME``), in an environment with what that program needs; workers answer questions, lines of JSON,
one at a time, so that none runs beside another. Rounds alternate, and what is told is the median of the rounds' ratios, with the
lowest and the highest.
"""
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENTS, HERE = ROOT / "scratch" / "benchmarks", Path(__file__).resolve().parent
KEPT = ROOT / "results" / "reference" / "benchmarks"

__all__ = ["Worker", "answer", "environment", "exponent", "keep", "median", "ratios", "rounds"]


def environment(name):
    """Python of an environment with what ``name.txt`` lists, here or in tests/golden, made where there is none.

    That of "spikeproof" is the one that runs this.
    A line ``--no-deps package`` is installed without what the package asks for.
    """
    if name == "spikeproof":
        return sys.executable
    at = ENVIRONMENTS / name
    python = at / "bin" / "python"
    if not (at / "installed").exists():
        print(f"installing {name} into {at.relative_to(ROOT)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(at)], check=True)
        listed = next(path for of in (HERE / "environments", ROOT / "tests" / "golden") if (path := of / f"{name}.txt").exists())
        lines = [line for line in listed.read_text().splitlines() if line and line[0] != "#"]
        alone = [line.removeprefix("--no-deps ") for line in lines if line.startswith("--no-deps ")]
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *(line for line in lines if not line.startswith("--"))], check=True)
        if alone:
            subprocess.run([*pip, "--no-deps", *alone], check=True)
        (at / "installed").touch()
    return str(python)


class Worker:
    """A process that answers questions, one at a time.

    Parameters
    ----------
    script : path of the benchmark
    name : what ``--worker`` is given
    where : name of its environment
    """
    def __init__(self, script, name, where):
        self.name = name
        paths = os.pathsep.join(str(ROOT / of) for of in ("src", "hdl", "benchmarks"))
        self.process = subprocess.Popen([environment(where), str(script), "--worker", name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths})

    def ask(self, **question):
        """Its answer (JSON value); RuntimeError where it ended instead."""
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()} when asked {question}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def answer(thing):
    """Answer what is asked on the standard input: ``do`` names a method of the thing, the rest is what it is given. What is printed
    meanwhile goes to the error stream."""
    out, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(getattr(thing, question.pop("do"))(**question)), file=out, flush=True)


def rounds(workers, times, own=None, **question):
    """dict name -> list of answers; each round asks all workers, in an order that turns. ``own``: name -> what else it is asked."""
    found = {worker.name: [] for worker in workers}
    for n in range(times):
        for k in range(len(workers)):
            worker = workers[(n + k) % len(workers)]
            found[worker.name].append(worker.ask(**question, **(own or {}).get(worker.name, {})))
    return found


def median(of):
    return statistics.median(of)


def ratios(ours, theirs):
    """How many times longer theirs take than ours, round by round: dict of median, low and high."""
    found = [b / a for a, b in zip(ours, theirs, strict=True)]
    return {"median": median(found), "low": min(found), "high": max(found)}


def exponent(sizes, seconds):
    """p of seconds ~ size^p, the slope of a straight line through the logarithms (least squares)."""
    import numpy as np
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def keep(name, result):
    """Keep what a benchmark found, with the machine and versions, in results/reference/benchmarks."""
    from spikeproof.files import write_json
    from spikeproof.kernels import processor
    from spikeproof.provenance import provenance
    KEPT.mkdir(parents=True, exist_ok=True)
    vectors = next((told for flag, told in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in processor().split()), None)
    write_json(KEPT / f"{name}.json", {**result, **({"vectors": vectors} if vectors else {}), "provenance": provenance()})
