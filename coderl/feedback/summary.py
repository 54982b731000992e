"""How far can the judge be trusted? Position bias, ties, and agreement with people and with execution. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from coderl.feedback.candidates import Candidate
from coderl.feedback.chat import Reply
from coderl.feedback.judging import Judgement
from coderl.label.agreement import cohen_kappa


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`count` of `total`, with the 95 % score interval of Wilson 1927."""

    count: float
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        if not self.total:
            return math.nan, math.nan
        z, n, p = 1.959964, self.total, self.value
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.count:g}/{self.total} = {self.value:.1%} (95 % {low:.1%} to {high:.1%})" if self.total else "none"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """With the labels of one source. `decided`: of pairs that neither calls a tie, how many go to the same side.

    `leaning`: the same with the judge's ties broken by the sign of its preference: does a weak one mean anything?
    `kappa` is Cohen's over first, second and tie, NaN where there is nothing to compare with chance.
    """

    source: str
    num_labels: int
    decided: Share
    leaning: Share
    kappa: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """`first_preferred`: of single answers that are no tie, how many go to the program that is shown first (unbiased: half).

    `consistent`: of pairs, how many get the same answer in both orders. `bias`: the mean preference for what is shown first,
    from -1 to 1. `longer_preferred`: of decided pairs, how many go to the longer program.
    """

    num_pairs: int
    num_ties: int
    num_alike: int  # of the ties: the same program twice, which nobody was asked about
    num_unreadable: int
    first_preferred: Share
    consistent: Share
    bias: float
    longer_preferred: Share
    agreements: tuple[Agreement, ...]

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        for name in ("first_preferred", "consistent", "longer_preferred"):
            record[name] |= {"value": _finite(getattr(self, name).value)}
        for item, own in zip(record["agreements"], self.agreements, strict=True):
            item["decided"] |= {"value": _finite(own.decided.value)}
            item["leaning"] |= {"value": _finite(own.leaning.value)}
            item["kappa"] = _finite(own.kappa)
        record["bias"] = _finite(self.bias)
        return record

    def lines(self) -> list[str]:
        """For a person."""
        found = [
            f"{self.num_pairs} pairs: {self.num_ties} ties ({self.num_alike} the same program twice), "
            f"{self.num_unreadable} without a readable answer",
            f"position: the first shown wins {self.first_preferred}; mean preference for it {self.bias:+.3f}",
            f"both orders agree: {self.consistent}",
            f"the longer program wins: {self.longer_preferred}",
        ]
        for a in self.agreements:
            kappa = "" if math.isnan(a.kappa) else f"; kappa {a.kappa:+.3f} with ties, {a.num_labels} labels"
            found.append(f"agrees with {a.source}: {a.decided}{kappa}")
            found.append(f"agrees with {a.source}, ties broken by the sign of the preference: {a.leaning}")
        return found


def summarise(candidates: Sequence[Candidate], judgements: Sequence[Judgement | None], *, tie_below: float) -> Summary:
    """One judgement per candidate; None where both sides are alike, which is a tie without a question."""
    asked = [(c, j) for c, j in zip(candidates, judgements, strict=True) if j is not None]
    known = [(c, j) for c, j in asked if j.preference is not None]
    decisions = [(c, decision(j, tie_below)) for c, j in zip(candidates, judgements, strict=True)]
    singles = [p for _, j in asked for p in (j.shown_first, None if j.shown_second is None else -j.shown_second) if p]
    consistent = [_sign(j.shown_first) == _sign(j.shown_second) for _, j in known]
    biases = [j.bias for _, j in known if j.bias is not None]
    lengths = [
        (len(c.first.program) - len(c.second.program)) * answer
        for c, answer in decisions
        if answer and len(c.first.program) != len(c.second.program)
    ]
    sources = sorted({label.source for c in candidates for label in c.known})
    return Summary(
        num_pairs=len(candidates),
        num_ties=sum(answer == 0 for _, answer in decisions),
        num_alike=len(candidates) - len(asked),
        num_unreadable=len(asked) - len(known),
        first_preferred=Share(count=sum(p > 0 for p in singles), total=len(singles)),
        consistent=Share(count=sum(consistent), total=len(consistent)),
        bias=sum(biases) / len(biases) if biases else math.nan,
        longer_preferred=Share(count=sum(length > 0 for length in lengths), total=len(lengths)),
        agreements=tuple(_agreement(source, candidates, judgements, tie_below) for source in sources),
    )


def decision(judgement: Judgement | None, tie_below: float) -> int | None:
    """As `Judgement.decision`; a pair that was not asked about is a tie."""
    return 0 if judgement is None else judgement.decision(tie_below)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What the answers took: tokens, repeated attempts, and dollars where prices are given."""

    num_answers: int
    num_prompt_tokens: int
    num_completion_tokens: int
    num_retries: int
    dollars: float | None

    def line(self) -> str:
        cost = "" if self.dollars is None else f", {self.dollars:.4f} dollars"
        return (
            f"{self.num_answers} answers: {self.num_prompt_tokens:,} tokens read, {self.num_completion_tokens:,} written, "
            f"{self.num_retries} retries{cost}"
        )


def bill(replies: Sequence[Reply], prices: tuple[float, float] | None) -> Bill:
    """`prices` are dollars per million tokens read and written."""
    read, written = sum(r.num_prompt_tokens for r in replies), sum(r.num_completion_tokens for r in replies)
    return Bill(
        num_answers=len(replies),
        num_prompt_tokens=read,
        num_completion_tokens=written,
        num_retries=sum(r.num_attempts - 1 for r in replies),
        dollars=None if prices is None else (read * prices[0] + written * prices[1]) / 1e6,
    )


def _agreement(
    source: str, candidates: Sequence[Candidate], judgements: Sequence[Judgement | None], tie_below: float
) -> Agreement:
    both = [
        (label.answer, judged)
        for candidate, judged in zip(candidates, judgements, strict=True)
        for label in candidate.known
        if label.source == source and decision(judged, tie_below) is not None
    ]
    answers = [(label, decision(judged, tie_below)) for label, judged in both]
    leanings = [(label, decision(judged, 0.0)) for label, judged in both]
    return Agreement(
        source=source,
        num_labels=len(both),
        decided=_same(answers),
        leaning=_same(leanings),
        kappa=cohen_kappa([label for label, _ in answers], [answer for _, answer in answers]) if both else math.nan,
    )


def _same(answers: Sequence[tuple[int, int | None]]) -> Share:
    """Of those where neither is a tie, how many are the same."""
    decided = [(label, answer) for label, answer in answers if label and answer]
    return Share(count=sum(label == answer for label, answer in decided), total=len(decided))


def _sign(value: float | None) -> int:
    return 0 if not value else (1 if value > 0 else -1)


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
