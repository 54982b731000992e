"""The stage `pairs`: preferences that execution has decided, from the rollout store into pairs/STAGE.jsonl."""

from __future__ import annotations

from coderl.config import PairsConfig
from coderl.errors import ConfigError
from coderl.pairing import Candidate, Match, matches
from coderl.pairs import Pair, tokenizer_fingerprint, write_pairs
from coderl.rollout import Rollout
from coderl.seeds import derive
from coderl.stages.sources import graded_whole, is_whole, owners, training_rollouts
from coderl.workbench import Workbench
from tasks.task import Task


def pairs(bench: Workbench, label: str) -> dict[str, float]:
    """Make the pairs; returns how many there are, and of which kind. Raises ConfigError where there is none."""
    assert bench.folder is not None
    if not bench.accelerator.is_main_process:
        return {}
    config = bench.config.pairs
    rollouts = training_rollouts(bench, label, config.source)
    tasks = owners(bench, rollouts, label)
    rollouts = graded_whole(bench, rollouts, tasks)
    found = matches(_candidates(rollouts), config, seed=derive(bench.config.seed, label))
    flaky = _flaky(bench, tasks, rollouts, found) if config.confirm else set()
    kept = [m for m in found if not {m.chosen.key, m.rejected.key} & flaky]
    if not kept:
        raise ConfigError(_none_found(label, config, len(rollouts)))
    fingerprint = tokenizer_fingerprint(bench.policy.tokenizer)
    write_pairs(
        bench.folder.pairs_path(label),
        [_pair(bench, m, rollouts, config=config, fingerprint=fingerprint) for m in kept],
    )
    count = len(kept)
    return {
        "pairs/count": float(count),
        "pairs/tasks": float(len({m.chosen.task_id for m in kept})),
        "pairs/flaky_programs": float(len(flaky)),
        "pairs/margin": sum(m.margin for m in kept) / count,
        "pairs/distance": sum(m.distance for m in kept) / count,
        "pairs/chosen_longer": sum(m.chosen.length > m.rejected.length for m in kept) / count,
        "pairs/rejected_longer": sum(m.chosen.length < m.rejected.length for m in kept) / count,
    }


def _candidates(rollouts: list[Rollout]) -> list[Candidate]:
    return [
        Candidate(
            key=key,
            task_id=rollout.task_id,
            program=rollout.program,
            score=rollout.verdict.fraction if rollout.verdict else 0.0,
            length=len(rollout.completion_ids),
        )
        for key, rollout in enumerate(rollouts)
        if is_whole(rollout)
    ]


def _flaky(bench: Workbench, tasks: dict[str, Task], rollouts: list[Rollout], found: list[Match]) -> set[int]:
    """The candidates whose case results are not the same when they are graded a second time."""
    keys = sorted({key for match in found for key in (match.chosen.key, match.rejected.key)})
    requests = [tasks[rollouts[key].task_id].request(rollouts[key].program) for key in keys]
    again = bench.grader.grade(requests, fresh=True)
    flaky = set()
    for key, verdict in zip(keys, again, strict=True):
        first = rollouts[key].verdict
        if first is None or [c.outcome for c in first.cases] != [c.outcome for c in verdict.cases]:
            flaky.add(key)
    return flaky


def _pair(bench: Workbench, match: Match, rollouts: list[Rollout], *, config: PairsConfig, fingerprint: str) -> Pair:
    chosen, rejected = rollouts[match.chosen.key], rollouts[match.rejected.key]
    return Pair(
        prompt=bench.policy.tokenizer.decode(chosen.prompt_ids),
        chosen=chosen.completion,
        rejected=rejected.completion,
        task_id=chosen.task_id,
        source="execution",
        annotator=f"share of cases: > {config.min_chosen:g} against > {config.min_rejected:g}, gap {config.gap:g}",
        margin=match.margin,
        prompt_ids=chosen.prompt_ids,
        chosen_ids=chosen.completion_ids,
        rejected_ids=rejected.completion_ids,
        tokenizer=fingerprint,
    )


def _none_found(label: str, config: PairsConfig, num_rollouts: int) -> str:
    return (
        f"{label}: {num_rollouts} rollouts hold no pair with a score above {config.min_chosen:g} and one above "
        f"{config.min_rejected:g} at a gap of {config.gap:g}: sample more, or loosen pairs.*"
    )
