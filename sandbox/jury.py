"""Does each submission of a problem package get the verdict that it must?

What a submission must get is told by its folder (`submissions/wrong_answer/..`), or by lines in it such as
`@EXPECTED_RESULTS@: ACCEPTED, WRONG_ANSWER` (any of these), `@EXPECTED_GRADES@: AC WA` (of each group of secret tests) and
`@EXPECTED_SCORE@: 50`. A problem without a time limit gets one from its slowest accepted submission, measured here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sandbox.errors import BadInput
from sandbox.grader import Grader
from sandbox.kattis import SECRET, Problem, grade_group
from sandbox.languages import LanguageUnavailable, toolchain
from sandbox.limits import Limits
from sandbox.sources import NotAProgram, read_program
from sandbox.spec import Program
from sandbox.verdict import Outcome, Status, Verdict

MEASURED_SECONDS = 30.0  # the limit under which accepted submissions are timed
CRASHES = (Outcome.RE, Outcome.MLE, Outcome.OLE, Outcome.FLE, Outcome.PLE, Outcome.SV)
SLOW = (Outcome.TLE, Outcome.WTLE)
FOLDERS: dict[str, tuple[Outcome, ...]] = {
    "accepted": (Outcome.AC,),
    "partially_accepted": (Outcome.AC, Outcome.PA),
    "wrong_answer": (Outcome.WA,),
    "time_limit_exceeded": SLOW,
    "run_time_error": CRASHES,
    "memory_limit_exceeded": (Outcome.MLE, Outcome.RE),
    "output_limit_exceeded": (Outcome.OLE,),
    "rejected": (Outcome.WA, *SLOW, *CRASHES),
}
_WORDS = {
    "AC": "accepted", "ACCEPTED": "accepted", "CORRECT": "accepted", "WA": "wrong_answer", "WRONG_ANSWER": "wrong_answer",
    "NO_OUTPUT": "wrong_answer", "TLE": "time_limit_exceeded", "TIME_LIMIT_EXCEEDED": "time_limit_exceeded",
    "TIMELIMIT": "time_limit_exceeded", "RTE": "run_time_error", "RUN_TIME_ERROR": "run_time_error",
    "RUN_ERROR": "run_time_error", "MLE": "memory_limit_exceeded", "MEMORY_LIMIT": "memory_limit_exceeded",
    "OLE": "output_limit_exceeded", "OUTPUT_LIMIT": "output_limit_exceeded", "PARTIALLY_ACCEPTED": "partially_accepted",
    "PAC": "partially_accepted",
}  # fmt: skip
_TAG = re.compile(r"@EXPECTED_(RESULTS|GRADES|SCORES?)@:?[ \t]*([^\n]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What a submission must get; empty fields demand nothing."""

    outcomes: tuple[Outcome, ...] = ()
    grades: tuple[tuple[Outcome, ...], ...] = ()  # of the groups of secret tests, in their order
    score: float | None = None
    partial: bool = False  # accepted, but not with all points


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One file or folder; `program` None: nothing here can run it, for the reason in `fault`."""

    name: str
    demand: Demand
    program: Program | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One line of the table. `right` None: it was not run, or nothing is demanded."""

    submission: Submission
    outcome: Outcome | None = None
    score: float | None = None
    seconds: float = 0.0  # of cpu, in its slowest test
    right: bool | None = None
    note: str = ""


def submissions(problem: Problem, paths: Sequence[Path] = ()) -> list[Submission]:
    """The submissions at `paths`, or all of the package. Raises BadInput."""
    if not paths:
        folder = problem.folder / "submissions"
        found = sorted(path for kind in folder.glob("*/") for path in kind.iterdir() if not path.name.startswith("."))
        if not found:
            raise BadInput(f"{folder}: no submissions: name a file to judge")
        return [_submission(path, problem.folder) for path in found]
    return [_submission(path, None) for path in paths]


def time_limit(problem: Problem, found: Sequence[Submission], grader: Grader) -> float:
    """Seconds of cpu time for one test. Raises BadInput where no accepted submission tells.

    Without a limit of its own: the slowest accepted run times a factor, rounded up to the problem's resolution.
    """
    if problem.time.seconds is not None:
        return problem.time.seconds
    accepted = [one for one in found if one.demand.outcomes == FOLDERS["accepted"]]
    limits = timed(problem.limits, MEASURED_SECONDS)
    requests = [problem.request(one.program, limits) for one in accepted if one.program is not None]
    right = [verdict for verdict in grader.grade(requests) if verdict.status is Status.PASS or problem.scoring]
    seconds = max((slowest(verdict) for verdict in right), default=None)
    if seconds is None:
        raise BadInput(f"{problem.folder}: no time limit, and no accepted submission to find one by: give --time-limit")
    return relative_limit(seconds, problem.time.multiplier, problem.time.resolution)


def relative_limit(slowest_seconds: float, multiplier: float, resolution: float = 1.0) -> float:
    """`multiplier` times what a reference solution needed, rounded up to a multiple of `resolution`.

    >>> relative_limit(0.7, 2.0), relative_limit(0.01, 5.0, 0.5)
    (2.0, 0.5)
    """
    return max(1, math.ceil(slowest_seconds * multiplier / resolution)) * resolution


def judge(
    problem: Problem,
    found: Sequence[Submission],
    grader: Grader,
    seconds: float,
    on_judged: Callable[[int], None] = lambda i: None,
) -> list[Judged]:
    """The line of each submission, in their order; a time limit of `seconds` for each test."""
    limits = timed(problem.limits, seconds)
    runnable = [i for i, one in enumerate(found) if one.program is not None]
    lines = [Judged(submission=one, note=one.fault) for one in found]
    requests = [problem.request(program, limits) for i in runnable if (program := found[i].program) is not None]
    for number, verdict in grader.stream(requests):
        lines[runnable[number]] = _judged(problem, found[runnable[number]], verdict)
        on_judged(runnable[number])
    return lines


def _judged(problem: Problem, one: Submission, verdict: Verdict) -> Judged:
    outcome, score = verdict.outcome, None
    grades: list[Outcome] = []
    if outcome not in (Outcome.IE, Outcome.JE, Outcome.CE):
        outcome, score = problem.graded(verdict)
        secret = next(group for group in problem.root.groups if group.name == SECRET)
        grades = [grade_group(group, verdict.cases)[0] for group in secret.groups or (secret,)]
    demand = one.demand
    faults = []
    if demand.outcomes and outcome not in demand.outcomes:
        faults.append(f"must be {' or '.join(demand.outcomes)}")
    if demand.grades and not _match(demand.grades, grades):
        faults.append(f"its groups must get {' '.join('|'.join(allowed) for allowed in demand.grades)}")
    if demand.score is not None and score != demand.score:
        faults.append(f"must score {demand.score:g}")
    if demand.partial and verdict.outcome is Outcome.AC:
        faults.append("must not get all points")
    demands = bool(demand.outcomes or demand.grades or demand.score is not None)
    place = next((i for i, case in enumerate(verdict.cases) if case.outcome not in (Outcome.AC, Outcome.SKIP)), None)
    where = f"{problem.names[place]}: " if place is not None and verdict.outcome is not Outcome.CE else ""
    return Judged(
        submission=one,
        outcome=outcome,
        score=score,
        seconds=slowest(verdict),
        right=not faults if demands else None,
        note="; ".join([*faults, *([where + verdict.detail] if verdict.detail else [])]),
    )


def _match(wanted: Sequence[tuple[Outcome, ...]], got: Sequence[Outcome]) -> bool:
    return len(wanted) == len(got) and all(outcome in allowed for allowed, outcome in zip(wanted, got, strict=True))


def slowest(verdict: Verdict) -> float:
    """Seconds of cpu time of the case that took most."""
    return max((case.cpu_ms for case in verdict.cases), default=0.0) / 1000


def timed(limits: Limits, seconds: float) -> Limits:
    """`limits` with `seconds` of cpu time, and a little over twice that by the clock. Raises BadInput."""
    try:
        return replace(limits, cpu_seconds=seconds, wall_seconds=2 * seconds + 1)
    except ValueError as error:
        raise BadInput(f"a limit of {seconds:g} s: {error}") from None


def _submission(path: Path, within: Path | None) -> Submission:
    name = f"{path.parent.name}/{path.name}"
    demand = Demand(outcomes=FOLDERS.get(path.parent.name, ()), partial=path.parent.name == "partially_accepted")
    try:
        program = read_program(path, within)
        demand = _annotated(demand, [program.source, *program.files.values()])
        toolchain(program.language)
    except (NotAProgram, LanguageUnavailable) as error:
        return Submission(name=name, demand=demand, fault=str(error).removeprefix(f"{path}: "))
    return Submission(name=name, demand=demand, program=program)


def _annotated(demand: Demand, texts: Sequence[str]) -> Demand:
    for kind, words in _tags(texts):
        if kind.startswith("SCORE"):
            try:
                demand = replace(demand, score=float(words[0]))
            except (IndexError, ValueError):
                raise BadInput(f"@EXPECTED_{kind}@ {' '.join(words)}: give a number") from None
            continue
        unknown = [word for word in words if word not in _WORDS]
        if unknown or not words:
            raise BadInput(f"@EXPECTED_{kind}@ {' '.join(words)}: give some of {', '.join(_WORDS)}")
        allowed = [FOLDERS[_WORDS[word]] for word in words]
        if kind == "GRADES":
            demand = replace(demand, grades=tuple(allowed), outcomes=())
        else:
            demand = replace(
                demand, partial=False, outcomes=tuple(dict.fromkeys(one for some in allowed for one in some))
            )
    return demand


def _tags(texts: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for text in texts:
        for kind, rest in _TAG.findall(text):
            words = (
                rest.replace("*/", " ").replace(",", " ").replace("-", "_" if kind[0] != "S" else "-").upper().split()
            )
            yield kind, words
