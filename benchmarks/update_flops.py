"""What share of the speed of a plain matrix product does the update reach?

    python benchmarks/update_flops.py MODEL [--prompts 8] [--tokens 64] [--rounds 5]

The update of a GRPO step (--prompts of 64 tokens x 8 completions of --tokens, all weights, AdamW) by the training loop itself,
without sampling and grading. Its work is counted as 6 operations per weight and token in the trunk, and per weight of the head
and completion token: attention, norms, softmax and optimizer are not counted, so the share is from below. In every round
it stands beside float32 products of 2048 x 2048 matrices: PyTorch's `@`, and oneDNN's, which coderl's linear layers use.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from grpo_step import SAMPLES, run_config

from coderl.experience import Example, collate, pack
from coderl.loop import Trainer
from coderl.methods.grpo import Grpo
from coderl.train import workbench
from coderl.trunk import causal_of

PROMPT_TOKENS, SIZE = 64, 2048


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="of a completion")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    options.steps, options.warmup, options.reward, options.autocast = options.rounds, 1, "tests", False
    with TemporaryDirectory() as folder:
        config = run_config(options, folder)
        with workbench(config) as bench:
            trainer = Trainer(bench, Grpo(bench, config.grpo, "grpo"), "grpo")
            examples = made(bench.policy.model.config.vocab_size, options)
            rows = pack(examples, config.grpo.micro_batch_tokens, packed=True)
            operations = sum(counted(bench.policy, [examples[i] for i in batch]) for batch in rows)
            measure(lambda: trainer._update(examples, 0, 1), operations, options.rounds)


def measure(update: Callable[[], Any], operations: float, rounds: int) -> None:
    a, b = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    products: dict[str, Callable[[], Any]] = {
        "torch @": lambda: a @ b,
        "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
    }
    update()
    speeds: dict[str, list[float]] = {"update": [], **{name: [] for name in products}}
    for _ in range(rounds):
        speeds["update"].append(operations / seconds(update) / 1e9)
        for name, product in products.items():
            speeds[name].append(2 * SIZE**3 / min(seconds(product) for _ in range(10)) / 1e9)
    print(f"{operations / 1e12:.2f} T operations an update, {torch.get_num_threads()} threads, {rounds} rounds")
    for name, found in speeds.items():
        shares = [ours / theirs for ours, theirs in zip(speeds["update"], found, strict=True)]
        spread = f"{statistics.median(shares):.2f} ({min(shares):.2f}-{max(shares):.2f})"
        print(
            f"  {name:<8}{statistics.median(found):8.0f} GFLOP/s"
            + ("" if name == "update" else f"   update: {spread} of it")
        )


def seconds(work: Callable[[], Any]) -> float:
    """Of cpu time, divided by the threads: a busy machine changes that less than the clock."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / torch.get_num_threads()


def made(vocabulary: int, options: argparse.Namespace) -> list[Example]:
    generator, tokens = torch.Generator().manual_seed(0), options.tokens

    def ids(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(vocabulary, (count,), generator=generator).tolist())

    prompts = [ids(PROMPT_TOKENS) for _ in range(options.prompts)]
    return [
        Example(
            place=number,
            prompt_ids=prompts[number // SAMPLES],
            completion_ids=ids(tokens),
            advantages=torch.full((tokens,), 1.0 if number % 2 else -1.0),
            sampler_logprobs=torch.zeros(tokens),
        )
        for number in range(options.prompts * SAMPLES)
    ]


def counted(policy: Any, examples: list[Example]) -> float:
    """Operations of forward and backward of one micro-batch in the linear layers."""
    batch = collate(examples, [0.0] * len(examples), policy.pad_id, policy.device, packed=True)
    causal = causal_of(policy.model)
    head = causal.get_output_embeddings()
    linear = [m for m in causal.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    trunk = sum(m.weight.numel() for m in linear)
    return 6.0 * (trunk * batch.input_ids.numel() + head.weight.numel() * batch.completion_ids.numel())


if __name__ == "__main__":
    main()
