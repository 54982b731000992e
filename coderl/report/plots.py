"""How do numbers become pictures? Lines and stacked areas, drawn by matplotlib as SVG that takes its colours from the page.

Colours are drawn as marker values and then replaced by CSS variables, so that one picture fits a light and a dark page.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from coderl.report.markup import Html, tag

INK, LINE = "#010101", "#020202"
NUM_COLOURS = 6
MAX_ENDS = 3  # curves whose first and last values are told above the picture
GREY = 6  # the colour of what is not there
SERIES = [f"#0303{i:02x}" for i in range(NUM_COLOURS + 1)]
VARIABLES = {INK: "currentColor", LINE: "var(--line)", **{c: f"var(--s{i})" for i, c in enumerate(SERIES)}}
STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "text.color": INK,
    "text.parse_math": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One curve; `colour` is a number from 0 to 6, which is GREY. NaN leaves a gap."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0


def lines(title: str, given: Sequence[Line], *, unit: str = "step") -> Html:
    """A figure of one or more curves, smoothed on top of the raw values where there are many."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _figure(unit)
        for line in given:
            colour = SERIES[line.colour % (NUM_COLOURS + 1)]
            many = len(line.x) >= 20
            axes.plot(
                line.x,
                line.y,
                color=colour,
                linewidth=0.7 if many else 1.4,
                alpha=0.4 if many else 1.0,
                marker="" if len(line.x) > 1 else "o",
            )
            if many:
                axes.plot(line.x, smooth(line.y), color=colour, linewidth=1.6)
        ends = [f"{line.name} {_ends(line.y)}" if len(given) > 1 else _ends(line.y) for line in given]
        caption = "; ".join(ends) if len(ends) <= MAX_ENDS else ""
        return _finish(figure, title, caption, [(line.name, line.colour) for line in given] if len(given) > 1 else [])


def points(title: str, given: Sequence[Line], *, unit: str) -> Html:
    """A path per `Line` in the plane of x and y, its end marked; nothing is smoothed, and x is not a count."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _figure(unit)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        for line in given:
            colour = SERIES[line.colour % len(SERIES)]
            axes.plot(line.x, line.y, color=colour, linewidth=1.4, marker=".", markersize=4)
            axes.plot(line.x[-1:], line.y[-1:], color=colour, marker="o", markersize=6)
        return _finish(figure, title, "", [(line.name, line.colour) for line in given])


def areas(title: str, x: Sequence[float], given: Sequence[Line], *, unit: str = "step") -> Html:
    """Shares, stacked; each `Line` is one layer, the first at the bottom."""
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": title}):
        figure, axes = _figure(unit)
        layers = [[0.0 if math.isnan(value) else value for value in line.y] for line in given]
        xs, layers = ([*x, x[0] + 1], [[*layer, layer[0]] for layer in layers]) if len(x) == 1 else (list(x), layers)
        axes.stackplot(
            xs, layers, colors=[SERIES[line.colour % (NUM_COLOURS + 1)] for line in given], alpha=0.85, linewidth=0
        )
        axes.margins(0)
        return _finish(figure, title, "", [(line.name, line.colour) for line in given])


def smooth(values: Sequence[float], width: int = 9) -> list[float]:
    """Mean over a centred window that shrinks on both sides at the ends; NaN values are left out of it.

    >>> smooth([1.0, 2.0, 6.0, 4.0], width=3)
    [1.0, 3.0, 4.0, 4.0]
    """
    means = []
    for i in range(len(values)):
        half = min(width // 2, i, len(values) - 1 - i)
        window = [v for v in values[max(0, i - half) : i + half + 1] if not math.isnan(v)]
        means.append(sum(window) / len(window) if window else math.nan)
    return means


def _ends(values: Sequence[float]) -> str:
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return "no values"
    return f"{finite[0]:.3g} → {finite[-1]:.3g}" if len(finite) > 1 else f"{finite[0]:.3g}"


def _figure(unit: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(4.6, 2.3), layout="constrained")
    figure.patch.set_alpha(0.0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0.0)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    return figure, axes


def _finish(figure: Figure, title: str, caption: str, legend: Sequence[tuple[str, int]]) -> Html:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg ") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'^(<svg [^>]*?) width="[^"]*"', r"\1", svg)
    svg = re.sub(r'^(<svg [^>]*?) height="[^"]*"', r"\1", svg)
    used = {*re.findall(r'"#([^"]+)"', svg), *re.findall(r"url\(#([^)]+)\)", svg)}
    svg = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    keys = tag(
        "span", *(tag("span", name, cls=f"key k{colour % (NUM_COLOURS + 1)}") for name, colour in legend), cls="keys"
    )
    head = [tag("b", title), tag("span", caption, cls="ends"), *([keys] if legend else [])]
    picture = tag("div", Html(svg), cls="plot", role="img", aria_label=f"{title}: {caption}")
    return tag("figure", tag("figcaption", *head), picture)
