"""What does a policy, or a frozen reference, say of many completions? In micro-batches, without gradients, and cached.

The cache is keyed by content: every weight of the model (adapters among them), the tokenizer, and all token ids. The same
question has the same answer, so a stage that runs again reads it instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from coderl.experience import Example, MicroBatch, collate, pack
from coderl.pairs import tokenizer_fingerprint
from coderl.policy import Policy
from coderl.run_folder import is_main_process, make_directory
from coderl.sharding import full


@torch.no_grad()
def per_token(
    policy: Policy, examples: Sequence[Example], function: Callable[[MicroBatch], Tensor], *, micro_batch_tokens: int
) -> list[Tensor]:
    """function(batch) (N, T) for all examples, as one cpu tensor (T,) each, in order."""
    results: dict[int, Tensor] = {}
    with policy.gathered():
        for rows in pack(examples, micro_batch_tokens, packed=policy.packed):
            chosen = [examples[i] for i in rows]
            batch = collate(chosen, [0.0] * len(rows), policy.pad_id, policy.device, packed=policy.packed)
            results |= zip(rows, batch.split(function(batch).cpu()), strict=True)
    return [results[i] for i in range(len(examples))]


def reference_logprobs(
    policy: Policy, examples: Sequence[Example], *, micro_batch_tokens: int, cache: Path
) -> list[Tensor]:
    """Log-probabilities (T,) of each example at temperature 1 under the policy as it is now, from `cache` if it has them."""
    path = cache / "ref_logprobs" / f"{content_key(policy, examples)}.pt"
    lengths = [len(e.completion_ids) for e in examples]
    if path.is_file():
        return list(torch.load(path, map_location="cpu", weights_only=True).split(lengths))
    values = per_token(
        policy, examples, lambda batch: policy.logprobs(batch, 1.0), micro_batch_tokens=micro_batch_tokens
    )
    if is_main_process():
        make_directory(path.parent)
        draft = path.with_suffix(".draft")
        torch.save(torch.cat(values), draft)
        draft.replace(path)
    return values


def content_key(policy: Policy, examples: Sequence[Example]) -> str:
    """Changes with any weight, the tokenizer, or any token of any example."""
    digest = hashlib.sha256(tokenizer_fingerprint(policy.tokenizer).encode())
    for name, tensor in sorted(policy.model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(full(tensor.detach()).cpu().contiguous().view(torch.uint8).numpy().tobytes())
    for example in examples:
        digest.update(repr((example.prompt_ids, example.completion_ids)).encode())
    return digest.hexdigest()[:32]
