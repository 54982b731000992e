"""Which items does a run, or a file, give to the store, and which of them is a reward model unsure of?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from coderl.errors import ConfigError
from coderl.label.choice import uncertainty
from coderl.label.items import Item, items_of_rollouts, read_items, with_gold
from coderl.label.store import LabelStore
from coderl.run_folder import RunFolder
from coderl.samples_of_run import last_training_rollouts, load_tokenizer, prompt_texts, sampled_model
from tasks.task import Task

MAX_SHOWN_CASES = 6


def fill(
    store: LabelStore, source: Path, *, ways: int, per_task: int, gold: float, reward_model: Path | None, seed: int
) -> str:
    """Put the items of a run or a file into the store; those that it has stay as they are. Returns one line for a person.

    With a reward model all of them get the uncertainty of now. Raises ConfigError, ModelError or RunFolderError.
    """
    if source.is_dir():
        items = _items_of_run(RunFolder.open(source), ways, per_task, seed)
        if reward_model is not None:
            items = _with_uncertainty(items, RunFolder.open(source), reward_model)
        items = with_gold(items, gold, seed=seed)
    else:
        if reward_model is not None:
            raise ConfigError(f"--reward-model: {source} is a file, and a reward model reads the token ids of a run")
        if gold:
            raise ConfigError(f"--gold: {source} is a file: mark its gold questions with the field `gold`")
        items = read_items(source)
    new = store.add_items(items)
    if reward_model is not None:
        store.set_uncertainty({item.key: item.uncertainty for item in items})
    num_gold = sum(bool(item.gold) for item in items)
    return f"{len(items)} items to compare ({num_gold} gold), {new} of them new; labels in {store.place}"


def _items_of_run(folder: RunFolder, ways: int, per_task: int, seed: int) -> list[Item]:
    from coderl.pairs import tokenizer_fingerprint

    rollouts = last_training_rollouts(folder)  # evaluations stay out
    if not rollouts:
        raise ConfigError(f"{folder.path}: no rollouts of training tasks there: sample some first (stage `sample`)")
    tokenizer = load_tokenizer(folder)
    items = items_of_rollouts(
        rollouts,
        prompts=prompt_texts(rollouts, tokenizer),
        questions={task.id: (_question(task), task.language) for task in _tasks(folder)},
        tokenizer=tokenizer_fingerprint(tokenizer),
        ways=ways,
        per_task=per_task,
        seed=seed,
    )
    if not items:
        raise ConfigError(f"{folder.path}: no task has {ways} programs that differ: sample more, or lower --ways")
    return items


def _with_uncertainty(items: Sequence[Item], folder: RunFolder, reward_model: Path) -> list[Item]:
    from coderl.experience import Example
    from coderl.learned import MICRO_BATCH_TOKENS
    from coderl.policy import load_policy
    from coderl.reward_model import load_reward_model, scores

    config = folder.config()
    settings = config.policy.model_copy(update={"model": sampled_model(folder), "lora": None})
    policy = load_policy(settings, seed=config.seed)
    members, _ = load_reward_model(reward_model, policy)
    examples = [
        Example(prompt_ids=item.prompt_ids, completion_ids=choice.completion_ids)
        for item in items
        for choice in item.choices
    ]
    raw = scores(members, policy, examples, micro_batch_tokens=MICRO_BATCH_TOKENS)  # (M, E)
    scored, start = [], 0
    for item in items:
        own = raw[:, start : start + len(item.choices)].tolist()
        start += len(item.choices)
        scored.append(replace(item, uncertainty=uncertainty(own)))
    return scored


def _tasks(folder: RunFolder) -> list[Task]:
    from tasks.registry import load

    return [task for spec in folder.config().tasks.train for task in load(spec)]


def _question(task: Task) -> str:
    from coderl.prompts import show_case

    parts = [task.prompt.rstrip()]
    if task.signature and task.signature not in task.prompt:
        parts.append(task.signature)
    parts += [show_case(case).rstrip() for case in task.visible[:MAX_SHOWN_CASES]]
    return "\n\n".join(parts)
