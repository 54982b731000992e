"""A task that a person types becomes cases that are judged as any other; each sample comes with its own verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from typer.testing import CliRunner  # noqa: E402

from coderl.cli import app  # noqa: E402
from coderl.config import PolicyConfig, parse  # noqa: E402
from coderl.errors import ConfigError  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.trial import attempts, typed_task  # noqa: E402
from sandbox import Grader  # noqa: E402
from sandbox.spec import AssertCase, CallCase  # noqa: E402

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_layers": 1,
    "num_heads": 2,
    "vocab_size": 300,
    "max_positions": 96,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    policy = load_policy(PolicyConfig.model_validate({"model": "new:", "new": SMALL}), seed=0, corpus=["def f(x):"])
    policy.save(folder)
    return folder


def test_typed_tests_become_calls_where_values_are_plain_and_asserts_where_not() -> None:
    task = typed_task(
        "Double.", "def double(n):", ["double(2) == 4", "assert double(n=-1) == -2", "double(2) is not None"]
    )
    assert task.visible == (
        CallCase(function="double", args=(2,), expected=4),
        CallCase(function="double", kwargs={"n": -1}, expected=-2),
        AssertCase(code="assert double(2) is not None\n", names=("double",)),
    )
    with Grader(workers=1) as grader:
        right, wrong = grader.grade([task.request(f"def double(n):\n    return n * {by}\n") for by in (2, 3)])
    assert [case.outcome for case in right.cases] == ["AC", "AC", "AC"]
    assert [case.outcome for case in wrong.cases] == ["WA", "WA", "AC"]


@pytest.mark.parametrize(
    ("signature", "tests", "fault"),
    [
        ("double(n)", ["double(2) == 4"], "write the first line of a function"),
        ("def double(n):", [], "none was given"),
        ("def double(n):", ["double(2) =="], "is not a Python expression"),
    ],
)
def test_what_cannot_be_a_task_is_one_line(signature: str, tests: list[str], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        typed_task("Double.", signature, tests)


def test_samples_depend_on_the_seed_alone_and_each_has_its_verdict(model: Path) -> None:
    task = typed_task("Double.", "def double(n):", ["double(2) == 4"])
    raw = {"stages": ["eval"], "policy": {"model": str(model)}, "tasks": {"test": ["typed"]}}
    settings = parse({**raw, "generation": {"max_new_tokens": 8}})
    few, many = (list(attempts(settings, task, num_samples=n)) for n in (2, 3))
    assert {a.number for a in few} == {1, 2} and {a.number for a in many} == {1, 2, 3}
    texts = {a.number: a.completion for a in many}
    assert all(texts[a.number] == a.completion for a in few)
    assert len(set(texts.values())) == 3
    assert all(a.verdict.outcome != "AC" and a.verdict.isolation.backend == "jail" for a in many)


def test_a_task_typed_on_the_terminal_is_sampled_and_judged(model: Path) -> None:
    typed = "Double a number.\ndef double(n):\ndouble(2) == 4\n\n"
    done = CliRunner().invoke(app, ["try", str(model), "generation.max_new_tokens=4", "--samples", "2"], input=typed)
    assert done.exit_code == 0, done.output
    assert "assert double(2) == 4" in done.output and "0 of 2 samples pass" in done.output


def test_input_that_ends_too_early_is_one_line(model: Path) -> None:
    done = CliRunner().invoke(app, ["try", str(model)], input="Double a number.\n")
    assert isinstance(done.exception, ConfigError) and "ended before its tests did" in str(done.exception)
