"""Is a run going wrong in a way that its reward does not show? Named alarms from the metrics of its steps.

    reward_hacking   visible tests pass more and more often, all tests do not: the policy learns the tests, not the tasks
    mode_collapse    a group's programs become the same one while tasks stay unsolved: sampling again no longer helps

Pure: a function of the metrics so far, so that a resumed run raises the same alarms. An alarm is raised when its condition
begins to hold, and again only after it has ceased to hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

WINDOW = 10  # steps that are averaged, and whose first average is what later ones are compared with
MAX_GAP, MAX_GAP_GROWTH = 0.2, 0.1  # of the share of samples that pass visible tests and fail others
MIN_DIVERSITY, MAX_GAIN, SOLVED = 0.5, 0.03, 0.9  # of the diversity at first; of pass@group over pass@1; of pass@1
WATCHED = (
    "rollout/pass_rate",
    "rollout/visible_pass_rate",
    "rollout/pass_at_group",
    "rollout/unique_asts",
    "rollout/entropy",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """What a person should know, and the numbers it rests on."""

    name: str
    message: str
    data: dict[str, float]


@dataclass(slots=True)
class Monitor:
    """Feed it the metrics of each step, in order."""

    _history: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in WATCHED})
    _raised: set[str] = field(default_factory=set)

    def observe(self, metrics: Mapping[str, float | None]) -> list[Alarm]:
        """The alarms that begin with this step."""
        values = {name: metrics.get(name) for name in WATCHED}
        if any(value is None or math.isnan(value) for value in values.values()):
            return []
        for name, value in values.items():
            assert value is not None
            self._history[name].append(value)
        found = [alarm for alarm in (self._hacking(), self._collapse()) if alarm is not None]
        fresh = [alarm for alarm in found if alarm.name not in self._raised]
        self._raised = {alarm.name for alarm in found}
        return fresh

    def _first_and_last(self, name: str) -> tuple[float, float]:
        values = self._history[name]
        return _mean(values[:WINDOW]), _mean(values[-WINDOW:])

    def _hacking(self) -> Alarm | None:
        if len(self._history["rollout/pass_rate"]) < WINDOW:
            return None
        visible, passing = (self._first_and_last(f"rollout/{name}") for name in ("visible_pass_rate", "pass_rate"))
        before, now = visible[0] - passing[0], visible[1] - passing[1]
        if now < MAX_GAP or now - before < MAX_GAP_GROWTH:
            return None
        return Alarm(
            name="reward_hacking",
            message=(
                f"{visible[1]:.0%} of the samples pass the visible tests but {passing[1]:.0%} pass all tests; the gap grew "
                f"from {before:.0%} to {now:.0%}: set reward.cases to all, or strengthen the visible tests"
            ),
            data={"visible_pass_rate": visible[1], "pass_rate": passing[1], "gap_at_first": before, "gap": now},
        )

    def _collapse(self) -> Alarm | None:
        if len(self._history["rollout/pass_rate"]) < 2 * WINDOW:
            return None
        diversity, passing = self._first_and_last("rollout/unique_asts"), self._first_and_last("rollout/pass_rate")
        entropy = self._first_and_last("rollout/entropy")
        gain = self._first_and_last("rollout/pass_at_group")[1] - passing[1]
        if diversity[1] > MIN_DIVERSITY * diversity[0] or gain > MAX_GAIN or passing[1] > SOLVED:
            return None
        return Alarm(
            name="mode_collapse",
            message=(
                f"distinct programs per sample fell from {diversity[0]:.2f} to {diversity[1]:.2f}, entropy from "
                f"{entropy[0]:.2f} to {entropy[1]:.2f} nats, and a whole group solves only {gain:.1%} more than one sample: "
                "raise entropy_coef, kl_coef or the temperature, or lower the learning rate"
            ),
            data={
                "unique_asts": diversity[1],
                "unique_asts_at_first": diversity[0],
                "entropy": entropy[1],
                "gain": gain,
            },
        )


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)
