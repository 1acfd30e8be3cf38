"""How well an integrate-and-fire neuron quantizes its input: the SQNR study of ATIF ("Trainable quantization for Speedy SNNs").

A neuron without leak, at constant input x over T steps, is a quantizer with T + 1 levels: its spike count. The input has the
density of a half-normal distribution, x = |N(0, sigma^2)|; the paper must leave out negative inputs, for a neuron that never fires
on them cannot exceed 3.01 dB. SQNR = 10 log10(E[x^2] / E[(x - y)^2]) with y the decoded value. Expectations are sums over a grid,
so nothing is drawn but the batches of the gradient descents.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from ..options import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from ..annotations import Array, Json, Say
    from ..thresholds import Threshold

    Values = Array | Sequence[float]
    #: (step, dB, V(1)) of a training.
    Curve = list[tuple[int, float, float]]

__all__ = ["AtifSqnr"]

GRID = 8000                                                          # points from 0 to 8 sigma


def spike_counts(x: Array, thresholds: Values, first: float = 0.0) -> Array:
    """Spikes by step of neurons without leak and with soft reset: x [N] values, thresholds [T], v(0) = first -> bool [T, N]."""
    v, spikes = np.full_like(x, first), []
    for threshold in thresholds:
        v = v + x
        spikes.append(v >= threshold)
        v = v - threshold * spikes[-1]
    return np.array(spikes)


def general_rule(levels: Array) -> Array:
    """Thresholds V(1) .. V(T) of levels p_1 > ... > p_T, float64 arrays: :func:`spikeproof.thresholds.thresholds_of_levels`."""
    import torch

    from ..thresholds import thresholds_of_levels
    return thresholds_of_levels(torch.from_numpy(np.ascontiguousarray(levels, dtype=np.float64))).numpy()


def printed_equations(levels: Array) -> Array:
    """Thresholds of T = 4 by the equations as printed: V_1 = p_1 (15), V_2 (19), V_3 (17), V_4 (14)."""
    p1, p2, p3, p4 = levels
    return np.array([p1, 3 * p2 - 4 * (p3 - p4), 4 * (p3 - p4), 4 * p4])


def wrong_share(levels: Array, thresholds: Array) -> float:
    """Share of the inputs from 0 to 1.3 p_1 whose spike count is not the number of levels reached."""
    x = (np.arange(GRID) + 0.5) / GRID * 1.3 * levels[0]
    edge = 1e-9 * levels[0]
    counts = spike_counts(x + edge, thresholds).sum(0)
    return float((counts != (x[:, None] >= levels).sum(1)).mean())


def _descend(cost: Callable[[Array], float], starts: Sequence[Values], step: float) -> tuple[float, list[float]]:
    """Least value of a function of a vector, by pattern search from several starts -> (value, argument)."""
    best: tuple[float, Any] = (np.inf, None)
    for start in starts:
        at, size = np.array(start, float), step
        value = cost(at)
        while size > 1e-6:
            moves = [at + sign * size * unit for unit in np.eye(len(at)) for sign in (1, -1)]
            moves += [at * (1 + size * sign) for sign in (1, -1)]
            values = [cost(move) for move in moves]
            if min(values) < value:
                value, at = min(values), moves[int(np.argmin(values))]
            else:
                size /= 2
        best = min(best, (value, at.tolist()))
    return best


class Decoder:
    """Inputs with their probabilities, and the SQNR of decoded values."""
    def __init__(self, sigma: float) -> None:
        self.sigma = sigma
        self.x = (np.arange(GRID) + 0.5) / GRID * 8 * sigma
        density = np.exp(-self.x**2 / (2 * sigma**2))
        self.weight = density / density.sum()
        self.power = float((self.weight * self.x**2).sum())

    def sqnr(self, y: Array) -> float:
        """dB of decoded values y [N]."""
        return 10 * np.log10(self.power / float((self.weight * (self.x - y) ** 2).sum()))

    def scaled(self, unit: Array) -> float:
        """dB of the best multiple of some decoded values."""
        energy = float((self.weight * unit**2).sum())
        return self.sqnr(unit * float((self.weight * self.x * unit).sum()) / energy) if energy else 0.0

    def table(self, counts: Array, levels: int) -> float:
        """dB where each count is decoded by its mean input."""
        mass = np.bincount(counts, self.weight, levels)
        mean = np.bincount(counts, self.weight * self.x, levels) / np.maximum(mass, 1e-300)
        return self.sqnr(mean[counts])

    def uniform(self, threshold: float, steps: int, first: float = 0.0) -> Array:
        """Decoded values of a constant threshold; ``first`` is v(0) in thresholds."""
        return threshold / steps * spike_counts(self.x, [threshold] * steps, first * threshold).sum(0)

    def best_uniform(self, steps: int, first: float = 0.0) -> tuple[float, float]:
        """(dB, threshold) of the best constant threshold."""
        grid = np.linspace(0.1, 6, 600) * self.sigma
        near = grid[np.argmax([self.sqnr(self.uniform(v, steps, first)) for v in grid])]
        value, at = _descend(lambda v: -self.sqnr(self.uniform(v[0], steps, first)), [[near]], 0.01 * self.sigma)
        return -value, at[0]

    def best_levels(self, steps: int, decode: Callable[[Array, Array, Array], float]) -> tuple[float, list[float]]:
        """(dB, levels) of the best thresholds by the general rule; ``decode(spikes, levels, thresholds)`` gives dB."""
        def cost(gaps: Array) -> float:
            if (gaps <= 0).any():
                return 1e9
            levels = np.cumsum(gaps[::-1])[::-1]
            thresholds = general_rule(levels)
            return -decode(spike_counts(self.x, thresholds), levels, thresholds)
        _, uniform = self.best_uniform(steps)
        growing = np.linspace(1.6, 0.4, steps)
        value, gaps = _descend(cost, [np.full(steps, uniform / steps), uniform / steps * growing], 0.03 * self.sigma)
        return -value, np.cumsum(gaps[::-1])[::-1].tolist()

    def best_thresholds(self, steps: int, starts: Sequence[Values]) -> tuple[float, list[float]]:
        """(dB, thresholds) of the best free thresholds where a spike counts its own threshold: y = sum z(t) V(t) / T."""
        def cost(v: Array) -> float:
            if (v <= 0).any():
                return 1e9
            return -self.sqnr((v[:, None] * spike_counts(self.x, v)).sum(0) / steps)
        value, at = _descend(cost, starts, 0.05 * self.sigma)
        return -value, at

    def lloyd_max(self, levels: int) -> float:
        """dB of the best quantizer with so many levels."""
        edges = np.linspace(0, 3 * self.sigma, levels + 1)[1:-1]
        for _ in range(2000):
            cell = np.searchsorted(edges, self.x)
            centre = np.bincount(cell, self.weight * self.x, levels) / np.bincount(cell, self.weight, levels)
            edges = (centre[1:] + centre[:-1]) / 2
        return self.table(np.searchsorted(edges, self.x), levels)


def _trained(decoder: Decoder, module: Threshold, slope: float, options: AtifSqnr.Options,
             seed: int) -> tuple[float, list[float], Curve]:
    """Gradient descent on a threshold module as networks train it -> (dB of the end, thresholds, curve of (step, dB, V(1)))."""
    import torch

    from ..neuron_steps import float_steps
    from ..neurons.integrate_fire import IntegrateFire
    from ..surrogates import Surrogate
    neuron = IntegrateFire(IntegrateFire.Options(kind="if"))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(module.parameters(), lr=options.learning_rate)
    curve: Curve = []

    def measured() -> tuple[float, list[float]]:
        with torch.no_grad():
            thresholds, amplitude = module()
        v = thresholds.double().expand(options.steps).numpy()
        db = decoder.sqnr(float(amplitude) / options.steps * spike_counts(decoder.x, v).sum(0))
        return db, v.tolist()
    for step in range(options.iterations + 1):
        if step % 50 == 0:
            db, v = measured()
            curve.append((step, db, v[0]))
        x = torch.randn(1, options.batch, 1, 1, 1, generator=generator).abs() * decoder.sigma
        theta, amplitude = module()
        s, _ = float_steps(x, theta, options.steps, neuron, True, Surrogate("sigmoid", 1 / slope), module.paths)
        assert s is not None
        loss = ((x[0] - s.sum(0) * amplitude / options.steps) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    db, v = measured()
    return db, v, curve


class AtifSqnr:
    """SQNR of fixed, trained uniform and trained non-uniform thresholds, with the control that the paper lacks."""
    class Options(Options):
        kind: Literal["atif_sqnr"]
        sigma: float = Field(0.1, gt=0, le=10)
        steps: int = Field(4, ge=2, le=8)
        sweep: list[Annotated[int, Field(ge=1, le=256)]] = Field([1, 2, 4, 8, 16, 32], min_length=1)
        slopes: list[Annotated[float, Field(gt=0)]] = Field([1.0, 4.0, 10.0, 25.0], min_length=1)
        iterations: int = Field(3000, ge=1)
        batch: int = Field(256, ge=1)
        learning_rate: float = Field(1e-3, gt=0)

    def __init__(self, options: Options) -> None:
        self.options = options

    def run(self, say: Say = print) -> dict[str, Json]:
        """All quantities and curves, as JSON values."""
        import torch

        from ..thresholds import PATHS, LevelThresholds, TrainedThreshold
        o, d = self.options, Decoder(self.options.sigma)
        steps = o.steps
        fixed = {t: d.sqnr(d.uniform(1.0, t)) for t in range(1, 41)}
        uniform, threshold = d.best_uniform(steps)
        half, half_threshold = d.best_uniform(steps, 0.5)
        unit = np.linspace(0.5, 4, 701) * o.sigma
        scaled = max(d.scaled(d.uniform(v, steps)) for v in unit)
        by_p1, levels = d.best_levels(steps, lambda s, p, v: d.sqnr(p[0] / steps * s.sum(0)))
        by_scale, _ = d.best_levels(steps, lambda s, p, v: d.scaled(s.sum(0).astype(float)))
        v_levels = general_rule(np.array(levels))
        by_threshold, free = d.best_thresholds(steps, [[threshold] * steps, v_levels, np.linspace(1.3, 0.7, steps) * threshold])
        lloyd = d.lloyd_max(steps + 1)
        fewest = next((t for t, db in fixed.items() if db >= uniform), None)
        say(f"uniform {uniform:.2f} dB, non-uniform {by_p1:.2f} dB")

        sweep = []
        for t in o.sweep:
            row = {"steps": t, "fixed": d.sqnr(d.uniform(1.0, t)), "uniform": d.best_uniform(t)[0],
                   "half": d.best_uniform(t, 0.5)[0], "lloyd_max": d.lloyd_max(t + 1)}
            if 2 <= t <= 8:
                row["non_uniform"] = d.best_levels(t, lambda s, p, v: d.sqnr(p[0] / len(p) * s.sum(0)))[0]
            sweep.append(row)
            say(f"T = {t}")

        trained: list[dict[str, Any]] = []
        for slope in o.slopes:
            torch.manual_seed(0)
            db, v, curve = _trained(d, TrainedThreshold(1.0, 1.0, PATHS), slope, o, 0)
            trained.append({"neuron": "ATIF-u", "slope": slope, "start": "V = 1", "db": db, "thresholds": v, "curve": curve})
            module = LevelThresholds(steps, threshold, threshold, PATHS)
            db, v, curve = _trained(d, module, slope, o, 0)
            trained.append({"neuron": "ATIF-nu", "slope": slope, "start": "best uniform", "db": db, "thresholds": v,
                            "curve": curve})
            say(f"gradient descent with slope {slope:g}")
        best_u = max(t["db"] for t in trained if t["neuron"] == "ATIF-u")
        best_nu = max(t["db"] for t in trained if t["neuron"] == "ATIF-nu")

        uniform_levels = np.arange(4, 0, -1) / 4
        rng = np.random.default_rng(0)
        recursion = []
        for t in range(2, 9):
            wrong = []
            for _ in range(100):
                p = np.cumsum(np.sort(rng.random(t) + 0.05))[::-1]
                wrong.append(wrong_share(p, general_rule(p)))
            recursion.append({"steps": t, "worst": max(wrong), "mean": float(np.mean(wrong)), "exact": sum(w == 0 for w in wrong)})
        pattern = spike_counts(np.array([0.5]), [1.0] * 4)[:, 0].astype(int).tolist()
        quantities = {
            "fixed_db": fixed[steps], "uniform_db": uniform, "uniform_gain_db": uniform - fixed[steps],
            "uniform_threshold": threshold, "uniform_threshold_in_sigma": threshold / o.sigma,
            "fixed_steps_to_reach_uniform": fewest, "steps_ratio": None if fewest is None else fewest / steps,
            "uniform_scaled_db": scaled, "half_db": half, "half_threshold": half_threshold, "half_gain_db": half - uniform,
            "non_uniform_p1_db": by_p1, "non_uniform_p1_gain_db": by_p1 - uniform,
            "non_uniform_threshold_db": by_threshold, "non_uniform_threshold_gain_db": by_threshold - uniform,
            "non_uniform_scaled_db": by_scale, "lloyd_max_db": lloyd,
            "trained_uniform_db": best_u, "trained_uniform_gain_db": best_u - fixed[steps],
            "trained_non_uniform_db": best_nu, "trained_non_uniform_gain_db": best_nu - best_u,
            "trained_uniform_slope_1_db": next((t["db"] for t in trained if t["neuron"] == "ATIF-u" and t["slope"] == 1), None),
            "printed_wrong_share_uniform": wrong_share(uniform_levels, printed_equations(uniform_levels)),
            "general_wrong_share_uniform": wrong_share(uniform_levels, general_rule(uniform_levels)),
            "pattern_is_zeros_then_ones": pattern == sorted(pattern)}
        return {"quantities": quantities, "levels": levels, "level_thresholds": v_levels.tolist(), "free_thresholds": free,
                "fixed": [[t, db] for t, db in fixed.items()], "sweep": sweep, "trained": trained, "recursion": recursion,
                "pattern": pattern, "sigma": o.sigma, "steps": steps}

    @staticmethod
    def figures(result: dict[str, Json]) -> list[tuple[str, str, str]]:
        """(title, caption, SVG) for the report."""
        from .. import plots
        q, steps = result["quantities"], result["steps"]
        names = {"fixed": "fixed, V = 1", "uniform": "trained uniform (ATIF-u)",
                 "non_uniform": "trained non-uniform, p₁ × rate (ATIF-nu)", "half": "control: uniform, v(0) = V/2",
                 "lloyd_max": "Lloyd-Max bound, T + 1 levels"}
        lines = {label: [(row["steps"], row[key]) for row in result["sweep"] if key in row] for key, label in names.items()}
        curves = {f"{t['neuron']}, slope {t['slope']:g}": [(s, db) for s, db, _ in t["curve"]] for t in result["trained"]}
        first = {f"slope {t['slope']:g}": [(s, v / result["sigma"]) for s, _, v in t["curve"]] for t in result["trained"]
                 if t["neuron"] == "ATIF-u"}
        bars = [("fixed V = 1", q["fixed_db"]), ("uniform (ATIF-u)", q["uniform_db"]),
                ("uniform, best scale", q["uniform_scaled_db"]), ("non-uniform, Σ z V / T", q["non_uniform_threshold_db"]),
                ("non-uniform, p₁ × rate", q["non_uniform_p1_db"]),
                ("uniform, v(0) = V/2", q["half_db"]), ("non-uniform, best scale", q["non_uniform_scaled_db"]),
                ("Lloyd-Max", q["lloyd_max_db"])]
        return [
            ("SQNR over time steps", f"Half-normal input, sigma = {result['sigma']:g}. Best thresholds, found by search.",
             plots.lines(lines, "time steps T", "SQNR, dB", log2=True)),
            (f"SQNR at T = {steps}, by decoding", "One parameter, a first membrane of half a threshold, does what the non-uniform "
             "thresholds do.", plots.bars(bars, "SQNR, dB")),
            ("Gradient descent on the thresholds", "The sigmoid's slope decides: at 1 the threshold stalls far from the optimum. "
             "ATIF-nu starts from the best uniform thresholds.", plots.lines(curves, "iterations", "SQNR, dB")),
            ("Where the threshold goes", f"Optimum {q['uniform_threshold_in_sigma']:.2f} sigma.",
             plots.lines(first, "iterations", "threshold V / sigma"))]

    @staticmethod
    def tables(result: dict[str, Json]) -> list[tuple[str, list[str], list[list[Json]]]]:
        """(title, columns, rows) for the report."""
        return [("Spike counts by the general rule",
                 ["time steps", "quantizers with exact counts, of 100", "wrong counts, mean", "worst"],
                 [[r["steps"], r["exact"], f"{100 * r['mean']:.2f} %", f"{100 * r['worst']:.2f} %"] for r in result["recursion"]])]
