"""What did later evaluations of a run find? Its evals/{tax,memorisation,tradeoff,overoptimisation}.json, told and drawn."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from coderl.errors import RunFolderError
from coderl.report import plots
from coderl.report.markup import Html, join, tag
from coderl.run_folder import RunFolder

TITLES = {
    "tax": "What training cost elsewhere",
    "memorisation": "Learned by heart, or learned",
    "tradeoff": "Helpful and harmless",
    "overoptimisation": "The reward model's score and the pass rate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Further:
    """One finding: verdict and numbers in lines, and pictures of what is a curve: title, label of the x-axis, lines."""

    name: str
    told: list[str]
    pictures: list[tuple[str, str, list[plots.Line]]]


def read_further(folder: RunFolder) -> list[Further]:
    """Those that are there, in the order of TITLES. Raises RunFolderError for a damaged file."""
    found = []
    for name in TITLES:
        path = folder.evals_dir / f"{name}.json"
        if not path.is_file():
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found.append(Further(name=name, told=[str(line) for line in record["told"]], pictures=_pictures(record)))
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise RunFolderError(
                f"{path}: damaged ({' '.join(str(error).split())}); delete it to do without"
            ) from error
    return found


def further_view(found: list[Further]) -> Html:
    """A heading, the lines and the pictures of each."""
    parts = []
    for one in found:
        drawn = [plots.points(title, lines, unit=unit) for title, unit, lines in one.pictures]
        parts += [
            tag("h3", TITLES[one.name]),
            tag("pre", "\n".join(one.told), style="white-space: pre-wrap"),
            tag("div", *drawn, cls="plots"),
        ]
    return join(parts)


def _pictures(record: dict[str, Any]) -> list[tuple[str, str, list[plots.Line]]]:
    if "paths" in record:
        lines = [
            plots.Line(
                name=str(path["name"]),
                x=[float(p["dangerous"][0]) for p in path["points"]],
                y=[float(p["pass_rate"][0]) for p in path["points"]],
                colour=i,
            )
            for i, path in enumerate(record["paths"])
        ]
        return [("Pass rate, over training", "programs with a harmful call, share of samples", lines)]
    pictures = []
    for key, title in (("gold", "Gold: pass rate"), ("proxy", "Proxy: score of the reward model")):
        lines = [
            plots.Line(
                name=str(curve["name"]),
                x=[math.sqrt(float(p["kl"])) for p in curve["points"]],
                y=[float(p[key]) for p in curve["points"]],
                colour=i,
            )
            for i, curve in enumerate(record.get("curves", ()))
        ]
        if lines:
            pictures.append((title, "square root of the KL to the start, in nats", lines))
    return pictures
