"""How much of everything does a run on 1, 8 or 1,000 GPUs need? Arithmetic from named inputs; nothing is measured here.

    python benchmarks/scale_arithmetic.py                                   # the table of docs/scale.md
    python benchmarks/scale_arithmetic.py gpus=64 parameters=14e9 sharded=1 # a column of your own

A step is what coderl does in turn: sample, grade, update; nothing overlaps. docs/scale.md says which input is a guess.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, fields, replace

GIGA = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The defaults are those of the column `1 GPU`; rates are of one GPU of the H100 kind, per second."""

    gpus: float = 1
    sharded: float = 0  # 1: FSDP, configs/accelerate/fsdp.yaml; 0: each GPU holds the policy
    parameters: float = 1.5e9
    layers: float = 28
    kv_width: float = 512  # key-value heads times their width
    prompts_per_step: float = 32
    samples_per_prompt: float = 8
    prompt_tokens: float = 256
    new_tokens: float = 512  # the mean; the longest of a batch sets how long it decodes
    longest_share: float = 2.0  # longest / mean
    batch_size: float = 128  # sequences that decode together on one GPU
    flops: float = 990e12  # bf16 peak
    update_share: float = 0.35  # of the peak that an update reaches
    memory_bandwidth: float = 3.35e12  # bytes
    decode_share: float = 0.25  # of that bandwidth that decoding in plain torch reaches
    forward_passes: float = 1  # without gradient: reference, old log-probabilities
    dtype_bytes: float = 4  # policy.dtype: of a weight, its gradient, and each of Adam's two moments
    weight_bytes: float = 2  # as they are multiplied (autocast bfloat16)
    activation_bytes: float = 34  # per token, layer and unit of width, with attention that keeps no matrix
    width: float = 1536
    micro_batch_tokens: float = 8192
    link: float = 50e9  # bytes that a GPU sends and receives at once: one 400 Gbit/s port
    cpu_seconds: float = 0.05  # of a core, to grade one sample
    grade_share: float = 0.1  # of a step that grading may take
    program_bytes: float = 2000
    verdict_bytes: float = 3000
    rollout_bytes: float = 20000  # a sample with its log-probabilities and verdict, as processes exchange it
    checkpoint_every: float = 50  # steps
    disk: float = 2e9  # bytes that the main process writes


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    samples: float
    generate_seconds: float
    update_seconds: float
    network_seconds: float
    step_seconds: float
    samples_per_second: float
    tokens_per_second: float
    grader_cores: float
    gpu_gigabytes: float
    link_gigabytes: float  # per GPU and step
    grader_megabits: float  # per second, both directions
    exchange_gigabytes: float  # per process and step
    checkpoint_gigabytes: float
    checkpoint_seconds: float
    checkpoint_gigabytes_per_hour: float


def needs(i: Inputs) -> Needs:
    """The formulas; docs/scale.md explains them line by line."""
    samples = i.prompts_per_step * i.samples_per_prompt
    own = samples / i.gpus
    batches = max(1.0, own / i.batch_size)
    rows = min(own, i.batch_size)
    cache = 2 * 2 * i.layers * i.kv_width * (i.prompt_tokens + i.new_tokens / 2) * rows  # keys and values, bfloat16
    reading = (i.weight_bytes * i.parameters + cache) / (i.memory_bandwidth * i.decode_share)
    prefill = 2 * i.parameters * i.prompts_per_step / i.gpus * i.prompt_tokens / (i.flops * i.update_share)
    generate = prefill + batches * reading * i.new_tokens * i.longest_share

    tokens = own * (i.prompt_tokens + i.new_tokens)
    update = (6 + 2 * i.forward_passes) * i.parameters * tokens / (i.flops * i.update_share)
    micro_batches = max(1.0, tokens / i.micro_batch_tokens)

    others = (i.gpus - 1) / i.gpus
    gradients = i.dtype_bytes * i.parameters
    if i.sharded:  # weights before forward and backward of each micro-batch, once more to sample, gradients once
        moved = others * gradients * (2 * micro_batches + 1 + i.forward_passes + 1)
    else:
        moved = others * gradients * 2  # a ring that adds up and hands round
    exchange = 2 * samples * i.rollout_bytes if i.gpus > 1 else 0.0  # for metrics, and for the store
    network = (moved + exchange) / i.link

    busy = generate + update + network
    step = busy / (1 - i.grade_share)
    checkpoint = 3 * i.dtype_bytes * i.parameters
    saved = checkpoint / i.disk
    per_step = step + saved / i.checkpoint_every

    parts = i.gpus if i.sharded else 1
    whole = i.dtype_bytes * i.parameters if i.sharded else 0.0  # gathered to sample
    activations = i.activation_bytes * i.micro_batch_tokens * i.width * i.layers
    kept = (4 + 1) * i.dtype_bytes * i.parameters / parts  # weights, gradients, moments; the reference
    memory = kept + max(activations, whole + cache)
    return Needs(
        samples=samples,
        generate_seconds=generate,
        update_seconds=update,
        network_seconds=network,
        step_seconds=per_step,
        samples_per_second=samples / per_step,
        tokens_per_second=samples * i.new_tokens / per_step,
        grader_cores=samples * i.cpu_seconds / (i.grade_share * step),
        gpu_gigabytes=memory / GIGA,
        link_gigabytes=moved / GIGA,
        grader_megabits=8e-6 * samples * (i.program_bytes + i.verdict_bytes) / per_step,
        exchange_gigabytes=exchange / GIGA,
        checkpoint_gigabytes=checkpoint / GIGA,
        checkpoint_seconds=saved,
        checkpoint_gigabytes_per_hour=checkpoint / GIGA * 3600 / (i.checkpoint_every * per_step),
    )


ONE = Inputs()
EIGHT = replace(ONE, gpus=8, sharded=1, parameters=7e9, width=3584, prompts_per_step=128, link=400e9)
THOUSAND = replace(
    EIGHT,
    gpus=1000,
    parameters=14e9,
    dtype_bytes=2,
    layers=48,
    kv_width=1024,
    width=5120,
    prompts_per_step=4096,
    samples_per_prompt=16,
    new_tokens=2048,
    micro_batch_tokens=4096,
    link=50e9,
    cpu_seconds=0.2,
)


def main(arguments: list[str]) -> int:
    columns = {"1 GPU, 1.5 B": ONE, "8 GPUs, 7 B": EIGHT, "1,000 GPUs, 14 B": THOUSAND}
    if arguments:
        try:
            columns = {"yours": replace(ONE, **{k: float(v) for k, v in (a.split("=", 1) for a in arguments)})}
        except (ValueError, TypeError) as error:
            names = ", ".join(field.name for field in fields(Inputs))
            print(f"scale_arithmetic: {error}: give name=number, with one of {names}", file=sys.stderr)
            return 2
    found = [needs(column) for column in columns.values()]
    print("| | " + " | ".join(columns) + " |\n|---|" + "---:|" * len(columns))
    for field in fields(Needs):
        values = (getattr(column, field.name) for column in found)
        cells = (f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values)
        print(f"| {field.name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
