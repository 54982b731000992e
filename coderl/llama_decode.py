"""What does a model shaped like Llama predict next, in as few calls of torch as that takes?

For one new token per row, most of a small model's time in transformers is Python. `decoder_of` makes one function of the
weights of a whole sampling call: the projections of a layer fused, matrices laid out for oneDNN, rotations tabled, prompts
shared by the rows of a group. What it computes is the model's own forward pass, rounded in another order; in bfloat16, of
the weights or by autocast, only the products are, and all between them is float32. It takes only what it knows: every module
by its exact class, LoRA adapters among them, no hooks, on a CPU. For all else there is None, and the model's own forward is to
be used.

It costs a second copy of the weights (not of the embedding) for as long as it lives.

Legend: N rows, H hidden size, A heads, K heads of keys and values, D size of a head, V vocabulary.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import SiLUActivation

from coderl.kv_cache import GroupCache
from coderl.linear import OneDnnLinear, Product, multiplies, product_with
from coderl.lora import is_adapted, is_plain, without_wrapper

FAMILIES = {"LlamaForCausalLM": "Llama", "Qwen2ForCausalLM": "Qwen2"}  # Qwen2: the same, with biases on q, k and v
PARTS = ("ForCausalLM", "Model", "DecoderLayer", "Attention", "MLP", "RMSNorm", "RotaryEmbedding")
ROTATIONS = ("default", "linear", "llama3")  # whose angles depend on the position alone


def decoder_of(model: Any, positions: int, autocast: torch.dtype | None = None) -> LlamaDecoder | None:
    """A decoder with the weights that `model` has now, for positions 0..positions-1, or None if it is no such model.

    The model does not train: dropout counts as none.
    """
    inner = without_wrapper(model)
    if not _is_known(inner) or (inner is not model and (_is_altered(model) or _is_altered(model.base_model))):
        return None
    dtype = autocast or inner.model.embed_tokens.weight.dtype
    return LlamaDecoder(inner, positions, dtype) if multiplies(dtype) else None


def _is_known(model: Any) -> bool:
    family = FAMILIES.get(type(model).__name__)
    home = sys.modules[type(model).__module__]
    if family is None or not home.__name__.startswith("transformers.models."):
        return False
    known = {getattr(home, family + part) for part in PARTS}
    known |= {nn.Linear, OneDnnLinear, nn.Embedding, nn.ModuleList, SiLUActivation}
    known |= {nn.ModuleDict, nn.ParameterDict, nn.Identity, nn.Dropout}  # parts of an adapter
    return (
        model.config.rope_parameters.get("rope_type") in ROTATIONS
        and all((type(m) in known or (is_adapted(m) and is_plain(m))) and not _is_altered(m) for m in model.modules())
        and {p.device.type for p in model.parameters()} == {"cpu"}
        and len({p.dtype for name, p in model.named_parameters() if ".lora_" not in name}) == 1
    )


def _is_altered(module: nn.Module) -> bool:
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


class _Norm:
    def __init__(self, norm: Any) -> None:
        self.weight, self.epsilon = norm.weight.float(), norm.variance_epsilon

    def __call__(self, hidden: Tensor) -> Tensor:
        return F.rms_norm(hidden, self.weight.shape, self.weight, self.epsilon)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    attention_norm: _Norm
    qkv: Product  # (N, H) -> (N, (A + 2K) D)
    out: Product  # (N, A D) -> (N, H)
    mlp_norm: _Norm
    gate_up: Product  # (N, H) -> (N, 2 I), I the size in the middle
    down: Product  # (N, I) -> (N, H)


class LlamaDecoder:
    """Call it with the newest token of each row and the cache of all before."""

    def __init__(self, model: Any, positions: int, dtype: torch.dtype) -> None:
        config, trunk = model.config, model.model
        attention = trunk.layers[0].self_attn
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.embedding, self.norm = trunk.embed_tokens.weight, _Norm(trunk.norm)
        self.head = product_with([model.lm_head], dtype)
        self.layers = [
            _Layer(
                attention_norm=_Norm(layer.input_layernorm),
                qkv=product_with([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj], dtype),
                out=product_with([layer.self_attn.o_proj], dtype),
                mlp_norm=_Norm(layer.post_attention_layernorm),
                gate_up=product_with([layer.mlp.gate_proj, layer.mlp.up_proj], dtype),
                down=product_with([layer.mlp.down_proj], dtype),
            )
            for layer in trunk.layers[: config.num_hidden_layers]
        ]
        cos, sin = trunk.rotary_emb(self.embedding, torch.arange(positions).unsqueeze(0))
        cos, sin = cos.float(), sin.float()  # rounded as the model rounds them
        self.cos, half = cos[0], self.head_dim // 2  # (positions, D)
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=1)  # of a head whose halves were swapped

    @torch.no_grad()
    def __call__(self, tokens: Tensor, positions: Tensor, cache: GroupCache) -> Tensor:
        """Logits (N, V) behind tokens (N,) at positions (N,), which `cache` then holds too."""
        rows, heads, kv_heads, size = len(tokens), self.heads, self.kv_heads, self.head_dim
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)  # (N, 1, D)
        hidden = self.embedding[tokens].float()  # (N, H)
        cache.grow()
        for at, layer in enumerate(self.layers):
            qkv = layer.qkv(layer.attention_norm(hidden)).view(rows, -1, size)
            turned = qkv[:, : heads + kv_heads]  # q and k
            turned = torch.addcmul(turned * cos, turned.roll(size // 2, -1), sin)
            queries = turned[:, :heads].view(rows, kv_heads, -1, size)  # those of the same keys together
            found = cache.attend(at, queries, turned[:, heads:], qkv[:, heads + kv_heads :], self.scaling)
            hidden.add_(layer.out(found.view(rows, -1)))
            gate, up = layer.gate_up(layer.mlp_norm(hidden)).chunk(2, dim=1)
            hidden.add_(layer.down(F.silu(gate).mul_(up)))
        return self.head(self.norm(hidden))
