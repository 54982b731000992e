"""`coderl eval --tax BEFORE`: measure two policies in the same way, and say what the second lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from coderl.config import RunConfig
from coderl.errors import ConfigError, TrainingStopped
from coderl.evaluate.losses import reference_losses, text_losses
from coderl.evaluate.tax import Side, Tax, tax
from coderl.pairs import tokenizer_fingerprint
from coderl.run_folder import RunFolder, atomic_write, is_main_process, json_bytes
from coderl.store import RolloutStore
from coderl.train import evaluate_with_progress, workbench


def alignment_tax(config: RunConfig, before: str, texts: Mapping[str, str], out: Path) -> Tax:
    """The policy of `config` against the model `before` on tasks.test; writes `out` (JSON) and the samples of both beside it.

    Raises ConfigError if the two have different tokenizers: perplexities per token could not be compared.
    """
    store = RolloutStore(out.with_suffix(".rollouts"))
    old, tokenizer = _side(_with_model(config, before), texts, store, "before")
    new, _ = _side(config, texts, store, "after", tokenizer=tokenizer)
    try:
        found = tax(old, new, num_resamples=config.eval.bootstrap, seed=config.seed)
    except ValueError as error:
        raise TrainingStopped(
            f"eval --tax: {error}: nothing can be compared; `sandbox doctor` checks this machine"
        ) from error
    if is_main_process():
        atomic_write(out, json_bytes({"told": [*found.told()], **asdict(found)}))
    return found


def _side(
    config: RunConfig, texts: Mapping[str, str], store: RolloutStore, label: str, *, tokenizer: str = ""
) -> tuple[Side, str]:
    """What is measured of the policy of `config`, and the fingerprint of its tokenizer, which must be `tokenizer` if given."""
    with workbench(config) as bench:
        fingerprint = tokenizer_fingerprint(bench.policy.tokenizer)
        if tokenizer and fingerprint != tokenizer:
            raise ConfigError(
                f"--tax: {config.policy.model} has another tokenizer than the model before: name the one it was trained from"
            )
        tasks = bench.test_tasks[: config.eval.limit]
        evaluation, rollouts = evaluate_with_progress(bench, tasks, label="eval", step=0)
        if bench.accelerator.is_main_process:
            store.append(label, 0, [r.with_(stage=label) for r in rollouts])
        side = Side(
            model=config.policy.model,
            rates=evaluation.pass_rates(),
            references=reference_losses(bench.policy, bench.renderer, tasks),
            texts=text_losses(bench.policy, texts),
            tokens=evaluation.tokens,
            truncated=evaluation.truncated,
            no_program=evaluation.no_program,
        )
        return side, fingerprint


def _with_model(config: RunConfig, before: str) -> RunConfig:
    """The same with another model: a folder, a hub id, or a run (its last model)."""
    model = str(RunFolder.open(before).last_model()) if (Path(before) / "versions.json").is_file() else before
    return config.model_copy(update={"policy": config.policy.model_copy(update={"model": model})})
