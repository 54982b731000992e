"""Which library multiplies a policy's float32 matrices on a CPU? oneDNN, also where PyTorch would take MKL.

PyTorch gives float32 products on a CPU to MKL, which runs at half speed or less on processors that Intel did not make; oneDNN,
which it takes for bfloat16, is as fast on all. `use_onednn` changes the class of a model's linear layers, and nothing else:
names, weights and copies stay as they were. What is computed is the same product, rounded in another order. `product_with`
is for weights that are read many times before they change.
Layers on another device, in another type or under autocast go the usual way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from coderl.lora import adapter_of, base_of, side_by_side

Product = Callable[[Tensor], Tensor]
ROWS = 32  # that a matrix is laid out for; any number may come


def use_onednn(model: nn.Module) -> None:
    """Let every plain linear layer of `model` multiply by oneDNN, if this build of PyTorch has it."""
    if not _has_onednn():
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = OneDnnLinear


def product(input: Tensor, weight: Tensor) -> Tensor:
    """input (M, I) @ weight (O, I)^T, (M, O), without a gradient, by the library that `use_onednn` takes."""
    plain = input.device.type == "cpu" and input.dtype == weight.dtype == torch.float32
    return _product(input, weight) if plain and _has_onednn() else nn.functional.linear(input, weight)


@torch.no_grad()
def product_with(layers: Sequence[Any], dtype: torch.dtype = torch.float32) -> Product:
    """What the layers make of the same input (N, I) on a CPU, side by side, with the weights that they have now.

    From a copy of the weights that is laid out as the product reads it, which is faster for few rows. Input and output are
    float32 whatever `dtype` is multiplied. Adapters are added to the weights; in bfloat16, where they would be lost in the
    rounding, they keep products of their own.
    """
    bases = [base_of(layer) for layer in layers]
    weight: Tensor = (bases[0].weight if len(bases) == 1 else torch.cat([base.weight for base in bases])).to(dtype)
    biases = [base.bias if base.bias is not None else weight.new_zeros(base.out_features) for base in bases]
    bias = torch.cat(biases).to(dtype) if any(base.bias is not None for base in bases) else None
    first, second = side_by_side([adapter_of(layer) for layer in layers])
    if len(first) and dtype == torch.float32:
        weight = weight + second @ first
    if not _has_onednn():
        main: Product = functools.partial(nn.functional.linear, weight=weight, bias=bias)
    else:
        weight = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS)
        main = functools.partial(_product, weight=weight, bias=bias)
    if dtype == torch.float32:
        return main
    if not len(first):
        return lambda input: main(input.to(dtype)).float()
    return lambda input: main(input.to(dtype)).float() + product(product(input, first), second)


def multiplies(dtype: torch.dtype) -> bool:
    """Whether `product_with` has products in that type on this CPU."""
    return dtype == torch.float32 or (
        dtype == torch.bfloat16 and _has_onednn() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


class OneDnnLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        plain = input.device.type == "cpu" and input.dtype == self.weight.dtype == torch.float32
        if not plain or torch.is_autocast_enabled("cpu") or not input.numel():
            return super().forward(input)
        if not torch.is_grad_enabled():
            return _product(input.contiguous(), self.weight, self.bias)
        result: Tensor = _Product.apply(input.contiguous(), self.weight, self.bias)
        return result


class _Product(torch.autograd.Function):
    """input (..., I) contiguous, weight (O, I), bias (O) or None -> input @ weight^T + bias, (..., O)."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(input, weight)
        return _product(input, weight, bias)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        input, weight = ctx.saved_tensors
        rows, grad_rows = input.view(-1, input.shape[-1]), grad.contiguous().view(-1, grad.shape[-1])
        needs_input, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(grad_rows, weight.t()).view(input.shape) if needs_input else None,
            _product(grad_rows.t(), rows.t()) if needs_weight else None,
            grad_rows.sum(0) if needs_bias else None,
        )


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(input, weight, bias, "none", [], "")
    return result
