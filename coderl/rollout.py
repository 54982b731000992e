"""What is kept of one sampled program: the record that everything that learns, reports or explains reads.

A rollout holds the sampled token ids (never re-tokenised text), the log-probabilities of the policy that sampled them,
the program that was taken from the text, its verdict, and the arithmetic of its reward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from sandbox.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One sample of one task, made for optimizer step number `step` (the first is 1; an evaluation stage has 0).

    `reward` is NaN while unscored and for UNSCORABLE verdicts. `logprobs[t]` belongs to `completion_ids[t]`, in nats, at the
    sampling temperature. `completion_ids` ends with the stop token unless `truncated`.
    """

    stage: str
    step: int
    task_id: str
    sample_index: int
    seed: int
    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    truncated: bool
    completion: str = ""
    program: str = ""  # "" when no code was found
    verdict: Verdict | None = None
    reward_parts: dict[str, float] = field(default_factory=dict)
    reward: float = math.nan
    advantage: float | None = None
    learned_score: float | None = None  # the reward model's, normalised; None where none was asked

    def __post_init__(self) -> None:
        if len(self.completion_ids) != len(self.logprobs):
            raise ValueError(f"{len(self.completion_ids)} completion tokens but {len(self.logprobs)} logprobs")
        if not self.prompt_ids or not self.completion_ids:
            raise ValueError("a rollout needs at least one prompt token and one completion token")

    def with_(self, **changes: Any) -> Rollout:
        return replace(self, **changes)

    def to_json(self) -> dict[str, Any]:
        record = {name: getattr(self, name) for name in self.__slots__}
        record["verdict"] = self.verdict.to_json() if self.verdict else None
        record["reward"] = None if math.isnan(self.reward) else self.reward
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Rollout:
        return cls(
            **{
                **record,
                "prompt_ids": tuple(record["prompt_ids"]),
                "completion_ids": tuple(record["completion_ids"]),
                "logprobs": tuple(record["logprobs"]),
                "verdict": Verdict.from_json(record["verdict"]) if record["verdict"] else None,
                "reward": math.nan if record["reward"] is None else record["reward"],
            }
        )
