"""Drawings of a core: its blocks, from the plan, and its signals, from a simulation. SVG text out."""
import io

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

__all__ = ["block_diagram", "timing_diagram"]

INK, SOFT, LINE, FILL = "#1c2733", "#64748b", "#94a3b8", "#f1f5f9"
KIND = {"weights": "#0f766e", "membranes": "#b45309", "thresholds": "#4338ca", "biases": "#be185d", "initials": "#0284c7",
        "buffers": "#64748b"}


def _svg(figure, salt):
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def _canvas(width, height):
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _box(axes, x, y, width, height, color=LINE, fill=FILL):
    axes.add_patch(FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", fc=fill, ec=color, lw=1.2))


def _arrow(axes, start, end, bend=0.0):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0,
                                              "connectionstyle": f"arc3,rad={bend}"})


def block_diagram(blocks, edges):
    """The core from top to bottom: one box per block, its memories at the right, streams as arrows.

    Parameters
    ----------
    blocks : list of dict with title, lines (list of str) and memories (list of (kind, text))
    edges : list of (from, to, text): positions in ``blocks``
    """
    heights = [max(0.42 + 0.2 * len(b["lines"]), 0.32 + 0.2 * len(b["memories"])) for b in blocks]
    tops, y = [], 0.2
    for height in heights:
        tops.append(y)
        y += height + 0.45
    left, width, right = 1.3, 6.9, 3.6
    figure, axes = _canvas(left + width + 0.2, y - 0.2)
    for block, top, height in zip(blocks, tops, heights):
        _box(axes, left, top, width, height)
        axes.text(left + 0.12, top + 0.22, block["title"], color=INK, fontsize=10, fontweight="bold", va="center")
        for n, line in enumerate(block["lines"]):
            axes.text(left + 0.12, top + 0.46 + 0.2 * n, line, color=SOFT, fontsize=8, va="center")
        for n, (kind, text) in enumerate(block["memories"]):
            at = top + 0.3 + 0.2 * n
            axes.add_patch(FancyBboxPatch((left + right, at - 0.07), width - right - 0.12, 0.15, boxstyle="square,pad=0",
                                          fc="white", ec=KIND[kind], lw=1))
            axes.text(left + right + 0.06, at + 0.01, text, color=KIND[kind], fontsize=7.5, va="center")
    for n, (a, b, text) in enumerate(edges):
        if b == a + 1:
            _arrow(axes, (left + 0.9, tops[a] + heights[a]), (left + 0.9, tops[b]))
            axes.text(left + 1.02, (tops[a] + heights[a] + tops[b]) / 2, text, color=INK, fontsize=8, va="center")
        else:                                             # past other blocks: along the left edge, each a little further out
            x = left - 0.25 - 0.18 * (n % 5)
            start, end = tops[a] + heights[a] - 0.12, tops[b] + 0.12
            axes.plot([left, x, x], [start, start, end], color=INK, lw=1.2)
            _arrow(axes, (x, end), (left, end))
            axes.text(x - 0.05, (start + end) / 2, text, color=INK, fontsize=7, rotation=90, va="center", ha="right")
    return _svg(figure, "block-diagram")


def timing_diagram(signals, first, title):
    """Signals of some cycles: levels for single bits, values for others.

    Parameters
    ----------
    signals : list of (label, bits, list of int or None, one a cycle, function of a value that gives its text)
    first : int, number of the first cycle
    """
    cycles = len(signals[0][2])
    left, pitch, step = 2.3, 0.42, min(0.62, 9.0 / cycles)
    figure, axes = _canvas(left + step * cycles + 0.2, 0.75 + pitch * (len(signals) + 1))
    axes.text(0.1, 0.2, title, fontsize=10, fontweight="bold", color=INK, va="center")

    def label(row, text):
        axes.text(left - 0.12, row - 0.11, text, fontsize=8.5, color=INK, family="monospace", ha="right", va="center")
    y = 0.85
    for k in range(cycles + 1):
        axes.plot([left + k * step] * 2, [0.42, 0.5 + pitch * (len(signals) + 1)], color="#dde3ea", lw=0.7, zorder=0)
        if k < cycles:
            axes.text(left + k * step, 0.38, str(first + k), fontsize=6.5, color=SOFT, ha="center")
    label(y, "clk")
    x, levels = [], []
    for k in range(cycles):                                   # the rising edge that sees the values ends their cycle
        x += [left + k * step, left + (k + 0.5) * step, left + (k + 0.5) * step, left + (k + 1) * step]
        levels += [y - 0.24, y - 0.24, y, y]
    axes.plot(x, levels, color=INK, lw=1.1)
    for n, (name, bits, values, text) in enumerate(signals):
        y = 0.85 + pitch * (n + 1)
        label(y, name)
        k = 0
        while k < cycles:
            end = k + 1
            while end < cycles and values[end] == values[k]:
                end += 1
            a, b, value = left + k * step, left + end * step, values[k]
            if bits == 1 and value is not None:
                level = y - 0.24 * value
                before = values[k - 1] if k else value
                axes.plot([a, a, b], [y - 0.24 * (value if before is None else before), level, level], color="#0f766e", lw=1.3)
            else:
                bevel = 0.06
                axes.plot([a, a + bevel, b - bevel, b, b - bevel, a + bevel, a],
                          [y - 0.12, y - 0.24, y - 0.24, y - 0.12, y, y, y - 0.12], color="#4338ca", lw=1)
                shown = "x" if value is None else text(value)
                room = max(1, int((b - a) * 12))
                axes.text((a + b) / 2, y - 0.115, shown if len(shown) <= room else shown[:max(0, room - 1)] + "…", fontsize=7,
                          color=INK, ha="center", va="center")
            k = end
    return _svg(figure, title)
