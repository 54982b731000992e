"""What is to be judged: a program, and the cases it must pass.

Records only: nothing here runs anything. A `Value` is a plain Python value (None, bool, int, float, complex, str, bytes,
list, tuple, dict, set, frozenset, nested); `sandbox.codec` says how it travels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sandbox.limits import MEBIBYTE, Limits

Value = Any  # a plain value, checked by sandbox.codec


class Checker(StrEnum):
    """How outputs are compared with expected ones."""

    EXACT = "exact"  # stdout: byte for byte; values: same types all the way down
    LINES = "lines"  # stdout: equal but for trailing white space of lines and of the end
    TOKENS = "tokens"  # stdout: equal white-space-separated tokens
    FLOATS = "floats"  # numbers within a tolerance, all else as TOKENS / EQUAL; NaN never equal
    EQUAL = "equal"  # values: Python == on plain values, but bool is not a number; list and tuple are interchangeable
    UNORDERED = "unordered"  # as EQUAL (or LINES) but the order of the outermost sequence (of lines) is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A checker with settings of its own; a bare `Checker` means `Comparison(checker=...)`.

    The tolerances are those of FLOATS: a number is accepted if it is within `absolute` of the expected one, or within
    `relative` times the size of that.

    >>> Comparison(checker=Checker.FLOATS, absolute=1e-4, relative=0.0).ignore_case
    False
    """

    checker: Checker
    absolute: float = 1e-6
    relative: float = 1e-6
    ignore_case: bool = False  # of ASCII letters in text; of all letters in the strings of values
    exact_spaces: bool = False  # stdout under TOKENS and FLOATS: the white space between tokens must be equal, too

    def __post_init__(self) -> None:
        object.__setattr__(self, "checker", Checker(self.checker))
        for name in ("absolute", "relative"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ValueError(f"checker.{name} is {value!r}: give a finite number, 0 or more")
        for name in ("ignore_case", "exact_spaces"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"checker.{name} is {getattr(self, name)!r}: give true or false")


VALIDATION = Limits(
    cpu_seconds=10.0, wall_seconds=30.0, memory_bytes=1024 * MEBIBYTE, output_bytes=64 * MEBIBYTE, processes=64
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionChecker:
    """A trusted Python function that decides, in a jail of its own: `check(stdin, stdout, answer)`, all three text.

    For a call it is `check(args, result, expected)`. It returns True, False or a share of the points from 0 to 1, or a
    tuple of that and a line for the log. Anything else, an exception and a time-out are the task's fault, and so is,
    with `accepts_answer`, that it rejects the expected answer itself.

    >>> FunctionChecker(source="def check(stdin, stdout, answer): return stdout.strip() == answer.strip()").accepts_answer
    True
    """

    source: str
    accepts_answer: bool = True
    limits: Limits = VALIDATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Source text of a candidate. `language` names an entry of `sandbox.languages`; `files` lie beside it, by name."""

    source: str
    language: str = "python"
    files: dict[str, str] = field(default_factory=dict)


class Protocol(StrEnum):
    """How a program that decides is called, and what its exit codes mean."""

    KATTIS = "kattis"  # `input answer feedback/ arguments..`, the output on its stdin; 42 right, 43 wrong
    TESTLIB = "testlib"  # `input output answer arguments..`; 0 right, 1 2 4 8 wrong, 7 a share, 3 the task's fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramChecker:
    """A trusted program, in any language, that decides about an output; compiled and run in jails of its own.

    Exit codes that the protocol does not know, crashes and limits are the task's fault (JE). Points: what a Kattis validator
    writes to `score.txt` in its feedback folder is divided by `full_score`; a testlib checker that ends with code 7 prints
    `points 0.5` first. Sources: the Kattis problem package format (output validators); testlib.h.

    >>> ProgramChecker(program=Program(source="raise SystemExit(42)")).protocol.value
    'kattis'
    """

    program: Program
    protocol: Protocol = Protocol.KATTIS
    arguments: tuple[str, ...] = ()
    full_score: float = 1.0
    limits: Limits = VALIDATION

    def __post_init__(self) -> None:
        object.__setattr__(self, "protocol", Protocol(self.protocol))
        if not 0 < self.full_score < math.inf:
            raise ValueError(f"full_score is {self.full_score!r}: give a finite number above 0")


Rule = Checker | Comparison | FunctionChecker | ProgramChecker


@dataclass(frozen=True, slots=True, kw_only=True)
class StdioCase:
    """Run the program with `stdin`; the judge compares its stdout with `stdout`, or any of `alternatives`."""

    stdin: str
    stdout: str
    alternatives: tuple[str, ...] = ()
    checker: Rule | None = None  # None: that of the request


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCase:
    """Run the program with `inputs` beside it, by name; the judge compares each file of `outputs` that it leaves.

    What it prints is not looked at. A checker that wants the input gets stdin, or else the first file.
    """

    inputs: dict[str, str]
    outputs: dict[str, str]
    stdin: str = ""
    checker: Rule | None = None  # None: that of the request


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractiveCase:
    """Let the program talk to `interactor`, in another jail: what one prints the other reads, and the judge carries it.

    The interactor knows `input` and `answer` (its arguments, see `Protocol`) and decides by its exit code. If it says wrong
    while the program still has its output open, that stands, whatever the program does afterwards; else the program
    must also end well, and within its limits.
    """

    input: str
    interactor: ProgramChecker
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCase:
    """Call `function(*args, **kwargs)`; the judge compares the decoded value with `expected`, or any of `alternatives`.

    `function` is a name the program defines, or "Solution.name" for a method of a class made with no arguments.
    """

    function: str
    args: tuple[Value, ...] = ()
    kwargs: dict[str, Value] = field(default_factory=dict)
    expected: Value = None
    alternatives: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AssertCase:
    """Run the trusted test program `code` in a referee jail; it passes if it ends without an exception.

    `names` are looked up in the candidate through a proxy (plain values by value, others as handles). `prelude` is
    trusted code run in the referee before `code` (helpers that the task's own prompt defines), so that a candidate
    cannot redefine them.
    """

    code: str
    names: tuple[str, ...]
    prelude: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramCase:
    """Put trusted test code after the program (and `before` it), in its language; it passes if that runs to its end.

    Test and candidate share a process, so the verdict is COOPERATIVE: ending early, printing and exit codes earn nothing,
    but a program written against this very harness could.
    """

    after: str
    before: str = ""


class Framework(StrEnum):
    """What runs the tests of a suite."""

    UNITTEST = "unittest"
    PYTEST = "pytest"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteCase:
    """Run the trusted test file `code`, which imports the program as `module`; it passes if every test ran and passed.

    The file runs in the referee jail, as an assert case does: it sees plain values and handles. It must import the module by
    a statement (`from solution import f`, `import solution`).
    """

    code: str
    framework: Framework = Framework.UNITTEST
    module: str = "solution"


Case = StdioCase | FileCase | InteractiveCase | CallCase | AssertCase | ProgramCase | SuiteCase


class Award(StrEnum):
    """How the cases of a group earn its points. An accepted case earns a share of 1, a partly accepted one what it got."""

    ALL = "all"  # all points if every case is accepted, else none
    MIN = "min"  # the points times the smallest share
    SUM = "sum"  # the points times the mean share: each case has an equal part of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Cases that earn points together, e.g. Group(cases=(0, 1, 2), points=30). `cases` are places in the request's.

    With `stop_early` what cannot change its points any more is SKIP. A case may be in several groups.
    """

    cases: tuple[int, ...]
    points: float
    award: Award = Award.ALL
    stop_early: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "award", Award(self.award))


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeRequest:
    """One unit of work for a grader: a program, its cases, and the rules.

    `checker` None means LINES for stdio and files, EQUAL for values. With `stop_early` the cases after the first that is not
    accepted are SKIP. With `groups` the verdict has points, and is PA where some but not all are earned; a case in no group
    earns none. With `coverage` a Python program is run again, after its verdict, to see which of its lines run.
    """

    program: Program
    cases: tuple[Case, ...]
    limits: Limits = Limits()
    checker: Rule | None = None
    stop_early: bool = False
    groups: tuple[Group, ...] = ()
    coverage: bool = False
