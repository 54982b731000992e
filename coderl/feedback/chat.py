"""What is asked of a model that judges, and what does it answer? The seam between feedback and the models that give it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question. Where `options` are given, the wanted answer is how likely each of them follows `begin`."""

    system: str
    user: str
    max_new_tokens: int
    begin: str = ""
    options: tuple[str, ...] = ()

    def key(self, model: str) -> str:
        """The same for the same question to the same model."""
        return hashlib.sha256(json.dumps([model, asdict(self)]).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`probabilities` of the options, in their order and with a sum of 1; () where none were asked for."""

    text: str
    num_prompt_tokens: int
    num_completion_tokens: int
    probabilities: tuple[float, ...] = ()
    num_attempts: int = 1

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Reply:
        return cls(**{**record, "probabilities": tuple(record["probabilities"])})


class Chat(Protocol):
    """A model that answers. `weighs` says whether it gives probabilities of options; else they must be asked for in words."""

    name: str  # for a person, and in the pairs
    identity: str  # changes when its answers could
    weighs: bool

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """(place of the ask, its reply) as each is there, at temperature 0. Raises FeedbackError."""
