"""Proxy against gold: the KL of best of N, the laws of Gao et al. found again, and what is called over-optimised."""

from __future__ import annotations

import json
import math

import pytest

from coderl.evaluate.overoptimisation import Point, best_of_n_curve, best_of_n_kl, fit, rl_curve


def test_the_kl_of_best_of_n_is_that_of_the_order_statistic():
    # best of 2 of a uniform draw has density 2u: KL = integral 2u log 2u = log 2 - 1/2
    assert best_of_n_kl(1) == 0.0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 1 / 2)
    n, steps = 7, 20_000
    density = [n * ((i + 0.5) / steps) ** (n - 1) for i in range(steps)]
    assert best_of_n_kl(n) == pytest.approx(sum(p * math.log(p) for p in density) / steps, abs=1e-4)


def points(kls, law):
    return [Point(at=i, kl=kl, proxy=0.0, gold=0.25 + (law(math.sqrt(kl)) if kl else 0.0)) for i, kl in enumerate(kls)]


def test_the_law_of_best_of_n_is_found_again():
    given = points([0.0, 0.2, 0.8, 1.8, 3.2], lambda d: d * (0.3 - 0.1 * d))
    assert fit("best_of_n", given) == pytest.approx((0.3, 0.1))


def test_the_law_of_rl_is_found_again():
    given = points([0.0, 0.2, 0.8, 1.8, 3.2], lambda d: d * (0.3 - 0.1 * math.log(d)))
    assert fit("rl", given) == pytest.approx((0.3, 0.1))


def test_no_law_is_fitted_to_points_at_one_distance():
    assert fit("rl", points([0.0, 2.0, 2.1, 2.2], lambda d: d)) == (None, None)
    assert fit("rl", points([0.0, 2.0], lambda d: d)) == (None, None)


def lines(proxies, golds, **other):
    return [
        {
            "step": i + 1,
            "values": {"policy/ref_kl_sequence": 0.1 * i, "learned/score": p, "rollout/pass_rate": g, **other},
        }
        for i, (p, g) in enumerate(zip(proxies, golds, strict=True))
    ]


def test_gold_that_falls_while_the_proxy_rises_is_over_optimised():
    curve = rl_curve("run", lines([0.0, 0.5, 1.0, 1.5], [0.3, 0.5, 0.45, 0.4]))
    assert curve is not None
    assert curve.over_optimised
    assert (curve.peak.at, curve.peak.gold, curve.points[-1].gold) == (2, 0.5, 0.4)


def test_gold_and_proxy_that_fall_together_are_not_over_optimised():
    # the policy became worse, and the reward model says so
    curve = rl_curve("run", lines([0.0, 0.5, 0.2, -0.1], [0.3, 0.5, 0.45, 0.4]))
    assert curve is not None
    assert not curve.over_optimised


def test_neighbouring_steps_are_averaged_and_steps_without_a_score_are_passed_over():
    given = lines([1.0, 3.0] * 12, [0.0, 1.0] * 12)
    given.insert(3, {"step": 99, "values": {"rollout/pass_rate": 0.9}})
    curve = rl_curve("run", given)
    assert curve is not None
    assert len(curve.points) == 12
    assert {(p.proxy, p.gold) for p in curve.points} == {(2.0, 0.5)}
    assert [p.at for p in curve.points[:2]] == [2, 4]


def test_the_kl_per_token_is_taken_times_the_length_where_that_of_the_sequence_is_not_logged():
    given = lines([0.0, 1.0], [0.2, 0.3], **{"policy/ref_kl": 0.02, "rollout/length": 50.0})
    for line in given:
        del line["values"]["policy/ref_kl_sequence"]
    curve = rl_curve("run", given)
    assert curve is not None
    assert [p.kl for p in curve.points] == [1.0, 1.0]


def test_a_stage_without_a_learned_reward_has_no_curve():
    assert rl_curve("run", [{"step": i, "values": {"rollout/pass_rate": 0.5}} for i in range(9)]) is None


def choice(n, score, rates, by="reward_model"):
    per_task = {f"t/{i}": rate for i, rate in enumerate(rates)}
    return {"by": by, "n": n, "score": score, "pass_rate": sum(rates) / len(rates), "per_task": per_task}


def test_best_of_n_is_over_optimised_where_the_paired_interval_to_its_peak_is_below_zero():
    given = [
        choice(1, 0.0, [0.5] * 20),
        choice(4, 1.0, [0.9] * 20),
        choice(16, 2.0, [0.6] * 19 + [0.9]),  # worse on 19 of 20 problems, the same on one
        choice(16, 9.0, [1.0] * 20, by="oracle"),
    ]
    curve = best_of_n_curve("file", given)
    assert curve is not None
    assert curve.over_optimised
    assert [p.kl for p in curve.points] == [0.0, best_of_n_kl(4), best_of_n_kl(16)]
    given[2] = choice(16, 2.0, [0.7, 1.0] * 10)  # better on half of the problems: chance
    curve = best_of_n_curve("file", given)
    assert curve is not None
    assert not curve.over_optimised
    assert "85.0% at KL" in curve.verdict


def test_choices_of_files_without_scores_have_no_curve():
    old = [{k: v for k, v in choice(n, 0.0, [0.5]).items() if k != "score"} for n in (1, 2, 4)]
    assert best_of_n_curve("file", json.loads(json.dumps(old))) is None
