"""How does a model better a program by a principle? Critique, then revision (Bai et al. 2022, arXiv:2212.08073, 3.1). Pure."""

from __future__ import annotations

from coderl.extract import fenced_block
from coderl.feedback.chat import Ask, Reply
from coderl.feedback.constitution import Principle
from coderl.feedback.judging import fenced

CRITIQUE_TOKENS, PROGRAM_TOKENS = 200, 400


def critique_question(task: str, program: str, principle: Principle) -> Ask:
    return Ask(
        system=f"You review a program by one principle. {principle.text}",
        user=f"{fenced({'Task': task, 'Program': program})}\n\n{principle.critique} Be brief.",
        max_new_tokens=CRITIQUE_TOKENS,
    )


def revision_question(task: str, program: str, critique: str, principle: Principle) -> Ask:
    return Ask(
        system=f"You improve a program by one principle. {principle.text}",
        user=f"{fenced({'Task': task, 'Program': program, 'Review': critique})}\n\n{principle.revise} "
        "Answer with the whole program in one fenced block, and nothing else.",
        max_new_tokens=PROGRAM_TOKENS,
    )


def revised_program(reply: Reply) -> str:
    """The program in the answer, "" where there is none: no fenced block, or one that was cut off."""
    if "```" not in reply.text:
        return ""
    block = fenced_block(reply.text, truncated=reply.num_completion_tokens >= PROGRAM_TOKENS)
    return f"{block.strip()}\n" if block and block.strip() else ""
