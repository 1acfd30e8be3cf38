"""How figures are drawn: one style, SVG text that is the same for the same data, and the numbers that were drawn as CSV."""
from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.container import BarContainer, ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.container import Container

__all__ = ["ACCENT", "COLORS", "GRID", "INK", "Drawn", "svg"]

INK, GRID, ACCENT = "#1c2733", "#dde3ea", "#c2410c"
COLORS = ["#0f766e", "#b45309", "#4338ca", "#be185d", "#4d7c0f", "#0369a1", "#7c2d12", "#6d28d9", "#334155", "#a16207"]
STYLE = {"font.family": "sans-serif", "font.size": 9.5, "axes.edgecolor": "#94a3b8", "axes.labelcolor": INK,
         "text.color": INK, "xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": GRID,
         "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none", "axes.axisbelow": True}


class Drawn(str):
    """A figure as SVG text.

    Members
    -------
    data : CSV text of what was drawn: panel, series, x, y and, of bars of error, error; of images row, column and value
    """
    data = ""


def _tick(axis: Axis) -> Callable[[float], float | str]:
    """Function of a place on an axis -> the text that stands there, or the place itself where numbers do."""
    if not isinstance(axis.get_major_locator(), matplotlib.ticker.FixedLocator):
        return lambda value: value
    places = axis.get_majorticklocs()
    names = dict(zip(places, axis.get_major_formatter().format_ticks(places)))   # type: ignore[arg-type]
    return lambda value: names.get(value, value)


def _panel(axes: Axes) -> Iterator[tuple[str, float | str, float | str, float | None]]:
    """Rows (series, x, y, error) of everything in an axes."""
    x_of, y_of, parts = _tick(axes.xaxis), _tick(axes.yaxis), set()

    def named(artist: Artist | Container) -> str:
        label = str(artist.get_label())
        return "" if label.startswith("_") else label
    for container in axes.containers:
        parts |= set(container.get_children())
        if isinstance(container, ErrorbarContainer):
            line, _, (bars_,) = container.lines
            for (x, y), segment in zip(np.asanyarray(line.get_xydata()), bars_.get_segments()):
                yield named(container), x_of(x), y, (segment[1][1] - segment[0][1]) / 2
        elif isinstance(container, BarContainer):                    # all of ours lie
            for bar in container.patches:
                yield named(container), bar.get_width(), y_of(bar.get_y() + bar.get_height() / 2), None
    for line in axes.lines:
        if line not in parts:
            for x, y in zip(np.asanyarray(line.get_xdata()), np.asanyarray(line.get_ydata())):
                yield named(line), x_of(x), y, None
    for cloud_ in axes.collections:
        if cloud_ not in parts:
            for x, y in np.asanyarray(cloud_.get_offsets()):
                yield named(cloud_), x, y, None
    for image in axes.images:
        for (y, x), value in np.ndenumerate(image.get_array()):
            yield f"image, value {value:g}", x, y, None
    for box in axes.patches:
        if box not in parts:
            assert isinstance(box, Rectangle)
            yield f"box, {box.get_width():g} wide, {box.get_height():g} high", box.get_x(), box.get_y(), None


def _data(figure: Figure) -> str:
    """What a figure shows, as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["panel", "series", "x", "y", "error"])

    def plain(value: float | str | None) -> str | None:
        return value if value is None or isinstance(value, str) else f"{float(value):.10g}"
    for n, axes in enumerate(figure.axes, 1):
        panel = axes.get_title() or " over ".join(filter(None, (axes.get_ylabel(), axes.get_xlabel()))) or str(n)
        for series, *numbers in _panel(axes):
            writer.writerow([panel, series, *map(plain, numbers)])
    return out.getvalue()


def svg(draw: Callable[[Figure], None], size: tuple[float, float], salt: str) -> Drawn:
    """Run ``draw(figure)`` in our style -> Drawn, the same for the same data."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": salt}):     # type: ignore[dict-item]
        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    drawn = Drawn(out.getvalue())
    drawn.data = _data(figure)
    return drawn
