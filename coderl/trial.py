"""What does a model make of one task, right now? Samples as they end, each with its verdict; and tasks that a person types."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from coderl.config import RunConfig
from coderl.engines import OwnLoop
from coderl.errors import ConfigError
from coderl.extract import extract_program
from coderl.generate import SampleRequest
from coderl.policy import load_policy
from coderl.prompts import PromptRenderer
from coderl.seeds import derive
from coderl.workbench import open_grader
from sandbox import Verdict
from sandbox.lift import free_names
from sandbox.spec import AssertCase, CallCase, Case
from tasks.task import Split, Style, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One sample: the text, the program in it ("" where there is none), and what the sandbox says of that."""

    number: int
    completion: str
    program: str
    truncated: bool
    verdict: Verdict


def attempts(config: RunConfig, task: Task, *, num_samples: int) -> Iterator[Attempt]:
    """Sample `task` at `generation.temperature` and grade each sample on all cases the moment it ends.

    Raises ModelError, ConfigError or SandboxUnavailable.
    """
    policy = load_policy(config.policy, seed=config.seed)
    prompt = PromptRenderer(policy.tokenizer, config.prompt).render(task)
    stop = (*config.generation.stop, *prompt.stop)
    requests = [
        SampleRequest(key=i, prompt_ids=prompt.ids, seed=derive(config.seed, "try", task.id, i), stop=stop)
        for i in range(num_samples)
    ]
    samples = OwnLoop().sample(
        policy,
        requests,
        max_new_tokens=config.generation.max_new_tokens,
        temperature=config.generation.temperature,
        batch_size=config.generation.batch_size,
    )
    with open_grader(config.sandbox) as grader:
        for sample in samples:
            text = policy.decode(sample.ids)
            prefix, cut = prompt.response_prefix, sample.truncated
            program = extract_program(task, text, response_prefix=prefix, stop=stop, truncated=cut)
            [verdict] = grader.grade([task.request(program)])
            yield Attempt(number=sample.key + 1, completion=text, program=program, truncated=cut, verdict=verdict)


def typed_task(prompt: str, signature: str, tests: Sequence[str]) -> Task:
    """The task of a person who types a prompt, the head of a function, and tests such as "double(2) == 4".

    A test that compares a call on plain values with a plain value becomes a call case, any other expression an assert.
    Raises ConfigError.
    """
    try:
        [function] = ast.parse(f"{signature.rstrip()}\n    pass\n").body
        assert isinstance(function, ast.FunctionDef)
    except (SyntaxError, ValueError, AssertionError):
        raise ConfigError(f"signature {signature!r}: write the first line of a function, e.g. def double(n):") from None
    if not tests:
        raise ConfigError("tests: none was given; write at least one, e.g. double(2) == 4")
    return Task(
        id="typed/task",
        prompt=prompt,
        style=Style.INSTRUCTION,
        split=Split.TEST,
        entry_point=function.name,
        signature=signature.rstrip(),
        visible=tuple(_case(test) for test in tests),
        hidden=(),
    )


def _case(test: str) -> Case:
    try:
        tree = ast.parse(test.strip().removeprefix("assert "), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise ConfigError(f"test {test!r}: is not a Python expression; write e.g. double(2) == 4") from error
    if isinstance(tree, ast.Compare) and isinstance(tree.left, ast.Call) and isinstance(tree.left.func, ast.Name):
        try:
            if len(tree.ops) == 1 and isinstance(tree.ops[0], ast.Eq):
                return CallCase(
                    function=tree.left.func.id,
                    args=tuple(ast.literal_eval(arg) for arg in tree.left.args),
                    kwargs={str(word.arg): ast.literal_eval(word.value) for word in tree.left.keywords if word.arg},
                    expected=ast.literal_eval(tree.comparators[0]),
                )
        except ValueError:
            pass  # not plain values: the referee computes them
    code = f"assert {ast.unparse(tree)}\n"
    return AssertCase(code=code, names=free_names(code))
