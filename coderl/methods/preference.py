"""What do the methods share that learn from pairs? Where the pairs come from, and which of them a step takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from coderl.config import PreferenceData
from coderl.errors import ConfigError
from coderl.experience import Example
from coderl.pairs import EncodedPair, encode_pairs, read_pairs
from coderl.workbench import Workbench


def load_pairs(bench: Workbench, config: PreferenceData, label: str) -> list[EncodedPair]:
    """The pairs of the files named, or those of the last `pairs` stage before stage `label`. Raises ConfigError for none."""
    paths = [Path(path) for path in config.pairs]
    if not paths:
        assert bench.folder is not None
        before = bench.config.stages[: int(label.partition("_")[0])]
        last = max(i for i, name in enumerate(before) if name == "pairs")
        paths = [bench.folder.pairs_path(f"{last}_pairs")]
    pairs = encode_pairs([pair for path in paths for pair in read_pairs(path)], bench.policy)
    if not pairs:
        raise ConfigError(f"{label}: no pairs in {', '.join(map(str, paths))}")
    return pairs


def sides(pair: EncodedPair, unit: int, ref: tuple[Tensor, Tensor] | None = None) -> list[Example]:
    """The chosen and the rejected completion, as examples that stay together."""
    both = [
        Example(
            prompt_ids=pair.prompt_ids,
            completion_ids=ids,
            unit=unit,
            target=0.5 if pair.pair.tie else 1.0,
            margin=pair.pair.margin,
            weight=pair.pair.weight,
        )
        for ids in (pair.chosen_ids, pair.rejected_ids)
    ]
    return both if ref is None else [replace(e, ref_logprobs=r) for e, r in zip(both, ref, strict=True)]
