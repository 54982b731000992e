"""How different are the programs that a policy writes for one task? Pure functions of the programs.

distinct-n      different n-grams of tokens over all of them (Li et al. 2016, arXiv:1510.03055)
unique_asts     different normalised syntax trees over samples
self_bleu       BLEU-4 of a sample against the others (Zhu et al. 2018, arXiv:1802.01886): 1 where all are alike
edit_distance   tokens to change from one sample to another, over the longer one's tokens

Each is taken within the samples of a task, then averaged over tasks with two samples or more. Tokens are a program's, without
comments and layout; of long programs the first MAX_TOKENS count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coderl.program_key import edit_distance, program_key, tokens

MAX_TOKENS = 256
MAX_N = 4  # of BLEU


@dataclass(frozen=True, slots=True, kw_only=True)
class Diversity:
    """Means over tasks; `pass_gain` is pass@n - pass@1 with all n samples of a task: what sampling again is worth."""

    num_tasks: int
    distinct_1: float
    distinct_2: float
    unique_asts: float
    self_bleu: float
    edit_distance: float
    pass_gain: float


def diversity(programs: Mapping[str, Sequence[str]], passed: Mapping[str, Sequence[bool]]) -> Diversity | None:
    """Of the programs of each task, and whether its scorable samples passed; None where no task has two samples."""
    rows = []
    for task_id, own in programs.items():
        if len(own) < 2:
            continue
        split = [tokens(program)[:MAX_TOKENS] for program in own]
        verdicts = passed[task_id]
        gain = float(any(verdicts)) - sum(verdicts) / len(verdicts) if verdicts else 0.0
        unique = len({program_key(program) for program in own}) / len(own)
        rows.append((distinct(split, 1), distinct(split, 2), unique, self_bleu(split), mean_edit_distance(split), gain))
    if not rows:
        return None
    means = [math.fsum(column) / len(rows) for column in zip(*rows, strict=True)]
    names = ("distinct_1", "distinct_2", "unique_asts", "self_bleu", "edit_distance", "pass_gain")
    return Diversity(num_tasks=len(rows), **dict(zip(names, means, strict=True)))


def distinct(samples: Sequence[Sequence[str]], n: int) -> float:
    """Different n-grams over all n-grams of `samples`; 0 where there are none.

    >>> distinct([["a", "b"], ["a", "c"]], 1)
    0.75
    """
    counts = Counter(gram for sample in samples for gram in ngrams(sample, n))
    return len(counts) / max(counts.total(), 1)


def self_bleu(samples: Sequence[Sequence[str]]) -> float:
    """Mean BLEU-4 of each sample with all others as its references."""
    scores = [bleu(sample, [*samples[:i], *samples[i + 1 :]]) for i, sample in enumerate(samples)]
    return math.fsum(scores) / len(scores)


def bleu(sample: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """Sentence BLEU (Papineni et al. 2002) up to 4-grams, or the sample's length; 0 for an empty sample beside full ones.

    Precisions of two tokens and more are smoothed by one in numerator and denominator (Lin and Och 2004); the length that
    counts is that of the reference nearest in length, the shorter of two.
    """
    if not sample:
        return float(any(not reference for reference in references))
    logs = []
    for n in range(1, min(MAX_N, len(sample)) + 1):
        own = Counter(ngrams(sample, n))
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= Counter(ngrams(reference, n))
        smooth = int(n > 1)
        matched = (own & most).total() + smooth
        if not matched:
            return 0.0
        logs.append(math.log(matched / (own.total() + smooth)))
    nearest = min((len(r) for r in references), key=lambda length: (abs(length - len(sample)), length))
    brevity = min(0.0, 1 - nearest / len(sample))
    return math.exp(brevity + math.fsum(logs) / len(logs))


def mean_edit_distance(samples: Sequence[Sequence[str]]) -> float:
    """Over samples 0 and 1, 2 and 3, ...: each pair on its own, so that time is linear in the samples."""
    pairs = list(zip(samples[::2], samples[1::2], strict=False))
    shares = []
    for first, second in pairs:
        longer = max(len(first), len(second))
        shares.append(edit_distance(list(first), list(second), limit=longer + 1) / longer if longer else 0.0)
    return math.fsum(shares) / len(shares)


def ngrams(items: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]
