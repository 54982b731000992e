"""What did training cost elsewhere? The alignment tax: a policy before against after, on tasks, text, length and format. Pure.

The verdict is "tax" if any of these holds, each named in `reasons`:

    pass@1       of some source of tasks fell: the 95 % interval of the paired difference is below 0
    lost         more tasks were lost than gained, McNemar's exact p below 0.05
    perplexity   of references or of plain text rose by more than 5 %, the interval of the ratio above 1
    format       completions that are cut off, or hold no program, became more frequent by more than 5 points

Ouyang et al. 2022 (arXiv:2203.02155, 4.2) call what RLHF costs on public benchmarks the alignment tax. With several sources
a fall by chance becomes likelier: 2.5 % for each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coderl.evaluate.breakdown import source_of
from coderl.evaluate.passk import Difference, mcnemar_p_value, paired_difference

SOLVED = 0.5  # a task counts as solved if at least this share of its samples passes
MAX_P = 0.05
MAX_RISE = 1.05  # of a perplexity
MAX_SHARE = 0.05  # of completions that are cut off or hold no program


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What a policy pays for one document: the sum of -log p in nats, over `tokens` tokens."""

    nats: float
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One policy as it was measured; `rates` is pass@1 by task, both kinds of documents by name."""

    model: str
    rates: Mapping[str, float]
    references: Mapping[str, Loss]
    texts: Mapping[str, Loss]
    tokens: float
    truncated: float
    no_program: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChange:
    source: str
    num_tasks: int
    before: float
    after: float
    difference: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Perplexity:
    """exp of nats per token, before and after; the interval is of the ratio after / before, over documents."""

    num_documents: int
    before: float
    after: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tax:
    """`lost` were solved before and are not any more, `gained` the other way round; pairs are (before, after)."""

    before: str
    after: str
    sources: tuple[SourceChange, ...]
    solved: tuple[int, int]
    lost: tuple[str, ...]
    gained: tuple[str, ...]
    mcnemar_p: float
    references: Perplexity | None
    texts: Perplexity | None
    tokens: tuple[float, float]
    truncated: tuple[float, float]
    no_program: tuple[float, float]
    verdict: str  # "tax" or "no tax found"
    reasons: tuple[str, ...]

    def told(self) -> Iterator[str]:
        """The verdict first, then every number that it rests on."""
        yield f"{self.verdict}" + (f": {'; '.join(self.reasons)}" if self.reasons else "")
        for change in self.sources:
            rates = f"{change.before:.1%} to {change.after:.1%} ({change.difference})"
            yield f"pass@1 {change.source}: {rates}  {change.num_tasks} tasks"
        yield (
            f"tasks solved (half of the samples or more): {self.solved[0]} to {self.solved[1]}; lost {len(self.lost)}, "
            f"gained {len(self.gained)}, McNemar p {self.mcnemar_p:.2g}"
        )
        for name, own in (("references", self.references), ("text", self.texts)):
            if own is not None:
                interval = f"{own.ratio:.3f} times, 95 % interval {own.low:.3f} to {own.high:.3f}"
                yield f"perplexity of {name}: {own.before:.3g} to {own.after:.3g} ({interval})  {own.num_documents} documents"
        yield (
            f"tokens per completion {self.tokens[0]:.1f} to {self.tokens[1]:.1f}; cut off {self.truncated[0]:.1%} to "
            f"{self.truncated[1]:.1%}; no program {self.no_program[0]:.1%} to {self.no_program[1]:.1%}"
        )


def tax(before: Side, after: Side, *, num_resamples: int = 2000, seed: int = 0) -> Tax:
    """Compare the two on the tasks that both have a rate for; Raises ValueError where there is none."""
    common = [task_id for task_id in before.rates if task_id in after.rates]
    if not common:
        raise ValueError("no task has scorable samples on both sides")
    changes = []
    for source in dict.fromkeys(map(source_of, common)):
        old, new = ({t: side.rates[t] for t in common if source_of(t) == source} for side in (before, after))
        changes.append(
            SourceChange(
                source=source,
                num_tasks=len(old),
                before=_mean(list(old.values())),
                after=_mean(list(new.values())),
                difference=paired_difference(old, new, num_resamples=num_resamples, seed=seed),
            )
        )
    could, can = ({t for t in common if side.rates[t] >= SOLVED} for side in (before, after))
    lost, gained = (tuple(t for t in common if t in one - other) for one, other in ((could, can), (can, could)))
    p_value = mcnemar_p_value(len(lost), len(gained))
    references = perplexity(before.references, after.references, num_resamples=num_resamples, seed=seed)
    texts = perplexity(before.texts, after.texts, num_resamples=num_resamples, seed=seed)
    reasons = [f"pass@1 of {c.source} fell by {-c.difference.estimate:.1%}" for c in changes if c.difference.high < 0]
    if len(lost) > len(gained) and p_value < MAX_P:
        reasons.append(f"{len(lost)} tasks lost, {len(gained)} gained (p {p_value:.2g})")
    for name, found in (("references", references), ("text", texts)):
        if found is not None and found.ratio > MAX_RISE and found.low > 1:
            reasons.append(f"perplexity of {name} rose by {found.ratio - 1:.1%}")
    for name, one, two in (
        ("are cut off", before.truncated, after.truncated),
        ("hold no program", before.no_program, after.no_program),
    ):
        if two - one > MAX_SHARE:
            reasons.append(f"{two:.1%} of completions {name}, {one:.1%} before")
    return Tax(
        before=before.model,
        after=after.model,
        sources=tuple(changes),
        solved=(len(could), len(can)),
        lost=lost,
        gained=gained,
        mcnemar_p=p_value,
        references=references,
        texts=texts,
        tokens=(before.tokens, after.tokens),
        truncated=(before.truncated, after.truncated),
        no_program=(before.no_program, after.no_program),
        verdict="tax" if reasons else "no tax found",
        reasons=tuple(reasons),
    )


def perplexity(
    before: Mapping[str, Loss], after: Mapping[str, Loss], *, num_resamples: int = 2000, seed: int = 0
) -> Perplexity | None:
    """exp(sum of nats / sum of tokens) of the documents, and the ratio with its interval; None where there are none.

    Raises ValueError unless both sides have the same documents with the same numbers of tokens.
    """
    if {name: loss.tokens for name, loss in before.items()} != {name: loss.tokens for name, loss in after.items()}:
        raise ValueError("perplexities are compared on the same tokens only")
    if not before:
        return None
    names = sorted(before)
    tokens = np.array([before[name].tokens for name in names], dtype=np.float64)
    change = np.array([after[name].nats - before[name].nats for name in names])
    generator = np.random.default_rng(seed)
    draws = (generator.integers(len(names), size=len(names)) for _ in range(num_resamples))
    ratios = np.exp([change[drawn].sum() / tokens[drawn].sum() for drawn in draws])
    low, high = np.quantile(ratios, [0.025, 0.975])
    old, new = (math.exp(sum(side[n].nats for n in names) / tokens.sum()) for side in (before, after))
    return Perplexity(
        num_documents=len(names), before=old, after=new, ratio=new / old, low=float(low), high=float(high)
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
