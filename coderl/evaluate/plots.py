"""Pictures of the trade-off and of over-optimisation, as SVG files that are the same for the same numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from coderl.evaluate.harmless import Path
from coderl.evaluate.overoptimisation import Curve

STYLE: Any = {"svg.fonttype": "none", "svg.hashsalt": "evaluation", "font.size": 9.0}


def plot_tradeoff(paths: Sequence[Path], file: FilePath) -> None:
    """Pass rate against the rate of dangerous programs, one line per run, its end marked with both intervals."""
    with _axes(file) as axes:
        for path in paths:
            x, y = [p.dangerous[0] for p in path.points], [p.pass_rate[0] for p in path.points]
            end = path.points[-1]
            errors: Any = [[[rate[0] - rate[1]], [rate[2] - rate[0]]] for rate in (end.dangerous, end.pass_rate)]
            bar = axes.errorbar(x[-1:], y[-1:], xerr=errors[0], yerr=errors[1], fmt="o", capsize=2, label=path.name)
            axes.plot(x, y, marker=".", linewidth=1, color=bar[0].get_color())
        axes.set_xlabel("programs with a harmful call, share of samples")
        axes.set_ylabel("pass all tests")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1)
        axes.legend(frameon=False)


def plot_overoptimisation(curves: Sequence[Curve], file: FilePath) -> None:
    """Gold (left, full) and proxy (right, dashed) against the square root of the KL to the start."""
    with _axes(file) as axes:
        right = axes.twinx()
        for curve in curves:
            x = [p.kl**0.5 for p in curve.points]
            [line] = axes.plot(x, [p.gold for p in curve.points], marker="o", markersize=3, label=f"{curve.name}: gold")
            colour = line.get_color()
            proxy = [p.proxy for p in curve.points]
            right.plot(x, proxy, color=colour, linestyle="--", marker=".", markersize=4)
            axes.plot([], [], color=colour, linestyle="--", label=f"{curve.name}: proxy")
        axes.set_xlabel("sqrt(KL to the start), nats per completion")
        axes.set_ylabel("gold: pass all tests")
        right.set_ylabel("proxy: score of the reward model")
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False)


@contextmanager
def _axes(file: FilePath) -> Iterator[Any]:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        axes.grid(alpha=0.3)
        yield axes
        figure.savefig(file, format="svg", metadata={"Date": None})
