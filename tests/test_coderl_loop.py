"""The training loop: no split of a batch changes the gradient; what is idle or invalid is left out rightly."""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.algorithms.grpo import grpo_loss  # noqa: E402
from coderl.config import NewModelConfig, OptimizerConfig, PolicyConfig, StageConfig  # noqa: E402
from coderl.errors import TrainingStopped  # noqa: E402
from coderl.experience import Example  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.base import Experience, MethodBase, TokenLoss  # noqa: E402
from coderl.policy import load_policy  # noqa: E402

NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, vocab_size=270, max_positions=64)


class Scripted(MethodBase):
    """A policy-gradient method on examples given in advance."""

    def __init__(self, policy, examples, *, micro_batch_tokens, normalize="token", scale=1.0, minibatches=1):
        super().__init__(policy, 1e-3)
        self.config = StageConfig(
            micro_batch_tokens=micro_batch_tokens, optimizer=OptimizerConfig(learning_rate=1e-3, max_grad_norm=1e9)
        )
        self.examples, self.normalize, self.max_tokens, self.scale = examples, normalize, 16, scale
        self.minibatches = minibatches

    def collect(self, step):
        return Experience(examples=self.examples)

    def loss(self, batch, step):
        logprobs = self._policy.logprobs(batch, 1.0)
        out = grpo_loss(logprobs, logprobs.detach(), None, batch.advantages, clip_low=0.2, clip_high=0.2, kl_coef=0.0)
        return TokenLoss(out.loss * self.scale, {})


def examples():
    torch.manual_seed(0)
    made = []
    for row in range(12):
        prompt = tuple(torch.randint(5, 200, (1 + row % 5,)).tolist())
        completion = tuple(torch.randint(5, 200, (1 + (row * 7) % 11,)).tolist())
        made.append(
            Example(
                prompt_ids=prompt,
                completion_ids=completion,
                advantages=torch.full((len(completion),), float(row - 5)),
                valid=row != 3,
                place=row,
            )
        )
    return made


def trainer(given, **settings):
    policy = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x): return x"])
    config = SimpleNamespace(seed=0, policy=PolicyConfig(model="new:"))
    bench = SimpleNamespace(accelerator=accelerate.Accelerator(cpu=True), policy=policy, config=config)
    return Trainer(bench, Scripted(policy, given, **settings), "scripted"), policy


def gradient_and_metrics(given, **settings):
    loop, policy = trainer(given, **settings)
    [(_, metrics)] = itertools.islice(loop.run(1), 1)
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None]), metrics


@pytest.mark.parametrize("normalize", ["token", "sequence", "constant"])
def test_micro_batches_do_not_change_the_gradient(normalize):
    """Correctness, point 23."""
    whole, _ = gradient_and_metrics(examples(), micro_batch_tokens=10_000, normalize=normalize)
    for budget in (1, 40):
        split, _ = gradient_and_metrics(examples(), micro_batch_tokens=budget, normalize=normalize)
        torch.testing.assert_close(split, whole, atol=1e-6, rtol=1e-4)


def test_the_order_of_the_batch_does_not_change_the_gradient():
    forward, _ = gradient_and_metrics(examples(), micro_batch_tokens=40)
    backward, _ = gradient_and_metrics(examples()[::-1], micro_batch_tokens=40)
    torch.testing.assert_close(backward, forward, atol=1e-6, rtol=1e-4)


def test_an_invalid_example_is_as_if_it_were_not_there():
    given = examples()
    with_it, _ = gradient_and_metrics(given, micro_batch_tokens=40)
    without, _ = gradient_and_metrics([e for e in given if e.valid], micro_batch_tokens=40)
    torch.testing.assert_close(without, with_it, atol=1e-6, rtol=1e-4)


def test_an_idle_example_counts_in_the_denominator_but_needs_no_model():
    given = examples()
    gradients = []
    for idle in (False, True):
        given[5] = replace(given[5], advantages=torch.zeros(len(given[5].completion_ids)), idle=idle)
        gradients.append(gradient_and_metrics(given, micro_batch_tokens=10_000)[0])
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-6, rtol=1e-4)


def test_the_gradient_raises_good_completions_and_lowers_bad_ones():
    good = Example(prompt_ids=(5,), completion_ids=(6, 7), advantages=torch.ones(2))
    bad = Example(prompt_ids=(8,), completion_ids=(9, 10), advantages=-torch.ones(2))
    loop, policy = trainer([good, bad], micro_batch_tokens=100)

    def logprob(example):
        from coderl.experience import collate

        batch = collate([example], [1.0], policy.pad_id, torch.device("cpu"))
        return float(policy.logprobs(batch, 1.0).sum().detach())

    before = logprob(good), logprob(bad)
    for _ in loop.run(5):
        pass
    assert logprob(good) > before[0]
    assert logprob(bad) < before[1]


def test_a_loss_that_is_not_finite_stops_the_run_with_a_remedy():
    with pytest.raises(TrainingStopped, match=r"loss is nan.*lower learning rate"):
        gradient_and_metrics(examples(), micro_batch_tokens=100, scale=float("nan"))


def test_state_of_a_trainer_restores_it_bit_for_bit():
    straight, policy = trainer(examples(), micro_batch_tokens=40, minibatches=2)
    for _ in straight.run(4):
        pass
    expected = policy.weights()

    first, _ = trainer(examples(), micro_batch_tokens=40, minibatches=2)
    for _ in first.run(2):
        pass
    state = first.state()
    second, resumed = trainer(examples(), micro_batch_tokens=40, minibatches=2)
    second.load_state(state, 2)
    for _ in second.run(4):
        pass
    for name, value in resumed.weights().items():
        assert torch.equal(value, expected[name]), name
