"""Who samples for the trainer? The loop of coderl.generate unless a config names another engine.

An engine gives token ids with the log-probabilities that it drew them by; those are kept with every rollout, and where they
are not the trainer's, `importance` of the stage corrects for it. Only the own loop draws from one random stream per sample, so
that a batch can be split in any way and a run repeated bit for bit. What the others need is imported when one is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypedDict, Unpack

from coderl.config import RunConfig
from coderl.errors import ConfigError
from coderl.generate import Sample, SampleRequest, generate, is_ended
from coderl.policy import Policy


class Sampling(TypedDict):
    """How to sample: at most `batch_size` rows decode together."""

    max_new_tokens: int
    temperature: float
    batch_size: int


class Engine(Protocol):
    def sample(
        self, policy: Policy, requests: Sequence[SampleRequest], **settings: Unpack[Sampling]
    ) -> Iterator[Sample]:
        """Samples of the policy as it is now, in any order; temperature 0 is greedy. Raises EngineError."""


class OwnLoop:
    """coderl.generate, on the policy itself."""

    def sample(
        self, policy: Policy, requests: Sequence[SampleRequest], **settings: Unpack[Sampling]
    ) -> Iterator[Sample]:
        return generate(
            policy.model,
            policy.tokenizer,
            requests,
            eos_ids=policy.eos_ids,
            pad_id=policy.pad_id,
            autocast=policy.autocast,
            **settings,
        )


def open_engine(config: RunConfig, *, num_processes: int) -> Engine:
    """The engine that a run asks for. Raises ConfigError where this launch cannot have it."""
    name = config.generation.engine
    if name == "continuous":
        from coderl.engines.continuous import Continuous

        return Continuous()
    if name == "vllm":
        from coderl.engines.vllm import VllmHere, VllmServer

        if num_processes > 1:
            raise ConfigError("generation.engine: vllm is for one training process: launch one, or take another engine")
        if config.generation.engine_url:
            return VllmServer(config.generation.engine_url, config.generation.engine_folder)
        return VllmHere(config.generation.engine_memory)
    return OwnLoop()


def finished(
    request: SampleRequest, ids: Sequence[int], logprobs: Sequence[float], *, eos_ids: frozenset[int], tokenizer: Any
) -> Sample:
    """Drawn tokens up to the stop token, or the token that completes a stop string, as the own loop ends them."""
    for end in range(1, len(ids) + 1):
        if is_ended(ids[:end], request.stop, eos_ids, tokenizer):
            return Sample(key=request.key, ids=tuple(ids[:end]), logprobs=tuple(logprobs[:end]), truncated=False)
    return Sample(key=request.key, ids=tuple(ids), logprobs=tuple(logprobs), truncated=True)
