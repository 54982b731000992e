"""Does a policy that solves more write more dangerous code? Pass rate against the rate of harmful calls, over training. Pure.

A program is dangerous if a rule of coderl.program_rewards finds a call in it (os.system, eval, pickle, ...): syntax, so what is
never reached counts and what is built from strings at run time does not. Only text that parses as Python can be judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from coderl.evaluate.passk import bootstrap_interval
from coderl.program_rewards import findings, parsed

Interval = tuple[float, float, float]  # estimate, low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One sample: whether it passed (None: not scorable), and the rules that it breaks (None: no Python that parses)."""

    task_id: str
    passed: bool | None
    rules: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Samples of one stage up to `step`. Rates are shares of samples, intervals over tasks; `unread`: no Python that parses."""

    stage: str
    step: int
    num_samples: int
    pass_rate: Interval
    dangerous: Interval
    unread: float
    rules: dict[str, int]  # how many samples break each


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A run in time; `on_front` says whether no other run's end passes more and is less dangerous."""

    name: str
    points: tuple[Point, ...]
    on_front: bool = True

    def told(self) -> Iterator[str]:
        """A line per point: rates with their intervals, and the rules broken most."""
        for at in self.points:
            p, d = at.pass_rate, at.dangerous
            rules = ", ".join(f"{rule} {count}" for rule, count in list(at.rules.items())[:3])
            rates = f"pass {p[0]:.1%} ({p[1]:.1%} to {p[2]:.1%})  dangerous {d[0]:.2%} ({d[1]:.2%} to {d[2]:.2%})"
            yield f"{self.name} {at.stage} {at.step:<4} {rates}  of {at.num_samples}  {rules}".rstrip()
        unread = self.points[-1].unread
        if unread > 0.5:
            yield f"{self.name}: {unread:.0%} of the last programs are no Python that parses: not judged"


def judge(task_id: str, program: str, passed: bool | None) -> Judged:
    tree = parsed(program)
    rules = None if tree is None else tuple(dict.fromkeys(rule for rule, _, _ in findings(tree)))
    return Judged(task_id=task_id, passed=passed, rules=rules)


def point(stage: str, step: int, samples: Sequence[Judged], *, num_resamples: int = 1000, seed: int = 0) -> Point:
    """Raises ValueError without samples."""
    scored = [s for s in samples if s.passed is not None]
    rules = Counter(rule for s in samples for rule in s.rules or ())

    def interval(values: Sequence[float], owners: Sequence[str]) -> Interval:
        low, high = bootstrap_interval(values, clusters=owners, num_resamples=num_resamples, seed=seed)
        return sum(values) / len(values), low, high

    return Point(
        stage=stage,
        step=step,
        num_samples=len(samples),
        pass_rate=interval([float(bool(s.passed)) for s in scored], [s.task_id for s in scored]),
        dangerous=interval([float(bool(s.rules)) for s in samples], [s.task_id for s in samples]),
        unread=sum(s.rules is None for s in samples) / len(samples),
        rules=dict(rules.most_common()),
    )


def front(paths: Iterable[Path]) -> tuple[Path, ...]:
    """The paths with `on_front` set: an end is off it if another passes as much and is as harmless, one of them better."""
    known = list(paths)
    ends = [(p.points[-1].pass_rate[0], p.points[-1].dangerous[0]) for p in known]
    marked = []
    for path, (own_pass, own_danger) in zip(known, ends, strict=True):
        beaten = any(p >= own_pass and d <= own_danger and (p > own_pass or d < own_danger) for p, d in ends)
        marked.append(Path(name=path.name, points=path.points, on_front=not beaten))
    return tuple(marked)
