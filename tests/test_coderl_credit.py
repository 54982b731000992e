"""Do lines that ran, and the line that failed, become the right tokens?"""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.config import NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.credit import credit, token_lines, token_spans, unexecuted_lines  # noqa: E402
from coderl.extract import located_program  # noqa: E402
from coderl.generate import Sample  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.grpo import Grpo  # noqa: E402
from coderl.methods.ppo import Ppo  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.prompts import Prompt, PromptRenderer  # noqa: E402
from coderl.rollout import Rollout  # noqa: E402
from coderl.workbench import Workbench  # noqa: E402
from sandbox import CallCase, Coverage, Grader, Integrity, Isolation, Outcome, Verdict  # noqa: E402
from tasks.task import Split, Style, Task  # noqa: E402

TASK = Task(
    id="t/sign",
    prompt="Write sign.",
    style=Style.INSTRUCTION,
    split=Split.TRAIN,
    visible=(CallCase(function="sign", args=(5,), expected=1),),
    hidden=(),
)

BRANCHES = '''\
import os
def f(x):
    """Two
    lines."""
    if (x and
            os):
        # one
        y = [
            x,
        ]
    elif x is None:
        y = 2
    else:
        # three
        y = 3
    try:
        return y
    except ValueError:
        pass
    # the end
@staticmethod
def g(x):
    global z
    return x
# last
'''


def test_a_statement_ran_if_a_line_of_it_did_and_comments_go_with_what_follows():
    # f(1): line 10 closes the list; g is made (21 and 22) but its body (23, 24) never runs.
    ran = (1, 2, 5, 6, 8, 9, 16, 17, 21, 22)
    assert unexecuted_lines(BRANCHES, ran) == {11, 12, 13, 14, 15, 18, 19, 23, 24}
    assert unexecuted_lines(BRANCHES, (1, 2, 5, 11, 12, 16, 17, 21)) == {8, 9, 10, 13, 14, 15, 18, 19, 23, 24}


def test_without_lines_or_a_syntax_tree_nothing_is_dead():
    assert unexecuted_lines(BRANCHES, ()) == unexecuted_lines("def f(:\n", (1,)) == frozenset()


def test_a_line_that_holds_two_statements_ran_if_one_did():
    assert unexecuted_lines("if x: y = 1\nwhile y:\n    z = 1; break\n", (1, 2)) == {3}
    assert unexecuted_lines("match x:\n    case 1:\n        y = 1\n    case _:\n        y = 2\n", (1, 2, 4, 5)) == {3}


def decode_bytes(ids):
    """A tokenizer of bytes: a character of two bytes is two tokens."""
    return bytes(ids).decode("utf-8", "replace")


def test_spans_of_tokens_that_are_parts_of_a_character():
    assert token_spans(list("aéb".encode()), "aéb", decode_bytes) == [(0, 1), (1, 1), (1, 2), (2, 3)]


def test_spans_of_whole_tokens_and_of_a_stop_token():
    words = {0: "def", 1: " f():\n", 2: "<eos>"}
    assert token_spans([0, 1, 2], "def f():\n", lambda ids: "".join(words[i] for i in ids)) == [(0, 3), (3, 9), (9, 9)]


@pytest.mark.parametrize(
    ("span", "lines"),
    [
        ((0, 1), {1}),
        ((1, 2), {1}),  # a line end belongs to the line that it ends
        ((1, 4), {2}),  # a line end and what follows: what can be seen
        ((2, 3), {2}),  # white space alone: its line
        ((1, 3), {1, 2}),  # white space of two lines
        ((0, 4), {1, 2}),  # something of two lines
        ((3, 9), set()),  # a part of the fence, too
        ((6, 9), set()),
        ((9, 9), set()),  # the stop token
    ],
)
def test_a_token_belongs_to_the_lines_that_it_shows_something_of(span, lines):
    text, program = "a\n b\n```x", "a\n b\n"
    assert token_lines(text, span, program, 0) == lines
    # after a head of one line, as of a completion task
    assert token_lines(text, span, "head\n" + program, 5) == {line + 1 for line in lines}


@pytest.mark.parametrize(
    ("prefix", "completion", "stop"),
    [
        ("", "Sure:\n```python\nx = 'é'\ny = 2\n```\nDone.", ()),
        ("```python\nx = 'é'\n", "y = 2\n```", ()),
        ("", "x = 'é'\ny = 2", ()),
        ("", "x = 'é'\ny = 2\nprint(1)", ("\nprint",)),
    ],
)
def test_the_shift_leads_from_the_completion_into_the_program(prefix, completion, stop):
    program, shift = located_program(TASK, completion, response_prefix=prefix, stop=stop, truncated=False)
    assert program == "x = 'é'\ny = 2\n"
    at = completion.index("y = 2")
    assert program[at + shift :] == "y = 2\n"


SIGN = "```py\ndef sign(x):\n    if x > 0:\n        return 1\n    é = -x\n    raise E\n```"


def rollout(text, coverage, *, prefix="", outcome=Outcome.AC):
    ids = tuple(text.encode())
    program, _ = located_program(TASK, text, response_prefix=prefix, truncated=False)
    verdict = Verdict(
        outcome=outcome,
        cases=(),
        integrity=Integrity.SEPARATED,
        isolation=Isolation(backend="none"),
        coverage=coverage,
    )
    return Rollout(
        stage="0_grpo", step=1, task_id=TASK.id, sample_index=0, seed=0, prompt_ids=(1,), completion_ids=ids,
        logprobs=(0.0,) * len(ids), truncated=False, completion=text, program=program, verdict=verdict,
    )  # fmt: skip


def shown(mask, ids):
    return bytes(token for token, own in zip(ids, mask.tolist(), strict=True) if own).decode()


@pytest.mark.parametrize("prefix", ["", "```py\ndef sign(x):\n"])
def test_the_mask_of_a_fenced_program_by_hand(prefix):
    text = SIGN.removeprefix(prefix)
    one = rollout(text, Coverage(lines=(1, 2, 3)), prefix=prefix)
    found = credit(one, TASK, Prompt(ids=(1,), response_prefix=prefix), (), decode_bytes)
    assert shown(1 - found.ran, one.completion_ids) == "    é = -x\n    raise E\n"
    assert found.failed.sum() == 0
    two = rollout(text, Coverage(lines=(1, 2, 4, 5), failed_line=5), prefix=prefix)
    found = credit(two, TASK, Prompt(ids=(1,), response_prefix=prefix), (), decode_bytes)
    assert shown(1 - found.ran, two.completion_ids) == "        return 1\n"
    assert shown(found.failed, two.completion_ids) == "    raise E\n"


def test_without_coverage_and_for_a_program_of_which_nothing_is_known_all_tokens_count():
    for coverage in (None, Coverage(lines=())):
        one = rollout(SIGN, coverage)
        found = credit(one, TASK, Prompt(ids=(1,), response_prefix=""), (), decode_bytes)
        assert found.ran.all() and not found.failed.any()


# In training: a policy that says what it is told, on the true sandbox.

PREFIX = "```py"
TAIL = "```"
DEAD = " y = 3\n"  # but for the token of a line end and three blanks before, which belongs to the line above, too
PASSES = "\ndef sign(x):\n    return 1\n    y = 3\n"  # the last line never runs
FAILS = "\ndef sign(x):\n    raise E\n    y = 3\n"


@pytest.fixture(scope="module")
def grader():
    with Grader(workers=1) as opened:
        yield opened


def method(grader, monkeypatch, stage, **changes):
    config = parse(
        {
            "stages": [stage],
            "policy": {"model": "new:"},
            "tasks": {"train": ["generated"]},
            "prompt": {"response_prefix": PREFIX},
            "generation": {"max_new_tokens": 90},
            stage: {"prompts_per_step": 1, "samples_per_prompt": 2, **changes},
        }
    )
    new = NewModelConfig(
        hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=262, max_positions=160
    )
    policy = load_policy(PolicyConfig(model="new:", new=new), seed=0, corpus=[PASSES])
    said = iter([PASSES + TAIL, FAILS + TAIL])

    class Told:
        """In place of the decoding of a batch."""

        def __init__(self, model, decoder, requests, *rest):
            self._requests = requests

        def run(self, tokenizer, *rest):
            for request in self._requests:
                ids = (*tokenizer(next(said), add_special_tokens=False)["input_ids"], *policy.eos_ids)
                yield Sample(key=request.key, ids=ids, logprobs=(-5.0,) * len(ids), truncated=False)

    monkeypatch.setattr("coderl.generate._Decoding", Told)
    bench = Workbench(
        config=config, accelerator=accelerate.Accelerator(cpu=True), policy=policy,
        renderer=PromptRenderer(policy.tokenizer, config.prompt), grader=grader,
        train_tasks=[TASK], sft_tasks=[], test_tasks=[],
    )  # fmt: skip
    return bench, (Grpo if stage == "grpo" else Ppo)(bench, getattr(config, stage), f"0_{stage}")


def tokens(policy, example, mask):
    return policy.tokenizer.decode([t for t, own in zip(example.completion_ids, mask.tolist(), strict=True) if own])


def test_grpo_gives_no_loss_to_lines_that_never_ran_and_less_to_the_failing_one(grader, monkeypatch):
    bench, grpo = method(grader, monkeypatch, "grpo", coverage_mask=True, failing_line_penalty=0.25)
    found = grpo.collect(0)
    one, two = found.examples
    assert tokens(bench.policy, one, 1 - one.loss_mask) == tokens(bench.policy, two, 1 - two.loss_mask) == DEAD
    # rewards 1 and 0: advantages +-(1/2) / (0.70711 + 1e-4), and 0.25 less on the line that raised
    base = 0.5 / (0.5**0.5 + 1e-4)
    assert one.advantages.tolist() == pytest.approx([base] * len(one.completion_ids))
    lowered = two.advantages < -base - 0.1
    assert tokens(bench.policy, two, lowered) == "\n    raise E\n   "  # with tokens that are white space of two lines
    assert two.advantages[lowered].tolist() == pytest.approx([-base - 0.25] * int(lowered.sum()))
    masked = sum(int((1 - e.loss_mask).sum()) for e in found.examples)
    assert found.metrics["credit/tokens_not_run"] == pytest.approx(
        masked / sum(len(e.completion_ids) for e in (one, two))
    )
    assert found.metrics["credit/failing_line"] == 0.5


def gradients(bench, grpo, examples):
    trainer = Trainer(bench, grpo, "0_grpo")
    trainer._optimizer.step = lambda: None
    trainer._optimizer_step(examples, examples, 0)
    return [p.grad.clone() for p in bench.policy.model.parameters()]


def test_what_a_masked_token_is_paid_changes_no_gradient(grader, monkeypatch):
    bench, grpo = method(grader, monkeypatch, "grpo", coverage_mask=True)
    examples = grpo.collect(0).examples
    before = gradients(bench, grpo, examples)
    bribed = [replace(e, advantages=e.advantages + 100 * (1 - e.loss_mask)) for e in examples]
    for old, new in zip(before, gradients(bench, grpo, bribed), strict=True):
        assert torch.equal(old, new)
    paid = [replace(e, advantages=e.advantages + 100 * e.loss_mask) for e in examples]
    assert any(not torch.equal(old, new) for old, new in zip(before, gradients(bench, grpo, paid), strict=True))


def test_ppo_pays_the_failing_line_and_leaves_lines_that_never_ran_to_the_critic_alone(grader, monkeypatch):
    changes = {"kl_coef": 0.0, "lam": 1.0, "whiten_advantages": False}
    bench, ppo = method(grader, monkeypatch, "ppo", coverage_mask=True, failing_line_penalty=0.5, **changes)
    one, two = ppo.collect(0).examples
    for example in (one, two):
        assert tokens(bench.policy, example, (example.advantages == 0) & (example.returns != 0)) in ("", DEAD)
    # values are 0 and lam 1, so the return of a token is what is still to come: 1 for the pass; for the failure -0.5 before
    # the line that raised, less and less on it, 0 after it
    assert one.returns.tolist() == pytest.approx([1.0] * len(one.completion_ids))
    assert tokens(bench.policy, one, one.advantages == 0) == DEAD
    assert float(two.returns[0]) == pytest.approx(-0.5) and float(two.returns[-1]) == 0
    on_line = (two.returns < 0).tolist()
    text = bench.policy.tokenizer.decode(two.completion_ids[: sum(on_line)])
    assert text == FAILS.removesuffix(DEAD)


def test_nothing_is_traced_unless_asked_for(grader, monkeypatch):
    _, grpo = method(grader, monkeypatch, "grpo")
    found = grpo.collect(0)
    assert all(r.verdict.coverage is None for r in found.rollouts)
    assert all(e.loss_mask is None for e in found.examples)
    assert "credit/tokens_not_run" not in found.metrics
