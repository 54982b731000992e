"""What is the run doing right now? A live bar on a terminal, a plain line every ten seconds elsewhere. All of it on stderr."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from coderl.run_folder import is_main_process

# The few numbers worth watching, by their name in the metrics and their name on the screen.
LIVE = {
    "rollout/reward": "reward",
    "rollout/pass_rate": "pass",
    "loss": "loss",
    "rollout/entropy": "entropy",
    "policy/ref_kl": "kl",
    "time/step": "s/step",
}
PLAIN_SECONDS = 10.0


class Progress:
    """Counts to `total`; `update` shows some of a step's values. Outside the main process it shows nothing.

    `console` and `clock` are there for tests.
    """

    def __init__(
        self,
        total: int,
        description: str,
        done: int = 0,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._description, self._first, self._clock = total, description, done, clock
        self._console = console or Console(stderr=True, quiet=not is_main_process())
        self._started = self._shown = clock()
        self._bar: Bar | None = None
        self._task = TaskID(0)
        if self._console.is_terminal and not self._console.quiet:
            columns = (
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}", markup=False),
            )
            self._bar = Bar(*columns, console=self._console)
            self._task = self._bar.add_task(description, total=total, completed=done, numbers="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, values: dict[str, float], note: str = "") -> None:
        """`done` of `total` are done; `note` goes behind the numbers."""
        numbers = "  ".join(filter(None, [live_numbers(values), note]))
        if self._bar is not None:
            self._bar.update(self._task, completed=done, numbers=numbers)
            return
        now = self._clock()
        if done < self._total and now - self._shown < PLAIN_SECONDS and done != self._first + 1:
            return
        self._shown = now
        rate = (now - self._started) / max(done - self._first, 1)
        left = (
            f", {_duration(rate * (self._total - done))} left"
            if done < self._total
            else f", took {_duration(now - self._started)}"
        )
        self._console.print(
            f"{self._description} {done}/{self._total}{left}  {numbers}".rstrip(),
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def live_numbers(values: dict[str, float]) -> str:
    """
    >>> live_numbers({"rollout/reward": 0.25, "grad_norm/policy": 1.0, "loss": float("nan")})
    'reward 0.25'
    """
    return "  ".join(
        f"{short} {values[name]:.3g}" for name, short in LIVE.items() if math.isfinite(values.get(name, math.nan))
    )


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
