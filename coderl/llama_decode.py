"""What does a model shaped like Llama predict next, in as few calls of torch as that takes?

For one new token per row, most of a small model's time in transformers is Python. `decoder_of` makes one function of the
weights of a whole sampling call: the projections of a layer fused, matrices laid out for oneDNN, rotations tabled, prompts
shared by the rows of a group. What it computes is the model's own forward pass, rounded in another order. It takes only what
it knows: every module by its exact class, no hooks, float32 on a CPU, no adapters. For all else there is None, and the
model's own forward is to be used.

It costs a second copy of the layers' weights (not of embedding and head) for as long as it lives.

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
from coderl.linear import OneDnnLinear, Product, product_with

FAMILIES = {"LlamaForCausalLM": "Llama", "Qwen2ForCausalLM": "Qwen2"}  # Qwen2: the same, with biases on q, k and v
PARTS = ("ForCausalLM", "Model", "DecoderLayer", "Attention", "MLP", "RMSNorm", "RotaryEmbedding")
ROTATIONS = ("default", "linear", "llama3")  # whose angles depend on the position alone


def decoder_of(model: Any, positions: int) -> LlamaDecoder | None:
    """A decoder with the weights that `model` has now, for positions 0..positions-1, or None if it is no such model."""
    return LlamaDecoder(model, positions) if _is_known(model) else None


def _is_known(model: Any) -> bool:
    family = FAMILIES.get(type(model).__name__)
    home = sys.modules[type(model).__module__]
    if family is None or not home.__name__.startswith("transformers.models."):
        return False
    known = {getattr(home, family + part) for part in PARTS}
    known |= {nn.Linear, OneDnnLinear, nn.Embedding, nn.ModuleList, SiLUActivation}
    return (
        model.config.rope_parameters.get("rope_type") in ROTATIONS
        and all(type(m) in known and not _is_altered(m) for m in model.modules())
        and {(p.device.type, p.dtype) for p in model.parameters()} == {("cpu", torch.float32)}
    )


def _is_altered(module: nn.Module) -> bool:
    return bool("forward" in vars(module) or module._forward_hooks or module._forward_pre_hooks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    attention_norm: nn.Module
    qkv: Product  # (N, H) -> (N, (A + 2K) D)
    out: Product  # (N, A D) -> (N, H)
    mlp_norm: nn.Module
    gate_up: Product  # (N, H) -> (N, 2 I), I the size in the middle
    down: Product  # (N, I) -> (N, H)


class LlamaDecoder:
    """Call it with the newest token of each row and the cache of all before."""

    def __init__(self, model: Any, positions: int) -> None:
        config, trunk = model.config, model.model
        attention = trunk.layers[0].self_attn
        self.head_dim, self.scaling = attention.head_dim, attention.scaling
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.embedding, self.norm = trunk.embed_tokens.weight, trunk.norm
        self.head = product_with([model.lm_head], relaid=False)
        self.layers = [
            _Layer(
                attention_norm=layer.input_layernorm,
                qkv=product_with([layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj]),
                out=product_with([layer.self_attn.o_proj]),
                mlp_norm=layer.post_attention_layernorm,
                gate_up=product_with([layer.mlp.gate_proj, layer.mlp.up_proj]),
                down=product_with([layer.mlp.down_proj]),
            )
            for layer in trunk.layers[: config.num_hidden_layers]
        ]
        cos, sin = trunk.rotary_emb(self.embedding, torch.arange(positions).unsqueeze(0))
        self.cos, half = cos[0], self.head_dim // 2  # (positions, D)
        self.sin = torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=1)  # of a head whose halves were swapped

    @torch.no_grad()
    def __call__(self, tokens: Tensor, positions: Tensor, cache: GroupCache) -> Tensor:
        """Logits (N, V) behind tokens (N,) at positions (N,), which `cache` then holds too."""
        rows, heads, kv_heads, size = len(tokens), self.heads, self.kv_heads, self.head_dim
        cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)  # (N, 1, D)
        hidden = self.embedding[tokens]  # (N, H)
        cache.grow()
        for at, layer in enumerate(self.layers):
            qkv = layer.qkv(_normed(hidden, layer.attention_norm)).view(rows, -1, size)
            turned = qkv[:, : heads + kv_heads]  # q and k
            turned = torch.addcmul(turned * cos, turned.roll(size // 2, -1), sin)
            queries = turned[:, :heads].view(rows, kv_heads, -1, size)  # those of the same keys together
            found = cache.attend(at, queries, turned[:, heads:], qkv[:, heads + kv_heads :], self.scaling)
            hidden.add_(layer.out(found.view(rows, -1)))
            gate, up = layer.gate_up(_normed(hidden, layer.mlp_norm)).chunk(2, dim=1)
            hidden.add_(layer.down(F.silu(gate).mul_(up)))
        return self.head(_normed(hidden, self.norm))


def _normed(hidden: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
