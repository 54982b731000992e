"""Which program does a completion hold? One deterministic answer, shared by reward, evaluation and data building.

The last fenced block wins. A fence that a stop token left open counts to the end of the text; one that was cut off by the
token limit is a format failure. Text with no fence at all is taken as the program. Never raises.
"""

from __future__ import annotations

import re

from tasks.task import Style, Task

_FENCE = re.compile(r"^[ \t]*```([^\n`]*)$", re.MULTILINE)


def fenced_block(text: str, *, truncated: bool) -> str | None:
    """The last fenced block of `text`, the whole text if it has no fence, None if its last fence was cut off."""
    found = _block(text, truncated=truncated)
    return None if found is None else text[found]


def extract_program(
    task: Task, completion: str, *, response_prefix: str, stop: tuple[str, ...] = (), truncated: bool
) -> str:
    """The program that `completion` stands for, "" where there is none.

    `response_prefix` is the text the prompt made the response begin with; what follows the first of the strings `stop` that
    end a sample, and the string itself, is no part of the program. A COMPLETION task's program is its prompt (without
    trailing white space) followed by the completion.
    """
    return located_program(task, completion, response_prefix=response_prefix, stop=stop, truncated=truncated)[0]


def located_program(
    task: Task, completion: str, *, response_prefix: str, stop: tuple[str, ...] = (), truncated: bool
) -> tuple[str, int]:
    """The program, and where it is: what both share, the character at i of `completion` is that at i + shift of the program."""
    completion = completion[: min((at for text in stop if (at := completion.find(text)) >= 0), default=None)]
    if task.style is Style.COMPLETION and "```" not in response_prefix + completion:
        head = task.prompt.rstrip()
        return head + completion + "\n", len(head)
    text = response_prefix + completion
    found = _block(text, truncated=truncated)
    if found is None or not text[found].strip():
        return "", 0
    return text[found].rstrip() + "\n", len(response_prefix) - found.start


def _block(text: str, *, truncated: bool) -> slice | None:
    fences = list(_FENCE.finditer(text))
    if not fences:
        return slice(0, len(text))
    if len(fences) % 2 == 1:  # the last fence opens a block that nothing closes
        return None if truncated else slice(fences[-1].end() + 1, len(text))
    return slice(fences[-2].end() + 1, fences[-1].start())
