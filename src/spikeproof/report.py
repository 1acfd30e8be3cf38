"""The report of a study: result files in, one table and one self-contained page out."""
from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from . import plots
from .catalog import load
from .claims import VERDICTS
from .exploration import pareto_front
from .files import read_result
from .metrics import memory_columns
from .pages import Figures, render
from .provenance import provenance
from .runs import FLOAT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .annotations import Entry
    from .runs import Run

__all__ = ["COLUMNS", "collect", "grid_page", "page", "summary"]

COLUMNS = ["run", "seed", "dataset", "architecture", "neuron", "pretraining", "quantizer", "pruner", "accuracy_float", "accuracy",
           "firing_rate", "bits_per_weight", "weight_bits", "membrane_bits", "threshold_bits", "bias_bits", "initial_bits",
           "memory_bits", "memory_equal", "equal", "images_compared", "values_compared", "torch_values_compared",
           "cycles_per_image", "latency_cycles", "latency_us", "synops_per_image", "lanes", "lut", "ff", "bram", "dsp", "fmax_mhz"]


def collect(runs: Iterable[Run]) -> list[Entry]:
    """Read every result file of the runs -> list of dicts: run, one entry per stage, histories."""
    return [{"run": run, **{stage: read_result(path) for stage, path in run.results.items()},
             "histories": {stage: read_result(path) for stage, path in run.histories.items()}} for run in runs]


def _row(result: Entry) -> Entry:
    run, evaluated = result["run"], result["evaluate"]
    row = {field: getattr(run, field) for field in
           ("seed", "dataset", "architecture", "neuron", "pretraining", "quantizer", "pruner")} | {"run": run.name}
    row |= {key: evaluated[key] for key in ("accuracy_float", "accuracy", "firing_rate")}
    memory = result["export"]["memory_bits"] if "export" in result else evaluated["float_memory_bits"]
    # Of all weights, those of the first and the last layer and of shortcuts included.
    count = sum(layer["weights"] for layer in result["export"]["layers"]) if "export" in result else memory["weights"] / 32
    row |= {"bits_per_weight": memory["weights"] / count, **memory_columns(memory)}
    if "export" in result:
        exported = result["export"]
        row |= {"synops_per_image": exported["synops_per_image"], "torch_values_compared": exported["torch_values_compared"]}
    if "simulate" in result:
        proof, chip = result["simulate"], result["synthesize"]
        # Of a detector's boxes the core gives the membranes, which were compared.
        # A core that computed a part of the images had each winner compared, but has an accuracy of its own.
        whole = proof["images_compared"] == exported["images"]
        simulated = proof.get("accuracy", exported["accuracy"]) if whole else exported["accuracy"]
        if not evaluated["accuracy"] == exported["accuracy"] == simulated:
            raise RuntimeError(f"{run.name} seed {run.seed}: torch, integer model and simulated core must have one accuracy, "
                               f"not {evaluated['accuracy']}, {exported['accuracy']} and {simulated}")
        row |= {"memory_equal": proof["memory_equal"] and proof["memory"]["total"] == memory["total"]
                == exported["memory_bits_formula"]["total"],
                "equal": proof["equal"] and exported["torch_equal"], "images_compared": proof["images_compared"],
                "values_compared": proof["values_compared"], "cycles_per_image": proof["cycles_per_image"],
                "latency_cycles": proof["latency_cycles"], "latency_us": proof["latency_cycles"] / chip["fmax_mhz"],
                "lanes": " ".join(map(str, proof["lanes"])),
                **{key: chip[key] for key in ("lut", "ff", "bram", "dsp", "fmax_mhz")}}
    return row


def summary(results: Iterable[Entry]) -> pd.DataFrame:
    """One row per run and seed, columns as in COLUMNS; what a float run does not have is empty."""
    table = pd.DataFrame([_row(result) for result in results], columns=COLUMNS)
    whole = ["images_compared", "values_compared", "torch_values_compared", "lut", "ff", "bram", "dsp"]
    return table.astype(dict.fromkeys(whole, "Int64") | dict.fromkeys(["memory_equal", "equal"], "boolean"))


def _by_run(table: pd.DataFrame) -> list[Entry]:
    """Mean and sd over seeds, one dict per run in the order of the study."""
    rows = []
    for name, group in table.groupby("run", sort=False):
        first = group.iloc[0]
        rows.append({"run": name, "seeds": len(group), "accuracy": group.accuracy.mean(),
                     "accuracy_sd": group.accuracy.std(ddof=1) if len(group) > 1 else 0.0,
                     "accuracy_float": group.accuracy_float.mean(), "memory_bits": group.memory_bits.mean(),
                     "firing_rate": group.firing_rate.mean(), "float": first.quantizer == FLOAT,
                     "built": bool(group.lut.notna().any()), "first": first.to_dict(),
                     "synops_per_image": group.synops_per_image.mean(), "cycles_per_image": group.cycles_per_image.mean(),
                     "latency_us": group.latency_us.mean(), "lut": group.lut.mean(), "ff": group.ff.mean(),
                     "bram": group.bram.mean(), "fmax_mhz": group.fmax_mhz.mean()})
    for i in pareto_front([(r["memory_bits"], r["accuracy"]) for r in rows]):
        rows[i]["front"] = True
    return rows


def _layers(proved: Iterable[Entry]) -> list[Entry]:
    """Bits by layer and kind of each run's first seed, in the order of the study."""
    first: dict[str, list[Entry]] = {}
    for result in proved:
        first.setdefault(result["run"].name, [layer["bits"] for layer in result["export"]["layers"]])
    return [{"run": name, "layers": layers} for name, layers in first.items()]


def page(study: Entry, results: Sequence[Entry], table: pd.DataFrame, analyses: dict[str, Entry] | None = None,
         claims: pd.DataFrame | None = None) -> tuple[str, list[Entry]]:
    """The whole page as HTML text, and its figures; those are inline SVG images, no script or style comes from elsewhere.

    Parameters
    ----------
    study : dict: name, title, about, scaled_down, analyses (name -> entry)
    results : list of :func:`collect`
    table : DataFrame of :func:`summary`
    analyses : dict name -> result
    claims : DataFrame of :func:`spikeproof.claims.table`

    Returns
    -------
    (text, list of dicts with name, title, caption, svg, csv)
    """
    rows, figures = _by_run(table), Figures()
    built = [r for r in rows if r["built"]]
    exported = [result for result in results if "export" in result]
    proved = [result for result in results if "simulate" in result]
    rasters = []
    if exported:
        best = max(exported, key=lambda result: result["evaluate"]["accuracy"])
        for result in dict.fromkeys(result["run"].name for result in (best, exported[0])):
            result = next(r for r in exported if r["run"].name == result)
            shown = result["export"]["raster"]
            rasters.append(figures.add(
                result["run"].name if shown["label"] is None else
                f"{result['run'].name}: a {shown['label']}, read as {shown['winner']}",
                "First test image; a mark is a spike. A last layer that is read by its membrane never fires and is left out.",
                plots.raster(shown["image"], shown["spikes"], result["export"]["steps"])))
    detectors = {result["run"].name: result for result in reversed(results) if "detections" in result["evaluate"]}
    detections = [figures.add(f"{name}: mean average precision {100 * result['evaluate']['accuracy']:.1f} %, at an overlap of 0.5 "
                          f"{100 * result['evaluate']['map_50']:.1f} %",
                          "First test images, events of all steps. Dashed: the boxes that are there; solid: those that were found, "
                          "with class and score.", plots.detections(result["evaluate"]["detections"]))
                  for name, result in reversed(detectors.items())]
    pretrained = {"/".join(result["run"].base.split("/")[2:]): result["histories"]["pretrain"]["epochs"] for result in results}
    compressed = {f"{result['run'].name} s{result['run'].seed}": list(result["histories"].values())[-1]["epochs"]
                  for result in exported}
    constrained = {label: epochs for label, epochs in compressed.items() if "constraint_failure" in epochs[0]}
    masked = {label: epochs for label, epochs in compressed.items() if {"open_positions", "open_channels"} & set(epochs[0])}
    curves = [figures.add(title, caption, draw(histories)) for title, caption, draw, histories in (
        ("Pre-training, full precision", "Selection uses none of this: the final epoch counts.", plots.training_curves, pretrained),
        ("Training in codes, last stage", "Quantized or, where pruned, pruned networks.", plots.training_curves, compressed),
        ("Constrained backpropagation", "A score of 0: every weight is at a level. Windows close as 1/g; the multipliers of the "
         "runs without a constraint stay zero.", plots.constraint_dynamics, constrained),
        ("Masks in training", "Shares of gates that were open, mean over layers and an epoch's samples.", plots.mask_dynamics,
         masked),
    ) if histories]
    sections = []
    for name, result in (analyses or {}).items():
        kind = load("analyses", study["analyses"][name]["kind"])
        assert kind.__doc__ is not None
        about = " ".join(kind.__doc__.split("\n\n")[0].replace("``", "").split())
        sections.append({"name": name, "about": about, "tables": kind.tables(result),
                         "figures": [figures.add(*figure) for figure in kind.figures(result)]})
    text = render(
        "report.html.j2", study=study, rows=rows, built=built, exported=exported, proved=proved, rasters=rasters,
        detections=detections,
        provenance=provenance(),
        analyses=sections, claims=[] if claims is None else claims.fillna("").to_dict("records"), verdicts=VERDICTS,
        values=int(table.values_compared.sum() or 0), torch_values=int(table.torch_values_compared.sum() or 0),
        words=sum(result["simulate"]["memory"]["words_compared"] for result in proved),
        whole_part=all(result["simulate"]["images_compared"] == result["export"]["images"] for result in proved),
        all_equal=bool(proved) and bool(table.equal.dropna().all()) and bool(table.memory_equal.dropna().all()),
        data={result["evaluate"]["data"]["name"]: result["evaluate"]["data"] for result in results},
        accuracy_figure=figures.add("Accuracy against memory",
                                "Mean over seeds, bars are one standard deviation. Diamonds are full precision at 32 bits.",
                                plots.accuracy_memory(rows)) if rows else None,
        memory_figure=figures.add(
            "Where the bits are",
            "Compressed runs, first seed. In each colour, white lines part the layers, the first one leftmost.",
            plots.memory_breakdown(_layers(exported))) if exported else None,
        area_figure=figures.add("Latency against logic", "One image through the core, at the clock rate that nextpnr reports.",
                            plots.cycles_area(built)) if built else None,
        curves=curves)
    return text, figures


def grid_page(grid: Entry, table: pd.DataFrame, settings: list[str],
              failed: Sequence[tuple[str, str]] = ()) -> tuple[str, list[Entry]]:
    """The page of a grid as HTML text, and its figures, as of :func:`page`.

    Parameters
    ----------
    grid : dict: name, title, about
    table : DataFrame, a row per point and seed: settings, seed, accuracy_float, accuracy, validation_accuracy, memory_bits, seconds
    settings : list of columns that are settings; an empty cell leaves an option as it is in the base
    failed : list of (settings and seed as text, why)
    """
    rows: list[Entry] = []
    figures, told = Figures(), table[settings].map(lambda value: "" if pd.isna(value) else str(value))
    for _, group in table.groupby([told[key] for key in settings], sort=False) if settings else [(None, table)]:
        first = {key: "" if pd.isna(value) else value for key, value in group.iloc[0][settings].items()}
        means = group[["accuracy", "accuracy_float", "validation_accuracy", "memory_bits", "seconds"]].mean()
        spread = group.accuracy.std(ddof=1) if len(group) > 1 else 0.0
        rows.append({"settings": first, "seeds": len(group), "accuracy_sd": spread, "front": False, **means})
    for i in pareto_front([(r["memory_bits"], r["accuracy"]) for r in rows]):
        rows[i]["front"] = True
    varied = [key for key in settings if len({str(r["settings"][key]) for r in rows}) > 1]
    effects = [figures.add(key, "Every point, and the mean over all points with the value.",
                       plots.setting([(r["settings"][key], r["accuracy"]) for r in rows], key)) for key in varied]
    values = int(table.torch_values_compared.sum()) if "torch_values_compared" in table else 0
    text = render("grid.html.j2", grid=grid, rows=rows, count=len(table), settings=settings, effects=effects, values=values,
                   failed=failed, best=max(rows, key=lambda r: r["accuracy"]), least=min(rows, key=lambda r: r["memory_bits"]),
                   accuracy_figure=figures.add("Accuracy against memory", "Mean over seeds, bars are one standard deviation.",
                                           plots.cloud(rows)))
    return text, figures
