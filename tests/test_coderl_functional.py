"""The shared mathematics, against hand-computed numbers and invariances."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from coderl import functional as F  # noqa: E402
from coderl.algorithms.grpo import grpo_loss, reward_to_go, sample_advantages  # noqa: E402
from coderl.algorithms.ppo import RunningMoments, advantages_and_returns, token_rewards  # noqa: E402

NAN = math.nan


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float32)


def test_selected_logprobs_divide_by_the_temperature_before_normalising():
    """Correctness, point 7."""
    # logits [0, ln 3] at T=1: p = [1/4, 3/4]; at T=0.5 the logits double: [0, ln 9], p = [1/10, 9/10].
    logits = torch.tensor([[[0.0, math.log(3)]]])
    assert F.selected_logprobs(logits, torch.tensor([[1]]), 1.0).item() == pytest.approx(math.log(0.75), abs=1e-6)
    assert F.selected_logprobs(logits, torch.tensor([[0]]), 0.5).item() == pytest.approx(math.log(0.1), abs=1e-6)


def test_selected_logprobs_do_not_depend_on_the_chunk_size():
    logits, tokens = torch.randn(7, 5, 11), torch.randint(11, (7, 5))
    whole = torch.log_softmax(logits, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    for rows in (1, 8, 64):
        torch.testing.assert_close(F.selected_logprobs(logits, tokens, 1.0, chunk_tokens=rows), whole)


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_the_gradient_of_selected_logprobs_is_that_of_log_softmax(rows):
    torch.manual_seed(0)
    tokens, weights = torch.randint(11, (2, 5)), torch.randn(2, 5)
    grads = []
    for chunked in (False, True):
        logits = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(1), requires_grad=True)
        if chunked:
            logprobs = F.selected_logprobs(logits, tokens, 0.7, chunk_tokens=rows)
        else:
            logprobs = torch.log_softmax(logits / 0.7, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        (weights * logprobs).sum().backward()
        grads.append(logits.grad)
    torch.testing.assert_close(grads[1], grads[0], atol=1e-6, rtol=1e-6)


def test_selected_logprobs_of_bfloat16_logits_are_computed_in_float32():
    """Correctness, point 8."""
    logits = torch.randn(2, 3, 50).bfloat16()
    tokens = torch.randint(50, (2, 3))
    exact = torch.log_softmax(logits.double(), -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(F.selected_logprobs(logits, tokens, 1.0).double(), exact, atol=1e-5, rtol=1e-5)


def test_temperature_zero_is_refused():
    """Correctness, point 7."""
    with pytest.raises(ValueError, match="above 0"):
        F.selected_logprobs(torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long), 0.0)


def test_entropy_of_a_uniform_distribution_is_log_of_its_size():
    assert F.entropy(torch.zeros(1, 1, 8), 0.7).item() == pytest.approx(math.log(8), abs=1e-6)


def test_whitening_uses_only_masked_values_and_leaves_zero_elsewhere():
    # masked values 1, 2, 3: mean 2, unbiased variance 1 -> -1, 0, 1
    values, mask = tensor([1, 2, 3, 99]), tensor([1, 1, 1, 0])
    torch.testing.assert_close(F.whiten(values, mask), tensor([-1, 0, 1, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(F.whiten(values, mask, shift_mean=False), tensor([1, 2, 3, 0]), atol=1e-5, rtol=0)


def test_whitening_survives_one_token_and_zero_variance():
    assert F.whiten(tensor([5, 7]), tensor([1, 0])).tolist() == [[0, 0]]
    assert F.whiten(tensor([4, 4]), tensor([1, 1])).tolist() == [[0, 0]]


def test_kl_estimates_by_hand():
    # log p - log q = ln 2: k1 = ln 2, k2 = ln(2)^2 / 2, k3 = 1/2 - 1 + ln 2
    k1, k2, k3 = F.kl_estimates(tensor([math.log(2)]), tensor([0.0]))
    assert k1.item() == pytest.approx(math.log(2))
    assert k2.item() == pytest.approx(math.log(2) ** 2 / 2)
    assert k3.item() == pytest.approx(math.log(2) - 0.5)


def test_k1_and_k3_are_unbiased_for_samples_of_the_policy():
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = (p * (p / q).log()).sum()
    k1, _, k3 = F.kl_estimates(p.log(), q.log())
    torch.testing.assert_close((p * k1).sum(), exact)
    torch.testing.assert_close((p * k3).sum(), exact)
    assert bool((k3 >= 0).all()) and bool((k1 < 0).any())


def test_surrogate_clips_gains_but_not_losses():
    # ratio 2 (old = 0, new = ln 2), clip 0.2 / 0.3.  A = +1: -min(2, 1.3) = -1.3, clipped. A = -1: -min(-2, -1.3) = 2.
    lp, old = tensor([math.log(2), math.log(2)]), tensor([0, 0])
    out = F.clipped_surrogate(lp - old, tensor([1, -1]), clip_low=0.2, clip_high=0.3)
    torch.testing.assert_close(out.loss, tensor([-1.3, 2.0]))
    assert out.clipped.tolist() == [[True, False]]


def test_dual_clip_bounds_the_loss_of_a_bad_token_with_a_huge_ratio():
    # ratio 10, A = -1: plain loss 10, dual clip 3 -> 3; A = +1 is untouched by it: -1.2
    lp, old = tensor([math.log(10), math.log(10)]), tensor([0, 0])
    out = F.clipped_surrogate(lp - old, tensor([-1, 1]), clip_low=0.2, clip_high=0.2, dual_clip=3.0)
    torch.testing.assert_close(out.loss, tensor([3.0, -1.2]))


def test_on_policy_loss_is_minus_the_advantage_and_its_gradient_is_not_zero():
    lp = tensor([-1.0, -2.0]).requires_grad_()
    out = grpo_loss(lp, lp.detach(), None, tensor([0.5, -0.5]), clip_low=0.2, clip_high=0.2, kl_coef=0.0)
    assert out.ratio.tolist() == [[1.0, 1.0]]
    assert out.loss.sum().item() == pytest.approx(0.0)
    out.loss.sum().backward()
    assert lp.grad.tolist() == [[-0.5, 0.5]]  # raising the log-probability of the good token lowers the loss


def test_grpo_adds_k3_to_the_reference():
    lp, ref = tensor([math.log(2)]), tensor([0.0])
    out = grpo_loss(lp, lp, ref, tensor([0.0]), clip_low=0.2, clip_high=0.2, kl_coef=0.1)
    assert out.loss.item() == pytest.approx(0.1 * (math.log(2) - 0.5))


def test_value_loss_takes_the_worse_of_clipped_and_plain():
    # V 2, V_old 0, R 1, clip 0.5: plain (2-1)^2 = 1; clipped V = 0.5: 0.25 -> 0.5 * 1
    loss, clipped = F.clipped_value_loss(tensor([2.0]), tensor([0.0]), tensor([1.0]), 0.5)
    assert (loss.item(), clipped.item()) == (0.5, False)
    # V 1, V_old 0, R 1.2, clip 0.5: plain 0.04; clipped (0.5 - 1.2)^2 = 0.49 -> 0.245
    loss, clipped = F.clipped_value_loss(tensor([1.0]), tensor([0.0]), tensor([1.2]), 0.5)
    assert loss.item() == pytest.approx(0.245)
    assert clipped.item() is True


def test_gae_by_hand_with_padding():
    # gamma 0.9, lam 0.5; row: r = [0, 1, pad], V = [0.2, 0.4, 9]
    # delta_1 = 1 + 0 - 0.4 = 0.6; delta_0 = 0 + 0.9*0.4 - 0.2 = 0.16; A_0 = 0.16 + 0.45*0.6 = 0.43
    advantages, returns = F.gae(tensor([0, 1, 5]), tensor([0.2, 0.4, 9]), tensor([1, 1, 0]), gamma=0.9, lam=0.5)
    torch.testing.assert_close(advantages, tensor([0.43, 0.6, 0]))
    torch.testing.assert_close(returns, tensor([0.63, 1.0, 0]))


def test_gae_bootstraps_only_where_told():
    # one token, r 0, V 0.5, bootstrap 2, gamma 0.5: delta = 0 + 0.5*2 - 0.5 = 0.5
    advantages, _ = F.gae(
        tensor([0.0]), tensor([0.5]), tensor([1.0]), gamma=0.5, lam=1.0, bootstrap=torch.tensor([2.0])
    )
    assert advantages.item() == pytest.approx(0.5)


def test_gae_with_lambda_one_gives_the_discounted_return():
    rewards, values = torch.randn(3, 6), torch.randn(3, 6)
    _, returns = F.gae(rewards, values, torch.ones(3, 6), gamma=0.9, lam=1.0)
    expected = sum(0.9**t * rewards[:, t] for t in range(6))
    torch.testing.assert_close(returns[:, 0], expected)


def test_padding_does_not_change_advantages():
    rewards, values = torch.randn(2, 4), torch.randn(2, 4)
    mask = tensor([1, 1, 1, 0], [1, 1, 1, 1])
    wide = [torch.cat([x, torch.randn(2, 3)], 1) for x in (rewards, values)]
    wide_mask = torch.cat([mask, torch.zeros(2, 3)], 1)
    narrow = advantages_and_returns(rewards, values, mask, torch.ones(2), gamma=0.9, lam=0.8, whiten_advantages=True)
    padded = advantages_and_returns(*wide, wide_mask, torch.ones(2), gamma=0.9, lam=0.8, whiten_advantages=True)
    torch.testing.assert_close(padded[0][:, :4], narrow[0])
    torch.testing.assert_close(padded[1][:, :4], narrow[1])


def test_score_lands_on_the_last_response_token_and_kl_on_every_token():
    """Correctness, point 12."""
    # row 0 has 2 tokens, row 1 has 3; k1 = old - ref = 0.5 everywhere; beta 0.1 -> -0.05 per token
    mask = tensor([1, 1, 0], [1, 1, 1])
    old, ref = torch.full((2, 3), -1.0), torch.full((2, 3), -1.5)
    rewards = token_rewards(torch.tensor([1.0, -20.0]), old, ref, mask, kl_coef=0.1, clip=10.0)
    torch.testing.assert_close(rewards, tensor([-0.05, 0.95, 0], [-0.05, -0.05, -10.05]))


def test_unscorable_samples_take_no_part_in_whitening():
    rewards, values = tensor([1, 0], [0, 0], [50, 50]), torch.zeros(3, 2)
    mask = torch.ones(3, 2)
    whitened, _ = advantages_and_returns(
        rewards, values, mask, torch.tensor([1.0, 1.0, 0.0]), gamma=1.0, lam=1.0, whiten_advantages=True
    )
    alone, _ = advantages_and_returns(
        rewards[:2], values[:2], mask[:2], torch.ones(2), gamma=1.0, lam=1.0, whiten_advantages=True
    )
    torch.testing.assert_close(whitened[:2], alone)
    assert whitened[2].tolist() == [0, 0]


def test_group_advantages_by_hand():
    """Correctness, point 21."""
    # rewards 1, 0, 0, 1: mean 0.5, unbiased std sqrt(1/3) = 0.57735 -> +-0.866
    rewards, groups = torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.zeros(4, dtype=torch.long)
    scaled = F.group_advantages(rewards, groups, scale="std")
    torch.testing.assert_close(scaled, torch.tensor([1.0, -1, -1, 1]) * 0.5 / (math.sqrt(1 / 3) + 1e-4))
    assert F.group_advantages(rewards, groups, scale="none").tolist() == [0.5, -0.5, -0.5, 0.5]


def test_unscorable_samples_leave_the_baseline_and_get_zero():
    """Correctness, point 22."""
    rewards = torch.tensor([1.0, NAN, 0.0, NAN, 1.0, NAN])
    groups = torch.tensor([0, 0, 0, 1, 1, 1])
    assert F.group_advantages(rewards, groups, scale="none").tolist() == [0.5, 0.0, -0.5, 0.0, 0.0, 0.0]


def test_groups_without_variance_get_zero_even_for_rewards_that_are_not_exact():
    """Correctness, point 21."""
    rewards = torch.tensor([0.1, 0.1, 0.1])
    assert F.group_advantages(rewards, torch.zeros(3, dtype=torch.long), scale="std").tolist() == [0, 0, 0]


@pytest.mark.parametrize("normalize", ["token", "sequence"])
def test_weights_of_all_tokens_of_a_step_sum_to_one(normalize):
    """Correctness, point 23."""
    lengths, valid = torch.tensor([3, 1, 5, 2]), torch.tensor([True, True, False, True])
    weights = F.token_weights(lengths, valid, normalize=normalize, max_tokens=8, total_tokens=6, total_sequences=3)
    assert (weights * lengths).sum().item() == pytest.approx(1.0)
    assert weights[2].item() == 0


@pytest.mark.parametrize("normalize", ["token", "sequence"])
def test_a_sequence_that_counts_twice_counts_as_if_it_were_there_twice(normalize):
    lengths = torch.tensor([3, 5])
    totals = {
        "token": {"total_tokens": 11, "total_sequences": 0},
        "sequence": {"total_tokens": 0, "total_sequences": 3},
    }
    options = {"normalize": normalize, "max_tokens": 8, **totals[normalize]}
    once = F.token_weights(torch.tensor([3, 3, 5]), torch.ones(3), **options)
    twice = F.token_weights(lengths, torch.tensor([2.0, 1.0]), **options)
    assert twice[0].item() == pytest.approx((once[0] + once[1]).item())
    assert twice[1].item() == pytest.approx(once[2].item())
    assert (twice * lengths).sum().item() == pytest.approx(1.0)


def test_constant_normalisation_divides_by_the_token_limit():
    weights = F.token_weights(
        torch.tensor([3, 1]),
        torch.tensor([True, True]),
        normalize="constant",
        max_tokens=8,
        total_tokens=4,
        total_sequences=2,
    )
    assert weights.tolist() == [1 / 16, 1 / 16]


def test_explained_variance_of_a_perfect_a_constant_and_a_flat_case():
    returns, mask = tensor([1, 2, 3]), torch.ones(1, 3)
    assert F.explained_variance(returns, returns, mask) == 1.0
    assert F.explained_variance(torch.zeros(1, 3), returns, mask) == pytest.approx(0.0)
    assert F.explained_variance(returns, torch.ones(1, 3), mask) == 0.0


def test_adaptive_kl_moves_towards_its_target_by_at_most_a_fifth_of_the_share_of_the_horizon():
    """Correctness, point 19."""
    # KL twice the target: error clipped to 0.2, 100 episodes of 1000: factor 1.02
    assert F.adapt_kl_coef(0.1, 12.0, 6.0, 100, 1000) == pytest.approx(0.102)
    assert F.adapt_kl_coef(0.1, 5.4, 6.0, 100, 1000) == pytest.approx(0.1 * (1 - 0.1 * 0.1))
    assert F.adapt_kl_coef(0.1, 0.6, 6.0, 100, 1000) == pytest.approx(0.098)  # -0.9, clipped to -0.2


def test_learning_rate_schedules_by_hand():
    """Correctness, point 20."""
    # warm-up of 2: 1/2, 1; then linear over the 4 steps that are left: 1, 3/4, 1/2, 1/4
    assert [F.learning_rate_factor("linear", s, 6, 2) for s in range(6)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    assert F.learning_rate_factor("cosine", 0, 4, 0) == 1.0
    assert F.learning_rate_factor("cosine", 2, 4, 0) == pytest.approx(0.5)


def mean_gradient(estimator):
    """Exact mean, over tokens sampled from the policy, of the gradient of an estimator with respect to the logits."""
    logits, q = torch.tensor([0.8, -0.2, -1.0]), torch.tensor([0.3, 0.3, 0.4]).log()
    total = torch.zeros(3)
    for token, p in enumerate(torch.softmax(logits, 0)):
        own = logits.clone().requires_grad_()
        F.kl_penalty(torch.log_softmax(own, 0)[token], q[token], estimator).backward()
        total += p * own.grad
    return total


def test_gradients_of_the_kl_estimators():
    """Correctness, point 18: k2 and k3+ give the gradient of KL(p||q), k3 that of KL(q||p), k1 none."""
    q = torch.tensor([0.3, 0.3, 0.4])
    logits = torch.tensor([0.8, -0.2, -1.0], requires_grad=True)
    p = torch.softmax(logits, 0)
    reverse = torch.autograd.grad((p * (p / q).log()).sum(), logits, retain_graph=True)[0]
    forward = torch.autograd.grad((q * (q / p).log()).sum(), logits)[0]
    torch.testing.assert_close(mean_gradient("k1"), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(mean_gradient("k2"), reverse, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(mean_gradient("k3+"), reverse, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(mean_gradient("k3"), forward, atol=1e-6, rtol=1e-5)
    assert float((forward - reverse).abs().max()) > 0.01
    torch.testing.assert_close(
        F.kl_penalty(tensor([0.7]), tensor([0.1]), "k3+"), F.kl_penalty(tensor([0.7]), tensor([0.1]), "k3")
    )


def test_ratios_of_tokens_of_sequences_and_their_geometric_mean_by_hand():
    # row 0: log-ratios 0.1, 0.3 and padding; row 1: -0.2 alone
    new, old = tensor([0.1, 0.3, 9.0], [-0.2, 9.0, 9.0]), torch.zeros(2, 3)
    mask, rows = tensor([1, 1, 0], [1, 0, 0]), torch.tensor([[0, 0, 0], [1, 1, 1]])
    found = {level: F.log_ratios(new, old, mask, rows, level=level) for level in ("token", "sequence", "geometric")}
    torch.testing.assert_close(found["token"][0, :2], torch.tensor([0.1, 0.3]))
    torch.testing.assert_close(found["sequence"], tensor([0.4, 0.4, 0.4], [-0.2, -0.2, -0.2]))
    torch.testing.assert_close(found["geometric"], tensor([0.2, 0.2, 0.2], [-0.2, -0.2, -0.2]))
    packed = torch.cat([new[0, :2], new[1, :1]]).unsqueeze(0)  # the same tokens in one row
    numbers = torch.tensor([[0, 0, 1]])
    alike = F.log_ratios(packed, torch.zeros(1, 3), torch.ones(1, 3), numbers, level="geometric")
    torch.testing.assert_close(alike, tensor([0.2, 0.2, -0.2]))


def test_a_ratio_is_clamped_so_that_nothing_overflows():
    """Correctness, point 16: the log-ratio is clamped to +-20."""
    for level in ("token", "sequence"):
        ratios = F.log_ratios(tensor([500.0]), tensor([0.0]), tensor([1]), torch.tensor([[0]]), level=level)
        assert ratios.item() == 20.0


def test_cispo_bounds_the_weight_and_keeps_the_gradient_of_clipped_tokens():
    # ratios 2 and 1, bound 1.5: gradients -1.5 A and -1 A; the clipped surrogate would give the first token none
    lp = tensor([math.log(2), 0.0]).requires_grad_()
    out = grpo_loss(
        lp, tensor([0, 0]), None, tensor([1, 1]), clip_low=1.0, clip_high=0.5, kl_coef=0.0, surrogate="cispo"
    )
    out.loss.sum().backward()
    torch.testing.assert_close(lp.grad, tensor([-1.5, -1.0]))
    assert out.clipped.tolist() == [[True, False]]


def test_importance_weights_by_hand():
    """Correctness, point 10. trainer / sampler = 4, 1.5, 0.2; cap 2."""
    trainer, sampler = tensor([math.log(4), math.log(1.5), math.log(0.2)]), tensor([0, 0, 0])
    weigh = lambda correction: F.importance_weights(trainer, sampler, correction=correction, cap=2.0)
    torch.testing.assert_close(weigh("truncate"), tensor([2.0, 1.5, 0.2]))
    torch.testing.assert_close(weigh("mask"), tensor([0.0, 1.5, 0.0]))
    assert weigh("none").tolist() == [[1, 1, 1]]


def test_the_importance_weights_do_not_touch_the_kl_term():
    lp, zero = tensor([1.0]), tensor([0.0])
    out = grpo_loss(
        lp, lp, zero, tensor([1.0]), clip_low=0.2, clip_high=0.2, kl_coef=1.0, weights=tensor([0.0]), kl_estimator="k2"
    )
    assert out.loss.item() == pytest.approx(0.5)


def test_the_soft_overlong_penalty_is_that_of_dapo():
    """Correctness, point 26. Eq. 13 with L_max 100, L_cache 20: 0 up to 80, then (80 - length) / 20, -1 beyond 100."""
    assert [F.overlong_penalty(n, 100, 0.2) for n in (1, 80, 85, 100, 130)] == [0.0, 0.0, 0.25, 1.0, 1.0]
    assert F.overlong_penalty(100, 100, 0.0) == 0.0


def test_baselines_by_hand():
    rewards, groups = torch.tensor([1.0, 0.0, 0.0, NAN]), torch.tensor([0, 0, 0, 0])
    pick = lambda baseline, **more: sample_advantages(rewards, groups, baseline=baseline, scale="none", **more).tolist()
    assert pick("leave_one_out") == pytest.approx([1.0, -0.5, -0.5, 0.0])
    assert pick("none") == [1.0, 0.0, 0.0, 0.0]
    assert pick("greedy", greedy=torch.tensor([0.25, 0.25, NAN, 0.25])) == [0.75, -0.25, 0.0, 0.0]
    with pytest.raises(ValueError, match="baseline"):
        pick("greedy")


def test_a_token_pays_for_its_own_kl_and_for_what_follows_it():
    # penalties 1, 2, 3 and padding: 6, 5, 3, 0
    assert reward_to_go(tensor([1, 2, 3, 9]), tensor([1, 1, 1, 0])).tolist() == [[6, 5, 3, 0]]


def test_whitening_over_two_processes_is_that_of_the_whole_batch():
    """Correctness, point 14: the statistics are those of the global batch."""
    values, mask = torch.randn(4, 5), (torch.rand(4, 5) > 0.3).float()
    whole = F.whiten(values, mask)
    halves = [(values[:2], mask[:2]), (values[2:], mask[2:])]
    centre = lambda v, m: ((v - (values * mask).sum() / mask.sum()) * m) ** 2
    sums = [
        sum(torch.stack([(v * m).sum(), m.sum()]).double() for v, m in halves),
        sum(centre(v, m).sum().double() for v, m in halves),
    ]
    for (v, m), expected in zip(halves, (whole[:2], whole[2:]), strict=True):
        queue = iter(sums)
        torch.testing.assert_close(F.whiten(v, m, total=lambda part, queue=queue: next(queue)), expected)


def test_reward_whitening_keeps_the_mean():
    """Correctness, point 15."""
    values, mask = tensor([1, 2, 3]), tensor([1, 1, 1])
    assert F.whiten(values * 4, mask, shift_mean=False).mean().item() == pytest.approx(8.0)


def test_running_moments_are_those_of_all_scores_so_far():
    """Correctness, point 15: running scaling, in any split."""
    scores = torch.randn(50) * 3 + 1
    once = RunningMoments().with_(scores)
    split = RunningMoments().with_(scores[:7]).with_(scores[7:])
    assert once.deviation == pytest.approx(float(scores.std()), rel=1e-5)
    assert split == pytest.approx(once)
    assert RunningMoments().deviation == RunningMoments().with_(torch.ones(5)).deviation == 1.0
