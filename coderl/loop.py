"""The one training loop: collect, split into optimizer steps, accumulate, clip, update, log, checkpoint.

Each optimizer step minimises sum(weights * token_loss), and the weights are fixed before anything is split, from the totals
over all processes; so micro-batches, accumulation and processes never change the gradient.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate.utils import gather_object

from coderl import zero
from coderl.errors import TrainingStopped
from coderl.experience import Example, collate, pack
from coderl.functional import learning_rate_factor, token_weights
from coderl.launch import check_launch
from coderl.methods.base import Experience, Method
from coderl.seeds import derive
from coderl.sharding import assign, full, is_sharded
from coderl.step_time import parts, whole
from coderl.watched import Metrics, Watched, merged, of_all
from coderl.workbench import Workbench

Item = TypeVar("Item")


class Trainer:
    """Runs one method on one workbench; `step` is what has been done."""

    def __init__(self, bench: Workbench, method: Method, label: str) -> None:
        self.bench, self.method, self.label, self.step = bench, method, label, 0
        self._accelerator = bench.accelerator
        modules = method.modules()
        check_launch(self._accelerator, label, list(modules), bench.config.policy)
        self._base_rates = {name: part.learning_rate for name, part in modules.items()}
        config = method.config.optimizer
        groups = [
            {"params": [p for p in part.module.parameters() if p.requires_grad], "lr": part.learning_rate, "name": name}
            for name, part in modules.items()
        ]
        optimizer = torch.optim.AdamW(groups, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay)
        wrapped = [part.module for part in modules.values()]
        prepared = zero.prepare(self._accelerator, optimizer, wrapped, config.max_grad_norm)
        self._optimizer: Any = prepared[0]
        self._engines = dict(zip(modules, prepared[1:], strict=True))
        method.wrap(self._engines)
        for part in modules.values():
            part.module.train()

    def run(self, num_steps: int) -> Iterator[tuple[Experience, Metrics]]:
        """Yield after each step what it learned from and its metrics, until `num_steps` are done."""
        while self.step < num_steps:
            started = time.perf_counter()
            experience = self.method.collect(self.step)
            collected = time.perf_counter()
            metrics = experience.metrics | self._update(experience.examples, self.step, num_steps)
            updated = time.perf_counter()
            metrics = merged(self._everywhere(metrics | parts(metrics, collected - started, updated - collected)))
            metrics |= self.method.after_step(metrics)
            metrics |= whole(metrics, time.perf_counter() - started)
            self.step += 1
            yield experience, metrics

    def state(self) -> dict[str, Any]:
        """Everything that changes while training, for a checkpoint; all processes call it together."""
        weights = {
            name: {
                k: full(p.detach()).cpu()
                for k, p in self._accelerator.unwrap_model(engine).named_parameters()
                if p.requires_grad
            }
            for name, engine in self._engines.items()
        }
        optimizer = zero.whole_state(self._accelerator, self._optimizer)
        return {"weights": weights, "optimizer": optimizer, "method": self.method.state()}

    def load_state(self, state: dict[str, Any], step: int) -> None:
        """Inverse of `state`."""
        for name, engine in self._engines.items():
            for key, parameter in self._accelerator.unwrap_model(engine).named_parameters():
                if parameter.requires_grad:
                    assign(parameter, state["weights"][name][key])
        zero.load_whole_state(self._accelerator, self._optimizer, state["optimizer"])
        self.method.load_state(state["method"])
        self.step = step

    def _everywhere(self, own: Item) -> list[Item]:
        """What every process has to give, on every process."""
        return [own] if self._accelerator.num_processes == 1 else list(gather_object([own]))

    def _update(self, examples: list[Example], step: int, num_steps: int) -> Metrics:
        optimizer = self.method.config.optimizer
        rate = learning_rate_factor(optimizer.schedule, step, num_steps, optimizer.warmup_steps)
        for group in self._optimizer.param_groups:
            group["lr"] = self._base_rates[group["name"]] * rate
        first_rate = next(iter(self._base_rates.values()))
        watched: list[Metrics] = []
        for epoch in range(self.method.epochs):
            for part in self._minibatches(examples, derive(self.bench.config.seed, self.label, step, epoch)):
                watched.append(self._optimizer_step(part, examples[:1], step))
                if self.method.stop_epochs(watched[-1]):
                    return merged(watched) | {"learning_rate": first_rate * rate}
        return merged(watched) | {"learning_rate": first_rate * rate}

    def _minibatches(self, examples: list[Example], seed: int) -> Iterator[list[Example]]:
        """This process's part of each minibatch; they are drawn from the examples of all processes together."""
        if self.method.minibatches == 1:
            yield examples
            return
        own = {example.place: example for example in examples if example.place >= 0}
        assert len(own) == sum(example.place >= 0 for example in examples), "two examples have the same place"
        places = sorted(place for part in self._everywhere(list(own)) for place in part)
        order = np.random.default_rng(seed).permutation(len(places))
        for part in np.array_split(order, self.method.minibatches):
            yield [own[places[i]] for i in sorted(part) if places[i] in own]

    def _optimizer_step(self, examples: list[Example], stand_in: list[Example], step: int) -> Metrics:
        active = [i for i, example in enumerate(examples) if example.valid and not example.idle]
        weights, num_active = self._weights(examples, len(active))
        if not num_active:  # nothing to learn: no update either, which momentum alone would make
            return {"loss": 0.0} | {f"grad_norm/{name}": 0.0 for name in self._engines}
        watching = bool(active)
        if not active:
            examples, active, weights = stand_in, [0], [0.0]  # all must take part in the exchange of gradients
        policy = self.bench.policy
        chosen = [examples[i] for i in active]
        batches = [
            [active[i] for i in rows]
            for rows in pack(chosen, self.method.config.micro_batch_tokens, packed=policy.packed)
        ]
        num_counted = len(batches)
        if zero.is_used(self._accelerator) or any(map(is_sharded, self._engines.values())):
            # all processes must then go forward equally often
            batches += batches[:1] * (max(self._everywhere(num_counted)) - num_counted)
        self._optimizer.zero_grad(set_to_none=True)
        watched = Watched()
        for number, rows in enumerate(batches):
            batch = collate(
                [examples[i] for i in rows],
                [weights[i] if number < num_counted else 0.0 for i in rows],
                policy.pad_id,
                policy.device,
                packed=policy.packed,
            )
            with self._sync(last=(last := number == len(batches) - 1)):
                token_loss, watch = self.method.loss(batch, step)
                loss = (batch.weights * token_loss).sum()
                if not torch.isfinite(loss):
                    raise self._stopped(f"the loss is {loss.item()}")
                scaled = loss * self._accelerator.num_processes  # processes average their gradients
                zero.backward(self._accelerator, scaled, next(iter(self._engines.values())), last=last)
            if watching and number < num_counted:
                watched.add(loss.item(), watch, batch.mask)
        norms = {f"grad_norm/{name}": self._clip(engine) for name, engine in self._engines.items()}
        self._optimizer.step()
        return of_all(self._everywhere(watched)) | norms

    def _weights(self, examples: list[Example], num_active: int) -> tuple[list[float], int]:
        """What a token of each counts, and how many examples of all processes have a gradient."""
        lengths = torch.tensor([e.num_counted for e in examples])
        valid = torch.tensor([e.valid * e.weight for e in examples])
        counted = valid.double()
        totals = torch.stack([(lengths * counted).sum(), counted.sum(), torch.tensor(float(num_active)).double()])
        totals = self._accelerator.reduce(totals.to(self._accelerator.device), reduction="sum")
        total_tokens, total_sequences, all_active = totals.tolist()
        weights = token_weights(
            lengths,
            valid,
            normalize=self.method.normalize,
            max_tokens=self.method.max_tokens,
            total_tokens=total_tokens,
            total_sequences=total_sequences,
        )
        return list(weights.tolist()), round(all_active)

    def _sync(self, *, last: bool) -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        if not last and not zero.is_used(self._accelerator):
            for engine in self._engines.values():
                stack.enter_context(self._accelerator.no_sync(engine))
        return stack

    def _clip(self, engine: Any) -> float:
        norm = zero.clip(self._accelerator, engine, self.method.config.optimizer.max_grad_norm)
        if not math.isfinite(norm):
            raise self._stopped(f"the gradient norm is {norm}")
        return norm

    def _stopped(self, fault: str) -> TrainingStopped:
        remedy = "resume from the last checkpoint with a lower learning rate"
        return TrainingStopped(f"{self.label} step {self.step}: {fault}; {remedy}")
