"""HumanEval+ and MBPP+: the same tasks with many more inputs (Liu et al. 2023, arXiv:2305.01210).

`humanevalplus` and `mbppplus` take the hub, whose rows hold one test program a task; `humanevalplus:PATH` and `mbppplus:PATH`
also EvalPlus's releases with `base_input`, `plus_input` and a canonical solution. Of these nothing is run here: the expected
values come from the canonical solution, which the referee's jail runs beside the candidate, input by input, and the base and
the plus inputs are a hidden case each. Answers compare as EvalPlus has it: equal, or floats within `atol` (1e-6 where it is 0),
with its special oracles. `contract` is not read: the published inputs of HumanEval/32 and 116 break theirs. Visible are the
examples of the docstring, or the assert in the prompt. Test programs import numpy for `allclose` alone, so they get a stand-in.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sandbox.lift import defined_names, free_names
from sandbox.limits import MEBIBYTE, Limits
from sandbox.spec import AssertCase
from tasks import humaneval, mbpp
from tasks.evalplus_oracle import NUMPY, oracle, shaped
from tasks.hub import fetch, local
from tasks.python_text import parse, signature
from tasks.reading import tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Style, Task

HUBS = {"humanevalplus": "evalplus/humanevalplus", "mbppplus": "evalplus/mbppplus"}
# HumanEval/130 returns lists of a million fractions.
LIMITS = Limits(cpu_seconds=20.0, wall_seconds=60.0, output_bytes=64 * MEBIBYTE)
# The released test program of this one unpacks a float, so nothing passes it.
_MENDED = ("_poly(*candidate(*inp), inp) <=", "abs(_poly(*inp, candidate(*inp))) <=")


def humaneval_task(row: Row) -> Task:
    task = humaneval.task_of(Row(row.where, {"test": "", **row.record}))
    if "plus_input" in row.record:
        hidden = _differential(row, task.reference, task.entry_point)
    else:
        (published,) = task.hidden
        assert isinstance(published, AssertCase)
        code = published.code.replace(*_MENDED)
        hidden = (replace(published, code=code, prelude=f"{published.prelude}\n{NUMPY}"),)
    return replace(task, hidden=hidden, limits=LIMITS, tags=("humanevalplus",))


def mbpp_task(row: Row) -> Task:
    if "plus_input" not in row.record:
        return _mbpp_program(row)
    number = row.text("task_id").removeprefix("Mbpp/")
    if not number.isdecimal():
        raise row.fault("task_id", f"is {row.text('task_id')!r}", "write it as Mbpp/2")
    entry_point, reference = row.text("entry_point"), row.text("canonical_solution")
    tree = _tree(row, "canonical_solution", reference)
    target = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == entry_point), None)
    if target is None:
        raise row.fault("canonical_solution", f"does not define {entry_point!r}", "define the function asked for")
    text = row.text("prompt").strip().strip('"').strip()
    example = "\n".join(line for line in text.splitlines() if line.startswith("assert "))
    return Task(
        id=f"mbppplus/{number}",
        prompt=text,
        style=Style.INSTRUCTION,
        split=mbpp.published_split(int(number)),
        visible=(_asserts(row, "prompt", example, reference),) if example else (),
        hidden=_differential(row, reference, entry_point),
        entry_point=entry_point,
        signature=signature(target),
        reference=reference,
        limits=LIMITS,
        tags=("mbppplus",),
    )


def _mbpp_program(row: Row) -> Task:
    """A row of the hub: MBPP's fields and a test program."""
    task = mbpp.task_of(row)
    case = _asserts(row, "test", row.text("test"), task.reference)
    hidden = (replace(case, prelude=NUMPY),)
    return replace(task, id=task.id.replace("mbpp/", "mbppplus/"), hidden=hidden, limits=LIMITS, tags=("mbppplus",))


def _differential(row: Row, reference: str, entry_point: str) -> tuple[AssertCase, ...]:
    number = row.text("task_id").rpartition("/")[2]
    atol = row.get("atol", float, 0.0)
    cases = []
    for field in ("base_input", "plus_input"):
        inputs: list[Any] = row.get(field, list)
        for i, given in enumerate(inputs):
            if not isinstance(given, list):
                raise row.fault(f"{field}[{i}]", f"is {str(given)[:40]!r}", "write the arguments as an array")
        if row.text("task_id").startswith("Mbpp/"):
            inputs = [shaped(int(number), given) for given in inputs]
        code = oracle(reference, entry_point, inputs, atol, plus=field == "plus_input")
        if inputs and code:
            cases.append(AssertCase(code=code, names=(entry_point,)))
    if not cases:
        raise row.fault("base_input", "is empty, and so is plus_input", "give the arguments of at least one call")
    return tuple(cases)


def _asserts(row: Row, field: str, code: str, reference: str) -> AssertCase:
    _tree(row, field, code)
    return AssertCase(code=f"{code}\n", names=free_names(code, defined_names(reference)))


def _tree(row: Row, field: str, code: str) -> ast.Module:
    try:
        return parse(code)
    except SyntaxError as error:
        raise row.fault(field, f"is not Python ({error.msg})", "give it as published") from None


def _rows(name: str, argument: str) -> Iterable[Any]:
    return local(Path(argument)) if argument else fetch(name, HUBS[name])


def _load_humaneval(argument: str, options: Options) -> list[Task]:
    return tasks_of(argument or HUBS["humanevalplus"], _rows("humanevalplus", argument), humaneval_task, options)


def _load_mbpp(argument: str, options: Options) -> list[Task]:
    return tasks_of(argument or HUBS["mbppplus"], _rows("mbppplus", argument), mbpp_task, options)


HUMANEVAL = Source(name="humanevalplus", summary="HumanEval+ of EvalPlus", load=_load_humaneval, argument="PATH")
MBPP = Source(name="mbppplus", summary="MBPP+ of EvalPlus", load=_load_mbpp, argument="PATH")
