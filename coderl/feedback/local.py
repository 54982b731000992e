"""A judge on this machine: any model that coderl can load, without a network.

Words come from coderl's own generator, greedily. Options are weighed: the log-probability of each one's first own token after
the text that the reply begins with, normalised over the options; a model too small to keep to a form answers every question so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from coderl.config import PolicyConfig
from coderl.engines import OwnLoop
from coderl.errors import ModelError
from coderl.feedback.chat import Ask, Reply
from coderl.generate import SampleRequest
from coderl.policy import load_policy

BATCH_SIZE = 8


class LocalChat:
    """See `coderl.feedback.chat.Chat`. Raises ModelError."""

    weighs = True

    def __init__(self, model: str) -> None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._policy = load_policy(PolicyConfig(model=model), seed=0)
        self._policy.model.to(device).eval()
        self._limit = getattr(self._policy.model.config, "max_position_embeddings", None)
        self.name = Path(model).name
        self.identity = f"local {model} {_fingerprint(Path(model))}"

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        prompts = [(*self._prompt(ask), *self._options(ask)[0]) for ask in asks]
        weighed = [place for place, ask in enumerate(asks) if ask.options]
        yield from self._weigh(asks, prompts, weighed)
        written = [place for place, ask in enumerate(asks) if not ask.options]
        for length in sorted({asks[place].max_new_tokens for place in written}):
            yield from self._write(prompts, [p for p in written if asks[p].max_new_tokens == length], length)

    @torch.no_grad()
    def _weigh(
        self, asks: Sequence[Ask], prompts: list[tuple[int, ...]], places: list[int]
    ) -> Iterator[tuple[int, Reply]]:
        ordered = sorted(places, key=lambda place: len(prompts[place]))
        for start in range(0, len(ordered), BATCH_SIZE):
            batch = ordered[start : start + BATCH_SIZE]
            width = max(len(prompts[place]) for place in batch)
            ids = torch.full((len(batch), width), self._policy.pad_id)  # (N, L), left-padded
            mask = torch.zeros_like(ids)
            for row, place in enumerate(batch):
                ids[row, width - len(prompts[place]) :] = torch.tensor(prompts[place])
                mask[row, width - len(prompts[place]) :] = 1
            ids, mask = ids.to(self._policy.device), mask.to(self._policy.device)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            output = self._policy.model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
            )
            logprobs = output.logits[:, -1].float().log_softmax(-1)  # (N, V)
            for row, place in enumerate(batch):
                options = asks[place].options
                shares = logprobs[row, list(self._options(asks[place])[1])].softmax(-1).tolist()
                best = options[max(range(len(options)), key=shares.__getitem__)]
                yield (
                    place,
                    Reply(
                        text=best.strip(),
                        num_prompt_tokens=len(prompts[place]),
                        num_completion_tokens=1,
                        probabilities=tuple(shares),
                    ),
                )

    def _write(self, prompts: list[tuple[int, ...]], places: list[int], length: int) -> Iterator[tuple[int, Reply]]:
        policy = self._policy
        samples = OwnLoop().sample(
            policy,
            [SampleRequest(key=place, prompt_ids=prompts[place], seed=0) for place in places],
            max_new_tokens=length,
            temperature=0.0,
            batch_size=BATCH_SIZE,
        )
        for sample in samples:
            yield (
                sample.key,
                Reply(
                    text=policy.decode(sample.ids),
                    num_prompt_tokens=len(prompts[sample.key]),
                    num_completion_tokens=len(sample.ids),
                ),
            )

    def _prompt(self, ask: Ask) -> tuple[int, ...]:
        tokenizer = self._policy.tokenizer
        special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        system, user = disarmed(ask.system, special), disarmed(ask.user, special)
        if tokenizer.chat_template:
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        else:
            text = f"{system}\n\n{user}\n\n"
        ids = tuple(tokenizer(text + ask.begin, add_special_tokens=not tokenizer.chat_template)["input_ids"])
        if self._limit is not None and len(ids) + ask.max_new_tokens > self._limit:
            raise ModelError(
                f"judge {self.name}: a question of {len(ids)} tokens is too long for its {self._limit} positions; "
                "take a model with a longer context, or leave the longest programs out"
            )
        return ids

    def _options(self, ask: Ask) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The tokens with which all options begin, and the first one after them of each."""
        if not ask.options:
            return (), ()
        spelled = [self._policy.tokenizer(option, add_special_tokens=False)["input_ids"] for option in ask.options]
        alike = next((i for i, column in enumerate(zip(*spelled, strict=False)) if len(set(column)) > 1), 0)
        tokens = tuple(ids[alike] for ids in spelled if alike < len(ids))
        if len(set(tokens)) < len(spelled):
            raise ModelError(
                f"judge {self.name}: its tokenizer cannot tell the answers {ask.options} apart: take another model"
            )
        return tuple(spelled[0][:alike]), tokens


def disarmed(text: str, special: Sequence[str]) -> str:
    """Text whose words are no tokens of the chat's own: a program that spells one ends no message.

    >>> disarmed("<|im_end|> x", ["<|im_end|>"])
    '< |im_end|> x'
    """
    for token in sorted((t for t in special if len(t) > 1), key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def _fingerprint(folder: Path) -> str:
    """Changes with the weights in a folder; "" for a hub id."""
    files: list[Any] = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    return ",".join(f"{file.stat().st_size}.{file.stat().st_mtime_ns}" for file in files)
