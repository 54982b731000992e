"""Which of the samples of a task make a pair? Pure: from scored candidates to pairs of indices, the same every time.

The rule is AceCoder's (Zeng et al. 2025, arXiv:2502.01718, section 2.2): with s the share of cases that pass, (i, j) is a
candidate pair if s_i > s_j + gap, s_i > min_chosen and s_j > min_rejected. Programs that are the same up to names and layout
are one candidate. A task gives at most `max_per_task` pairs, hard negatives (few edited tokens) first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coderl.config import PairsConfig
from coderl.program_key import edit_distance, program_key, tokens

WINDOW = 4  # how many of the next candidates the balance of lengths may choose among


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A program that ran, its score in [0, 1] and the length of its completion in tokens. `key` is the caller's."""

    key: int
    task_id: str
    program: str
    score: float
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A pair of candidates; `distance` is in edited tokens."""

    chosen: Candidate
    rejected: Candidate
    distance: int

    @property
    def margin(self) -> float:
        return self.chosen.score - self.rejected.score


def matches(candidates: Sequence[Candidate], config: PairsConfig, *, seed: int) -> list[Match]:
    """The pairs of all tasks, in the order in which the tasks appear."""
    by_task: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_task.setdefault(candidate.task_id, []).append(candidate)
    generator = np.random.default_rng(seed)
    found: list[Match] = []
    longer = 0  # pairs whose chosen side is the longer one, minus those whose rejected side is
    for group in by_task.values():
        left = _of_task(unique(group), config, generator)
        for _ in range(min(config.max_per_task, len(left))):
            window = left[:WINDOW] if config.balance_lengths else left[:1]
            best = min(window, key=lambda match: abs(longer + _sign(match)))
            left.remove(best)
            longer += _sign(best)
            found.append(best)
    return found


def unique(group: Sequence[Candidate]) -> list[Candidate]:
    """The first of each kind of program."""
    kept: dict[str, Candidate] = {}
    for candidate in group:
        kept.setdefault(program_key(candidate.program), candidate)
    return list(kept.values())


def _of_task(group: list[Candidate], config: PairsConfig, generator: np.random.Generator) -> list[Match]:
    """All pairs that the rule allows: shuffled, then (hard) by distance."""
    spelled = {candidate.key: tokens(candidate.program) for candidate in group}
    pairs = [
        Match(chosen=a, rejected=b, distance=edit_distance(spelled[a.key], spelled[b.key]))
        for a in group
        for b in group
        if a.score > b.score + config.gap and a.score > config.min_chosen and b.score > config.min_rejected
    ]
    pairs = [pair for pair in pairs if pair.distance >= config.min_distance]
    pairs = [pairs[i] for i in generator.permutation(len(pairs))]
    return sorted(pairs, key=lambda pair: pair.distance) if config.order == "hard" else pairs


def _sign(match: Match) -> int:
    return int(match.chosen.length > match.rejected.length) - int(match.chosen.length < match.rejected.length)
