"""How does a trained policy leave its run? As a model folder for transformers and vLLM, with a card of what was measured.

The card says nothing that the run folder does not hold: evaluations with their intervals, the data, the sandbox that
judged, versions, and the prompt that the numbers belong to. A run without an evaluation gets a card without results.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import yaml

from coderl.errors import ModelError, RunFolderError
from coderl.report.evidence import Comparison, Evaluated, Evidence, comparison, read_evidence
from coderl.run_folder import RunFolder, new_folder

CARD = "README.md"


def export(run: RunFolder, out: Path, *, stage: str = "", adapter: bool = False, overwrite: bool = False) -> Path:
    """Write the model that `stage` (default: the last that trained) left to the folder `out`.

    LoRA weights are merged into their base, or stay an adapter folder with `adapter`. Raises RunFolderError or ModelError,
    and then leaves no half-written folder.
    """
    source = _source(run, stage)
    is_adapter = (source / "adapter_config.json").is_file()
    if adapter and not is_adapter:
        raise ModelError(f"{source}: holds whole weights, not an adapter: leave --adapter out")
    evidence = read_evidence(run, tasks=[])
    with new_folder(out, overwrite=overwrite) as draft:
        if is_adapter and not adapter:
            _merge(source, draft)
        else:
            shutil.copytree(source, draft, dirs_exist_ok=True)
        (draft / "coderl.yaml").write_bytes(run.config_path.read_bytes())
        (draft / CARD).write_text(card(evidence, source.name, adapter=adapter), encoding="utf-8")
    return out


def _origin(model: str) -> str:
    return "A model made from scratch," if model == "new:" else f"`{model}`"


def card(evidence: Evidence, stage: str, *, adapter: bool = False) -> str:
    """The model card: YAML metadata as the hub reads it, then Markdown for a person."""
    config = evidence.config
    trained = list(dict.fromkeys([*config.tasks.sft, *config.tasks.train]))
    parts = [
        f"---\n{yaml.safe_dump(_metadata(evidence, adapter), sort_keys=False, allow_unicode=True)}---",
        f"# {config.name}",
        f"{_origin(config.policy.model)} after stage `{stage}` of a coderl run: "
        f"{' → '.join(config.stages)}. Its rewards come from running the programs that it writes.",
        "## Results",
        *_results(evidence.evaluations),
        "## Data",
        f"Trained on {_code_list(trained)}. Held out: {_code_list(config.tasks.test)}. "
        f"Programs were judged in {'; '.join(evidence.isolation) or 'no sandbox: nothing was run'}.",
        "## Prompt",
        "The results belong to this prompt; another one may give others.",
        _usage(evidence),
        "## Limits",
        "It writes code that nobody has read: run it in a sandbox. Its licence is that of the model it was made from. "
        "Everything the run was told is in `coderl.yaml`; the same versions repeat it:",
        _versions(evidence.versions),
    ]
    return "\n\n".join(parts) + "\n"


def _source(run: RunFolder, stage: str) -> Path:
    if not stage:
        return run.last_model()
    source = run.model_dir(stage)
    if not source.is_dir():
        there = sorted(path.name for path in source.parent.glob("*")) if source.parent.is_dir() else []
        raise RunFolderError(f"stage {stage!r}: run {run.path} has no model of it; it has {', '.join(there) or 'none'}")
    return source


def _merge(source: Path, out: Path) -> None:
    """The base model with the adapter's product added to its weights, and the adapter's tokenizer."""
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model = AutoPeftModelForCausalLM.from_pretrained(source)
    except (OSError, ValueError) as error:
        cause = str(error).splitlines()[0]
        raise ModelError(
            f"{source}: its base model cannot be loaded ({cause}): put it back, or use --adapter"
        ) from error
    model.merge_and_unload().save_pretrained(out)
    AutoTokenizer.from_pretrained(source).save_pretrained(out)


def _metadata(evidence: Evidence, adapter: bool) -> dict[str, Any]:
    config = evidence.config
    data: dict[str, Any] = {
        "library_name": "peft" if adapter else "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["code", "coderl", "reinforcement-learning"],
    }
    if config.policy.model != "new:":
        data["base_model"] = config.policy.model
    if evidence.evaluations:
        last = evidence.evaluations[-1]
        metrics = [
            {
                "type": f"pass@{k}",
                "value": round(estimate, 4),
                "name": f"pass@{k}, 95 % interval {low:.4f} to {high:.4f}",
            }
            for k, (estimate, low, high) in last.pass_at_k.items()
        ]
        dataset = {"type": "coderl", "name": ", ".join(config.tasks.test)}
        result = {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}
        data["model-index"] = [{"name": config.name, "results": [result]}]
    return data


def _results(evaluations: list[Evaluated]) -> list[str]:
    if not evaluations:
        return ["Not measured: the run has no evaluation."]
    ks = sorted({k for e in evaluations for k in e.pass_at_k})
    header = ["after", *(f"pass@{k} (95 % interval)" for k in ks), "tasks", "temperature", "cut off"]
    rows = [header, ["---"] * len(header)]
    for e in evaluations:
        cells = [f"{v[0]:.1%} ({v[1]:.1%} to {v[2]:.1%})" if (v := e.pass_at_k.get(k)) else "" for k in ks]
        rows.append([e.title, *cells, str(e.num_tasks), _or_blank(e.temperature, "g"), _or_blank(e.truncated, ".1%")])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    found = comparison(evaluations)
    return [table] if found is None else [table, _change(found)]


def _change(found: Comparison) -> str:
    change = found.difference
    return (
        f"pass@1 on the {found.num_tasks} tasks that {found.before.title} and {found.after.title} share: "
        f"{found.before_mean:.1%} → {found.after_mean:.1%}, {100 * change.estimate:+.1f} points "
        f"(95 % interval {100 * change.low:+.1f} to {100 * change.high:+.1f}, paired bootstrap over tasks)."
    )


def _usage(evidence: Evidence) -> str:
    prompt, generation = evidence.config.prompt, evidence.config.generation
    told = {
        "system": prompt.system,
        "instruction": prompt.instruction,
        "response_prefix": prompt.response_prefix,
        "stop": generation.stop,
        "temperature": generation.temperature,
        "max_new_tokens": generation.max_new_tokens,
    }
    return f"```json\n{json.dumps(told, indent=1, ensure_ascii=False)}\n```"


def _versions(versions: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in versions.get("packages", {}).items() if version)
    command = versions.get("command", "")
    return f"```text\n{command}\npython {versions.get('python', '')}, {packages}\n```"


def _code_list(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "nothing"


def _or_blank(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)
