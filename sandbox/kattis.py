"""How does a Kattis problem package become cases, points and limits?

Reads the legacy format, and 2023-07 as far as its packages keep the legacy test groups (`testdata.yaml`): tests with nested
groups, the default validator, output validators of the package, interactive and scoring problems. What is not
understood (multi-pass problems, custom graders, `test_group.yaml`) is refused with one line, not guessed.
Source: https://www.kattis.com/problem-package-format (legacy and 2023-07-draft).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import fsum
from pathlib import Path
from typing import Any

import yaml

from sandbox.errors import BadInput
from sandbox.limits import MEBIBYTE, Limits
from sandbox.sources import read_program, read_text
from sandbox.spec import (
    VALIDATION,
    Award,
    Case,
    Checker,
    Comparison,
    GradeRequest,
    Group,
    InteractiveCase,
    Program,
    ProgramChecker,
    StdioCase,
)
from sandbox.verdict import CaseResult, Outcome, Verdict, worst

MOST_NUMBER, MIN_SECONDS = 1e9, 0.001  # of anything that a package counts; of a limit of time
SAMPLE, SECRET = "sample", "secret"
_VERDICTS, _SCORES = ("worst_error", "first_error", "always_accept"), ("sum", "avg", "min", "max")
_FLAGS = {*_VERDICTS, *_SCORES, "ignore_sample", "accept_if_any_accepted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class TestGroup:
    """A folder of tests: the places of its own ones among the problem's cases, its groups, and how they add up."""

    __test__ = False  # not a class of pytest's

    name: str
    cases: tuple[int, ...] = ()
    groups: tuple[TestGroup, ...] = ()
    flags: frozenset[str] = frozenset()  # of the default grader
    stops: bool = True  # on_reject: break
    accept_score: float = 1.0
    reject_score: float = 0.0
    full_score: float = 1.0  # what a validator's score of one test is a share of


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRules:
    """A limit in seconds of cpu time, or how one is found: the slowest accepted run times `multiplier`, rounded up."""

    seconds: float | None
    multiplier: float
    resolution: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A package as it can be graded; `names` are those of the cases, e.g. "secret/01"."""

    folder: Path
    scoring: bool
    names: tuple[str, ...]
    cases: tuple[Case, ...]
    root: TestGroup
    limits: Limits  # but for time, where `time` has no seconds
    time: TimeRules

    def request(self, program: Program, limits: Limits) -> GradeRequest:
        groups = tuple(_points(self.root)) if self.scoring else ()
        return GradeRequest(
            program=program, cases=self.cases, limits=limits, stop_early=not self.scoring, groups=groups
        )

    def graded(self, verdict: Verdict) -> tuple[Outcome, float | None]:
        """The outcome and the score of a verdict, by the rules of the format. Not for IE, JE and CE of the whole."""
        if not self.scoring:
            return verdict.outcome, None
        return grade_group(self.root, verdict.cases)


def read_problem(folder: Path) -> Problem:
    """Raises BadInput."""
    settings = _yaml(folder, folder / "problem.yaml", required=True)
    legacy = str(settings.get("problem_format_version", "legacy")) in ("legacy", "")
    bounds = _mapping(folder, settings, "limits")
    kinds = _words(settings, "validation" if legacy else "type", "default" if legacy else "pass-fail")
    known = {"default", "custom", "interactive", "score"} if legacy else {"pass-fail", "scoring", "interactive"}
    if unknown := set(kinds) - known:
        raise BadInput(f"{folder}: a problem that is {', '.join(unknown)} cannot be judged here")
    if legacy and settings.get("type", "pass-fail") not in ("pass-fail", "scoring"):
        raise BadInput(f"{folder}: type {settings['type']!r}: pass-fail or scoring can be judged here")
    limits, time = _limits(folder, bounds, legacy)
    flags = tuple(str(settings.get("validator_flags") or "").split())
    validator = _validator(folder, bounds)
    if (legacy and "custom" in kinds) or "interactive" in kinds:
        if validator is None:
            raise BadInput(f"{folder}: no output validator in output_validators/: add it, or use the default one")
    elif legacy:
        validator = None
    reader = _Reader(folder, validator, flags, interactive="interactive" in kinds)
    top = _group_settings(folder, folder / "data", _Inherited())
    parts = [reader.group(folder / "data" / name, top) for name in (SAMPLE, SECRET)]
    if not reader.cases:
        raise BadInput(f"{folder}: no tests in data/sample and data/secret")
    return Problem(
        folder=folder,
        scoring=settings.get("type") == "scoring" or "scoring" in kinds,
        names=tuple(reader.names),
        cases=tuple(reader.cases),
        root=TestGroup(name="data", groups=tuple(parts), flags=top.flags, stops=top.stops),
        limits=limits,
        time=time,
    )


def grade_group(group: TestGroup, results: Sequence[CaseResult]) -> tuple[Outcome, float]:
    """Outcome and score of a group, by the format's default grader; cases that were skipped have no part.

    >>> results = [CaseResult(outcome=Outcome.AC), CaseResult(outcome=Outcome.WA), CaseResult(outcome=Outcome.TLE)]
    >>> grade_group(TestGroup(name="g", cases=(0, 1, 2), flags=frozenset({"first_error"})), results)[0].value
    'WA'
    """
    parts = [_grade_case(group, results[i]) for i in group.cases if results[i].outcome is not Outcome.SKIP]
    subgroups = [g for g in group.groups if not ("ignore_sample" in group.flags and g.name == SAMPLE)]
    parts += [grade_group(inner, results) for inner in subgroups if _has_run(inner, results)]
    if not parts:
        return Outcome.AC, 0.0
    outcomes, scores = [outcome for outcome, _ in parts], [score for _, score in parts]
    errors = [outcome for outcome in outcomes if outcome is not Outcome.AC]
    enough = "accept_if_any_accepted" in group.flags and Outcome.AC in outcomes
    if enough or not errors or "always_accept" in group.flags:
        outcome = Outcome.AC
    else:
        outcome = errors[0] if "first_error" in group.flags else worst(errors)
    if "min" in group.flags:
        return outcome, min(scores)
    if "max" in group.flags:
        return outcome, max(scores)
    return outcome, fsum(scores) / (len(scores) if "avg" in group.flags else 1)


def _grade_case(group: TestGroup, result: CaseResult) -> tuple[Outcome, float]:
    if result.outcome is Outcome.AC:
        return Outcome.AC, group.accept_score if result.share is None else group.full_score
    if result.outcome is Outcome.PA and result.share is not None:
        return Outcome.AC, result.share * group.full_score
    return result.outcome, group.reject_score


def _has_run(group: TestGroup, results: Sequence[CaseResult]) -> bool:
    return any(results[i].outcome is not Outcome.SKIP for i in group.cases) or any(
        _has_run(inner, results) for inner in group.groups
    )


def _points(group: TestGroup) -> Iterator[Group]:
    """The groups that hold tests, as groups of a request: what more tests cannot change is not run."""
    if group.cases and group.full_score > 0:
        smallest = "min" in group.flags
        yield Group(
            cases=group.cases,
            points=group.full_score * (1 if smallest else len(group.cases)),
            award=Award.MIN if smallest else Award.SUM,
            stop_early=group.stops and smallest,
        )
    for inner in group.groups:
        yield from _points(inner)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inherited:
    """What `testdata.yaml` says, or that of a folder above."""

    flags: frozenset[str] = frozenset()
    stops: bool = True
    accept_score: float = 1.0
    reject_score: float = 0.0
    full_score: float = 1.0
    validator_flags: tuple[str, ...] = ()


class _Reader:
    """Walks the data of a problem in the order in which tests are run."""

    def __init__(self, package: Path, validator: ProgramChecker | None, flags: tuple[str, ...], *, interactive: bool):
        self._package, self._data = package, package / "data"
        self._validator, self._flags, self._interactive = validator, flags, interactive
        self.names: list[str] = []
        self.cases: list[Case] = []

    def group(self, folder: Path, above: _Inherited) -> TestGroup:
        if folder.is_symlink():
            raise BadInput(f"{folder}: a link to a folder, which may have no end: put the tests there")
        own = _group_settings(self._package, folder, above)
        places: list[int] = []
        groups: list[TestGroup] = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path.is_dir():
                groups.append(self.group(path, own))
            elif path.suffix == ".in":
                places.append(len(self.cases))
                self.names.append(path.with_suffix("").relative_to(self._data).as_posix())
                self.cases.append(self._case(path, own))
        return TestGroup(
            name=folder.name, cases=tuple(places), groups=tuple(groups), flags=own.flags, stops=own.stops,
            accept_score=own.accept_score, reject_score=own.reject_score, full_score=own.full_score,
        )  # fmt: skip

    def _case(self, path: Path, own: _Inherited) -> Case:
        answer = path.with_suffix(".ans")
        given = self._text(path)
        right = self._text(answer) if answer.is_file() or not self._interactive else ""
        flags = (*self._flags, *own.validator_flags)
        if self._validator is None:
            return StdioCase(stdin=given, stdout=right, checker=default_validator(flags))
        checker = replace(self._validator, arguments=flags, full_score=own.full_score or 1.0)
        if self._interactive:
            return InteractiveCase(input=given, answer=right, interactor=checker)
        return StdioCase(stdin=given, stdout=right, checker=checker)

    def _text(self, path: Path) -> str:
        """What is in a test's file. Links stay inside the data; a checkout without links has a path instead of one."""
        text = read_text(path, self._data)
        if len(text) < 256 and "/" in text and "\n" not in text and text.endswith(path.suffix):
            target = path.parent / text
            if target.is_file():
                return read_text(target, self._data)
        return text


def default_validator(flags: Sequence[str]) -> Comparison:
    """The checker that does what the format's default validator does with these flags. Raises BadInput.

    >>> default_validator(["float_tolerance", "1e-4"]).absolute
    0.0001
    """
    words = list(flags)
    absolute = relative = 0.0
    floats = case_sensitive = exact_spaces = False
    while words:
        flag = words.pop(0)
        if flag == "case_sensitive":
            case_sensitive = True
        elif flag == "space_change_sensitive":
            exact_spaces = True
        elif flag in ("float_tolerance", "float_absolute_tolerance", "float_relative_tolerance") and words:
            floats, value = True, _number("validator_flags", words.pop(0), least=0.0)
            absolute = absolute if flag == "float_relative_tolerance" else value
            relative = relative if flag == "float_absolute_tolerance" else value
        else:
            raise BadInput(f"validator flag {flag!r}: the default validator has no such flag, or it needs a number")
    return Comparison(
        checker=Checker.FLOATS if floats else Checker.TOKENS,
        absolute=absolute,
        relative=relative,
        ignore_case=not case_sensitive,
        exact_spaces=exact_spaces,
    )


def _validator(folder: Path, limits: dict[str, Any]) -> ProgramChecker | None:
    places = [folder / name for name in ("output_validators", "output_validator") if (folder / name).is_dir()]
    found = sorted(path for place in places for path in place.iterdir() if not path.name.startswith("."))
    if not found:
        return None
    alone = found[0] if len(found) == 1 else places[0]
    seconds = _number("limits.validation_time", limits.get("validation_time", 60), least=MIN_SECONDS)
    bounds = replace(
        VALIDATION, cpu_seconds=seconds, wall_seconds=2 * seconds,
        memory_bytes=_mebibytes("limits.validation_memory", limits.get("validation_memory", 2048)),
        output_bytes=_mebibytes("limits.validation_output", limits.get("validation_output", 8)),
    )  # fmt: skip
    return ProgramChecker(program=read_program(alone, folder), limits=bounds)


def _limits(folder: Path, record: dict[str, Any], legacy: bool) -> tuple[Limits, TimeRules]:
    times = _mapping(folder, record, "time_multipliers")
    seconds = record.get("time_limit")
    hidden = folder / ".timelimit"
    if seconds is None and hidden.is_file():
        seconds = read_text(hidden, folder).strip()
    multiplier = record.get("time_multiplier", 5) if legacy else times.get("ac_to_time_limit", 2)
    rules = TimeRules(
        seconds=None if seconds is None else _number("limits.time_limit", seconds, least=MIN_SECONDS),
        multiplier=_number("the time multiplier", multiplier, least=0.0),
        resolution=_number("limits.time_resolution", record.get("time_resolution", 1.0), least=MIN_SECONDS),
    )
    bounds = Limits(
        memory_bytes=_mebibytes("limits.memory", record.get("memory", 2048)),
        output_bytes=_mebibytes("limits.output", record.get("output", 8)),
        stack_bytes=256 * MEBIBYTE,
    )
    return bounds, rules


def _group_settings(package: Path, folder: Path, above: _Inherited) -> _Inherited:
    if (folder / "test_group.yaml").exists():
        raise BadInput(f"{folder / 'test_group.yaml'}: groups of this form are not read here: write testdata.yaml")
    record = _yaml(package, folder / "testdata.yaml")
    if record.get("grading", "default") != "default":
        raise BadInput(f"{folder / 'testdata.yaml'}: grading {record['grading']!r}: only the default grader is known")
    flags = str(record["grader_flags"]).split() if "grader_flags" in record else above.flags
    if unknown := set(flags) - _FLAGS:
        raise BadInput(f"{folder / 'testdata.yaml'}: grader flags {', '.join(sorted(unknown))} are not known")
    accept = _number("accept_score", record.get("accept_score", above.accept_score))
    highest = str(record.get("range", "")).split()[-1:]
    largest = accept if highest in ([], ["inf"], ["+inf"]) else _number("range", highest[0])
    return _Inherited(
        flags=frozenset(flags),
        stops=record.get("on_reject", "break" if above.stops else "continue") in ("break", "first_error"),
        accept_score=accept,
        reject_score=_number("reject_score", record.get("reject_score", above.reject_score)),
        full_score=accept if "accept_score" in record else largest,
        validator_flags=tuple(str(record.get("output_validator_flags") or "").split()) or above.validator_flags,
    )


class _Loader(yaml.SafeLoader):
    """Without aliases: a few lines of them can stand for more than fits into memory."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, which is not read here: write it out")
        return super().compose_node(parent, index)


def _yaml(package: Path, path: Path, *, required: bool = False) -> dict[str, Any]:
    if not path.exists() and not required:
        return {}
    try:
        record = yaml.load(read_text(path, package), _Loader) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # of a date or a number, and of a deep nest
        raise BadInput(f"{path}: no YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(record, dict):
        raise BadInput(f"{path}: a {type(record).__name__}: write keys and values")
    return record


def _mapping(folder: Path, record: dict[str, Any], key: str) -> dict[str, Any]:
    value = record.get(key) or {}
    if not isinstance(value, dict):
        raise BadInput(f"{folder}: {key} is a {type(value).__name__}: write keys and values")
    return value


def _words(record: dict[str, Any], key: str, default: str) -> list[str]:
    value = record.get(key, default)
    return [str(word) for word in value] if isinstance(value, list) else str(value).split()


def _number(what: str, value: Any, *, least: float = -MOST_NUMBER) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not least <= number <= MOST_NUMBER:
        raise BadInput(f"{what} is {str(value)[:40]!r}: give a number from {least:g} to {MOST_NUMBER:g}")
    return number


def _mebibytes(what: str, value: Any) -> int:
    return int(_number(what, value, least=1 / 1024) * MEBIBYTE)
