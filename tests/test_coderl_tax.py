"""The alignment tax: the rule by hand, losses against the model's own logits, the command on two tiny models."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from command_line import coderl, save_tiny_model

from coderl.evaluate.tax import Loss, Side, perplexity, tax

SIDE = Side(
    model="m",
    rates={f"a/{i}": 0.5 for i in range(10)} | {f"b/{i}": 0.25 for i in range(10)},
    references={"a/0": Loss(nats=4.0, tokens=8), "a/1": Loss(nats=1.0, tokens=2)},
    texts={},
    tokens=10.0,
    truncated=0.0,
    no_program=0.0,
)


def test_a_policy_compared_with_itself_pays_no_tax():
    found = tax(SIDE, SIDE)
    assert (found.verdict, found.reasons, found.lost, found.gained, found.mcnemar_p) == (
        "no tax found",
        (),
        (),
        (),
        1.0,
    )
    assert found.solved == (10, 10)  # those of a: half of their samples pass
    assert [(c.source, c.num_tasks, c.before, c.after) for c in found.sources] == [
        ("a", 10, 0.5, 0.5),
        ("b", 10, 0.25, 0.25),
    ]


def test_a_fall_on_one_source_is_a_tax_even_where_another_gains_more():
    after = {f"a/{i}": 1.0 for i in range(10)} | {f"b/{i}": 0.0 for i in range(10)}
    found = tax(SIDE, replace(SIDE, rates=after))
    assert found.verdict == "tax"
    assert found.reasons == ("pass@1 of b fell by 25.0%",)


def test_tasks_lost_are_a_tax_only_if_more_than_chance_gains_back():
    before = replace(SIDE, rates={f"a/{i}": float(i < 8) for i in range(16)})
    # 8 lost, 8 gained: p 1; 8 lost, none gained: p 2/256
    even = tax(before, replace(SIDE, rates={f"a/{i}": float(i >= 8) for i in range(16)}))
    assert (len(even.lost), len(even.gained), even.mcnemar_p, even.verdict) == (8, 8, 1.0, "no tax found")
    worse = tax(before, replace(SIDE, rates={f"a/{i}": 0.0 for i in range(16)}))
    assert worse.lost == tuple(f"a/{i}" for i in range(8))
    assert worse.mcnemar_p == 2 / 256
    assert "8 tasks lost, 0 gained (p 0.0078)" in worse.reasons


def test_a_task_without_a_scorable_sample_on_one_side_takes_no_part():
    found = tax(SIDE, replace(SIDE, rates={"a/0": 0.5, "c/0": 1.0}))
    assert [(c.source, c.num_tasks) for c in found.sources] == [("a", 1)]
    with pytest.raises(ValueError, match="no task"):
        tax(SIDE, replace(SIDE, rates={}))


def test_perplexity_is_exp_of_nats_over_tokens_whatever_the_documents_are_cut_into():
    after = {"a/0": Loss(nats=8.0, tokens=8), "a/1": Loss(nats=2.0, tokens=2)}
    found = perplexity(SIDE.references, after)
    assert found is not None
    assert (found.before, found.after) == pytest.approx((math.exp(0.5), math.exp(1.0)))
    # both documents pay half a nat more per token: every draw has the same ratio
    assert (found.ratio, found.low, found.high) == pytest.approx((math.exp(0.5),) * 3)
    assert perplexity({}, {}) is None
    with pytest.raises(ValueError, match="same tokens"):
        perplexity(SIDE.references, {"a/0": Loss(nats=8.0, tokens=9)})


def test_a_rise_of_perplexity_is_a_tax_and_one_within_the_noise_is_not():
    many = {f"a/{i}": Loss(nats=10.0, tokens=10) for i in range(40)}
    before = replace(SIDE, texts=many)
    rise = {name: Loss(nats=11.0, tokens=10) for name in many}
    assert tax(before, replace(before, texts=rise)).reasons == ("perplexity of text rose by 10.5%",)  # exp(0.1)
    noisy = {name: Loss(nats=10.0 + (30 if i % 8 == 0 else -4), tokens=10) for i, name in enumerate(many)}
    found = tax(before, replace(before, texts=noisy))
    assert found.texts is not None and found.texts.ratio == pytest.approx(math.exp(0.025))
    assert found.verdict == "no tax found"


def test_completions_that_lose_their_format_are_a_tax():
    found = tax(SIDE, replace(SIDE, truncated=0.06, no_program=0.04))
    assert found.reasons == ("6.0% of completions are cut off, 0.0% before",)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two tiny models with one tokenizer, and one with another."""
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("models")
    save_tiny_model(folder / "before")
    save_tiny_model(folder / "after", seed=1)
    save_tiny_model(folder / "other", corpus=["x = [1, 2, 3]"] * 9)
    return folder


TASKS = ("--tasks", "generated?family=compose&level=1&split=test&count=3&seed=0", "--samples", "2")


def test_losses_are_those_of_the_logits_and_windows_cover_a_text(models):
    torch = pytest.importorskip("torch")
    from coderl.config import PolicyConfig, PromptConfig
    from coderl.evaluate.losses import reference_losses, text_losses
    from coderl.policy import load_policy
    from coderl.prompts import PromptRenderer
    from tasks.registry import load

    policy = load_policy(PolicyConfig(model=str(models / "before")), seed=0)

    def expected(ids, first):
        logits = policy.model(torch.tensor([ids])).logits[0].detach().log_softmax(-1)
        return -sum(float(logits[i - 1, ids[i]]) for i in range(first, len(ids)))

    text = "for i in range(10):\n    print(i)\n" * 12
    ids = policy.tokenizer(text, verbose=False)["input_ids"]
    found = text_losses(policy, {"t": text})
    assert len(ids) > 128  # more than one window of the model's 128 positions
    assert [loss.tokens for loss in found.values()] == [len(ids[i : i + 128]) - 1 for i in range(0, len(ids), 128)]
    assert found["t 0"].nats == pytest.approx(expected(ids[:128], 1), rel=1e-5)
    [task] = load("generated?family=compose&level=1&split=test&count=1&seed=0")
    renderer = PromptRenderer(policy.tokenizer, PromptConfig())
    prompt = renderer.render(task)
    whole = [*prompt.ids, *policy.encode_completion(renderer.target(task, prompt))]
    [loss] = reference_losses(policy, renderer, [task]).values()
    assert (loss.nats, loss.tokens) == (
        pytest.approx(expected(whole, len(prompt.ids)), rel=1e-5),
        len(whole) - len(prompt.ids),
    )


def test_the_command_measures_both_models_and_says_what_it_found(models, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    (tmp_path / "text.txt").write_text("Whatever a person writes. " * 20)
    out = tmp_path / "tax.json"
    given = ("--model", models / "after", "--tax", models / "before", "--text", tmp_path / "text.txt", "--out", out)
    code, printed, _ = coderl(monkeypatch, capsys, "eval", *given, *TASKS, "generation.max_new_tokens=8")
    assert code == 0
    record = json.loads(out.read_text())
    assert record["told"] == printed.splitlines()[:-1]
    assert record["told"][0].startswith(record["verdict"])
    assert (record["before"], record["after"]) == (str(models / "before"), str(models / "after"))
    assert record["sources"][0]["num_tasks"] == 3
    assert record["references"]["before"] != record["references"]["after"]
    assert record["texts"]["num_documents"] >= 1
    assert sorted(p.name for p in (tmp_path / "tax.rollouts").iterdir()) == ["after", "before"]


def test_a_model_with_another_tokenizer_is_refused(models, tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    given = ("--model", models / "after", "--tax", models / "other", "--out", tmp_path / "x.json")
    code, _, err = coderl(monkeypatch, capsys, "eval", *given, *TASKS, "generation.max_new_tokens=8")
    assert code == 2
    assert "another tokenizer" in err.splitlines()[-1]
    assert not (tmp_path / "x.json").exists()


def test_text_without_a_model_to_compare_with_is_refused(tmp_path, monkeypatch, capsys):
    code, out, err = coderl(monkeypatch, capsys, "eval", "--model", "m", "--tasks", "easy", "--text", tmp_path / "t")
    assert (code, out) == (2, "")
    assert "--tax BEFORE" in err
