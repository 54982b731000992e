"""The alarms: raised when a run goes wrong, and not by one that goes well."""

from __future__ import annotations

import pytest

from coderl.monitor import WINDOW, Monitor


def step(passing=0.3, visible=0.35, group=0.6, asts=0.8, entropy=0.5):
    return {
        "rollout/pass_rate": passing,
        "rollout/visible_pass_rate": visible,
        "rollout/pass_at_group": group,
        "rollout/unique_asts": asts,
        "rollout/entropy": entropy,
    }


def alarms(steps):
    monitor = Monitor()
    return [(at, alarm.name) for at, values in enumerate(steps, 1) for alarm in monitor.observe(values)]


def ramp(start, end, at, total):
    return start + (end - start) * at / (total - 1)


def test_a_growing_gap_between_visible_and_all_tests_is_reward_hacking_once():
    steps = [step(passing=0.3, visible=ramp(0.35, 0.9, i, 60)) for i in range(60)]
    [(at, name)] = alarms(steps)
    assert name == "reward_hacking"
    # the mean of the last ten is 0.3 + gap; gap 0.2 is reached where 0.05 + 0.55 (at - 5.5) / 59 >= 0.2
    assert at == 22


def test_a_gap_that_was_there_from_the_start_is_no_alarm():
    assert alarms([step(passing=0.2, visible=0.6)] * 40) == []


def test_a_run_that_learns_and_converges_raises_nothing():
    steps = [
        step(ramp(0.2, 0.95, i, 80), ramp(0.25, 0.96, i, 80), 0.97, ramp(0.9, 0.15, i, 80), ramp(1, 0.05, i, 80))
        for i in range(80)
    ]
    assert alarms(steps) == []


def test_one_program_for_unsolved_tasks_is_mode_collapse():
    steps = [step(0.3, 0.3, ramp(0.6, 0.3, i, 60), ramp(0.8, 0.13, i, 60), ramp(0.6, 0.01, i, 60)) for i in range(60)]
    [(_, name)] = alarms(steps)
    assert name == "mode_collapse"


def test_an_alarm_is_raised_again_after_it_ceased():
    quiet, loud = [step()] * WINDOW, [step(visible=0.9)] * (2 * WINDOW)
    found = alarms([*quiet, *loud, *[step()] * (2 * WINDOW), *loud])
    assert [name for _, name in found] == ["reward_hacking", "reward_hacking"]


def test_a_resumed_monitor_goes_on_as_the_first_one():
    steps = [step(visible=ramp(0.35, 0.9, i, 60)) for i in range(60)]
    whole, resumed = Monitor(), Monitor()
    expected = [len(whole.observe(s)) for s in steps]
    for s in steps[:30]:
        resumed.observe(s)
    assert [len(resumed.observe(s)) for s in steps[30:]] == expected[30:]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_steps_without_the_metrics_are_passed_over(missing):
    assert alarms([{**step(), "rollout/pass_rate": missing}, {"loss": 1.0}] * 50) == []
