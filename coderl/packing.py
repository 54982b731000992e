"""Does a model say the same of a token in a packed row as in a row of its own? Packing is for models of which that is known.

It is not so with sliding windows, which the mask of a packed row knows nothing of, and with layers that keep a state or take no
mask of two dimensions. The latter are found by asking, the former by their config: a window is longer than any short question.
"""

from __future__ import annotations

from typing import Any

import torch


def takes_packed_rows(causal: Any) -> bool:
    """Of a causal language model, without adapters around it."""
    config = causal.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    windowed = getattr(config, "sliding_window", None) is not None if kinds is None else {*kinds} != {"full_attention"}
    return not windowed and _keeps_apart(causal)


@torch.no_grad()
def _keeps_apart(causal: Any) -> bool:
    """Whether two equal sequences in a row get the logits of one alone."""
    device, was_training = next(causal.parameters()).device, causal.training
    ids = torch.arange(4, 8, device=device).unsqueeze(0)
    mask = torch.block_diag(*[torch.ones(4, 4).tril()] * 2).bool().to(device)[None, None]
    positions = torch.arange(4, device=device).repeat(2).unsqueeze(0)
    causal.eval()
    try:
        alone = causal(input_ids=ids, use_cache=False).logits.float()
        packed = causal(input_ids=ids.repeat(1, 2), attention_mask=mask, position_ids=positions, use_cache=False).logits
    except (ValueError, RuntimeError, TypeError, IndexError):  # another shape of mask, or no positions
        return False
    finally:
        causal.train(was_training)
    apart = (packed.float() - alone.repeat(1, 2, 1)).abs().max()
    return bool(apart <= 0.05 * alone.std())  # the rounding of bfloat16
