"""How fast are completions sampled, beside transformers' `generate` on the same work?

    python benchmarks/generate_throughput.py MODEL [MODEL ...] --threads 1 2     # folders; default: the quickstart's policy

Per round and model, the same prompts, samples and lengths go through `coderl.generate` (float32, bfloat16, and float32 with
LoRA adapters on every layer) and through `model.generate` (float32, no adapters); no stop tokens, so that all make exactly as
many. "bare decode" is what the model alone costs: the same prefill and steps, nothing else. Ratios are of tokens per second in
the same round.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache, GenerationConfig
from transformers.utils import logging

from coderl.config import PolicyConfig
from coderl.generate import SampleRequest, generate
from coderl.policy import load_policy
from tasks.registry import load

QUICKSTART = {"hidden_size": 128, "intermediate_size": 344, "num_layers": 2, "num_heads": 4, "max_positions": 128}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", help="model folders; without any, a policy of the quickstart's size")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--samples", type=int, default=8, help="of each prompt")
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of each sample")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[torch.get_num_threads()], help="one table for each")
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of cpu time, for a busy machine")
    options = parser.parse_args()
    logging.disable_progress_bar()
    with TemporaryDirectory() as folder:
        for name in options.models or [_quickstart(Path(folder))]:
            _measure(name, options)


def _measure(name: str, options: argparse.Namespace) -> None:
    tokenizer = AutoTokenizer.from_pretrained(name)
    texts = [f"# {task.prompt}\n{task.signature}" for task in load(f"easy?limit={options.prompts}")]
    prompts = [tuple(tokenizer(text)["input_ids"]) for text in texts]
    theirs = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32).eval()
    settings: dict[str, dict[str, Any]] = {
        "float32": {},
        "bfloat16": {"dtype": "bfloat16"},
        "adapters": {"lora": {"rank": 16}},
    }
    models = {
        kind: load_policy(PolicyConfig.model_validate({"model": name, **changes}), seed=0).model.eval()
        for kind, changes in settings.items()
    }
    ways: dict[str, Callable[[], int]] = {
        "generate": lambda: _theirs(theirs, tokenizer, prompts, options),
        "ours": lambda: _ours(models["float32"], tokenizer, prompts, options),
        "ours, bfloat16": lambda: _ours(models["bfloat16"], tokenizer, prompts, options),
        "ours, adapters": lambda: _ours(models["adapters"], tokenizer, prompts, options),
        "bare decode": lambda: _bare(models["float32"], prompts, options),
    }
    for threads in options.threads:
        torch.set_num_threads(threads)
        _rounds(name, ways, options)


def _rounds(name: str, ways: dict[str, Callable[[], int]], options: argparse.Namespace) -> None:
    for way in ways.values():  # once for the caches of the libraries
        way()
    kind = "cpu" if options.cpu_time else "clock"
    clock = time.process_time if options.cpu_time else time.perf_counter
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, run in ways.items():
            started = clock()
            speeds[way].append(run() / (clock() - started))
    shape = f"{options.prompts} prompts x {options.samples} samples x {options.tokens} tokens"
    print(f"{name}: {shape}, {torch.get_num_threads()} threads, {kind} time, median (range) of {options.rounds} rounds")
    for way, found in speeds.items():
        ratios = [mine / theirs for mine, theirs in zip(found, speeds["generate"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"  {way:<15}{statistics.median(found):>9.0f} tokens/s   {spread} of generate")


def _ours(model: Any, tokenizer: Any, prompts: list[tuple[int, ...]], options: argparse.Namespace) -> int:
    requests = [
        SampleRequest(key=(i, j), prompt_ids=prompt, seed=1000 * i + j)
        for i, prompt in enumerate(prompts)
        for j in range(options.samples)
    ]
    samples = generate(
        model,
        tokenizer,
        requests,
        eos_ids=frozenset(),
        pad_id=tokenizer.pad_token_id,
        max_new_tokens=options.tokens,
        temperature=1.0,
        batch_size=len(requests),
    )
    return sum(len(sample.ids) for sample in samples)


def _theirs(model: Any, tokenizer: Any, prompts: list[tuple[int, ...]], options: argparse.Namespace) -> int:
    ids, mask = _padded(prompts, tokenizer.pad_token_id)
    settings = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        max_new_tokens=options.tokens,
        min_new_tokens=options.tokens,
        num_return_sequences=options.samples,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.no_grad():
        made = model.generate(input_ids=ids, attention_mask=mask, generation_config=settings)
    return int(made[:, ids.shape[1] :].numel())


def _bare(model: Any, prompts: list[tuple[int, ...]], options: argparse.Namespace) -> int:
    """The same prefill and as many decode steps at the full batch: no sampling, no masks, no stops."""
    rows, width = len(prompts) * options.samples, max(map(len, prompts))
    cache = DynamicCache()
    with torch.no_grad():
        model(input_ids=torch.zeros((len(prompts), width), dtype=torch.long), past_key_values=cache, logits_to_keep=1)
        cache.batch_repeat_interleave(options.samples)
        for _ in range(options.tokens):
            model(input_ids=torch.zeros((rows, 1), dtype=torch.long), past_key_values=cache)
    return rows * options.tokens


def _padded(prompts: list[tuple[int, ...]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), pad_id)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    return ids, mask


def _quickstart(folder: Path) -> str:
    config = PolicyConfig.model_validate({"model": "new:", "new": QUICKSTART})
    policy = load_policy(config, seed=0, corpus=[task.prompt for task in load("easy")])
    policy.save(folder)
    return str(folder)


if __name__ == "__main__":
    main()
