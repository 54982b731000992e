"""What does a policy pay for given text? -log p of references after their prompts, and of plain text in windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from coderl.errors import ConfigError
from coderl.evaluate.tax import Loss
from coderl.experience import Example
from coderl.logprobs import per_token
from coderl.policy import Policy
from coderl.prompts import PromptRenderer
from tasks.task import Task

WINDOW = 512  # tokens of plain text that are read together, or as many as the model has positions
MICRO_BATCH_TOKENS = 4096


def reference_losses(policy: Policy, renderer: PromptRenderer, tasks: Sequence[Task]) -> dict[str, Loss]:
    """Of each task's reference and its stop token, after its prompt; a task without one, or with one too long, is left out."""
    examples = {}
    for task in tasks:
        if task.reference:
            prompt = renderer.render(task)
            target = policy.encode_completion(renderer.target(task, prompt))
            if len(prompt.ids) + len(target) <= _positions(policy):
                examples[task.id] = Example(prompt_ids=prompt.ids, completion_ids=target)
    return _losses(policy, examples)


def text_losses(policy: Policy, texts: Mapping[str, str]) -> dict[str, Loss]:
    """Of plain texts, by name and window ("notes.txt 2"); the first token of a window is given, not predicted."""
    size = min(WINDOW, _positions(policy))
    examples = {}
    for name, text in texts.items():
        ids = tuple(policy.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        for number, start in enumerate(range(0, len(ids), size)):
            window = ids[start : start + size]
            if len(window) > 1:
                examples[f"{name} {number}"] = Example(prompt_ids=window[:1], completion_ids=window[1:])
    return _losses(policy, examples)


def read_texts(paths: Sequence[Path]) -> dict[str, str]:
    """Raises ConfigError for a file that cannot be read or holds no text."""
    texts = {}
    for path in paths:
        try:
            texts[str(path)] = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--text {path}: cannot be read as UTF-8 text: {error}") from error
        if not texts[str(path)].strip():
            raise ConfigError(f"--text {path}: holds no text; name another file")
    return texts


def _losses(policy: Policy, examples: dict[str, Example]) -> dict[str, Loss]:
    if not examples:
        return {}
    policy.model.eval()
    values = per_token(
        policy,
        list(examples.values()),
        lambda batch: policy.logprobs(batch, 1.0),
        micro_batch_tokens=MICRO_BATCH_TOKENS,
    )
    return {
        name: Loss(nats=-float(own.double().sum()), tokens=len(own)) for name, own in zip(examples, values, strict=True)
    }


def _positions(policy: Policy) -> int:
    return int(getattr(policy.model.config, "max_position_embeddings", WINDOW))
