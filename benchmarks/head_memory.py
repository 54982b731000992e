"""What does a chunked head save and cost? Peak memory and cpu time of one update's forward and backward pass, with and without.

python benchmarks/head_memory.py MODEL [--samples 8] [--tokens 128] [--rounds 3]

One prompt's completions of random tokens in one packed micro-batch, each pass in a process of its own. Peak memory is what the
process held at most (ru_maxrss), weights, gradients and activations included; ratios are chunked over plain.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--contestant", choices=("plain", "chunked"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(measured(options)))
        return
    ratios: dict[str, list[float]] = {"peak_mib": [], "cpu_seconds": []}
    for number in range(options.rounds):
        found = {name: _asked(name) for name in ("plain", "chunked")}
        for name in ratios:
            ratios[name].append(found["chunked"][name] / found["plain"][name])
        told = ", ".join(f"{who} {v['peak_mib']:.0f} MiB {v['cpu_seconds']:.1f} s" for who, v in found.items())
        print(f"round {number + 1}: {told}; loss {found['plain']['loss']:.6f} and {found['chunked']['loss']:.6f}")
    for name, values in ratios.items():
        print(f"{name}: {statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})")


def measured(options: argparse.Namespace) -> dict[str, float]:
    import torch

    from coderl.config import PolicyConfig
    from coderl.experience import Example, collate
    from coderl.policy import load_policy

    config = PolicyConfig(model=options.model, packing=True, chunked_head=options.contestant == "chunked")
    policy = load_policy(config, seed=0)
    policy.model.train()
    torch.manual_seed(0)
    ids = torch.randint(100, len(policy.tokenizer), (options.samples + 1, options.tokens)).tolist()
    examples = [Example(prompt_ids=tuple(ids[0]), completion_ids=tuple(row)) for row in ids[1:]]
    batch = collate(
        examples, [1 / (options.samples * options.tokens)] * options.samples, policy.pad_id, policy.device, packed=True
    )
    started = time.process_time()
    loss = -(policy.logprobs(batch, 1.0) * batch.weights).sum()
    loss.backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"peak_mib": peak, "cpu_seconds": time.process_time() - started, "loss": loss.item()}


def _asked(contestant: str) -> dict[str, float]:
    command = [sys.executable, __file__, *sys.argv[1:], "--contestant", contestant]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, float] = json.loads(answer.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
