"""How do sampled or given completions become the tensors of an update?

Legend: N rows, L prompt tokens (left-padded), T completion tokens (right-padded), S tokens of a packed row. The model's head
runs only where a completion token is predicted. Masks are explicit; no pad id is ever looked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One completion to learn from; every tensor has one value per completion token, (T,).

    `valid` False leaves it out of the step altogether; `weight` is how often it counts, 1 as usual; an `idle` example counts
    in the step's totals, but its loss is known to have no gradient, so no model looks at it. Tokens where `loss_mask` is 0
    carry no loss and do not count. Examples with the same `unit` go through the model together, as neighbours in the order
    given: the sides of a pair. `target` and `margin` are what a preference says of the example.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    valid: bool = True
    idle: bool = False
    weight: float = 1.0
    unit: int | None = None
    place: int = 0
    target: float = 1.0
    margin: float = 0.0
    advantages: Tensor | None = None
    old_logprobs: Tensor | None = None
    ref_logprobs: Tensor | None = None
    old_values: Tensor | None = None
    returns: Tensor | None = None
    sampler_logprobs: Tensor | None = None
    loss_mask: Tensor | None = None

    @property
    def num_counted(self) -> int:
        """Completion tokens that carry loss."""
        return len(self.completion_ids) if self.loss_mask is None else int(self.loss_mask.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """Rows that go through the model together, in one of two layouts that give the same log-probabilities.

    Padded: one row per example, prompts left-padded to L and completions right-padded to T. Packed (`predict` is set): one
    row of all prompts and completions, each prompt once for all its completions, a mask that keeps them apart, and no
    padding; then N is 1 and T counts the completion tokens of all examples.
    """

    input_ids: Tensor  # (N, L+T)
    attention_mask: Tensor  # (N, L+T), packed: (1, 1, S, S) bool
    position_ids: Tensor  # (N, L+T)
    predict: Tensor | None  # packed: (T,) the positions whose logits predict the completion tokens
    lengths: tuple[int, ...]  # completion tokens of each example
    completion_ids: Tensor  # (N, T)
    mask: Tensor  # (N, T) float, 1 on completion tokens (the stop token among them)
    sequences: Tensor  # (N, T) which example a token belongs to, 0 on padding
    weights: Tensor  # (N, T) float, 0 where mask is 0
    last: Tensor  # (E,) the position of the last completion token of each of the E examples, in the flattened input_ids
    targets: Tensor  # (E,)
    margins: Tensor  # (E,)
    advantages: Tensor | None
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    old_values: Tensor | None
    returns: Tensor | None
    sampler_logprobs: Tensor | None

    def split(self, values: Tensor) -> list[Tensor]:
        """Per-token values (N, T) as one (T_i,) tensor per example, in order."""
        if self.predict is not None:
            return list(values[0].split(self.lengths))
        return [row[:length] for row, length in zip(values, self.lengths, strict=True)]

    def sums(self, values: Tensor) -> Tensor:
        """Per-token values (N, T) added up over each example, (E,)."""
        return torch.stack([part.sum() for part in self.split(values)])

    def spread(self, values: Tensor) -> Tensor:
        """One value per example (E,) given to each of its tokens, (N, T)."""
        if self.predict is not None:
            lengths = torch.tensor(self.lengths, device=values.device)
            return values.repeat_interleave(lengths).unsqueeze(0)
        return values.unsqueeze(1).expand(self.mask.shape)


def collate(
    examples: Sequence[Example], weights: Sequence[float], pad_id: int, device: torch.device, *, packed: bool = False
) -> MicroBatch:
    """Put examples into one micro-batch; weights[i] is what each token of examples[i] counts in the optimizer step.

    A column is present if the first example has it; all must then have it.
    """
    token_weights = [
        torch.full((len(e.completion_ids),), w) if e.loss_mask is None else w * e.loss_mask
        for e, w in zip(examples, weights, strict=True)
    ]
    numbers = [torch.full((len(e.completion_ids),), i) for i, e in enumerate(examples)]
    completions = [torch.tensor(e.completion_ids) for e in examples]
    ones = [torch.ones(len(e.completion_ids)) for e in examples]

    def join(parts: Sequence[Tensor], fill: float = 0) -> Tensor:
        if packed:
            return torch.cat(list(parts)).unsqueeze(0).to(device)
        return pad_sequence(list(parts), batch_first=True, padding_value=fill).to(device)

    def column(name: str) -> Tensor | None:
        values = [getattr(e, name) for e in examples]
        return None if values[0] is None else join(values)

    inputs = _packed_inputs(examples) if packed else _padded_inputs(examples, pad_id)
    input_ids, attention_mask, position_ids = (tensor.to(device) for tensor in inputs[:3])
    return MicroBatch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        position_ids=position_ids,
        predict=None if inputs[3] is None else inputs[3].to(device),
        lengths=tuple(len(e.completion_ids) for e in examples),
        completion_ids=join(completions, pad_id),
        mask=join(ones),
        sequences=join(numbers),
        weights=join(token_weights),
        last=_last_positions(examples, input_ids.shape[1], inputs[3]).to(device),
        targets=torch.tensor([e.target for e in examples], device=device),
        margins=torch.tensor([e.margin for e in examples], device=device),
        advantages=column("advantages"),
        old_logprobs=column("old_logprobs"),
        ref_logprobs=column("ref_logprobs"),
        old_values=column("old_values"),
        returns=column("returns"),
        sampler_logprobs=column("sampler_logprobs"),
    )


def _last_positions(examples: Sequence[Example], width: int, predict: Tensor | None) -> Tensor:
    lengths = torch.tensor([len(e.completion_ids) for e in examples])
    if predict is None:
        start = width - int(lengths.max())
        return torch.arange(len(examples)) * width + start + lengths - 1
    prompts: dict[tuple[int, ...], None] = {}
    positions, end = [], 0
    for example in examples:
        end += len(example.completion_ids) + (0 if example.prompt_ids in prompts else len(example.prompt_ids))
        prompts[example.prompt_ids] = None
        positions.append(end - 1)
    return torch.tensor(positions)


Inputs = tuple[Tensor, Tensor, Tensor, Tensor | None]  # input_ids, attention_mask, position_ids, predict


def _padded_inputs(examples: Sequence[Example], pad_id: int) -> Inputs:
    prompt_width = max(len(e.prompt_ids) for e in examples)
    width = prompt_width + max(len(e.completion_ids) for e in examples)
    input_ids = torch.full((len(examples), width), pad_id)
    attention_mask = torch.zeros((len(examples), width), dtype=torch.long)
    for row, example in enumerate(examples):
        start, end = prompt_width - len(example.prompt_ids), prompt_width + len(example.completion_ids)
        input_ids[row, start:end] = torch.tensor(example.prompt_ids + example.completion_ids)
        attention_mask[row, start:end] = 1
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    return input_ids, attention_mask, positions, None


def _packed_inputs(examples: Sequence[Example]) -> Inputs:
    ids: list[int] = []
    positions: list[int] = []
    predict: list[int] = []
    prompt_of: list[int] = []  # per token: which prompt it belongs to
    completion_of: list[int] = []  # per token: which completion it belongs to, -1 for a prompt's tokens
    last_of_prompt: dict[tuple[int, ...], tuple[int, int]] = {}
    for number, example in enumerate(examples):
        prompt = example.prompt_ids
        if prompt not in last_of_prompt:
            last_of_prompt[prompt] = len(last_of_prompt), len(ids) + len(prompt) - 1
            ids += prompt
            positions += range(len(prompt))
            prompt_of += [last_of_prompt[prompt][0]] * len(prompt)
            completion_of += [-1] * len(prompt)
        which, last = last_of_prompt[prompt]
        predict += [last, *range(len(ids), len(ids) + len(example.completion_ids) - 1)]
        ids += example.completion_ids
        positions += range(len(prompt), len(prompt) + len(example.completion_ids))
        prompt_of += [which] * len(example.completion_ids)
        completion_of += [number] * len(example.completion_ids)
    prompts, completions = torch.tensor(prompt_of), torch.tensor(completion_of)
    same_prompt = prompts.unsqueeze(1) == prompts.unsqueeze(0)  # (S, S) query, key
    visible = (completions.unsqueeze(0) == -1) | (completions.unsqueeze(1) == completions.unsqueeze(0))
    order = torch.arange(len(ids))
    mask = same_prompt & visible & (order.unsqueeze(1) >= order.unsqueeze(0))
    return torch.tensor([ids]), mask[None, None], torch.tensor([positions]), torch.tensor(predict)


def pack(examples: Sequence[Example], max_tokens: int, *, packed: bool = False) -> Iterator[list[int]]:
    """Group indices into micro-batches of at most `max_tokens` tokens each, padding counted (at least one unit).

    Padded: sorted by length, so that little is padded. Packed: neighbours share a prompt, which counts once.
    """
    batch: list[int] = []
    for unit in _units(examples, packed=packed):
        if batch and _num_tokens([examples[i] for i in (*batch, *unit)], packed) > max_tokens:
            yield batch
            batch = []
        batch += unit
    if batch:
        yield batch


def _units(examples: Sequence[Example], *, packed: bool) -> list[list[int]]:
    """The indices that stay together, longest first; packed: those of a prompt are neighbours."""
    together: dict[tuple[str, int], list[int]] = {}
    for index, example in enumerate(examples):
        key = ("alone", index) if example.unit is None else ("unit", example.unit)
        together.setdefault(key, []).append(index)

    def length(unit: list[int]) -> int:
        return max(len(examples[i].prompt_ids) + len(examples[i].completion_ids) for i in unit)

    order = sorted(together.values(), key=lambda unit: (-length(unit), unit[0]))
    return sorted(order, key=lambda unit: examples[unit[0]].prompt_ids) if packed else order


def _num_tokens(examples: Sequence[Example], packed: bool) -> int:
    if packed:
        return sum(map(len, {e.prompt_ids for e in examples})) + sum(len(e.completion_ids) for e in examples)
    return len(examples) * (max(len(e.prompt_ids) for e in examples) + max(len(e.completion_ids) for e in examples))
