"""From tasks to rewarded rollouts: prompt, sample, extract, grade, reward. A sample is graded while others are still drawn.

Used by every method that learns from execution and by evaluation, so that all see the same programs and verdicts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from coderl.errors import TrainingStopped
from coderl.extract import extract_program
from coderl.generate import SampleRequest
from coderl.grading import Grading, Key
from coderl.own_rewards import own_parts
from coderl.program_key import program_key
from coderl.rewards import reward_parts, total
from coderl.rollout import Rollout
from coderl.seeds import derive
from coderl.watchdog import doing
from coderl.workbench import Workbench, gather
from sandbox import Status, Verdict
from tasks.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Rollouts grouped by task (all samples of a task are neighbours, in order), and what they cost.

    Grading goes on while samples are drawn; `grade_seconds` is what it took longer.
    """

    rollouts: list[Rollout]
    generate_seconds: float
    grade_seconds: float


def collect(
    bench: Workbench,
    tasks: Sequence[Task],
    *,
    samples_per_task: int,
    stage: str,
    step: int,
    temperature: float,
    max_new_tokens: int,
    stop_early: bool,
    repeats: Sequence[int] | None = None,
    coverage: bool = False,
) -> Collected:
    """Sample each task `samples_per_task` times, grade the programs, compute rewards (NaN where UNSCORABLE).

    The same task may stand in `tasks` more than once; the seeds then differ. `repeats` says for each how often the step has
    had it before (in other calls, or processes); None: count within `tasks`. With `stop_early` the cases after a failed one are
    not run, which is enough to tell a pass from a failure. With `coverage` the verdicts say which lines ran.
    All processes call it together, one with nothing to sample too. Raises TrainingStopped, in all of them, when more than
    `sandbox.max_unscorable` of the verdicts of all are UNSCORABLE.
    """
    config, policy = bench.config, bench.policy
    started = time.perf_counter()
    prompts = [bench.renderer.render(task) for task in tasks]
    stops = [(*config.generation.stop, *prompt.stop) for prompt in prompts]
    seen: dict[str, int] = {}
    requests = []
    for position, (task, prompt) in enumerate(zip(tasks, prompts, strict=True)):
        repeat = seen[task.id] = seen.get(task.id, -1) + 1
        if repeats is not None:
            repeat = repeats[position]
        for index in range(samples_per_task):
            seed = derive(config.seed, stage, step, task.id, repeat * samples_per_task + index)
            requests.append(
                SampleRequest(key=(position, index), prompt_ids=prompt.ids, seed=seed, stop=stops[position])
            )
    seeds = {request.key: request.seed for request in requests}
    drafts: dict[Any, Rollout] = {}
    with Grading(bench, stop_early=stop_early, coverage=coverage) as grading:
        work = f"sampling {len(requests)} completions of {len(tasks)} tasks"
        with doing(f"{stage} step {step}", work), policy.gathered():
            for sample in bench.engine.sample(
                policy,
                requests,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                batch_size=config.generation.batch_size,
            ):
                position, index = sample.key
                task, prompt = tasks[position], prompts[position]
                text = policy.decode(sample.ids)
                drafts[sample.key] = Rollout(
                    stage=stage,
                    step=step,
                    task_id=task.id,
                    sample_index=index,
                    seed=seeds[sample.key],
                    prompt_ids=prompt.ids,
                    completion_ids=sample.ids,
                    logprobs=sample.logprobs,
                    truncated=sample.truncated,
                    completion=text,
                    program=extract_program(
                        task,
                        text,
                        response_prefix=prompt.response_prefix,
                        stop=stops[position],
                        truncated=sample.truncated,
                    ),
                )
                grading.submit(task, drafts[sample.key].program)
        generated = time.perf_counter()
        with doing(f"{stage} step {step}", f"grading {grading.num_programs} programs, {grading.first}"):
            verdicts = grading.verdicts()
    rollouts = _rewarded(
        bench,
        [tasks[request.key[0]] for request in requests],
        [drafts[request.key] for request in requests],
        verdicts,
        max_new_tokens=max_new_tokens,
    )
    graded = time.perf_counter()
    _stop_if_unscorable(bench, rollouts)
    return Collected(rollouts=rollouts, generate_seconds=generated - started, grade_seconds=graded - generated)


def _rewarded(
    bench: Workbench,
    owners: Sequence[Task],
    drafts: Sequence[Rollout],
    verdicts: dict[Key, Verdict],
    *,
    max_new_tokens: int,
) -> list[Rollout]:
    weighs_time, weights = bool(bench.config.reward.time_weight), bench.config.reward.functions
    rollouts = []
    for task, draft in zip(owners, drafts, strict=True):
        verdict = verdicts[task.id, draft.program, False]
        parts = reward_parts(
            verdict,
            num_visible=len(task.visible),
            truncated=draft.truncated,
            config=bench.config.reward,
            program=draft.program,
            reference=task.reference,
            length_share=len(draft.completion_ids) / max_new_tokens,
            reference_verdict=verdicts.get((task.id, task.reference, True)) if weighs_time else None,
        )
        if weights and not math.isnan(total(parts)):
            text, program = draft.completion, draft.program
            parts |= own_parts(weights, task=task, completion=text, program=program, verdict=verdict)
        rollouts.append(draft.with_(verdict=verdict, reward_parts=parts, reward=total(parts)))
    return rollouts


def _stop_if_unscorable(bench: Workbench, rollouts: Sequence[Rollout]) -> None:
    """Raises TrainingStopped by the share over all processes, so that none waits for another that stopped."""
    unscorable = [r for r in rollouts if math.isnan(r.reward)]
    example = ""
    if unscorable:
        verdict = unscorable[0].verdict
        assert verdict is not None
        example = f"task {unscorable[0].task_id}: {verdict.outcome} {verdict.detail}"
    everywhere = gather(bench, [(len(unscorable), len(rollouts), example)])
    count, total_count = sum(n for n, _, _ in everywhere), sum(n for _, n, _ in everywhere)
    limit = bench.config.sandbox.max_unscorable
    if count > limit * total_count:
        example = max(everywhere)[2]  # of the process that has most of them
        raise TrainingStopped(
            f"{count} of {total_count} verdicts are unscorable (limit {limit:.0%}), e.g. {example}; "
            "`sandbox doctor` checks this machine"
        )


def rollout_metrics(rollouts: Sequence[Rollout], num_visible: dict[str, int]) -> dict[str, float]:
    """What a batch of rollouts says about the policy; shares are of all samples, rewards of the scorable ones."""
    scored = [r for r in rollouts if not math.isnan(r.reward)]
    count = len(rollouts)
    solved = {r.task_id for r in scored if r.verdict is not None and r.verdict.status is Status.PASS}
    metrics = {
        "rollout/reward": _mean([r.reward for r in scored]),
        "rollout/pass_rate": _mean([float(r.verdict is not None and r.verdict.status is Status.PASS) for r in scored]),
        "rollout/truncated": _mean([float(r.truncated) for r in rollouts]),
        "rollout/length": _mean([float(len(r.completion_ids)) for r in rollouts]),
        "rollout/unscorable": 1 - len(scored) / count,
        "rollout/entropy": -_mean([lp for r in rollouts for lp in r.logprobs]),  # one-sample estimate, nats per token
        "rollout/unique_programs": len({(r.task_id, r.program) for r in rollouts}) / count,
        "rollout/unique_asts": len({(r.task_id, program_key(r.program)) for r in rollouts}) / count,
        "rollout/distinct_2": _distinct_bigrams(rollouts),
        "rollout/pass_at_group": len(solved) / max(len({r.task_id for r in scored}), 1),
        "rollout/visible_pass_rate": _mean([float(passes(r, num_visible[r.task_id])) for r in scored]),
    }
    for name in dict.fromkeys(part for r in scored for part in r.reward_parts):
        metrics[f"reward/{name}"] = _mean([r.reward_parts.get(name, 0.0) for r in scored])
    for rollout in rollouts:
        if rollout.verdict is not None:
            name = f"verdict/{rollout.verdict.outcome}"
            metrics[name] = metrics.get(name, 0.0) + 1 / count
    return metrics


def _distinct_bigrams(rollouts: Sequence[Rollout]) -> float:
    """distinct-2 (Li et al. 2016): pairs of neighbouring tokens that differ, over all of them, within the samples of a task."""
    seen: dict[str, set[tuple[int, int]]] = {}
    total = 0
    for rollout in rollouts:
        bigrams = list(pairwise(rollout.completion_ids))
        seen.setdefault(rollout.task_id, set()).update(bigrams)
        total += len(bigrams)
    return sum(map(len, seen.values())) / max(total, 1)


def passes(rollout: Rollout, num_visible: int) -> bool:
    """Whether the first `num_visible` cases were accepted; 0: all of them."""
    assert rollout.verdict is not None
    cases = rollout.verdict.cases[:num_visible] if num_visible else rollout.verdict.cases
    return bool(cases) and all(case.outcome == "AC" for case in cases)


def solved(bench: Workbench, rollout: Rollout, task: Task) -> bool:
    """Whether the cases that the reward looks at were accepted."""
    return passes(rollout, len(task.visible) if bench.config.reward.cases == "visible" else 0)


def with_learned(bench: Workbench, part: Collected, tasks: Sequence[Task], samples_per_task: int) -> Collected:
    """With what the reward model adds, where there is one; `tasks` are those that were collected."""
    if bench.learned is None:
        return part
    passed = [solved(bench, r, tasks[i // samples_per_task]) for i, r in enumerate(part.rollouts)]
    return replace(part, rollouts=bench.learned.mix(part.rollouts, passed, samples_per_task))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
