"""Checking tests: which wrong programs are made, and what a finding says about good, weak, wrong and flaky tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox import AssertCase, CallCase, Grader, ProgramCase, StdioCase
from sandbox.spec import Case
from tasks.errors import TaskError
from tasks.task import Split, Style, Task
from tasks.validation import Finding, Settings, Survivor, mutants, null_programs, validate
from tasks.validation.findings import Reference, append_findings, read_findings
from tasks.validation.runner import key_of
from tasks.validation.tokens import token_edits

CLAMP = "def clamp(n, low, high):\n    if n < low:\n        return low\n    return min(n, high)\n"


def task(reference: str, hidden: tuple[Case, ...], *, visible: tuple[Case, ...] = (), **fields: object) -> Task:
    base = Task(
        id="t/x", prompt="p", style=Style.INSTRUCTION, split=Split.TEST, visible=visible, hidden=hidden, entry_point="f",
        reference=reference,
    )  # fmt: skip
    return replace(base, **fields)  # type: ignore[arg-type]


def call(*args: object, gives: object, function: str = "f") -> CallCase:
    return CallCase(function=function, args=args, expected=gives)


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader() as found:
        yield found


def finding(grader: Grader, one: Task, **settings: int) -> Finding:
    (found,) = validate([one], grader, Settings(**settings))
    return found


def test_the_mutants_of_a_small_function_are_these() -> None:
    assert {(mutant.operator, mutant.line, mutant.change) for mutant in mutants(CLAMP, limit=99)} == {
        ("comparison", 2, "n < low -> n <= low"),
        ("comparison", 2, "n < low -> n >= low"),
        ("dropped statement", 2, "if n < low: ... -> pass"),
        ("return None", 3, "return low -> return None"),
        ("return None", 4, "return min(n, high) -> return None"),
        ("exchanged call", 4, "min(n, high) -> max(n, high)"),
    }


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("def f(n):\n    return n + 1\n", "n + 1 -> n - 1"),
        ("def f(n):\n    return n + 1\n", "1 -> 2"),
        ("def f(n):\n    return n + 1\n", "1 -> 0"),
        ("def f(n):\n    return n - 1\n", "n - 1 -> 1 - n"),
        ("def f(n):\n    return n > 1 and n < 9\n", "n > 1 and n < 9 -> n > 1 or n < 9"),
        ("def f(n):\n    return n > 1 and n < 9\n", "n > 1 and n < 9 -> n > 1"),
        ("def f(n):\n    return list(range(n))\n", "range(n) -> range(n + 1)"),
        ("def f(n):\n    return n[1:]\n", "n[1:] -> n[:]"),
        ("def f(n):\n    return pow(n, 2)\n", "pow(n, 2) -> pow(2, n)"),
        ("def f(n):\n    n += 1\n    return n\n", "n += 1 -> pass"),
        ("def f(n):\n    return not n\n", "not n -> n"),
        ("def f(n):\n    return -n\n", "-n -> n"),
        ("def f(n):\n    return 'a' if n else 'b'\n", "'a' if n else 'b' -> 'a' if not n else 'b'"),
        ("def f(n):\n    for i in n:\n        if i:\n            break\n", "break -> continue"),
    ],
)
def test_each_operator_makes_its_change(source: str, change: str) -> None:
    assert change in [mutant.change for mutant in mutants(source, limit=99)]


def test_no_mutant_touches_docstrings_annotations_imports_or_the_head_of_a_completion() -> None:
    head = 'import math\n\n\ndef f(n: "int" = 3) -> "int":\n    """Return 1 if n > 2 else 0."""\n'
    found = mutants(head + "    return n // 2\n", limit=99, after_line=head.count("\n"))
    assert {mutant.line for mutant in found} == {6}
    anywhere = mutants(head + "    return n // 2\n", limit=99)
    assert {mutant.line for mutant in anywhere} == {4, 6}  # the default 3 is code
    assert all("Return 1 if n > 2 else 0." in mutant.source and "'int'" in mutant.source for mutant in anywhere)


def test_mutants_are_distinct_programs_that_parse_and_a_limit_takes_some_of_each_operator() -> None:
    source = CLAMP * 6
    everything = mutants(source, limit=999)
    assert len({ast.dump(ast.parse(mutant.source)) for mutant in everything}) == len(everything)
    some = mutants(source, limit=6, seed="a")
    assert {mutant.operator for mutant in some} == {mutant.operator for mutant in everything}
    assert some == mutants(source, limit=6, seed="a") != mutants(source, limit=6, seed="b")
    assert mutants("def f(:", limit=9) == mutants("x", language="cobol", limit=9) == ()


def test_changes_that_compile_to_the_same_code_are_no_mutants() -> None:
    assert not [m for m in mutants("def f(n):\n    return n\n", limit=99) if m.operator != "return None"]
    found = mutants("def f(n):\n    while True:\n        return 1\n", limit=99)
    assert len({m.source for m in found}) == len(found)


def test_token_edits_leave_strings_comments_and_includes_alone() -> None:
    text = "#include <a+b>\nint f(int n) {\n  // n + 1\n  puts(\"1 + 1\");\n  return n + 1 && n <= '+';\n}\n"
    edits = list(token_edits(text, 0))
    assert {(line, change) for _, line, change, _ in edits} == {
        (5, "+ -> -"), (5, "1 -> 2"), (5, "&& -> ||"), (5, "<= -> <"), (5, "<= -> >"),
    }  # fmt: skip
    assert all(source.count("\n") == text.count("\n") and source != text for *_, source in edits)
    assert list(token_edits(text, 5)) == []


def test_null_programs_define_every_name_that_the_tests_look_up() -> None:
    reference = "class Pair:\n    def first(self): return 1\ndef f(): return Pair()\n"
    cases = (AssertCase(code="assert f().first() == 1\n", names=("f", "Pair")), call(gives=3, function="Solution.go"))
    for program in null_programs(task(reference, cases)):
        if not program.name.startswith(("empty", "exit when loaded")):
            defined = {n.name for n in ast.parse(program.source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            assert {"f", "Pair", "Solution"} <= defined, program.name


def test_strong_tests_pass_the_reference_and_reject_every_null_program_and_mutant(grader: Grader) -> None:
    cases = tuple(call(*a, gives=g, function="clamp") for a, g in (
        ((5, 1, 9), 5), ((0, 1, 9), 1), ((12, 1, 9), 9), ((1.0, 1, 9), 1.0), ((-3, -2, 4), -2),
    ))  # fmt: skip
    found = finding(grader, task(CLAMP, cases, entry_point="clamp"))
    assert (found.reference, found.flaky, found.null_passes) == (Reference.PASS, (), ())
    assert found.num_mutants >= 5
    # n <= low returns low where n == low: equal, so only an equivalent mutant is left
    assert {survivor.change for survivor in found.survivors} <= {"n < low -> n <= low"}
    assert found.faults(0.5) == ()


@pytest.mark.parametrize(
    ("hidden", "accepted"),
    [
        ((call(1, gives=True), call(2, gives=True)), {"commonest hidden expected value"}),
        ((AssertCase(code="assert f(3)\n", names=("f",)),), {"constant True", "constant 1", "first argument"}),
        ((AssertCase(code="f(3)\n", names=("f",)),), {"constant None", "constant []", "first argument"}),
    ],
)
def test_tests_that_a_constant_passes_are_found(grader: Grader, hidden: tuple[Case, ...], accepted: set[str]) -> None:
    found = finding(grader, task("def f(n):\n    return n > 0\n", hidden))
    assert found.reference is Reference.PASS
    assert accepted <= set(found.null_passes)
    assert not {"empty", "exit when loaded", "exit when called"} & set(found.null_passes)
    assert found.faults(0.0)[0].startswith("accepts ")


def test_an_always_equal_object_and_leaving_early_pass_no_assert_of_equality(grader: Grader) -> None:
    hidden = (AssertCase(code="assert f(3) == 4\nassert f(4) in (5, 6)\n", names=("f",)),)
    found = finding(grader, task("def f(n):\n    return n + 1\n", hidden))
    assert (found.null_passes, found.reference) == ((), Reference.PASS)


def test_a_weak_test_shows_the_mutants_it_accepts(grader: Grader) -> None:
    hidden = (call(0, gives=0), call(2, gives=4))  # n * 2, n + n, n ** 2 ...
    found = finding(grader, task("def f(n):\n    return n * 2\n", hidden))
    assert {survivor.change for survivor in found.survivors} == set()
    weak = finding(grader, task("def f(n):\n    return n * 2\n", hidden[1:]))
    assert [(s.change, s.visible) for s in weak.survivors] == [("n * 2 -> n + 2", True)]
    assert weak.score == pytest.approx((weak.num_mutants - 1) / weak.num_mutants)
    caught = finding(grader, task("def f(n):\n    return n * 2\n", hidden[1:], visible=hidden[:1]))
    assert [(s.change, s.visible) for s in caught.survivors] == [("n * 2 -> n + 2", False)]
    assert (caught.score_all, caught.null_passes_all) == (1.0, ())
    assert (weak.score_all, weak.null_passes_all) == (weak.score, weak.null_passes)


def test_a_wrong_expected_value_is_a_false_negative_and_no_mutants_are_made(grader: Grader) -> None:
    found = finding(grader, task("def f(n):\n    return n\n", (call(1, gives=2),)))
    assert (found.reference, found.num_mutants, found.score) == (Reference.FAIL, 0, None)
    assert "reference fail: WA" in found.faults(0.0)[0]


def test_a_test_without_cases_is_unscorable_not_clean(grader: Grader) -> None:
    found = finding(grader, task("def f(n):\n    return n\n", ()))
    assert found.reference is Reference.UNSCORABLE
    assert found.faults(0.0)


def test_a_reference_that_depends_on_chance_is_flaky(grader: Grader) -> None:
    source = "import os\ndef f(n):\n    return os.urandom(1)[0] % 2\n"
    found = finding(grader, task(source, (call(1, gives=1), call(2, gives=0))), repeats=25, num_mutants=0)
    assert found.reference is Reference.FLAKY  # all alike by chance: (3/4)^25 + (1/4)^25 < 0.001
    assert "reference" in found.flaky
    assert found.faults(0.0)


def test_programs_on_stdin_and_stdout_are_checked_too(grader: Grader) -> None:
    hidden = (StdioCase(stdin="2\n", stdout="4\n"), StdioCase(stdin="5\n", stdout="10\n"))
    good = finding(grader, task("print(int(input()) * 2)\n", hidden, entry_point=""))
    assert (good.reference, good.null_passes, good.score) == (Reference.PASS, (), 1.0)
    same = tuple(StdioCase(stdin=f"{n}\n", stdout="YES\n") for n in (2, 4))
    bad = finding(grader, task("print('YES' if int(input()) % 2 == 0 else 'NO')\n", same, entry_point=""))
    assert bad.null_passes == ("commonest hidden output",)


def test_a_mutant_that_never_ends_costs_a_fraction_of_the_limit_and_counts_as_rejected(grader: Grader) -> None:
    source = "def f(n):\n    i = 0\n    while i < n:\n        i += 1\n    return i\n"
    found = finding(grader, task(source, (call(0, gives=0), call(7, gives=7))))
    assert found.score == 1.0
    assert "i += 1 -> pass" in [mutant.change for mutant in mutants(source, limit=99)]


def test_other_languages_get_mutants_of_their_tokens(grader: Grader) -> None:
    from sandbox.languages import available

    if available()["javascript"].startswith("language"):
        pytest.skip("no JavaScript on this machine")
    source = "const f = (n) => {\n  return n + 1;\n};\n"
    cases = (ProgramCase(after='if (f(2) !== 3 || f(0) !== 1) throw new Error("no");\n'),)
    found = finding(grader, task(source, cases, language="javascript"), repeats=1)
    assert (found.reference, found.null_passes, found.score, found.num_mutants) == (Reference.PASS, (), 1.0, 2)


def test_the_key_of_a_finding_changes_with_task_and_settings_and_with_nothing_else() -> None:
    one, settings = task("x", (call(1, gives=1),)), Settings()
    keys = {
        key_of(one, settings),
        key_of(replace(one, reference="y"), settings),
        key_of(replace(one, hidden=(call(1, gives=1.0),)), settings),
        key_of(one, replace(settings, num_mutants=3)),
    }
    assert len(keys) == 4
    assert key_of(one, replace(settings, chunk=1)) == key_of(one, settings)


FOUND = Finding(
    key="k", task_id="a", reference=Reference.PASS, null_passes=("empty",), num_mutants=4,
    survivors=(Survivor(operator="constant", line=2, change="1 -> 2", visible=True),), flaky=("reference",), seconds=0.5,
)  # fmt: skip


def test_findings_are_read_back_equal_and_half_a_line_of_a_killed_run_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "findings.jsonl"
    assert read_findings(path) == {}
    append_findings(path, [FOUND])
    path.write_bytes(path.read_bytes() + b'{"key": "half')
    assert read_findings(path) == {"k": FOUND}
    append_findings(path, [replace(FOUND, key="l")])
    assert read_findings(path) == {"k": FOUND, "l": replace(FOUND, key="l")}
    path.write_text('{"key": 1}\n')
    with pytest.raises(TaskError, match=r"findings.jsonl:1: is no finding; delete the file"):
        read_findings(path)


def test_faults_are_told_with_their_numbers() -> None:
    assert (FOUND.score, FOUND.score_all) == (0.75, 0.75)
    assert FOUND.faults(0.8) == ("flaky: reference", "accepts empty", "mutation score 0.75 (1 of 4 survive)")
    assert FOUND.faults(0.75) == ("flaky: reference", "accepts empty")
