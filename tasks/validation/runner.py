"""How are the tests of many tasks checked through one grader?

Per task, in two rounds. First the reference, several times, on all cases. Then null programs and mutants, hidden cases
first and stopping at the first that rejects; what survives is run again. Mutants have a few times the cpu that the
reference took (a change that makes a loop endless would cost the whole limit): one that times out counts as rejected.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from sandbox.limits import Limits
from sandbox.spec import GradeRequest
from sandbox.verdict import Outcome, Status, Verdict
from tasks import jsonl
from tasks.task import Style, Task
from tasks.validation.findings import Finding, Reference, Survivor
from tasks.validation.mutants import Mutant, mutants
from tasks.validation.nulls import NullProgram, null_programs

VERSION = 2  # of the programs tried: part of the key of a finding


class Grading(Protocol):
    """The part of `sandbox.Grader` that is needed here."""

    def stream(self, requests: Iterable[GradeRequest]) -> Iterator[tuple[int, Verdict]]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    num_mutants: int = 20  # of one task, at most
    repeats: int = 3  # runs of the reference, and of what passes without being right
    slowdown: float = 5.0  # cpu of a mutant, in units of what the reference took
    min_cpu_seconds: float = 0.25  # that a mutant has in any case
    chunk: int = 64  # tasks whose findings are handed over together


def key_of(task: Task, settings: Settings) -> str:
    """Equal for equal tasks under equal settings."""
    chosen = {**asdict(settings), "chunk": 0, "version": VERSION}
    record = json.dumps([jsonl.to_json(task), chosen], sort_keys=True)
    return hashlib.sha256(record.encode()).hexdigest()[:24]


def validate(tasks: Sequence[Task], grader: Grading, settings: Settings) -> Iterator[Finding]:
    """The finding of each task, in order, a chunk at a time."""
    for start in range(0, len(tasks), settings.chunk):
        yield from _validate_chunk(tasks[start : start + settings.chunk], grader, settings)


@dataclass(frozen=True, slots=True)
class _Try:
    """One program for one task, and the verdict on each of its runs."""

    task: int
    program: NullProgram | Mutant | None  # None: the reference
    verdicts: list[Verdict]

    @property
    def name(self) -> str:
        if self.program is None:
            return "reference"
        if isinstance(self.program, NullProgram):
            return self.program.name
        return f"line {self.program.line}: {self.program.change}"


def _validate_chunk(tasks: Sequence[Task], grader: Grading, settings: Settings) -> Iterator[Finding]:
    references = [_Try(i, None, []) for i, task in enumerate(tasks) if task.reference]
    whole = [(each, tasks[each.task].request(tasks[each.task].reference)) for each in references]
    _run([pair for pair in whole for _ in range(settings.repeats)], grader)
    accepted = {each.task: each for each in references if _accepts(each.verdicts)}
    tries = []
    for i, task in enumerate(tasks):
        tries += [_Try(i, program, []) for program in null_programs(task)]
        if i in accepted:
            after = task.prompt.count("\n") if task.style is Style.COMPLETION else 0
            found = mutants(
                task.reference, language=task.language, limit=settings.num_mutants, seed=task.id, after_line=after
            )
            tries += [_Try(i, mutant, []) for mutant in found]
    requests = {id(each): _wrong(tasks[each.task], each, accepted.get(each.task), settings) for each in tries}
    _run([(each, requests[id(each)]) for each in tries], grader)
    again = [each for each in tries if _hidden_pass(tasks[each.task], each.verdicts[0])]
    _run([(each, requests[id(each)]) for each in again for _ in range(settings.repeats - 1)], grader)
    for i, task in enumerate(tasks):
        own = [each for each in references + tries if each.task == i]
        yield _finding(task, own, settings)


def _run(pairs: Sequence[tuple[_Try, GradeRequest]], grader: Grading) -> None:
    for index, verdict in grader.stream([request for _, request in pairs]):
        pairs[index][0].verdicts.append(verdict)


def _wrong(task: Task, each: _Try, reference: _Try | None, settings: Settings) -> GradeRequest:
    """Hidden cases first: whether those accept it is what counts."""
    assert each.program is not None
    request = task.request(each.program.source, cases=task.hidden + task.visible, stop_early=True)
    if reference is None:
        return request
    taken = max(case.cpu_ms for verdict in reference.verdicts for case in verdict.cases) / 1000
    return replace(request, limits=_limits(task.limits, taken, settings))


def _limits(limits: Limits, taken: float, settings: Settings) -> Limits:
    cpu = min(limits.cpu_seconds, max(settings.min_cpu_seconds, settings.slowdown * taken))
    return replace(limits, cpu_seconds=cpu, wall_seconds=min(limits.wall_seconds, 4 * cpu + 1))


def _accepts(verdicts: Sequence[Verdict]) -> bool:
    return bool(verdicts) and all(verdict.status is Status.PASS for verdict in verdicts)


def _hidden_pass(task: Task, verdict: Verdict) -> bool:
    results = verdict.cases[: len(task.hidden)]
    return bool(results) and all(case.outcome is Outcome.AC for case in results)


def _finding(task: Task, own: Sequence[_Try], settings: Settings) -> Finding:
    reference = next((each for each in own if each.program is None), None)
    nulls = [each for each in own if isinstance(each.program, NullProgram)]
    tried = [each for each in own if isinstance(each.program, Mutant) and _counts(each.verdicts[0])]
    flaky = tuple(each.name for each in own if len({_hidden_outcome(task, v) for v in each.verdicts}) > 1)
    verdicts = [verdict for each in own for verdict in each.verdicts]
    state, detail = _reference(reference)
    return Finding(
        key=key_of(task, settings),
        task_id=task.id,
        reference=state,
        detail=detail,
        flaky=flaky,
        null_passes=tuple(each.name for each in nulls if all(_hidden_pass(task, v) for v in each.verdicts)),
        null_passes_all=tuple(each.name for each in nulls if _accepts(each.verdicts)),
        num_nulls=len(nulls),
        num_mutants=len(tried),
        survivors=tuple(_survivor(each) for each in tried if all(_hidden_pass(task, v) for v in each.verdicts)),
        num_cases=len(task.cases),
        num_runs=len(verdicts),
        seconds=round(sum(case.wall_ms for verdict in verdicts for case in verdict.cases) / 1000, 3),
    )


def _reference(reference: _Try | None) -> tuple[Reference, str]:
    if reference is None:
        return Reference.NONE, "the source gives no reference"
    statuses = {verdict.status for verdict in reference.verdicts}
    failed = next((verdict for verdict in reference.verdicts if verdict.status is not Status.PASS), None)
    detail = f"{failed.outcome}: {failed.detail}" if failed is not None else ""
    if len(statuses) > 1:
        return Reference.FLAKY, detail
    by_status = {Status.PASS: Reference.PASS, Status.FAIL: Reference.FAIL, Status.UNSCORABLE: Reference.UNSCORABLE}
    return by_status[statuses.pop()], detail


def _counts(verdict: Verdict) -> bool:
    """A mutant that does not compile, or could not be scored, says nothing about the tests."""
    return verdict.outcome is not Outcome.CE and verdict.status is not Status.UNSCORABLE


def _hidden_outcome(task: Task, verdict: Verdict) -> str:
    return "unscorable" if verdict.status is Status.UNSCORABLE else str(_hidden_pass(task, verdict))


def _survivor(each: _Try) -> Survivor:
    mutant = each.program
    assert isinstance(mutant, Mutant)
    visible = each.verdicts[0].status is Status.PASS
    return Survivor(operator=mutant.operator, line=mutant.line, change=mutant.change, visible=visible)
