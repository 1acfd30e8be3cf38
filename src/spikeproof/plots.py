"""Figures of the report: tables in, SVG text out, with the numbers that were drawn. Nothing here knows about files or stages."""
from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.patches import Rectangle

from .drawing import ACCENT, COLORS, INK, Drawn, svg
from .exploration import pareto_front

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure

    from .annotations import Entry, Json

__all__ = ["Drawn", "accuracy_memory", "bars", "cloud", "constraint_dynamics", "cycles_area", "detections", "exploration", "growth",
           "lines", "mask_dynamics", "memory_breakdown", "published", "raster", "setting", "training_curves"]

#: More runs than this get numbers in a figure; so many layers' spikes are shown at most.
MANY, RASTERS = 14, 5
KINDS = {"weights": "#0f766e", "membranes": "#f59e0b", "thresholds": "#6366f1", "biases": "#db2777",
         "initials": "#0284c7"}
OURS = "spikeproof"


def accuracy_memory(rows: Sequence[Entry]) -> Drawn:
    """Accuracy over memory, one point per run (mean over seeds, bar = sd), the Pareto front joined.

    Parameters
    ----------
    rows : list of dicts with run, memory_bits, accuracy (mean), accuracy_sd, float (bool)
    """
    many = len(rows) > MANY                                 # names would cover each other: numbers, and a list beside

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        front = pareto_front([(r["memory_bits"], r["accuracy"]) for r in rows])
        axes.plot([rows[i]["memory_bits"] / 1000 for i in front], [100 * rows[i]["accuracy"] for i in front],
                  color=ACCENT, lw=1.5, zorder=2, label="Pareto front")
        for i, r in enumerate(rows):
            x, y = r["memory_bits"] / 1000, 100 * r["accuracy"]
            axes.errorbar(x, y, 100 * r["accuracy_sd"], fmt="D" if r["float"] else "o", ms=7, capsize=3, zorder=3,
                          color=COLORS[i % len(COLORS)], mec=ACCENT if i in front else "white", mew=1.6,
                          label=f"{i + 1}  {r['run']}" if many else None)
            axes.annotate(str(i + 1) if many else r["run"], (x, y), xytext=(7, 5 if i % 2 else -11), textcoords="offset points",
                          fontsize=8.5)
        axes.set(xscale="log", xlabel="memory of the model, kbit", ylabel="test accuracy, %")
        axes.margins(x=0.16, y=0.12)
        if many:
            figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside right center", fontsize=7.5)
        else:
            axes.legend(frameon=False, loc="lower right")
    return svg(draw, (8.6, max(4.6, 0.21 * len(rows) * many)), "accuracy-memory")


def cloud(rows: Sequence[Entry]) -> Drawn:
    """Accuracy over memory of many points without names: dicts with memory_bits, accuracy, accuracy_sd, front (bool)."""
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        x, y = np.array([r["memory_bits"] for r in rows]) / 1000, 100 * np.array([r["accuracy"] for r in rows])
        axes.errorbar(x, y, 100 * np.array([r["accuracy_sd"] for r in rows]), fmt="o", ms=5, capsize=2, lw=0.8, alpha=0.6,
                      color=COLORS[0], mec="white")
        front = sorted((r["memory_bits"] / 1000, 100 * r["accuracy"]) for r in rows if r["front"])
        axes.plot(*zip(*front), "o-", ms=5, color=ACCENT, lw=1.5, label="Pareto front")
        axes.set(xscale="log", xlabel="memory of the model, kbit", ylabel="test accuracy, %")
        axes.legend(frameon=False, loc="lower right")
    return svg(draw, (8.6, 4.2), "cloud")


def setting(points: Sequence[tuple[Json, float]], name: str) -> Drawn:
    """Accuracy at each value of a setting: list of (value, accuracy); numbers stand in their order, all else as it comes."""
    number = all(isinstance(value, int | float) and not isinstance(value, bool) for value, _ in points)
    values = list(dict.fromkeys(value for value, _ in points))
    values = sorted(values) if number else values

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot([values.index(value) for value, _ in points], [100 * of for _, of in points], "o", ms=4.5, alpha=0.45,
                  color=COLORS[0], mec="white")
        means = [100 * np.mean([of for at, of in points if at == value]) for value in values]
        axes.plot(range(len(values)), means, "o-", ms=6, color=ACCENT, lw=1.5, label="mean")
        axes.set_xticks(range(len(values)), [f"{value:g}" if number else str(value) or "as in the base" for value in values])
        axes.set(xlabel=name, ylabel="test accuracy, %")
        axes.margins(x=0.1)
        axes.legend(frameon=False)
    return svg(draw, (6.4, 3.2), f"setting {name}")


def exploration(result: Entry) -> Drawn:
    """Accuracy on validation images over memory: every candidate, the front, and the one that was chosen.

    Parameters
    ----------
    result : dict of :func:`spikeproof.exploration.explore`
    """
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows, front = result["candidates"], result["front"]
        kinds = list(dict.fromkeys(row["rounding"] for row in rows))
        for kind, color, marker in zip(kinds, COLORS, "osv"):
            of = [row for row in rows if row["rounding"] == kind]
            axes.plot([row["memory_bits"] / 1000 for row in of], [100 * row["accuracy"] for row in of], marker, ms=4.5, alpha=0.65,
                      color=color, label=kind)
        axes.plot([row["memory_bits"] / 1000 for row in front], [100 * row["accuracy"] for row in front], color=ACCENT, lw=1.5,
                  label="Pareto front")
        if result["chosen"] is not None:
            best = front[result["chosen"]]
            axes.plot(best["memory_bits"] / 1000, 100 * best["accuracy"], "*", ms=16, color=ACCENT, label="chosen")
        axes.axhline(100 * result["accuracy_float"], color=INK, lw=1, ls=":", label="full precision")
        axes.set_xscale("log")
        axes.set_xlabel("memory, kbit")
        axes.set_ylabel("validation accuracy, %")
        axes.legend(frameon=False, fontsize=8.5)
    return svg(draw, (6.4, 4.2), "exploration")


def memory_breakdown(rows: Sequence[Entry]) -> Drawn:
    """Stacked bars: bits by kind, and in each kind by layer.

    Parameters
    ----------
    rows : list of dicts with run and layers, a list (first layer first) of {kind: bits}
    """
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        left = np.zeros(len(rows))
        for kind, color in KINDS.items():
            for n in range(max(len(r["layers"]) for r in rows)):
                width = np.array([r["layers"][n][kind] / 1000 if n < len(r["layers"]) else 0 for r in rows])
                axes.barh(range(len(rows)), width, left=left, color=color, label=kind if n == 0 else None, height=0.66,
                          edgecolor="white", linewidth=0.7)
                left += width
        axes.set_yticks(range(len(rows)), [r["run"] for r in rows])
        for at, total in enumerate(left):
            axes.annotate(f"{total:.1f}", (total, at), xytext=(4, -3), textcoords="offset points", fontsize=8.5)
        axes.invert_yaxis()
        axes.margins(x=0.08)
        axes.set_xlabel("kbit")
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=len(KINDS))
    return svg(draw, (8.6, 0.9 + 0.34 * len(rows)), "memory-breakdown")


def cycles_area(rows: Sequence[Entry]) -> Drawn:
    """Latency over logic, one point per run: dicts with run, lut, latency_us, cycles_per_image."""
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, r in enumerate(rows):
            axes.plot(r["lut"], r["latency_us"], "o", ms=8, color=COLORS[i % len(COLORS)], mec="white")
            axes.annotate(r["run"], (r["lut"], r["latency_us"]), xytext=(7, 5 if i % 2 else -11),
                          textcoords="offset points", fontsize=8.5)
        axes.set(xlabel="LUT4", ylabel="latency of one image at Fmax, µs", yscale="log")
        axes.margins(x=0.2, y=0.15)
        plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_major_formatter(plain)
        axes.yaxis.set_minor_formatter(plain)
    return svg(draw, (8.6, 4.0), "cycles-area")


def published(rows: Sequence[Entry]) -> Drawn:
    """Accuracy over the latency of one image, ours (filled) and published cores: dicts with core, task, latency_us, accuracy."""
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        tasks = list(dict.fromkeys(r["task"] for r in rows))
        for task, ours in itertools.product(tasks, (True, False)):
            of = [r for r in rows if r["task"] == task and (r["core"] == OURS) == ours]
            color = COLORS[tasks.index(task) % len(COLORS)]
            if of:
                axes.plot([r["latency_us"] for r in of], [r["accuracy"] for r in of], "o" if ours else "D", ms=7,
                          mec=color, mew=1.6, color=color if ours else "white", label=f"{task}, {OURS if ours else 'published'}")
            for i, r in enumerate(() if ours else of):
                axes.annotate(r["core"], (r["latency_us"], r["accuracy"]), xytext=(7, 5 if i % 2 else -11),
                              textcoords="offset points", fontsize=8.5)
        axes.set(xscale="log", xlabel="latency of one image, µs", ylabel="test accuracy, %")
        axes.margins(x=0.16, y=0.12)
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=2)
    return svg(draw, (8.6, 4.6), "published")


def growth(panels: Sequence[Entry]) -> Drawn:
    """Seconds over the size of the work on logarithmic axes, and the fitted power: dicts with title, axis, curves (name -> list of
    (size, seconds)) and exponents (name -> float)."""
    def draw(figure: Figure) -> None:
        across = min(3, len(panels))
        rows = -(-len(panels) // across)
        every = figure.subplots(rows, across, squeeze=False).flatten()
        for axes in every[len(panels):]:
            axes.remove()
        for axes, panel in zip(every, panels):
            for i, (name, points) in enumerate(panel["curves"].items()):
                sizes, seconds = zip(*points)
                axes.plot(sizes, seconds, "o", ms=4, color=COLORS[i], label=f"{name}: {panel['exponents'][name]:.2f}")
                slope = panel["exponents"][name]
                start = math.exp(np.mean(np.log(seconds)) - slope * np.mean(np.log(sizes)))
                axes.plot(sizes, [start * size**slope for size in sizes], lw=1, color=COLORS[i], label=f"_fit of {name}")
            axes.set(xscale="log", yscale="log", xlabel=panel["axis"], ylabel="seconds", title=panel["title"])
            ticks = sorted({size for points in panel["curves"].values() for size, _ in points})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
            axes.yaxis.set_minor_locator(matplotlib.ticker.LogLocator(subs=(2, 5)))
            plain = matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_major_formatter(plain)
            axes.yaxis.set_minor_formatter(plain)
            axes.tick_params(labelsize=7.5, which="both")
            axes.legend(frameon=False, fontsize=7.5)
    return svg(draw, (10.2, 3.1 * -(-len(panels) // 3)), "growth" + "".join(panel["title"] for panel in panels))


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], xlabel: str, ylabel: str, log2: bool = False) -> Drawn:
    """Curves over a common axis: dict label -> list of (x, y); ``log2`` doubles x at every tick."""
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for i, (label, points) in enumerate(curves.items()):
            axes.plot(*zip(*points), "o-" if len(points) < 20 else "-", color=COLORS[i % len(COLORS)], lw=1.4, ms=5, label=label)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        if log2:
            ticks = sorted({x for points in curves.values() for x, _ in points})
            axes.set_xscale("log", base=2)
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside right center", fontsize=8.5)
    return svg(draw, (8.6, 4.0), f"lines {xlabel} {ylabel}" + "".join(curves))


def bars(values: Sequence[tuple[str, float | Sequence[float]]], xlabel: str, parts: Sequence[str] | None = None) -> Drawn:
    """Horizontal bars, in order: list of (label, value); with ``parts``, names, each value is a list of as many, stacked."""
    def draw(figure: Figure) -> None:
        axes, left = figure.subplots(), np.zeros(len(values))
        rows = np.array([np.atleast_1d(value) for _, value in values], float)
        for k, width in enumerate(rows.T):
            axes.barh(range(len(values)), width, left=left, color=COLORS[k], height=0.62, label=parts and parts[k])
            left += width
        axes.set_yticks(range(len(values)), [label for label, _ in values])
        for at, total in enumerate(left):
            axes.annotate(f"{total:.2f}".removesuffix(".00"), (total, at), xytext=(4, -3), textcoords="offset points", fontsize=8.5)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel(xlabel)
        if parts:
            figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside upper right", ncols=len(parts))
    return svg(draw, (8.6, 0.9 + 0.34 * len(values)), f"bars {xlabel}")


def raster(image: Json, spikes: dict[str, list[list[int]]], steps: int) -> Drawn:
    """The input image and every layer's spikes over time.

    Parameters
    ----------
    image : nested lists [H][W][C] of input codes, or [T][H][W][C]
    spikes : dict layer -> list over steps of lists of neuron indices; of many layers some are shown, evenly spaced
    """
    names = list(spikes)
    spikes = {names[k]: spikes[names[k]] for k in sorted({round(k) for k in np.linspace(0, len(names) - 1, RASTERS)})}

    def draw(figure: Figure) -> None:
        pixels = np.array(image, dtype=float)
        pixels = pixels.mean(0) if pixels.ndim == 4 else pixels
        axes = figure.subplots(1, 1 + len(spikes), width_ratios=[0.8] + [1.2] * len(spikes))
        axes[0].imshow(pixels.mean(-1), cmap="Greys")
        axes[0].set(xticks=[], yticks=[], title="input")
        axes[0].grid(False)
        for at, (name, over_time) in enumerate(spikes.items(), 1):
            points = [(t, n) for t, fired in enumerate(over_time) for n in fired]
            if points:
                axes[at].scatter(*zip(*points), marker="|", s=12, color=COLORS[at % len(COLORS)], lw=1.1)
            axes[at].set(title=name, xlabel="time step", xlim=(-0.5, steps - 0.5))
            axes[at].xaxis.get_major_locator().set_params(integer=True)
            axes[at].set_ylabel("neuron" if at == 1 else "")
    return svg(draw, (8.6, 2.9), "raster" + "".join(spikes))


def detections(images: Sequence[Entry], least: float = 0.3) -> Drawn:
    """Event frames with boxes.

    Parameters
    ----------
    images : list of dicts: image [H][W][C] or [T][H][W][C] of input codes, found (rows left, top, width, height, class, score),
        boxes (rows left, top, width, height, class)
    least : float, score of the found boxes that are drawn
    """
    def draw(figure: Figure) -> None:
        columns = min(3, len(images))
        for at, shown in enumerate(images, 1):
            axes = figure.add_subplot(-(-len(images) // columns), columns, at)
            pixels = np.array(shown["image"], dtype=float)
            pixels = (pixels.mean(0) if pixels.ndim == 4 else pixels).sum(-1)
            axes.imshow(pixels, cmap="Greys", extent=(0, pixels.shape[1], pixels.shape[0], 0))
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            drawn = [(row, None) for row in shown["boxes"]] + [(row[:5], row[5]) for row in shown["found"] if row[5] >= least]
            for (left, top, width, height, kind), score in drawn:
                color = COLORS[int(kind) % len(COLORS)]
                style = "--" if score is None else "-"
                axes.add_patch(Rectangle((left, top), width, height, fill=False, ec=color, lw=1.5, ls=style))
                if score is not None:
                    axes.annotate(f"{int(kind)}: {score:.2f}", (left, top), xytext=(1, 2), textcoords="offset points", fontsize=7,
                                  color=color)
    return svg(draw, (8.6, 2.9 * -(-len(images) // 3)), f"detections {len(images)}")


def training_curves(histories: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Loss and validation accuracy over epochs.

    Parameters
    ----------
    histories : dict label -> list of dicts with epoch, loss, validation_accuracy; either may be None where it is not known: an
        imported network was not trained, and neurons that learn without labels get them at the end
    """
    with_loss = any(e["loss"] is not None for epochs in histories.values() for e in epochs)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 2 if with_loss else 1, squeeze=False)[0]
        loss, accuracy = panels[0], panels[-1]
        for i, (label, epochs) in enumerate(histories.items()):
            for axes, key, unit in ((loss, "loss", 1), (accuracy, "validation_accuracy", 100)):
                known = [(e["epoch"], unit * e[key]) for e in epochs if e[key] is not None]
                if known:
                    first = key == "loss" or epochs[0]["loss"] is None
                    axes.plot(*zip(*known), color=COLORS[i % len(COLORS)], lw=1.3, marker="o" if len(known) == 1 else None,
                              label=label if first else None)
        for axes in panels:
            axes.xaxis.get_major_locator().set_params(integer=True)
        if with_loss:
            loss.set(yscale="log", xlabel="epoch", ylabel="training loss")
        accuracy.set(xlabel="epoch", ylabel="validation accuracy, %")
        handles, labels = zip(*(axes.get_legend_handles_labels() for axes in panels))
        figure.legend(sum(handles, []), sum(labels, []), frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    return svg(draw, (8.6, 3.2 + 0.19 * (len(histories) / 3)), "training" + "".join(histories))


def _over_epochs(histories: Mapping[str, Sequence[Entry]], salt: str,
                 *panels: tuple[str, Callable[[Entry], float | None], Entry, str]) -> Drawn:
    """A panel for each of ``panels``: (label, function of an epoch -> value or None, settings of the axes, how lines are drawn)."""
    def draw(figure: Figure) -> None:
        every = figure.subplots(1, len(panels))
        for axes, (ylabel, value, settings, drawn) in zip(every, panels):
            for i, (label, epochs) in enumerate(histories.items()):
                seen = [(e["epoch"], value(e)) for e in epochs if value(e) is not None]
                axes.plot(*zip(*seen) if seen else ([], []), color=COLORS[i % len(COLORS)], lw=1.3, label=label,
                          marker="o" if len(seen) == 1 else None, drawstyle=drawn)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set(xlabel="epoch", ylabel=ylabel, **settings)
        figure.legend(*every[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3, fontsize=8)
    return svg(draw, (8.6, 3.0 + 0.19 * (len(histories) / 3)), salt + "".join(histories))


def constraint_dynamics(histories: Mapping[str, Sequence[Entry]]) -> Drawn:
    """CBP over epochs: the constraint-failure score, the windows' share of the gaps, the mean multiplier.

    Parameters
    ----------
    histories : dict label -> list of dicts with epoch, constraint_failure, g, multiplier
    """
    return _over_epochs(
        histories, "constraint",
        ("constraint-failure score", lambda e: e["constraint_failure"], {"ylim": (0, None)}, "default"),
        ("unconstrained share of a gap, 1/g", lambda e: 1 / e["g"], {"yscale": "log"}, "steps-post"),
        ("mean multiplier", lambda e: e["multiplier"], {"ylim": (0, None)}, "default"))


def mask_dynamics(histories: Mapping[str, Sequence[Entry]]) -> Drawn:
    """Masks over epochs: the shares of positions and of channels that are open, and what that costs.

    Parameters
    ----------
    histories : dict label -> list of dicts with epoch, validation_accuracy, and open_positions, open_channels or one of them
    """
    def percent(key: str) -> Callable[[Entry], float | None]:
        return lambda e: None if e.get(key) is None else 100 * e[key]
    return _over_epochs(
        histories, "masks",
        ("open positions, %", percent("open_positions"), {"ylim": (0, 105)}, "default"),
        ("open channels, %", percent("open_channels"), {"ylim": (0, 105)}, "default"),
        ("validation accuracy, %", percent("validation_accuracy"), {}, "default"))
