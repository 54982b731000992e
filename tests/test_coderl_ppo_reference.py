"""PPO against a second implementation, written here from the published equations, one number at a time, in float64.

Schulman et al. 2016, eq. 11 to 16 (GAE as the explicit sum), 2017, eq. 7 and 9; Ziegler et al. 2019, eq. 2; Ye et al. 2020,
eq. 5. TRL no longer ships PPO. Loss, and gradients with respect to logits and values, agree to 1e-5.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from coderl.algorithms.ppo import advantages_and_returns, token_rewards  # noqa: E402
from coderl.config import PpoConfig  # noqa: E402
from coderl.methods.ppo import Ppo  # noqa: E402

GAMMA, LAM, BETA = 0.97, 0.9, 0.05
LENGTHS = [5, 1, 3, 4]
N, T, V = len(LENGTHS), max(LENGTHS), 7


def drawn():
    torch.manual_seed(12)
    return SimpleNamespace(
        scores=torch.tensor([1.0, -0.5, 0.0, 12.0]),  # the last is clipped to 10
        old=-torch.rand(N, T) * 4,
        ref=-torch.rand(N, T) * 2,
        old_values=torch.randn(N, T) * 0.3,
        values=torch.randn(N, T) * 0.5,
        logits=2 * torch.randn(N, T, V),
        tokens=torch.randint(V, (N, T)),
        mask=(torch.arange(T) < torch.tensor(LENGTHS).unsqueeze(1)).float(),
        truncated=[False, True, False, True],
    )


def reference_advantages(x, *, bootstrap):
    """Per row: rewards by eq. 2, deltas, and A_t as the sum of (gamma lam)^l delta_{t+l}; returns are A + V."""
    advantages, returns = [], []
    for i, length in enumerate(LENGTHS):
        rewards = [-BETA * float(x.old[i, t] - x.ref[i, t]) for t in range(length)]
        rewards[-1] += max(-10.0, min(10.0, float(x.scores[i])))
        values = [float(v) for v in x.old_values[i, :length]]
        after = values[-1] if bootstrap and x.truncated[i] else 0.0
        following = [*values[1:], after]
        deltas = [r + GAMMA * f - v for r, f, v in zip(rewards, following, values, strict=True)]
        row = [sum((GAMMA * LAM) ** j * deltas[t + j] for j in range(length - t)) for t in range(length)]
        advantages.append(row)
        returns.append([a + v for a, v in zip(row, values, strict=True)])
    return advantages, returns


@pytest.mark.parametrize("bootstrap", [False, True])
def test_advantages_and_returns(bootstrap):
    x = drawn()
    rewards = token_rewards(x.scores, x.old, x.ref, x.mask, kl_coef=BETA, clip=10.0)
    last = x.old_values[torch.arange(N), torch.tensor(LENGTHS) - 1] * torch.tensor(x.truncated)
    advantages, returns = advantages_and_returns(
        rewards,
        x.old_values,
        x.mask,
        torch.ones(N),
        gamma=GAMMA,
        lam=LAM,
        whiten_advantages=True,
        bootstrap=last if bootstrap else None,
    )
    expected, expected_returns = reference_advantages(x, bootstrap=bootstrap)
    flat = [a for row in expected for a in row]
    mean = sum(flat) / len(flat)
    deviation = math.sqrt(sum((a - mean) ** 2 for a in flat) / (len(flat) - 1))
    for i, length in enumerate(LENGTHS):
        assert returns[i, :length].tolist() == pytest.approx(expected_returns[i], abs=1e-5)
        assert advantages[i, :length].tolist() == pytest.approx([(a - mean) / deviation for a in expected[i]], abs=1e-5)
        assert not advantages[i, length:].any() and not returns[i, length:].any()


@pytest.mark.parametrize("dual_clip", [None, 1.5])
def test_loss_and_gradients(dual_clip):
    x = drawn()
    config = PpoConfig(dual_clip=dual_clip, clip_high=0.3, value_clip=0.15, value_coef=0.7, entropy_coef=0.02, epochs=2)
    advantages, returns = torch.randn(N, T), torch.randn(N, T)
    weights = x.mask / x.mask.sum()

    logits, values = x.logits.clone().requires_grad_(), x.values.clone().requires_grad_()
    method = object.__new__(Ppo)
    method.config = method._rollout_config = config
    method._policy = SimpleNamespace(logits=lambda batch: logits)
    method._critic = lambda batch: values
    method._shared, method._on_policy, method._fresh, method._temperature = False, False, False, 0.8
    batch = SimpleNamespace(
        completion_ids=x.tokens,
        mask=x.mask,
        sequences=torch.arange(N).unsqueeze(1).expand(N, T),
        advantages=advantages,
        returns=returns,
        old_values=x.old_values,
        old_logprobs=x.old,
        ref_logprobs=x.ref,
        sampler_logprobs=x.old,
    )
    token_loss = method.loss(batch, step=0).loss
    loss = (weights * token_loss).sum()
    loss.backward()

    their_logits, their_values = x.logits.double().requires_grad_(), x.values.double().requires_grad_()
    number = lambda value: float(value.detach())
    terms = []
    branches = set()
    for i, length in enumerate(LENGTHS):
        for t in range(length):
            p = torch.softmax(their_logits[i, t] / 0.8, 0)
            ratio = p[x.tokens[i, t]] / math.exp(float(x.old[i, t]))
            a = float(advantages[i, t])
            limited = min(max(number(ratio), 0.8), 1.3)
            objective = (
                ratio * a if number(ratio) * a <= limited * a else torch.tensor(limited * a, dtype=torch.float64)
            )
            branches.add("clipped" if number(ratio) * a > limited * a else "free")
            if dual_clip is not None and a < 0 and number(objective) < dual_clip * a:
                objective = torch.tensor(dual_clip * a, dtype=torch.float64)
                branches.add("dual")
            v, old, target = their_values[i, t], float(x.old_values[i, t]), float(returns[i, t])
            near = old + min(max(number(v) - old, -0.15), 0.15)
            plain = (v - target) ** 2
            inside = abs(number(v) - old) < 0.15
            bounded = plain if inside else torch.tensor((near - target) ** 2, dtype=torch.float64)
            value = 0.5 * (plain if number(plain) >= number(bounded) else bounded)
            branches.add("value free" if number(plain) >= number(bounded) else "value clipped")
            entropy = -(p * p.log()).sum()
            terms.append(-objective + 0.7 * value - 0.02 * entropy)
    expected = sum(terms) / len(terms)
    expected.backward()
    assert branches >= {"clipped", "free", "value free", "value clipped"} | ({"dual"} if dual_clip else set())
    torch.testing.assert_close(loss.double(), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(logits.grad.double(), their_logits.grad, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values.grad.double(), their_values.grad, atol=1e-5, rtol=1e-5)


def test_two_tokens_by_hand():
    """gamma 1, lam 0.5, beta 0.1, V = (0.2, 0.4), score 1, old - ref = (0.5, -0.5).

    rewards: -0.05, 0.05 + 1. delta_1 = 1.05 - 0.4 = 0.65; delta_0 = -0.05 + 0.4 - 0.2 = 0.15; A = (0.15 + 0.5 * 0.65, 0.65).
    """
    old, ref, mask = torch.tensor([[-1.0, -1.5]]), torch.tensor([[-1.5, -1.0]]), torch.ones(1, 2)
    rewards = token_rewards(torch.tensor([1.0]), old, ref, mask, kl_coef=0.1, clip=10.0)
    assert rewards[0].tolist() == pytest.approx([-0.05, 1.05])
    advantages, returns = advantages_and_returns(
        rewards, torch.tensor([[0.2, 0.4]]), mask, torch.ones(1), gamma=1.0, lam=0.5, whiten_advantages=False
    )
    assert advantages[0].tolist() == pytest.approx([0.475, 0.65])
    assert returns[0].tolist() == pytest.approx([0.675, 1.05])
