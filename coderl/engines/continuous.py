"""transformers' continuous batching: a finished sample's place goes to the next at once, with keys and values in pages.

On the policy itself, so nothing is copied. One random stream serves the whole batch, so samples depend on what they are drawn
with. A stop string does not end a sample early, what follows it is cut off.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Unpack

import torch

from coderl.engines import Sampling, finished
from coderl.errors import EngineError
from coderl.generate import Sample, SampleRequest
from coderl.policy import Policy
from coderl.seeds import derive

PAGE_TOKENS = 32


class Continuous:
    @torch.no_grad()
    def sample(
        self, policy: Policy, requests: Sequence[SampleRequest], **settings: Unpack[Sampling]
    ) -> Iterator[Sample]:
        """See `Engine`; `batch_size` samples at most have pages at once."""
        from transformers import ContinuousBatchingConfig, GenerationConfig

        if not requests:
            return
        temperature, batch_size = settings["temperature"], settings["batch_size"]
        longest = max(len(request.prompt_ids) for request in requests) + settings["max_new_tokens"]
        pages = -(-longest // PAGE_TOKENS) + 1
        generation = GenerationConfig(
            do_sample=temperature > 0,
            temperature=temperature or 1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=settings["max_new_tokens"],
            eos_token_id=sorted(policy.eos_ids),
            pad_token_id=policy.pad_id,
        )
        batching = ContinuousBatchingConfig(
            return_logprobs=True,
            seed=derive(0, *sorted(request.seed for request in requests)) % 2**31,
            page_size=PAGE_TOKENS,
            num_blocks=pages * min(batch_size, len(requests)),
            max_batch_tokens=max(256, batch_size, longest),
        )
        model, was_training = policy.model, policy.model.training
        model.eval()
        logger = logging.getLogger("transformers")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            with torch.autocast(policy.device.type, dtype=policy.autocast, enabled=policy.autocast is not None):
                found = model.generate_batch(
                    [list(request.prompt_ids) for request in requests],
                    generation_config=generation,
                    continuous_batching_config=batching,
                    warmup=False,
                )
        finally:
            logger.setLevel(level)
            model.train(was_training)
        outputs = list(found.values())
        faults = [output.error for output in outputs if output.error]
        if faults or len(outputs) != len(requests):
            raise EngineError(
                f"continuous batching gave {len(outputs) - len(faults)} of {len(requests)} samples: "
                f"{faults[0] if faults else 'it ended early'}; lower generation.batch_size, or take generation.engine=torch"
            )
        for request, output in zip(requests, outputs, strict=True):
            if tuple(output.prompt_ids) != request.prompt_ids or len(output.logprobs) != len(output.generated_tokens):
                raise EngineError("continuous batching answered another prompt, or without log-probabilities")
            yield finished(
                request,
                output.generated_tokens,
                output.logprobs,
                eos_ids=policy.eos_ids,
                tokenizer=policy.tokenizer,
            )
