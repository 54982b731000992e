"""Where did the time of a stage go? Seconds by part, from the metrics of its steps. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

PARTS = {
    "time/generate": "sampling",
    "time/grade": "grading",
    "time/score": "scoring",
    "time/update": "learning",
    "time/idle": "waiting",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """`parts` are seconds by name, `rest` what they leave. Parts that overlap may add up to more than `total`."""

    stage: str
    num_steps: int
    total: float
    parts: dict[str, float]

    @property
    def rest(self) -> float:
        return max(0.0, self.total - math.fsum(self.parts.values()))


def budget(stage: str, values: Mapping[str, Sequence[float]]) -> Budget | None:
    """From the metrics of all steps, by name; None where their time was not measured. NaN is a step without the number."""
    steps = _finite(values.get("time/step", ()))
    if not steps:
        return None
    parts = {title: math.fsum(_finite(values[name])) for name, title in PARTS.items() if name in values}
    return Budget(stage=stage, num_steps=len(steps), total=math.fsum(steps), parts=parts)


def duration(seconds: float) -> str:
    """
    >>> duration(0.25), duration(42), duration(125), duration(7300)
    ('0.2 s', '42 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]
