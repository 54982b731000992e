"""Which tokens of a completion stand on lines of the program that ran, and which on the line where it failed?

From the lines that the sandbox saw (`sandbox.Coverage`) to tokens. Only what is surely dead loses its credit: a token is left
out if every line of the program that it shows something of never ran. Text around the program (prose, fences, the stop token)
and lines on which nothing can run and nothing follows keep theirs, and so does all of a program of which no line is known to
have run. Sources: StepCoder's fine-grained optimisation (Dou et al. 2024, arXiv:2402.01391, section 3.2); RLTF's error lines
(Liu et al. 2023, arXiv:2307.04349, section 3.3).
"""

from __future__ import annotations

import ast
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from coderl.extract import located_program
from coderl.program_rewards import parsed
from coderl.prompts import Prompt
from coderl.rollout import Rollout
from tasks.task import Task


class Credit(NamedTuple):
    """Per completion token, (T,) float: 0 where its lines never ran, else 1; 1 on the failing line, else 0."""

    ran: Tensor
    failed: Tensor


def credit(rollout: Rollout, task: Task, prompt: Prompt, stop: tuple[str, ...], decode: Callable[..., str]) -> Credit:
    """What the coverage in the verdict of a rollout says of its tokens; without coverage all ran and none failed.

    `prompt` is what the rollout continues, `stop` the strings that ended it, `decode` turns token ids into text.
    """
    everything = Credit(torch.ones(len(rollout.completion_ids)), torch.zeros(len(rollout.completion_ids)))
    coverage = rollout.verdict.coverage if rollout.verdict else None
    if coverage is None or not rollout.program:
        return everything
    program, shift = located_program(
        task, rollout.completion, response_prefix=prompt.response_prefix, stop=stop, truncated=rollout.truncated
    )
    dead = unexecuted_lines(program, coverage.lines)
    spans = token_spans(rollout.completion_ids, rollout.completion, decode)
    lines = [token_lines(rollout.completion, span, program, shift) for span in spans]
    ran = torch.tensor([float(not own or not own <= dead) for own in lines])
    failed = torch.tensor([float(coverage.failed_line in own) for own in lines])
    return Credit(ran if ran.any() else everything.ran, failed)


def token_spans(ids: Sequence[int], text: str, decode: Callable[..., str]) -> list[tuple[int, int]]:
    """Where in `text`, what `ids` decode to but for stop tokens at their end, each token stands: start and end.

    A token that is part of a character has the span of that character, or an empty one before it.
    """
    pieces = [decode([token]) for token in ids]
    ends = list(accumulate(map(len, pieces)))
    if not "".join(pieces).startswith(text):  # some character is made of several tokens
        ends = [_num_shared(decode(ids[: n + 1]), text) for n in range(len(ids))]
    ends = [min(end, len(text)) for end in ends]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _num_shared(one: str, other: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def token_lines(text: str, span: tuple[int, int], program: str, shift: int) -> frozenset[int]:
    """The lines of `program` that the token at `span` of `text` shows something of; none if it shows anything else, too.

    The character at i of `text` is that at i + shift of `program`. White space counts only where there is nothing else.
    """
    start, end = span
    if start >= len(text):
        return frozenset()
    places = range(start, max(end, start + 1))
    shown = [i for i in places if not text[i].isspace()] or list(places)
    starts = [0, *(i + 1 for i, char in enumerate(program) if char == "\n")]
    if any(not 0 <= i + shift < len(program) or text[i] != program[i + shift] for i in shown):
        return frozenset()
    return frozenset(bisect_right(starts, i + shift) for i in shown)


def unexecuted_lines(program: str, ran: Collection[int]) -> frozenset[int]:
    """The lines of statements of which no line ran, and what belongs to them: comments and `else:` to what follows, but a
    comment right below the head of a block to that head.

    None if no line ran at all, or the program does not parse.
    """
    tree = parsed(program)
    if tree is None or not ran:
        return frozenset()
    alive: dict[int, bool] = {}
    for first, last in _units(tree):
        is_alive = any(first <= line <= last for line in ran)
        for line in range(first, last + 1):
            alive[line] = alive.get(line, False) or is_alive
    dead, state = set(), True
    for line in range(program.count("\n") + 1, 0, -1):
        state = alive.get(line, state)
        if not state:
            dead.add(line)
    return frozenset(dead)


def _units(tree: ast.Module) -> Iterator[tuple[int, int]]:
    """First and last line of whatever can run on its own: simple statements, and the heads of compound ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.match_case):
            yield node.pattern.lineno, max(node.pattern.lineno, _first(node.body[0]) - 1)
        elif isinstance(node, ast.Match):
            yield node.lineno, max(node.lineno, node.cases[0].pattern.lineno - 1)
        elif isinstance(node, ast.stmt | ast.ExceptHandler) and not _is_silent(node):
            body = getattr(node, "body", ())
            yield _first(node), max(node.lineno, _first(body[0]) - 1) if body else node.end_lineno or node.lineno


def _first(node: ast.stmt | ast.ExceptHandler) -> int:
    decorators = getattr(node, "decorator_list", ())
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _is_silent(node: ast.stmt | ast.ExceptHandler) -> bool:
    """Nothing of it is ever run: docstrings and declarations; and `try:`, which goes with what follows."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Global | ast.Nonlocal | ast.Try | ast.TryStar) or (
        isinstance(node, ast.AnnAssign) and node.value is None
    )
