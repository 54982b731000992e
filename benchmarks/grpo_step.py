"""How long does a GRPO step take, and how much memory, beside TRL's GRPOTrainer on the same work?

    python benchmarks/grpo_step.py MODEL [--prompts 8] [--tokens 64] [--steps 2] [--reward ast] [--autocast]

A step: --prompts x 8 samples, at most --tokens new tokens each (stop token as the model has it), programs graded, all weights
updated once by AdamW. Both sides have the same model, prompts, grader, reward, sampling settings, precision, and one
process, which is started for the measurement and reports its own peak resident memory. The first --warmup steps are left out.
Beside seconds by the clock there is cpu time, which a busy machine changes less. TRL makes micro-batches of 8 samples;
"TRL" is without gradient checkpointing, which is its default and trades time for memory. With `--reward ast` the reward varies
within nearly every group, so nothing is left out of the update; with `--reward tests` (0 or 1) groups that teach nothing cost
coderl no update.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

SAMPLES = 8
CONTESTANTS = ("coderl", "TRL", "TRL, checkpointing")
REWARDS: dict[str, dict[str, float]] = {"tests": {}, "ast": {"ast_weight": 0.5}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a model folder")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="new tokens of a sample at most")
    parser.add_argument("--steps", type=int, default=2, help="that are timed")
    parser.add_argument("--warmup", type=int, default=1, help="steps before them")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--reward", choices=REWARDS, default="ast")
    parser.add_argument("--autocast", action="store_true", help="matrix products of both in bfloat16")
    parser.add_argument("--only", choices=CONTESTANTS, nargs="+", default=CONTESTANTS[:2])
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has TRL and coderl")
    parser.add_argument("--contestant", choices=CONTESTANTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        (ours if options.contestant == "coderl" else theirs)(options)
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.only}
    for _ in range(options.rounds):
        for name in options.only:
            found[name].append(measured(name, options))
    print(
        f"{options.model}: {options.prompts} prompts x {SAMPLES} samples x {options.tokens} tokens, reward {options.reward}"
    )
    for name, runs in found.items():
        steps = [seconds for run in runs for seconds in run["seconds"]]
        peak = statistics.median(run["peak_mib"] for run in runs)
        cpu_seconds = statistics.median(seconds for run in runs for seconds in run["cpu"])
        clock = f"{statistics.median(steps):8.1f} s a step ({min(steps):.1f}-{max(steps):.1f})"
        print(f"  {name:<20}{clock}, cpu {cpu_seconds:.1f} s, peak {peak:.0f} MiB   {runs[0]['note']}")
        if name != "coderl" and "coderl" in found:
            pairs = list(zip(found["coderl"], runs, strict=True))
            times = [statistics.median(a["seconds"]) / statistics.median(b["seconds"]) for a, b in pairs]
            memory = [a["peak_mib"] / b["peak_mib"] for a, b in pairs]
            cpu = [statistics.median(a["cpu"]) / statistics.median(b["cpu"]) for a, b in pairs]
            print(f"    coderl / {name}: time {spread(times)}, cpu time {spread(cpu)}, peak memory {spread(memory)}")


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def measured(name: str, options: argparse.Namespace) -> dict[str, Any]:
    python = sys.executable if name == "coderl" else options.peer_python
    command = [python, __file__, *sys.argv[1:], "--contestant", name]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{name}: no result\n{done.stderr[-2000:]}")
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def run_config(options: argparse.Namespace, folder: str) -> Any:
    from coderl.config import RunConfig

    return RunConfig.model_validate(
        {
            "name": "grpo_step",
            "output": folder,
            "stages": ["grpo"],
            "policy": {
                "model": options.model,
                "packing": True,
                "autocast": "bfloat16" if options.autocast else "none",
            },
            "prompt": {"system": "You write Python.", "response_prefix": "```python\n{signature}"},
            "tasks": {"train": ["easy?split=train"]},
            "generation": {"max_new_tokens": options.tokens, "batch_size": options.prompts * SAMPLES},
            "reward": REWARDS[options.reward],
            "grpo": {
                "steps": options.warmup + options.steps,
                "prompts_per_step": options.prompts,
                "samples_per_prompt": SAMPLES,
                "micro_batch_tokens": 512,
                "optimizer": {"learning_rate": 1e-6},
            },
        }
    )


def report(marks: list[tuple[float, float]], note: str) -> None:
    """`marks` are the clock and the cpu time (seconds) at the beginning and after each step that is timed."""
    seconds, cpu = ([b[i] - a[i] for a, b in itertools.pairwise(marks)] for i in (0, 1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": seconds, "cpu": cpu, "peak_mib": peak, "note": note}), flush=True)


def mark() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def ours(options: argparse.Namespace) -> None:
    from coderl.loop import Trainer
    from coderl.methods.grpo import Grpo
    from coderl.train import workbench

    with TemporaryDirectory() as folder:
        config = run_config(options, folder)
        with workbench(config) as bench:
            trainer = Trainer(bench, Grpo(bench, config.grpo, "grpo"), "grpo")
            marks, steps = [mark()], []
            for _, values in trainer.run(options.warmup + options.steps):
                marks.append(mark())
                steps.append(values)
    steps = steps[options.warmup :]
    mean = {name: statistics.fmean(step[name] for step in steps) for name in steps[0]}
    parts = ", ".join(f"{part} {mean[f'time/{part}']:.1f}" for part in ("generate", "grade", "update"))
    idle = mean["rollout/groups_without_signal"]
    report(
        marks[options.warmup :],
        f"({parts}; {mean['rollout/length']:.0f} tokens a sample, pass rate {mean['rollout/pass_rate']:.2f}, "
        f"{idle:.0%} of the groups without signal)",
    )


def theirs(options: argparse.Namespace) -> None:
    os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from coderl.collect import extract_program
    from coderl.prompts import PromptRenderer
    from coderl.rewards import reward_parts, total
    from coderl.workbench import open_grader
    from tasks.registry import load

    with TemporaryDirectory() as folder:
        config = run_config(options, folder)
        tokenizer = AutoTokenizer.from_pretrained(options.model)
        renderer = PromptRenderer(tokenizer, config.prompt)
        tasks = [task for spec in config.tasks.train for task in load(spec)]
        rendered = {task.id: renderer.render(task) for task in tasks}
        rows = [{"prompt": tokenizer.decode(rendered[t.id].ids), "task": i} for i, t in enumerate(tasks)]
        lengths: list[int] = []
        passed: list[bool] = []

        def reward(completions: list[str], completion_ids: list[list[int]], task: list[int], **_: Any) -> list[float]:
            owners = [tasks[i] for i in task]
            programs = [
                extract_program(t, text, response_prefix=rendered[t.id].response_prefix, stop=(), truncated=False)
                for t, text in zip(owners, completions, strict=True)
            ]
            verdicts = grader.grade([t.request(p, stop_early=True) for t, p in zip(owners, programs, strict=True)])
            lengths.extend(map(len, completion_ids))
            passed.extend(verdict.status.value == "PASS" for verdict in verdicts)
            return [
                total(
                    reward_parts(
                        verdict,
                        num_visible=len(t.visible),
                        truncated=False,
                        config=config.reward,
                        program=program,
                        reference=t.reference,
                    )
                )
                for t, program, verdict in zip(owners, programs, verdicts, strict=True)
            ]

        marks: list[tuple[float, float]] = []

        class Clock(TrainerCallback):  # type: ignore[misc]
            def on_train_begin(self, *_: Any, **__: Any) -> None:
                marks.append(mark())

            def on_step_end(self, *_: Any, **__: Any) -> None:
                marks.append(mark())

        arguments = GRPOConfig(
            output_dir=folder,
            use_cpu=True,
            bf16=options.autocast,
            max_steps=options.warmup + options.steps,
            per_device_train_batch_size=SAMPLES,
            gradient_accumulation_steps=options.prompts,
            num_generations=SAMPLES,
            max_completion_length=options.tokens,
            temperature=config.generation.temperature,
            learning_rate=1e-6,
            lr_scheduler_type="constant",
            gradient_checkpointing="checkpointing" in options.contestant,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=0,
        )
        with open_grader(config.sandbox) as grader:
            trainer = GRPOTrainer(
                model=AutoModelForCausalLM.from_pretrained(options.model, dtype="float32"),
                processing_class=tokenizer,
                reward_funcs=reward,
                args=arguments,
                train_dataset=Dataset.from_list(rows),
                callbacks=[Clock()],
            )
            trainer.train()
    note = f"({statistics.fmean(lengths):.0f} tokens a sample, pass rate {statistics.fmean(passed):.2f})"
    report(marks[options.warmup :], note)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
