"""What has a finished run left to look at? Its samples of training tasks, and the tokenizer that they belong to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coderl.config.run import SAMPLING
from coderl.errors import ConfigError
from coderl.rollout import Rollout
from coderl.run_folder import RunFolder
from coderl.store import RolloutStore


def last_training_rollouts(folder: RunFolder) -> list[Rollout]:
    """Those of the last stage that samples training tasks, as pairs are trained on; none where there is no such stage."""
    store = RolloutStore(folder.rollouts_dir)
    stages = [s.stage for s in store.segments() if s.stage.partition("_")[2] in SAMPLING]
    return list(store.read(stages[-1])) if stages else []


def sampled_model(folder: RunFolder) -> str:
    """Where the tokenizer that the run sampled with is: its last model, or the one that its config names."""
    named = folder.config().policy.model
    return str(folder.last_model()) if named == "new:" or (folder.path / "models").is_dir() else named


def load_tokenizer(folder: RunFolder) -> Any:
    """The tokenizer that the run sampled with. Raises ConfigError where it was not kept."""
    from transformers import AutoTokenizer

    source = sampled_model(folder)
    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{folder.path}: the tokenizer of {source} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error


def prompt_texts(rollouts: Iterable[Rollout], tokenizer: Any) -> dict[tuple[int, ...], str]:
    """The text of every prompt, by its token ids."""
    return {ids: tokenizer.decode(ids) for ids in {rollout.prompt_ids for rollout in rollouts}}
