"""verl and PRIME data: rows with `prompt` (messages) and `reward_model.ground_truth` (Cui et al. 2025, arXiv:2502.01456).

`verl:PATH` takes .parquet or .jsonl, `verl:NAME/SET` a hub data set such as PRIME-RL/Eurus-2-RL-Data. Rows of another ability
than code are passed over. The ground truth is JSON: {"inputs", "outputs", "fn_name"} as in APPS, a list of {"input", "output"},
{"functional": asserts} or {"pytest": a test file}. Nothing marks a test as public: the first of several is visible.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sandbox.lift import free_names
from sandbox.spec import AssertCase, Case, Framework, SuiteCase
from tasks.errors import TaskError
from tasks.hub import fetch, local
from tasks.in_out import cases_of, rule_of
from tasks.reading import split_of, tasks_of
from tasks.rows import Row
from tasks.source import Options, Source
from tasks.task import Split, Style, Task

_TRUTH = "reward_model.ground_truth"
_CODE = ("code", "coding")


def task_of(row: Row) -> Task | None:
    if row.text("ability", "code").lower() not in _CODE:
        return None
    extra = Row(f"{row.where}: extra_info", row.get("extra_info", dict, {}))
    truth = Row(f"{row.where}: reward_model", row.get("reward_model", dict)).record.get("ground_truth")
    if not isinstance(truth, str):
        raise row.fault(_TRUTH, f"is {str(truth)[:40]!r}", "write it as JSON text")
    cases = _cases(row, row.value(_TRUTH, truth))
    index = extra.record.get("index", row.where.rpartition("[")[2].rpartition(":")[2].strip("]"))
    split = extra.text("split", row.split)
    return Task(
        id=f"{row.text('data_source', 'verl')}/{split or 'train'}/{index}",
        prompt=_prompt(row),
        style=Style.INSTRUCTION,
        split=split_of(Row(row.where, row.record, split), Split.TRAIN),
        visible=cases[:1] if len(cases) > 1 else (),
        hidden=cases[1:] or cases,
        reference=extra.text("reference", ""),
        checker=rule_of(cases),
        tags=("verl", row.text("data_source", "unknown")),
    )


def _prompt(row: Row) -> str:
    """The last message of the user; a system message is the policy's affair (`prompt.system` of a run)."""
    messages = row.record.get("prompt")
    if isinstance(messages, str):
        return messages
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user" and isinstance(message.get("content"), str):
            return str(message["content"])
    raise row.fault("prompt", "has no message of the user", 'give [{"role": "user", "content": ".."}]')


def _cases(row: Row, truth: Any) -> tuple[Case, ...]:
    if isinstance(truth, list) and all(isinstance(test, dict) and {"input", "output"} <= test.keys() for test in truth):
        name = next(
            (test["metadata"].get("func_name") for test in truth if isinstance(test.get("metadata"), dict)), None
        )
        inputs, outputs = [test["input"] for test in truth], [test["output"] for test in truth]
        truth = {"inputs": inputs, "outputs": outputs, **({"fn_name": name} if name else {})}
    if not isinstance(truth, dict):
        raise row.fault(_TRUTH, f"is {str(truth)[:40]!r}", "give tests as inputs and outputs, functional or pytest")
    if isinstance(truth.get("pytest"), str):
        return (SuiteCase(code=truth["pytest"], framework=Framework.PYTEST),)
    if isinstance(truth.get("functional"), str):
        code = truth["functional"]
        try:
            return (AssertCase(code=code, names=free_names(code)),)
        except SyntaxError as error:
            raise row.fault(_TRUTH, f"is not Python ({error.msg}): {code[:40]!r}", "write asserts") from None
    cases = cases_of(row, _TRUTH, truth)
    if not cases:
        raise row.fault(_TRUTH, "holds no test", "leave out rows without tests")
    return cases


def _load(argument: str, options: Options) -> list[Task]:
    if not argument:
        raise TaskError("verl", "names no data", remedy="write verl:PATH, or verl:PRIME-RL/Eurus-2-RL-Data")
    path = Path(argument)
    rows = local(path) if path.exists() or path.suffix else fetch("verl", argument)
    return tasks_of(argument, rows, task_of, options)


SOURCE = Source(
    name="verl", summary="prompt and ground_truth, as verl and PRIME have them", load=_load, argument="PATH or SET"
)
