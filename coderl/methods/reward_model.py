"""Train a reward model on pairs; when it is done, evaluate it on problems it has not seen and save it with its normaliser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object
from torch import Tensor

from coderl.algorithms.reward_model import bradley_terry_loss, centring, davidson_loss
from coderl.config import RewardModelConfig
from coderl.config.run import SAMPLING
from coderl.errors import ConfigError
from coderl.evaluate.reward_quality import ScoredPair, ScoredSample, pair_quality, sample_quality
from coderl.experience import Example, MicroBatch
from coderl.methods.base import Experience, MethodBase, TokenLoss, Trainable
from coderl.methods.preference import load_pairs, sides
from coderl.pairs import EncodedPair
from coderl.reward_model import new_reward_model, normaliser, save_reward_model, scores
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder, atomic_write, json_bytes, make_directory, new_folder
from coderl.seeds import cursor, derive
from coderl.stages.sources import training_rollouts
from coderl.workbench import Workbench
from sandbox import Status

SIZES = (1, 2, 4, 8, 16)  # of best of N in the evaluation


class RewardModelling(MethodBase):
    """Each step takes one pair of each of `batch_size` tasks: so tasks, not pairs, weigh the same (Ouyang et al. 2022, 3.5)."""

    normalize = "sequence"

    def __init__(self, bench: Workbench, config: RewardModelConfig, label: str) -> None:
        super().__init__(bench.policy, config.optimizer.learning_rate)
        self.config, self._bench, self._label = config, bench, label
        train, self._held_out = split_by_task(load_pairs(bench, config, label), config.holdout, bench.config.seed)
        self._by_task = list(_grouped(train).values())
        if not self._by_task:
            raise ConfigError(
                f"{label}: the pairs are of too few tasks to keep some apart for evaluation: sample more tasks"
            )
        self._members: list[Any] = [
            new_reward_model(bench.policy, seed=derive(bench.config.seed, label, number) % 2**32, lora=config.lora)
            for number in range(config.members)
        ]
        self._watched: list[Tensor] = []

    def modules(self) -> dict[str, Trainable]:
        return {f"member_{n}": Trainable(m, self._learning_rate) for n, m in enumerate(self._members)}

    def wrap(self, engines: dict[str, Any]) -> None:
        self._members = list(engines.values())

    def collect(self, step: int) -> Experience:
        size, count = self.config.batch_size, len(self._by_task)
        seed = self._bench.config.seed
        self._watched = []
        examples: list[Example] = []
        places = list(range(step * size, (step + 1) * size))
        drawn = list(zip(places, cursor(seed, self._label, count, places[0], size), strict=True))
        for unit, (place, task) in enumerate(self._bench.share(drawn)):
            pairs = self._by_task[task]
            # The visits of a task go through its pairs in an order of its own before any comes again.
            pair = pairs[cursor(seed, f"{self._label} task {task}", len(pairs), place // count, 1)[0]]
            examples += sides(pair, unit)
        return Experience(examples=examples)

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        config = self.config
        labels, margins = batch.targets[::2], batch.margins[::2] * config.margin_coef
        total = torch.zeros_like(labels)
        for member in self._members:
            values = member(batch)
            chosen, rejected = values[::2], values[1::2]
            if config.ties == "half":
                losses = bradley_terry_loss(chosen, rejected, margins, labels, label_smoothing=config.label_smoothing)
            else:
                losses = davidson_loss(
                    chosen, rejected, margins, labels, label_smoothing=config.label_smoothing, nu=config.tie_strength
                )
            total = total + losses + config.centring_coef * centring(chosen, rejected)
            if batch.weights.any():
                self._watched.append(torch.stack([chosen, rejected]).detach().cpu())
        return TokenLoss(batch.spread(total.repeat_interleave(2)), {})

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        watched = torch.cat(self._watched, dim=1) if self._watched else torch.zeros(2, 0)
        if self._bench.accelerator.num_processes > 1:
            watched = torch.cat(gather_object([watched]), dim=1)
        return {
            "pairs/accuracy": float((watched[0] > watched[1]).float().mean()),
            "pairs/score_margin": float((watched[0] - watched[1]).mean()),
            "pairs/score_mean": float(watched.mean()),
        }

    def finish(self, folder: RunFolder, label: str) -> dict[str, float]:
        members = [self._bench.accelerator.unwrap_model(member) for member in self._members]
        rollouts = self._samples(label)
        held_out_tasks = {pair.pair.task_id for pair in self._held_out}
        raw = self._scores(
            members, [Example(prompt_ids=r.prompt_ids, completion_ids=r.completion_ids) for r in rollouts]
        )
        pair_examples = [e for i, pair in enumerate(self._held_out) for e in sides(pair, i)]
        pair_raw = self._scores(members, pair_examples)
        norm = normaliser(raw if rollouts else pair_raw)
        seed = self._bench.config.seed
        values = pair_quality(_scored_pairs(self._held_out, pair_raw.mean(0)), seed=seed)
        apart = [
            ScoredSample(
                task_id=r.task_id, score=score, passed=r.verdict is not None and r.verdict.status is Status.PASS
            )
            for r, score in zip(rollouts, raw.mean(0).tolist(), strict=True)
            if r.task_id in held_out_tasks
        ]
        if apart:
            values |= sample_quality(apart, sizes=SIZES)
        values |= {"reward_model/mean": norm.mean, "reward_model/std": norm.std}
        if len(members) > 1:
            values["reward_model/spread"] = float((pair_raw / norm.std).std(0).mean())
        if self._bench.accelerator.is_main_process:
            with new_folder(folder.reward_model_dir(label), overwrite=True) as draft:
                save_reward_model(members, self._policy, norm, draft)
            make_directory(folder.evals_dir)
            record = {"held_out_tasks": sorted(held_out_tasks), "values": values}
            atomic_write(folder.evals_dir / f"{label}_quality.json", json_bytes(record))
        self._bench.accelerator.wait_for_everyone()
        return values

    def _samples(self, label: str) -> list[Rollout]:
        """Samples of the reference policy with a known verdict: those of the last sampling stage; none where there is none."""
        if not SAMPLING & set(self._bench.config.stages[: int(label.partition("_")[0])]):
            return []
        rollouts = training_rollouts(self._bench, label, "")
        return [r for r in rollouts if r.verdict is not None and r.verdict.status is not Status.UNSCORABLE]

    def _scores(self, members: Sequence[Any], examples: list[Example]) -> Tensor:
        return scores(members, self._policy, examples, micro_batch_tokens=self.config.micro_batch_tokens)


def split_by_task(
    pairs: Sequence[EncodedPair], holdout: float, seed: int
) -> tuple[list[EncodedPair], list[EncodedPair]]:
    """(to learn from, to evaluate on): no task is on both sides; at least one task is held out. Ties are never held out."""
    tasks = sorted({pair.pair.task_id for pair in pairs if not pair.pair.tie})
    order = np.random.default_rng(derive(seed, "reward model holdout")).permutation(len(tasks))
    apart = {tasks[i] for i in order[: max(1, round(holdout * len(tasks)))]}
    train = [pair for pair in pairs if pair.pair.task_id not in apart]
    return train, [pair for pair in pairs if pair.pair.task_id in apart and not pair.pair.tie]


def _grouped(pairs: Sequence[EncodedPair]) -> dict[str, list[EncodedPair]]:
    groups: dict[str, list[EncodedPair]] = {}
    for pair in pairs:
        groups.setdefault(pair.pair.task_id, []).append(pair)
    return groups


def _scored_pairs(pairs: Sequence[EncodedPair], both: Tensor) -> list[ScoredPair]:
    values = both.tolist()
    return [
        ScoredPair(
            task_id=pair.pair.task_id,
            chosen=values[2 * i],
            rejected=values[2 * i + 1],
            margin=pair.pair.margin,
            chosen_length=len(pair.chosen_ids),
            rejected_length=len(pair.rejected_ids),
        )
        for i, pair in enumerate(pairs)
    ]
