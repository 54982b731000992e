"""Samplers and gates: hand-computed weights, the same draws for any number of processes, exact resume."""

from __future__ import annotations

import json
import threading
from collections import Counter
from types import SimpleNamespace

import pytest

from coderl.curriculum import FLOOR, Curriculum, Result, has_signal, pools
from coderl.seeds import cursor


def made(sampler: str, levels: list[int], decay: float = 1.0) -> Curriculum:
    ids = [f"t{i}" for i in range(len(levels))]
    return Curriculum(ids, levels, sampler=sampler, decay=decay, seed=5, name="1_grpo")


def result(index: int, passed: int, graded: int = 8) -> Result:
    return Result(index=index, passed=passed, graded=graded)


def test_the_weight_of_a_task_is_its_expected_signal_by_hand():
    c = made("signal", [1, 1, 1, 1])
    c.record([result(0, 4), result(1, 8), result(2, 0)])
    # the pool: 12 of 24 passed, (12 + 1) / (24 + 2) = 1/2; the prior is 2 samples of it: a + 1, b + 1
    # 4 of 8: 5 * 5 / (10 * 11) = 25/110; 8 of 8 and 0 of 8: 9 * 1 / (10 * 11) = 9/110; untried: 1 * 1 / (2 * 3) = 1/6
    assert c.weights() == pytest.approx([25 / 110 + FLOOR, 9 / 110 + FLOOR, 9 / 110 + FLOOR, 1 / 6 + FLOOR])


def test_the_weight_of_a_pool_is_its_expected_signal_by_hand():
    c = made("pools", [1, 1, 2])
    c.record([result(0, 8), result(1, 6), result(2, 4)])
    # level 1: a = 14 + 1, b = 2 + 1: 45 / (18 * 19); level 2: a = b = 5: 25 / (10 * 11)
    assert c.pool_weights() == pytest.approx([45 / 342 + FLOOR, 25 / 110 + FLOOR])


def test_older_results_fade_by_decay():
    c = made("signal", [1], decay=0.5)
    c.record([result(0, 0), result(0, 8)])  # 0.5 * 0 + 8 of 0.5 * 8 + 8
    assert c.metrics()["difficulty/1/pass_rate"] == pytest.approx(8 / 12)


def test_unscorable_groups_teach_nothing():
    c = made("signal", [1])
    c.record([result(0, 0, graded=0)])
    assert c.metrics()["difficulty/1/untried"] == 1.0


def test_uniform_draws_are_one_stream_of_permutations_however_it_is_cut():
    c = made("uniform", [1] * 7)
    drawn = [d.index for count in (3, 1, 10) for d in c.draw(count)]
    assert drawn == cursor(5, "1_grpo", 7, 0, 14)


def test_signal_draws_lean_to_tasks_that_are_sometimes_solved():
    c = made("signal", [1] * 10)
    c.record([result(i, 4 if i == 3 else 8) for i in range(10) for _ in range(20)])
    counts: Counter[int] = Counter()
    for _ in range(2000):
        c.begin_step()
        counts[c.draw(1)[0].index] += 1
    weights = c.weights()
    assert counts[3] / 2000 == pytest.approx(weights[3] / weights.sum(), abs=0.04)  # about four standard errors
    assert counts[3] > 5 * max(n for i, n in counts.items() if i != 3)


def test_pool_draws_follow_the_weights_and_take_turns_within_a_pool():
    c = made("pools", [1] * 5 + [2] * 4)
    c.record([result(i, 8 if i < 5 else 4) for i in range(9) for _ in range(50)])
    drawn = [d.index for _ in range(200) for d in c.draw(10)]
    share = c.pool_weights()[1] / c.pool_weights().sum()
    assert sum(i >= 5 for i in drawn) / 2000 == pytest.approx(share, abs=0.04)
    hard = Counter(i for i in drawn if i >= 5)
    assert max(hard.values()) - min(hard.values()) <= 1


def test_a_step_takes_a_task_again_only_when_no_other_is_left_and_says_so():
    c = made("signal", [1] * 4)
    c.begin_step()
    first, second = c.draw(3), c.draw(3)
    assert len({d.index for d in first} | {second[0].index}) == 4
    assert [d.repeat for d in (*first, *second)] == [0, 0, 0, 0, 1, 1]
    c.begin_step()
    assert all(d.repeat == 0 for d in c.draw(4))


def test_a_task_that_is_listed_twice_is_one_task():
    c = Curriculum(["a", "b", "a"], [1, 1, 1], sampler="signal", decay=1.0, seed=0, name="x")
    c.record([result(2, 4)])
    assert c.weights()[0] == c.weights()[2] != c.weights()[1]
    assert sorted((d.index % 2, d.repeat) for d in c.draw(3)) == [(0, 0), (0, 1), (1, 0)]


@pytest.mark.parametrize("sampler", ["uniform", "pools", "signal"])
def test_a_restored_curriculum_goes_on_with_the_same_draws_and_map(sampler):
    straight, cut = made(sampler, [1, 1, 2, 2, 3, 3, 3], 0.8), made(sampler, [1, 1, 2, 2, 3, 3, 3], 0.8)

    def advance(c: Curriculum, step: int) -> list[int]:
        c.begin_step()
        draws = c.draw(4)
        c.record([result(d.index, (d.index * 3 + step) % 9) for d in draws])
        return [d.index for d in draws]

    before = [advance(straight, step) for step in range(12)]
    assert before[:5] == [advance(cut, step) for step in range(5)]
    other = made(sampler, [1, 1, 2, 2, 3, 3, 3], 0.8)
    other.load_state(json.loads(json.dumps(cut.state())))
    assert before[5:] == [advance(other, step) for step in range(5, 12)]
    assert other.metrics() == straight.metrics()
    assert other.state() == straight.state()


def test_the_map_of_difficulty_counts_every_task_once():
    c = made("uniform", [1, 1, 1, 1, 4])
    c.record([result(0, 0), result(1, 3), result(2, 4), result(3, 8)])
    values = c.metrics()
    bins = {name: values[f"difficulty/1/{name}"] for name in ("untried", "none", "under_half", "over_half", "all")}
    assert bins == {"untried": 0.0, "none": 0.25, "under_half": 0.25, "over_half": 0.25, "all": 0.25}
    assert values["difficulty/1/pass_rate"] == pytest.approx((0 + 3 / 8 + 1 / 2 + 1) / 4)
    assert values["difficulty/4/untried"] == 1.0


def test_many_levels_become_at_most_six_pools_of_neighbours():
    names, where = pools([800 + 100 * i for i in range(13)])
    assert names == ["800-1000", "1100-1200", "1300-1400", "1500-1600", "1700-1800", "1900-2000"]
    assert list(where) == sorted(where)


def test_a_group_has_signal_only_if_two_scorable_samples_differ():
    nan = float("nan")
    assert has_signal([0.0, 1.0]) and has_signal([nan, 0.5, 1.0])
    assert not has_signal([1.0, 1.0]) and not has_signal([nan, 1.0]) and not has_signal([])


def step_of(processes: int, monkeypatch, **settings):
    """One step of `gated` in as many threads as there are processes; what each task and seed got is scripted."""
    torch = pytest.importorskip("torch")  # noqa: F841
    from coderl.collect import Collected
    from coderl.config import CurriculumConfig, RolloutStageConfig
    from coderl.methods import gate
    from coderl.rollout import Rollout
    from coderl.seeds import derive

    tasks = [SimpleNamespace(id=f"t{i}", level=1 + i // 10, visible=()) for i in range(30)]
    config = RolloutStageConfig(
        prompts_per_step=8, samples_per_prompt=4, curriculum=CurriculumConfig(sampler="signal", **settings)
    )
    barrier, posted = threading.Barrier(processes), {}

    def exchange(bench, items):
        posted[bench.rank] = items
        barrier.wait()
        merged = [item for rank in range(processes) for item in posted[rank]]
        barrier.wait()
        return merged

    def sampled(bench, own, *, repeats, **_):
        rollouts = []
        for task, repeat in zip(own, repeats, strict=True):
            for index in range(4):
                seed = derive(0, task.id, repeat, index)
                flat = derive(1, task.id) % 3 != 0
                rollouts.append(
                    Rollout(
                        stage="s", step=0, task_id=task.id, sample_index=index, seed=seed, prompt_ids=(1,),
                        completion_ids=(1,), logprobs=(0.0,), truncated=False, reward=0.0 if flat else float(seed % 2),
                    )
                )  # fmt: skip
        return Collected(rollouts=rollouts, generate_seconds=0.0, grade_seconds=0.0)

    monkeypatch.setattr(gate, "gather", exchange)
    monkeypatch.setattr(gate, "collect", sampled)
    monkeypatch.setattr(gate, "solved", lambda bench, rollout, task: rollout.reward == 1.0)
    run_config = SimpleNamespace(
        generation=SimpleNamespace(temperature=1.0, max_new_tokens=4),
        reward=SimpleNamespace(scheme="fraction", cases="all"),
    )
    answers = [None] * processes

    def work(rank: int) -> None:
        bench = SimpleNamespace(
            rank=rank, train_tasks=tasks, learned=None, config=run_config, share=lambda items: items[rank::processes]
        )
        curriculum = Curriculum(
            [t.id for t in tasks], [t.level for t in tasks], sampler="signal", decay=0.8, seed=0, name="s"
        )
        steps = [gate.gated(bench, config, curriculum, stage="s", step=step) for step in range(3)]
        answers[rank] = steps, curriculum.state()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert None not in answers
    return answers


@pytest.mark.parametrize("processes", [2, 3])
def test_the_tasks_seeds_and_kept_groups_do_not_depend_on_the_number_of_processes(monkeypatch, processes):
    one = step_of(1, monkeypatch, gate="replace")
    many = step_of(processes, monkeypatch, gate="replace")
    assert len({json.dumps(state) for _, state in (*one, *many)}) == 1
    for step in range(3):

        def learned(answers, step=step):
            found = [steps[step] for steps, _ in answers]
            return sorted(r.seed for g in found for r in g.kept.rollouts if r not in g.stand_in)

        def sampled(answers, step=step):
            found = [steps[step] for steps, _ in answers]
            return sorted(r.seed for g in found for r in (*g.kept.rollouts, *g.dropped))

        assert learned(one) == learned(many)
        assert sampled(one) == sampled(many)
        assert {json.dumps(steps[step].metrics) for steps, _ in (*one, *many)} == {json.dumps(one[0][0][step].metrics)}


def test_the_gate_replaces_flat_groups_until_the_step_is_full_and_counts_them(monkeypatch):
    ((steps, _),) = step_of(1, monkeypatch, gate="replace", max_rounds=9)
    for found in steps:
        assert len(found.kept.rollouts) == 8 * 4 and not found.stand_in
        assert all(has_signal(r.reward for r in found.kept.rollouts[i : i + 4]) for i in range(0, 32, 4))
        assert found.metrics["curriculum/dropped_groups"] == len(found.dropped) / 4 > 0
        assert found.metrics["curriculum/missing_groups"] == 0


def test_the_gate_stops_after_its_rounds_with_what_it_has(monkeypatch):
    ((steps, _),) = step_of(1, monkeypatch, gate="replace", max_rounds=1)
    found = steps[0]
    kept = len(found.kept.rollouts) // 4
    assert found.metrics["curriculum/rounds"] == 1 and 0 < kept < 8
    assert found.metrics["curriculum/missing_groups"] == 8 - kept


def test_without_the_gate_flat_groups_stay(monkeypatch):
    ((steps, _),) = step_of(1, monkeypatch, gate="keep")
    assert len(steps[0].kept.rollouts) == 32 and not steps[0].dropped
