"""The same task under another name: does a policy solve the problem, or recognise it? Pure.

The function that a Python task asks for gets a name that says nothing (solve_123), in prompt, signature, cases and reference.
Nothing else changes, so whoever solves the task by reading it is not disturbed. Prose is left alone: in a prompt only a name
before a bracket, after `def` or in quotation marks is one.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import replace

from sandbox.spec import AssertCase, CallCase, Case, ProgramCase
from tasks.task import Task


def renamed(task: Task) -> Task | None:
    """None where there is no function to rename: another language, a program that reads stdin, a name that is nowhere told."""
    old = task.entry_point
    if task.language != "python" or not old.isidentifier():
        return None
    new = f"solve_{zlib.crc32(task.id.encode()) % 1000:03d}"
    named = re.compile(rf"(?<=def ){old}\b|\b{old}(?=\s*\()|(?<=[`'\"]){old}(?=[`'\"])")
    code = re.compile(rf"(?<![\w.]){old}\b")
    prompt, signature = named.sub(new, task.prompt), code.sub(new, task.signature)
    if prompt == task.prompt and signature == task.signature:
        return None
    visible, hidden = ([_case(case, old, new, code) for case in cases] for cases in (task.visible, task.hidden))
    if any(case is None for case in [*visible, *hidden]):
        return None
    return replace(
        task,
        prompt=prompt,
        signature=signature,
        entry_point=new,
        reference=code.sub(new, task.reference),
        visible=tuple(case for case in visible if case is not None),
        hidden=tuple(case for case in hidden if case is not None),
    )


def _case(case: Case, old: str, new: str, code: re.Pattern[str]) -> Case | None:
    if isinstance(case, CallCase):
        return replace(case, function=new) if case.function == old else None
    if isinstance(case, AssertCase):
        names = tuple(new if name == old else name for name in case.names)
        return replace(case, code=code.sub(new, case.code), names=names)
    if isinstance(case, ProgramCase):
        return replace(case, after=code.sub(new, case.after))
    return None
