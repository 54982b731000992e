"""Has a policy learned to solve tasks, or learned their solutions by heart? Pure: what is compared, and the verdict.

Three measures, each beside what it is without memorisation:

    overlap    tokens of samples on held-out tasks that lie in n-grams of training references, beside the same for the held-out
               references themselves (what any solution shares with them; Lee et al. 2022, arXiv:2107.06499, use runs of tokens)
    verbatim   references that the policy completes word for word from their prompt and first half, greedily: trained beside
               held-out ones (Carlini et al. 2023, arXiv:2202.07646: extractable with a prefix)
    renamed    the pass rate lost when a task's function gets another name: trained beside held-out tasks

The verdict is "memorised" if samples overlap more than held-out references do, trained references are completed more often than
held-out ones, or renaming costs more on trained tasks than on held-out ones: each by MARGIN, with its 95 % interval above 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from coderl.evaluate.diversity import ngrams
from coderl.evaluate.passk import Difference, difference_of_means, paired_difference
from coderl.program_key import program_key, tokens

NGRAM = 8  # tokens
MARGIN = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Mean share of tokens that lie in an n-gram of a training reference; `copies`: the whole program is one, names aside."""

    num_programs: int
    samples: float
    references: float
    copies: float
    reference_copies: float
    difference: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Verbatim:
    """Shares of references that were completed word for word, the stop token included."""

    num_trained: int
    num_held_out: int
    trained: float
    held_out: float
    difference: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    """pass@1 with the task's own name and with another; `difference` is of the losses, trained less held out."""

    num_trained: int
    num_held_out: int
    trained: tuple[float, float]
    held_out: tuple[float, float]
    difference: Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class Memorisation:
    """A measure is None where its tasks were missing (references; functions to rename)."""

    overlap: Overlap | None
    verbatim: Verbatim | None
    renamed: Renamed | None
    verdict: str  # "memorised" or "no memorisation found"
    reasons: tuple[str, ...]

    def told(self) -> Iterator[str]:
        """The verdict first, then every number that it rests on; a measure that could not be taken is named."""
        yield f"{self.verdict}" + (f": {'; '.join(self.reasons)}" if self.reasons else "")
        if (own := self.overlap) is not None:
            yield (
                f"overlap with training references: samples on held-out tasks {own.samples:.1%}, held-out references "
                f"{own.references:.1%} ({own.difference}); whole copies {own.copies:.1%}, {own.reference_copies:.1%}"
            )
        if (exact := self.verbatim) is not None:
            yield (
                f"references completed word for word: trained {exact.trained:.1%} of {exact.num_trained}, held out "
                f"{exact.held_out:.1%} of {exact.num_held_out} ({exact.difference})"
            )
        if (other := self.renamed) is not None:
            (a, b), (c, d) = other.trained, other.held_out
            yield (
                f"pass@1 with another name: trained {a:.1%} to {b:.1%}, held out {c:.1%} to {d:.1%} "
                f"(loss {other.difference})"
            )
        missing = [n for n in ("overlap", "verbatim", "renamed") if getattr(self, n) is None]
        if missing:
            yield f"not measured, for want of references or of functions to rename: {', '.join(missing)}"


class References:
    """The n-grams and the programs of training references, for look-up."""

    def __init__(self, programs: Iterable[str], n: int = NGRAM) -> None:
        self._n = n
        self._grams: set[tuple[str, ...]] = set()
        self._keys: set[str] = set()
        for program in programs:
            self._keys.add(program_key(program))
            self._grams.update(ngrams(tokens(program), n))

    def covered(self, program: str) -> float:
        """Share of the program's tokens that lie in a shared n-gram; programs shorter than n count as a whole, if at all."""
        own = tokens(program)
        if not own:
            return 0.0
        n = min(self._n, len(own))
        if n < self._n:
            return float(self.copies(program))
        inside = [False] * len(own)
        for start, gram in enumerate(ngrams(own, n)):
            if gram in self._grams:
                inside[start : start + n] = [True] * n
        return sum(inside) / len(own)

    def copies(self, program: str) -> bool:
        """Whether the program is one of the references, but for layout and names."""
        return program_key(program) in self._keys


def overlap(
    trained: References, samples: Mapping[str, Sequence[str]], held_out: Mapping[str, str], *, seed: int
) -> Overlap | None:
    """Of the samples and references of held-out tasks, by task; tasks without both are left out; None where none is left."""
    known = [t for t, own in samples.items() if own and held_out.get(t)]
    if not known:
        return None
    mine = [_mean([trained.covered(program) for program in samples[t]]) for t in known]
    theirs = [trained.covered(held_out[t]) for t in known]
    return Overlap(
        num_programs=sum(len(samples[t]) for t in known),
        samples=_mean(mine),
        references=_mean(theirs),
        copies=_mean([_mean([float(trained.copies(p)) for p in samples[t]]) for t in known]),
        reference_copies=_mean([float(trained.copies(held_out[t])) for t in known]),
        difference=paired_difference(
            dict(zip(known, theirs, strict=True)), dict(zip(known, mine, strict=True)), seed=seed
        ),
    )


def verbatim(trained: Sequence[bool], held_out: Sequence[bool], *, seed: int) -> Verbatim | None:
    """Whether each reference was completed word for word; None where one side is empty."""
    if not trained or not held_out:
        return None
    rates = [[float(hit) for hit in side] for side in (trained, held_out)]
    return Verbatim(
        num_trained=len(trained),
        num_held_out=len(held_out),
        trained=_mean(rates[0]),
        held_out=_mean(rates[1]),
        difference=difference_of_means(rates[0], rates[1], seed=seed),
    )


def renamed_change(
    trained: Mapping[str, tuple[float, float]], held_out: Mapping[str, tuple[float, float]], *, seed: int
) -> Renamed | None:
    """Both map a task to its pass@1 with its own name and with another; None where one side is empty."""
    if not trained or not held_out:
        return None
    losses = [[own - other for own, other in side.values()] for side in (trained, held_out)]
    means = [tuple(_mean(list(column)) for column in zip(*side.values(), strict=True)) for side in (trained, held_out)]
    return Renamed(
        num_trained=len(trained),
        num_held_out=len(held_out),
        trained=(means[0][0], means[0][1]),
        held_out=(means[1][0], means[1][1]),
        difference=difference_of_means(losses[0], losses[1], seed=seed),
    )


def conclude(overlapping: Overlap | None, completing: Verbatim | None, renaming: Renamed | None) -> Memorisation:
    """The verdict, by the rule above."""
    reasons = []
    if overlapping is not None and _exceeds(overlapping.difference):
        reasons.append(
            f"samples overlap with training references by {overlapping.difference.estimate:.1%} more than they must"
        )
    if completing is not None and _exceeds(completing.difference):
        reasons.append(
            f"{completing.trained:.1%} of trained references are completed word for word, {completing.held_out:.1%} of others"
        )
    if renaming is not None and _exceeds(renaming.difference):
        reasons.append(f"renaming costs {renaming.difference.estimate:.1%} more on trained tasks than on others")
    return Memorisation(
        overlap=overlapping,
        verbatim=completing,
        renamed=renaming,
        verdict="memorised" if reasons else "no memorisation found",
        reasons=tuple(reasons),
    )


def _exceeds(difference: Difference) -> bool:
    return difference.estimate > MARGIN and difference.low > 0


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
