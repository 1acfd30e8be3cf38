"""Writes docs/benchmarks.md and its figures from what the benchmarks kept (``--keep``) in results/reference/benchmarks.

    python benchmarks/write_page.py
"""
import argparse
import json
import statistics
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / of) for of in ("src", "hdl", "benchmarks")]

from side_by_side import KEPT, median, ratios  # noqa: E402
from training_step import precision_of  # noqa: E402

from spikeproof.files import write_text  # noqa: E402
from spikeproof.plots import growth  # noqa: E402

NAMES = {"spikeproof": "spikeproof", "spikingjelly": "spikingjelly", "snntorch": "snnTorch", "torch": "torch", "amaranth":
         "Amaranth's simulator", "cocotb": "cocotb on Icarus Verilog", "direct": "spikeproof, direct sums"}
NETWORKS = {"vgg": "VGG 64-64-P-128-128-P-256-256-P-10, 32x32x3", "dense": "784-512-10"}
#: What was kept of each kind of work as it grows -> what it is called; grids have sizes of their own.
GROWTHS = {"training_growth": "training step", "inference_growth": "inference", "rtl_growth": "verification"}
INTRODUCTION = (
    "Written by `python benchmarks/write_page.py`; every number was kept by a script of `benchmarks/` (`--keep`), which measures "
    "spikeproof and what a user would otherwise pick in one run, in turns, in environments of their own. These machines are "
    "noisy, so ratios count: each is the median over the run's rounds, lowest to highest in brackets. A ratio above 1 says that "
    "the other takes longer. Targets were set before anything was measured; each section says which were met.")


def kept(name):
    """What a benchmark kept, or None."""
    path = KEPT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def commit(found):
    about = found["provenance"]
    return about["commit"][:12] + (" with changes" if about["changed_tree"] else "")


def machine(found):
    about = found["provenance"]
    vectors = f" with {found['vectors']}" if "vectors" in found else ""
    return f"Commit {commit(found)}, {about['processor']}{vectors}, {about['cores']} cores, torch {about['packages']['torch']}."


def ratio(of, digits=2):
    return f"{of['median']:,.{digits}f} ({of['low']:,.{digits}f} to {of['high']:,.{digits}f})"


def paragraph(text):
    return [*textwrap.wrap(text, 132, break_long_words=False, break_on_hyphens=False), ""]


def table(headings, rows):
    return [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|", *(f"| {' | '.join(map(str, row))} |" for row in rows), ""]


def steps_table(found):
    rows, others = [], [*found["rows"][0]["ratio"]]
    for row in found["rows"]:
        what, own = "frames of events" if row["frames"] else "one image", median(row["seconds"]["spikeproof"])
        rows.append([NETWORKS[row["network"]], what, precision_of(row), f"{1e3 * own:.1f}",
                     *(ratio(row["ratio"][name]) for name in others)])
    return table(["network", "input", "precision", "spikeproof, ms", *map(NAMES.get, others)], rows)


def training(found, winograd, accuracy):
    """The section on training steps."""
    times = {(row["network"], row["frames"], row["half"]): row["seconds"] for row in found["rows"]}
    lines = ["## A training step", "", *paragraph(
        "`benchmarks/training_step.py`: forward, loss, backward and update, T = 4, batches of 32, the same initial weights "
        "and batches; the losses of spikeproof and spikingjelly agree to nine digits in float64 before anything is timed. "
        "bfloat16 is `torch.autocast` on all sides (`precision: bfloat16` of a training). The target was half the time at the same "
        "precision."),
        *steps_table(found)]
    mixed = []
    for network, frames in dict.fromkeys(key[:2] for key in times):
        ours, theirs = times[network, frames, True], times[network, frames, False]
        mixed.append([NETWORKS[network], "frames of events" if frames else "one image",
                      ratio(ratios(ours["spikeproof"], theirs["spikingjelly"]))])
    met = {name: sum(row["ratio"][name]["median"] >= 2 for row in found["rows"]) for name in ("spikingjelly", "snntorch")}
    lines += paragraph(
        f"Of {len(found['rows'])} rows, {met['spikingjelly']} reach the target against spikingjelly and {met['snntorch']} against "
        "snnTorch; the others miss it. Nearly 80 % "
        "of a VGG's step are convolutions, which all sides leave to oneDNN: in float32 these alone take more than half of "
        "spikingjelly's step. spikeproof in bfloat16 beside spikingjelly in float32, its default, which is not the same precision:")
    lines += [*table(["network", "input", "spikingjelly in float32"], mixed), machine(found), ""]
    if winograd:
        reached = [row["ratio"]["spikingjelly"]["median"] >= 2 for row in winograd["rows"]]
        lines += paragraph(
            "With `convolutions: winograd` in a training's options (here `benchmarks/training_step.py --winograd`) spikeproof "
            "computes convolutions of 3 x 3 between multiples of 32 channels in float32 by Winograd's "
            "minimal filtering, a quarter of the products, and the others do as above. That is the same precision, with rounding "
            "errors about ten times those of direct sums; the losses agree to nine digits in float64 as before. The target is "
            + ("met" if all(reached) else "met in some rows" if any(reached) else "missed") + ":")
        lines += [*steps_table(winograd), machine(winograd), ""]
    if accuracy:
        rows = []
        for network, of in accuracy["accuracy"].items():
            shown = []
            for name in ("spikeproof", "spikingjelly", "snntorch"):
                shown.append(f"{100 * statistics.mean(of[name]):.2f} ± {100 * statistics.stdev(of[name]):.2f}")
            rows.append([NETWORKS[network], f"MNIST, {accuracy['images'][network]:,} images"
                         + (", padded to 32x32x3" if network == "vgg" else ""), len(of["spikeproof"]), *shown])
        lines += paragraph("Test accuracy in percent after one epoch, mean ± standard deviation over the seeds, from the same "
                           "weights and in the same order of images (`--accuracy`, float32):")
        lines += [*table(["network", "data", "seeds", "spikeproof", "spikingjelly", "snnTorch"], rows), machine(accuracy), ""]
        wide = [NETWORKS[network].split(",")[0] for network, of in accuracy["accuracy"].items()
                if max(map(statistics.stdev, of.values())) > 0.05]
        if wide:
            lines += paragraph(
                f"Seeds of {', '.join(wide)} differ by more than the libraries do: so early in a training this shows no "
                "difference, and would not show a small one. The losses that agree before anything is timed are stronger evidence.")
    return lines


def inference(found):
    rows = [[NAMES[name], f"{1e3 * median(found['seconds'][name]):.0f}", f"{found['batch'][name]:,}",
             f"{100 * found['accuracy'][name]:.2f}", "" if name == "spikeproof" else ratio(found["ratio"][name])]
            for name in found["seconds"]]
    return ["## Integer inference", "", *paragraph(
        f"`benchmarks/integer_inference.py`: MNIST's {found['images']:,} test images, from pixels to classes, 784-512-10 with four "
        "steps; spikeproof in integers (8-bit weights), with every spike and stored membrane, the others in float32. Each takes "
        "batches of the size that it is fastest with. The target was a fifth of the time: " + "; ".join(
            f"{'met' if of['median'] >= 5 else 'not met'} against {NAMES[name]}" for name, of in found["ratio"].items()) + "."),
        *table(["", "ms", "batch", "accuracy, %", "times as long"], rows), machine(found), ""]


def verification(found):
    rows = []
    for name, seconds in found["seconds"].items():
        taken = median(seconds)
        rows.append([NAMES[name], f"{found['images'][name]:,}", f"{found['values'][name]:,}", f"{taken:.1f}",
                     f"{found['values'][name] / taken:,.0f}", "" if name == "spikeproof" else ratio(found["ratio"][name], 0)])
    times, whole = found["ratio"]["amaranth"]["median"], median(found["seconds"]["spikeproof"])
    verdicts = ["met" if reached else "not met" for reached in (times >= 500, whole <= 30)]
    return ["## Verification of the Verilog", "", *paragraph(
        f"`benchmarks/rtl_verification.py`: the core of 784-128-10, binary weights, four steps; {found['data']}. Every "
        "spike and stored membrane of every neuron at every step is compared; generation and compilation count. The targets were "
        f"500 times as many values a second as Amaranth's simulator ({verdicts[0]}, {times:,.0f} times), and 10,000 images in 30 "
        f"seconds ({verdicts[1]}, {whole:.1f} s)."),
        *table(["", "images", "values", "s", "values a second", "spikeproof compares times as many"], rows), machine(found), ""]


def study(found):
    stages = ", ".join(f"{name} {seconds} s" for name, seconds in sorted(found["stages"].items(), key=lambda of: -of[1])[:6])
    given = found["wall"] * found["cores"]
    return ["## A study", "", *paragraph(
        f"`benchmarks/pipeline.py`: study `{found['study']}`, {found['jobs']} jobs, took {found['wall']:.0f} s on "
        f"{found['cores']} cores, {given:,.0f} core seconds. Each job's time by the threads it reserves adds up to "
        f"{found['own']:,} ({100 * found['used']:.0f} %: hardly a core waited for a job; stages tell whole seconds, so it may be "
        f"over 100), and {found['cpu']:,.0f} of them ({100 * found['cpu'] / given:.0f} %) the processor computed. Most is "
        f"{stages}."),
        machine(found), ""]


def grids(found):
    rows = [[row["points"], f"{row['planning']:.1f}", f"{row['wall']:.0f}", f"{row['overhead']:.2f}"] for row in found["rows"]]
    return ["## A grid", "", *paragraph("`benchmarks/grid_overhead.py`: CPU seconds to plan, wall seconds to run points of hardly "
                                        "any work, overhead a point."),
            *table(["points", "planning, s", "wall, s", "overhead a point, s"], rows), machine(found), ""]


def panels():
    """The figure's panels of everything that was measured as it grows."""
    found = []
    for name, title in GROWTHS.items():
        for series in (kept(name) or {"series": []})["series"]:
            of = f", {series['network']}" if "network" in series else ""
            found.append({"title": title + of, "axis": series.get("axis"),
                          "exponents": {NAMES[key]: power for key, power in series["exponents"].items()},
                          "curves": {NAMES[key]: list(zip(series["sizes"], of)) for key, of in series["seconds"].items()}})
    grid = kept("grid_growth")
    if grid and len(grid["rows"]) > 1:
        found.append({"title": "grid", "axis": "points", "exponents": grid["exponents"],
                      "curves": {key: [(row["points"], row[key]) for row in grid["rows"]] for key in ("planning", "wall")}})
    return found


def growing(found):
    rows = [[of["title"], of["axis"], f"{of['curves'][name][0][0]:,} to {of['curves'][name][-1][0]:,}", name,
             f"{power:.2f}"] for of in found for name, power in of["exponents"].items()]
    return ["## Growth", "", *paragraph(
        "Seconds against the size of the work on logarithmic axes, and the power that fits best (1: twice the work takes twice as "
        "long). Small sizes have a fixed share in them: compilation, start, dispatch of operations."),
        "![Seconds against the size of the work](figures/growth.svg)", "", "[The numbers](figures/growth.csv).", "",
        *table(["what", "as it grows", "from", "", "exponent"], rows),
        *paragraph("Commits: " + ", ".join(f"{name.removesuffix('_growth')} {commit(of)}" for name in GROWTHS if (of := kept(name)))
                   + ".")]


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    lines = ["# Benchmarks", "", *paragraph(INTRODUCTION)]
    for name, section in (("training_step", lambda of: training(of, kept("training_winograd"), kept("training_accuracy"))),
                          ("integer_inference", inference), ("rtl_verification", verification), ("pipeline", study),
                          ("grid_growth", grids)):
        found = kept(name)
        lines += section(found) if found else []
    drawn = panels()
    if drawn:
        figure = growth(drawn)
        (ROOT / "docs/figures").mkdir(exist_ok=True)
        write_text(ROOT / "docs/figures/growth.svg", figure)
        write_text(ROOT / "docs/figures/growth.csv", figure.data)
        lines += growing(drawn)
    write_text(ROOT / "docs/benchmarks.md", "\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
