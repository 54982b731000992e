"""What is a preference? Two completions of one prompt and which is better, from execution, a person or a model.

A file of pairs is JSONL, one pair per line; docs/pairs.md has the fields. Token ids are kept where a policy sampled the
completions, and are then what is trained on; text that a person or a model wrote has none and is encoded once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from coderl.errors import ConfigError
from coderl.run_folder import atomic_write, make_directory

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One preference. `margin` says how much better (a difference of scores, 0 where unknown), `tie` that neither is.

    `weight` is how much the pair counts beside others, 1 as usual: less for an annotator who is often wrong.

    `tokenizer` is the fingerprint of the tokenizer that the ids belong to; ids are () where there are none.
    """

    prompt: str
    chosen: str
    rejected: str
    task_id: str
    source: str  # "execution", "human", "ai"
    annotator: str = ""  # who decided: the rule, a person's name, a model's name
    margin: float = 0.0
    tie: bool = False
    weight: float = 1.0
    prompt_ids: tuple[int, ...] = ()
    chosen_ids: tuple[int, ...] = ()
    rejected_ids: tuple[int, ...] = ()
    tokenizer: str = ""

    def __post_init__(self) -> None:
        if len({bool(self.prompt_ids), bool(self.chosen_ids), bool(self.rejected_ids), bool(self.tokenizer)}) != 1:
            raise ValueError("prompt_ids, chosen_ids, rejected_ids and tokenizer go together: give all or none")
        if not self.tie and self.chosen == self.rejected and self.chosen_ids == self.rejected_ids:
            raise ValueError("chosen and rejected are the same completion: mark it as a tie, or leave it out")
        if self.margin < 0:
            raise ValueError(f"margin {self.margin}: chosen is the better one, so a margin is 0 or more")
        if not 0 < self.weight < math.inf:
            raise ValueError(f"weight {self.weight}: a weight is more than 0; leave out a pair that shall not count")


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Replace `path`. Raises RunFolderError if it cannot be written."""
    make_directory(path.parent)
    lines = (json.dumps({"schema": SCHEMA, **asdict(pair)}, ensure_ascii=True) + "\n" for pair in pairs)
    atomic_write(path, "".join(lines).encode())


def read_pairs(path: Path) -> list[Pair]:
    """All pairs of a file. Raises ConfigError, which names the line, for one that is not a pair."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # a string may hold other line ends
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"pairs {path}: cannot be read: {error}") from error
    pairs = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                pairs.append(_from_json(json.loads(line)))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise ConfigError(f"pairs {path}, line {number}: {error}; docs/pairs.md has the fields") from error
    return pairs


_KINDS: dict[str, type | tuple[type, ...]] = {"margin": (int, float), "weight": (int, float), "tie": bool}


def _from_json(record: Any) -> Pair:
    if not isinstance(record, dict):
        raise ValueError(f"expected an object, found {type(record).__name__}")
    values = dict(record)
    schema = values.pop("schema", SCHEMA)
    if schema != SCHEMA:
        raise ValueError(f"schema {schema!r}: this version reads schema {SCHEMA}")
    known = {field.name for field in fields(Pair)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"unknown field {unknown[0]!r}")
    for name in ("prompt", "chosen", "rejected", "task_id", "source"):
        if name not in values:
            raise ValueError(f"the field {name!r} is missing")
    for name, value in values.items():
        if name.endswith("_ids"):
            if not isinstance(value, list) or any(type(i) is not int or i < 0 for i in value):
                raise ValueError(f"{name}: expected a list of token ids")
            values[name] = tuple(value)
        elif not isinstance(value, _KINDS.get(name, str)) or (name in ("margin", "weight") and isinstance(value, bool)):
            raise ValueError(f"{name}: {value!r} is of the wrong type")
    return Pair(**values)


def tokenizer_fingerprint(tokenizer: Any) -> str:
    """Equal for tokenizers that give and read the same ids: a hash of vocabulary, merges and special tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    text = backend.to_str() if backend is not None else json.dumps(sorted(tokenizer.get_vocab().items()))
    return hashlib.sha256(f"{text}\n{tokenizer.eos_token_id}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedPair:
    """A pair as tokens; both completions continue the same prompt ids."""

    pair: Pair
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]


def encode_pairs(pairs: Sequence[Pair], policy: Any) -> list[EncodedPair]:
    """Sampled ids as they are; written text through the policy's tokenizer, the prompt once, both sides with a stop token.

    Raises ConfigError for ids of another tokenizer.
    """
    own = tokenizer_fingerprint(policy.tokenizer)
    encoded = []
    for pair in pairs:
        if pair.tokenizer not in ("", own):
            raise ConfigError(
                f"pairs of task {pair.task_id}: their token ids belong to another tokenizer ({pair.tokenizer}, here {own}); "
                "use the policy that sampled them, or take the ids and `tokenizer` out of the file"
            )
        ids = (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids)
        if not pair.tokenizer:
            prompt = tuple(policy.tokenizer(pair.prompt.rstrip(), add_special_tokens=False)["input_ids"])
            if not prompt:
                raise ConfigError(f"pairs of task {pair.task_id}: the prompt is empty")
            ids = (prompt, policy.encode_completion(pair.chosen), policy.encode_completion(pair.rejected))
        encoded.append(EncodedPair(pair=pair, prompt_ids=ids[0], chosen_ids=ids[1], rejected_ids=ids[2]))
    return encoded
