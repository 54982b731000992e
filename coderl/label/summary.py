"""What do the answers say? How far people agree, how good each is, and pairs to learn from.

An annotator's weight is 2 p - 1: p is the chance to be right on gold questions, where there are any, else to say what most
others said, shrunk towards the mean of all by PRIOR answers. It is 0 for somebody who guesses. Weights have mean 1 over a file.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from coderl.errors import ConfigError
from coderl.label.agreement import fleiss_kappa, krippendorff_alpha, mean_cohen_kappa, percent_agreement
from coderl.label.items import Item
from coderl.label.store import Answer, Kind, LabelStore
from coderl.pairs import Pair, write_pairs

RELIABLE = 0.667  # Krippendorff 2004, section 11.4: an alpha below it supports no conclusion
ENOUGH = 10  # comparisons with two answers or more, below which alpha says little
PRIOR = 4.0  # answers that an annotator's own have to outweigh
MARGINS = {0: 0.0, 1: 1 / 3, 2: 2 / 3, 3: 1.0}  # of slightly, clearly and much better
Unit = tuple[str, int, int]  # an item, and two of its choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotator:
    """What is known of one. `right` of `checked` answers were as the gold ones, or, without gold, as most others'."""

    name: str
    answers: int
    median_seconds: float
    results_seen: int
    right: float
    checked: int
    weight: float


def votes(answers: Sequence[Answer]) -> dict[str, dict[Unit, str]]:
    """By annotator: of every two choices of an item "first", "second", "tie" or "both_bad"."""
    said: dict[str, dict[Unit, str]] = defaultdict(dict)
    for answer in answers:
        for i, j in combinations(range(len(answer.ranks)), 2):
            said[answer.annotator][answer.item, i, j] = _vote(answer.kind, answer.ranks[i], answer.ranks[j])
    return dict(said)


def annotators(answers: Sequence[Answer], items: Mapping[str, Item]) -> list[Annotator]:
    """By name."""
    by_name: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_name[answer.annotator].append(answer)
    has_gold = any(answer.gold for answer in answers)
    checks = {name: _gold(own, items) if has_gold else _with_majority(name, answers) for name, own in by_name.items()}
    right, checked = (sum(values) for values in zip(*checks.values(), strict=True)) if checks else (0.0, 0)
    mean = right / checked if checked else 1.0
    return [
        Annotator(
            name=name,
            answers=len(own),
            median_seconds=statistics.median(answer.seconds for answer in own),
            results_seen=sum(answer.results_seen for answer in own),
            right=checks[name][0],
            checked=checks[name][1],
            weight=max(0.0, 2 * (checks[name][0] + PRIOR * mean) / (checks[name][1] + PRIOR) - 1),
        )
        for name, own in sorted(by_name.items())
    ]


def pairs(answers: Sequence[Answer], items: Mapping[str, Item]) -> list[Pair]:
    """Every answer as pairs: a ranking of K gives K(K-1)/2, which weigh together as much as one comparison (Ouyang et al.
    2022, eq. 1). Gold questions are left out: their answers were known. Both bad is a tie, of two bad programs.
    """
    weights = {annotator.name: annotator.weight for annotator in annotators(answers, items)}
    made = []
    for answer in answers:
        item, ranks = items[answer.item], answer.ranks
        weight = weights[answer.annotator] / math.comb(len(ranks), 2)
        if answer.gold or weight == 0:
            continue
        for i, j in combinations(range(len(ranks)), 2):
            better, worse = (i, j) if ranks[i] <= ranks[j] else (j, i)
            made.append(_pair(item, answer, better, worse, weight))
    mean = sum(pair.weight for pair in made) / len(made) if made else 1.0
    return [replace(pair, weight=pair.weight / mean) for pair in made]


def write_export(store: LabelStore, path: Path) -> str:
    """Write the pairs; returns one line for a person. Raises ConfigError where there is none."""
    found = pairs(store.answers(), store.items())
    if not found:
        raise ConfigError(f"{store.place}: holds no answers to export yet: label some first")
    write_pairs(path, found)
    ties = sum(pair.tie for pair in found)
    people = len({pair.annotator for pair in found})
    return f"{len(found)} pairs ({ties} ties) of {people} annotators; written to {path}"


def summary(store: LabelStore) -> str:
    """Lines for a person: each annotator, agreement with each other, and with what running says."""
    answers, items = store.answers(), store.items()
    if not answers:
        raise ConfigError(f"{store.place}: holds no answers yet: label some first")
    check = "gold" if any(answer.gold for answer in answers) else "majority"
    lines = [f"{'annotator':<20} answers  seconds  results seen  {check:>12}  weight"]
    for own in annotators(answers, items):
        right = f"{own.right:g}/{own.checked}" if own.checked else "-"
        lines.append(
            f"{own.name:<20} {own.answers:>7}  {own.median_seconds:>7.1f}  {own.results_seen:>12}  {right:>12}  "
            f"{own.weight:.2f}"
        )
    said = votes([answer for answer in answers if not answer.gold])
    units = _by_unit(said)
    lines.append(f"two answers agree          {_number(percent_agreement(units.values()))}")
    lines.append(f"Cohen's kappa, mean        {_number(mean_cohen_kappa(said))}")
    counts, size = fleiss_counts(units)
    lines.append(
        f"Fleiss' kappa              {_number(fleiss_kappa(counts) if counts else math.nan)}" + _of(counts, size)
    )
    lines.append(f"Krippendorff's alpha       {_number(krippendorff_alpha(units.values()))}")
    same, settled = with_execution(answers, items)
    if settled:
        lines.append(f"as running says            {same}/{settled}")
    return "\n".join(lines) + "\n"


def disagreement(answers: Sequence[Answer]) -> str:
    """One line where people agree too little to learn from; "" where they agree, or where too few answered the same."""
    units = _by_unit(votes([answer for answer in answers if not answer.gold]))
    shared = [row for row in units.values() if len(row) > 1]
    alpha = krippendorff_alpha(shared)
    if len(shared) < ENOUGH or math.isnan(alpha) or alpha >= RELIABLE:
        return ""
    remedy = "write down what makes a program better, and look at the answers that differ"
    return f"Krippendorff's alpha is {alpha:.3f}, below {RELIABLE}, over {len(shared)} comparisons: {remedy}"


def fleiss_counts(units: Mapping[Unit, Sequence[str]]) -> tuple[list[list[int]], int]:
    """The table for Fleiss' kappa of the units with the number of answers (two or more) that most have, and that number."""
    sizes = Counter(len(row) for row in units.values() if len(row) > 1)
    if not sizes:
        return [], 0
    size = max(sizes, key=lambda n: (sizes[n], n))
    kinds = ("first", "second", "tie", "both_bad")
    return [[row.count(kind) for kind in kinds] for row in units.values() if len(row) == size], size


def with_execution(answers: Sequence[Answer], items: Mapping[str, Item]) -> tuple[int, int]:
    """(answers that prefer the program that passes more cases, answers that prefer one where running tells them apart)."""
    same = settled = 0
    for answer in answers:
        results = [choice.result for choice in items[answer.item].choices]
        for i, j in combinations(range(len(results)), 2):
            a, b = results[i], results[j]
            if a is None or b is None or not (a.total and b.total) or answer.ranks[i] == answer.ranks[j]:
                continue
            better = a.passed / a.total - b.passed / b.total
            if better:
                settled += 1
                same += (better > 0) == (answer.ranks[i] < answer.ranks[j])
    return same, settled


def _gold(own: Sequence[Answer], items: Mapping[str, Item]) -> tuple[float, int]:
    """Two choices that gold tells apart are one question; an answer that does not is wrong."""
    right = checked = 0
    for answer in own:
        gold = items[answer.item].gold if answer.gold else ()
        for i, j in combinations(range(len(gold)), 2):
            if gold[i] != gold[j]:
                checked += 1
                right += _sign(answer.ranks[i] - answer.ranks[j]) == _sign(gold[i] - gold[j])
    return right, checked


def _with_majority(name: str, answers: Sequence[Answer]) -> tuple[float, int]:
    """Against what most of the others said of the same two choices; where they are split, it does not count."""
    said = votes(answers)
    others = _by_unit({other: own for other, own in said.items() if other != name})
    right = checked = 0
    for unit, vote in said[name].items():
        counts = Counter(others.get(unit, [])).most_common(2)
        if counts and (len(counts) == 1 or counts[0][1] > counts[1][1]):
            checked += 1
            right += vote == counts[0][0]
    return right, checked


def _by_unit(said: Mapping[str, Mapping[Unit, str]]) -> dict[Unit, list[str]]:
    units: dict[Unit, list[str]] = defaultdict(list)
    for own in said.values():
        for unit, vote in own.items():
            units[unit].append(vote)
    return dict(units)


def _vote(kind: Kind, first: int, second: int) -> str:
    if kind is Kind.BOTH_BAD:
        return "both_bad"
    return "first" if first < second else "second" if second < first else "tie"


def _pair(item: Item, answer: Answer, better: int, worse: int, weight: float) -> Pair:
    chosen, rejected = item.choices[better], item.choices[worse]
    tie = answer.ranks[better] == answer.ranks[worse]
    has_ids = bool(item.tokenizer)
    return Pair(
        prompt=item.prompt,
        chosen=chosen.completion,
        rejected=rejected.completion,
        task_id=item.task_id,
        source="human",
        annotator=answer.annotator,
        margin=0.0 if tie else MARGINS[answer.strength],
        tie=tie,
        weight=weight,
        prompt_ids=item.prompt_ids if has_ids else (),
        chosen_ids=chosen.completion_ids if has_ids else (),
        rejected_ids=rejected.completion_ids if has_ids else (),
        tokenizer=item.tokenizer,
    )


def _sign(number: int) -> int:
    return (number > 0) - (number < 0)


def _number(value: float) -> str:
    return "- (too few answers to the same items, or all the same)" if math.isnan(value) else f"{value:.3f}"


def _of(counts: Sequence[Sequence[int]], size: int) -> str:
    return f" ({len(counts)} comparisons with {size} answers each)" if counts else ""
