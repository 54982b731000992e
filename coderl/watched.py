"""How do the values that micro-batches show become the metrics of a step? Summed over its tokens, and over all processes.

A name that begins with max_ is that of a maximum, and ends with _max in the metrics; all others are means over tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

Metrics = dict[str, float]


@dataclass(slots=True, kw_only=True)
class Watched:
    """What one process saw of an optimizer step; it grows with every micro-batch."""

    loss: float = 0.0
    num_tokens: float = 0.0
    sums: Metrics = field(default_factory=dict)
    maxima: Metrics = field(default_factory=dict)

    def add(self, loss: float, watch: Mapping[str, Tensor], mask: Tensor) -> None:
        """Of one micro-batch: its part of the loss, values (N, T) by name, and where they count (N, T)."""
        self.loss += loss
        self.num_tokens += float(mask.sum())
        for name, values in watch.items():
            if name.startswith("max_"):
                largest = float((values * mask).max())
                self.maxima[name[4:] + "_max"] = max(self.maxima.get(name[4:] + "_max", -math.inf), largest)
            else:
                self.sums[name] = self.sums.get(name, 0.0) + float((values * mask).sum())


def of_all(parts: Sequence[Watched]) -> Metrics:
    """The metrics of an optimizer step of which each process saw a part."""
    num_tokens = math.fsum(part.num_tokens for part in parts)
    names = dict.fromkeys(name for part in parts for name in part.sums)
    sums = {name: math.fsum(part.sums.get(name, 0.0) for part in parts) for name in names}
    maxima = merged([part.maxima for part in parts])
    loss = math.fsum(part.loss for part in parts)
    return {"loss": loss} | {name: value / num_tokens for name, value in sums.items()} | maxima


def merged(steps: Sequence[Metrics]) -> Metrics:
    """Mean over steps, or processes; the largest for names that end with _max."""
    names = dict.fromkeys(name for metrics in steps for name in metrics)
    found = {name: [metrics[name] for metrics in steps if name in metrics] for name in names}
    return {
        name: max(values) if name.endswith("_max") else math.fsum(values) / len(values)
        for name, values in found.items()
    }
