"""DPO and its relatives: learn from pairs alone. No program runs and nothing is sampled.

The reference is the policy at the start of the stage; what it says of the pairs is computed once and cached by content.
"""

from __future__ import annotations

import torch
from accelerate.utils import gather_object
from torch import Tensor

from coderl.algorithms.dpo import (
    PairLogprobs,
    cdpo_loss,
    dpo_loss,
    dpop_loss,
    ipo_loss,
    kto_loss,
    orpo_loss,
    robust_loss,
    simpo_loss,
)
from coderl.config import DpoConfig
from coderl.errors import ConfigError
from coderl.experience import Example, MicroBatch
from coderl.logprobs import per_token, reference_logprobs
from coderl.methods.base import Experience, MethodBase, TokenLoss
from coderl.methods.preference import load_pairs, sides
from coderl.seeds import cursor
from coderl.workbench import Workbench

WITHOUT_REFERENCE = ("simpo", "orpo")


class Dpo(MethodBase):
    """Batches are drawn from endless permutations of the pairs; ties teach DPO nothing and are left out."""

    normalize = (
        "sequence"  # each side's weights sum to 1 / (2 P), and both hold the loss of their pair: the mean over pairs
    )

    def __init__(self, bench: Workbench, config: DpoConfig, label: str) -> None:
        super().__init__(bench.policy, config.optimizer.learning_rate)
        self.config, self._bench, self._label = config, bench, label
        self._pairs = [pair for pair in load_pairs(bench, config, label) if not pair.pair.tie]
        if not self._pairs:
            raise ConfigError(f"{label}: all pairs are ties: there is nothing to learn from")
        self._examples = [e for i, pair in enumerate(self._pairs) for e in sides(pair, i)]
        self._ref = self._reference(self._examples)
        self._mismatched = self._shifted() if config.loss == "kto" else []
        self._mismatched_ref = self._reference(self._mismatched)
        self._kl = torch.zeros(())
        self._watched: list[Tensor] = []

    def collect(self, step: int) -> Experience:
        size = self.config.batch_size
        indices = cursor(self._bench.config.seed, self._label, len(self._pairs), step * size, size)
        own = self._bench.share(indices)
        self._watched = []
        if self.config.loss == "kto":
            self._kl = self._estimate_kl(own)
        examples = []
        for number, index in enumerate(own):  # the same pair may come twice: each time it is a unit of its own
            ref = (self._ref[2 * index], self._ref[2 * index + 1])
            examples += sides(self._pairs[index], number, ref)
        return Experience(examples=examples)

    def loss(self, batch: MicroBatch, step: int) -> TokenLoss:
        pairs = self._pair_logprobs(batch)
        losses = self._losses(pairs)
        if self.config.nll_coef:
            losses = losses - self.config.nll_coef * pairs.chosen / pairs.chosen_length
        if batch.weights.any():
            rewards = pairs.rewards(1.0 if self.config.loss in WITHOUT_REFERENCE else self.config.beta)
            self._watched.append(torch.stack([*rewards, *pairs]).detach().cpu())
        return TokenLoss(batch.spread(losses.repeat_interleave(2)), {})

    def after_step(self, metrics: dict[str, float]) -> dict[str, float]:
        watched = torch.cat(self._watched, dim=1) if self._watched else torch.zeros(8, 0)
        if self._bench.accelerator.num_processes > 1:
            watched = torch.cat(gather_object([watched]), dim=1)
        chosen_reward, rejected_reward, chosen, rejected, _, _, chosen_length, rejected_length = watched
        values = {
            "pairs/reward_chosen": chosen_reward.mean(),
            "pairs/reward_rejected": rejected_reward.mean(),
            "pairs/reward_margin": (chosen_reward - rejected_reward).mean(),
            "pairs/accuracy": (chosen_reward > rejected_reward).float().mean(),
            "pairs/logprob_chosen": chosen.mean(),
            "pairs/logprob_rejected": rejected.mean(),
            "pairs/length_chosen": chosen_length.mean(),
            "pairs/length_rejected": rejected_length.mean(),
        }
        if self.config.loss == "kto":
            values["pairs/kl"] = self._kl
        return {name: float(value) for name, value in values.items()}

    def _losses(self, pairs: PairLogprobs) -> Tensor:
        """(P,)"""
        config, beta = self.config, self.config.beta
        if config.loss == "kto":
            return self._kto(pairs)
        return {
            "dpo": lambda: dpo_loss(pairs, beta=beta),
            "cdpo": lambda: cdpo_loss(pairs, beta=beta, label_smoothing=config.label_smoothing),
            "robust": lambda: robust_loss(pairs, beta=beta, label_smoothing=config.label_smoothing),
            "ipo": lambda: ipo_loss(pairs, beta=beta),
            "dpop": lambda: dpop_loss(pairs, beta=beta, penalty=config.penalty),
            "simpo": lambda: simpo_loss(pairs, beta=beta, margin=config.margin),
            "orpo": lambda: orpo_loss(pairs, beta=beta),
        }[config.loss]()

    def _kto(self, pairs: PairLogprobs) -> Tensor:
        """The mean loss of the two sides: a mean over completions, chosen ones desirable."""
        both = kto_loss(
            torch.cat([pairs.chosen, pairs.rejected]),
            torch.cat([pairs.ref_chosen, pairs.ref_rejected]),
            torch.cat([torch.ones_like(pairs.chosen), torch.zeros_like(pairs.rejected)]),
            self._kl.to(pairs.chosen.device),
            beta=self.config.beta,
            desirable_weight=self.config.desirable_weight,
            undesirable_weight=self.config.undesirable_weight,
        )
        return both.view(2, -1).mean(0)

    def _pair_logprobs(self, batch: MicroBatch) -> PairLogprobs:
        sums = batch.sums(self._policy.logprobs(batch, 1.0))  # (2P,) chosen and rejected in turn
        ref = torch.zeros_like(sums) if batch.ref_logprobs is None else batch.sums(batch.ref_logprobs)
        lengths = torch.tensor(batch.lengths, device=sums.device, dtype=sums.dtype)
        return PairLogprobs(sums[::2], sums[1::2], ref[::2], ref[1::2], lengths[::2], lengths[1::2])

    def _reference(self, examples: list[Example]) -> list[Tensor]:
        if self.config.loss in WITHOUT_REFERENCE or not examples:
            return [torch.zeros(len(e.completion_ids)) for e in examples]
        assert self._bench.folder is not None
        return reference_logprobs(
            self._policy,
            examples,
            micro_batch_tokens=self.config.micro_batch_tokens,
            cache=self._bench.folder.cache_dir,
        )

    def _shifted(self) -> list[Example]:
        """Per pair its prompt with the chosen completion of the next pair of another task: what KTO's KL is estimated on."""
        count = len(self._pairs)
        shifted = []
        for i, pair in enumerate(self._pairs):
            others = (self._pairs[(i + k) % count] for k in range(1, count))
            other = next((p for p in others if p.pair.task_id != pair.pair.task_id), None)
            if other is None:
                raise ConfigError(
                    f"{self._label}: loss kto estimates a KL on mismatched pairs: it needs two tasks or more"
                )
            shifted.append(Example(prompt_ids=pair.prompt_ids, completion_ids=other.chosen_ids))
        return shifted

    def _estimate_kl(self, indices: list[int]) -> Tensor:
        """max(0, mean of log pi - log ref) over the mismatched completions of the step, all processes together; ()."""
        now = per_token(
            self._policy,
            [self._mismatched[i] for i in indices],
            lambda batch: self._policy.logprobs(batch, 1.0),
            micro_batch_tokens=self.config.micro_batch_tokens,
        )
        ratios = [float((lp - self._mismatched_ref[i]).sum()) for lp, i in zip(now, indices, strict=True)]
        if self._bench.accelerator.num_processes > 1:
            ratios = list(gather_object(ratios))
        return torch.tensor(max(0.0, sum(ratios) / len(ratios)))
