"""How is the next batch drawn while the optimizer works on this one? By a copy of the policy in a thread, one update behind.

The copy has the weights from before the update; all else is as if the batch were drawn in its turn: its seeds are those of its
step, and its tasks are chosen when the results of the step before are known. So what is drawn does not depend on which of the
two was faster. The thread is waited for before a step ends: logs, evaluations and checkpoints never see it at work, and a
checkpoint holds the batch that it drew. One process only: with several, two threads would mix up what processes exchange.
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Unpack

import torch

from coderl.collect import Collected
from coderl.engines import Engine, Sampling
from coderl.errors import ConfigError
from coderl.generate import Sample, SampleRequest
from coderl.methods.gate import Gated
from coderl.policy import Policy
from coderl.rollout import Rollout
from coderl.workbench import Workbench


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """The groups of one step, and the metrics of all that was sampled for it."""

    found: Gated
    metrics: dict[str, float]

    def to_json(self) -> str:
        found = self.found
        return json.dumps(
            {
                "kept": [r.to_json() for r in found.kept.rollouts],
                "dropped": [r.to_json() for r in found.dropped],
                "stand_in": [r.to_json() for r in found.stand_in],
                "places": list(found.places.items()),
                "metrics": self.metrics,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Batch:
        """Inverse of `to_json`, but for the seconds that it took."""
        record = json.loads(text)
        kept, dropped, stand_in = (
            [Rollout.from_json(r) for r in record[name]] for name in ("kept", "dropped", "stand_in")
        )
        found = Gated(
            kept=Collected(rollouts=kept, generate_seconds=0.0, grade_seconds=0.0),
            dropped=dropped,
            stand_in=stand_in,
            places=dict(record["places"]),
            metrics={},  # they are among the batch's
        )
        return cls(found=found, metrics=record["metrics"])


class Prefetch:
    """`draw(bench, step)` makes the batch of a step; here it runs in a thread, on a workbench whose policy stands still."""

    def __init__(self, bench: Workbench, draw: Callable[[Workbench, int], Batch], label: str) -> None:
        """Raises ConfigError in a run of several processes."""
        if bench.accelerator.distributed_type.value != "NO":
            raise ConfigError(f"{label}: off_policy_steps 1 is for one training process: launch one, or set it to 0")
        self._policy, self._twin, self._draw = bench.policy, twin(bench.policy), draw
        self._ended = threading.Event()
        self._bench = replace(bench, policy=self._twin, engine=_Ending(bench.engine, self._ended))
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch")
        self._running: Future[tuple[Batch, float]] | None = None
        self._ready: Batch | None = None

    def start(self, step: int) -> None:
        """Begin with the batch of that step, drawn by the policy as it is now."""
        assert self._running is None and self._ready is None, "one batch at a time"
        own = self._twin.trainable()
        with torch.no_grad():
            for name, weight in self._policy.trainable().items():
                own[name].copy_(weight)
        self._running = self._executor.submit(self._timed, step)

    def wait(self) -> dict[str, float]:
        """Until the batch is there: what that took, by part, and how much of its making took no time of the step's.

        Raises what drawing it raised.
        """
        if self._running is None:
            return {}
        started = time.perf_counter()
        self._ready, worked = self._running.result()
        self._running = None
        waited = time.perf_counter() - started
        grade = min(waited, self._ready.found.kept.grade_seconds)  # it comes last
        return {"time/generate": waited - grade, "time/grade": grade, "time/hidden": max(worked - waited, 0.0)}

    def take(self) -> Batch | None:
        """The batch that was waited for, once; None at the first step of a stage."""
        batch, self._ready = self._ready, None
        return batch

    def close(self) -> None:
        """End what is being drawn; it is lost."""
        self._ended.set()
        self._executor.shutdown()

    def state(self) -> str:
        assert self._running is None, "a checkpoint waits for the batch"
        return "" if self._ready is None else self._ready.to_json()

    def load_state(self, state: str) -> None:
        self._ready = Batch.from_json(state) if state else None

    def _timed(self, step: int) -> tuple[Batch, float]:
        started = time.perf_counter()
        batch = self._draw(self._bench, step)
        return batch, time.perf_counter() - started


def twin(policy: Policy) -> Policy:
    """A policy with trainable weights of its own; the others, which never change, are the same tensors."""
    shared: dict[int, object] = {id(p): p for p in policy.model.parameters() if not p.requires_grad}
    other = copy.copy(policy)
    other.model = other.engine = copy.deepcopy(policy.model, shared)
    return other


class _Ending:
    """An engine that draws no more once `ended` is set."""

    def __init__(self, engine: Engine, ended: threading.Event) -> None:
        self._engine, self._ended = engine, ended

    def sample(
        self, policy: Policy, requests: Sequence[SampleRequest], **settings: Unpack[Sampling]
    ) -> Iterator[Sample]:
        for sample in self._engine.sample(policy, requests, **settings):
            if self._ended.is_set():
                raise CancelledError
            yield sample
