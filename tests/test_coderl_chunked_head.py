"""Log-probabilities without all the logits: the same values and gradients as with them, and no tensor larger than a chunk."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("peft")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from coderl.chunked_head import head_logprobs, plain_head  # noqa: E402
from coderl.config import LoraSection, NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.errors import ConfigError, ModelError  # noqa: E402
from coderl.experience import Example, collate  # noqa: E402
from coderl.functional import selected_logprobs  # noqa: E402
from coderl.policy import load_policy  # noqa: E402

NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, vocab_size=270, max_positions=64)


class Largest(TorchDispatchMode):
    """The number of values of the largest tensor that any operation gave."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return found


def given(num_tokens=37, hidden=16, vocabulary=301):
    torch.manual_seed(0)
    states = torch.randn(1, num_tokens, hidden, requires_grad=True)
    weight = torch.randn(vocabulary, hidden, requires_grad=True)
    return states, weight, torch.randint(0, vocabulary, (1, num_tokens)), torch.randn(1, num_tokens)


@pytest.mark.parametrize("chunk_tokens", [1, 8, 37, 100])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_values_and_gradients_are_those_of_the_plain_head(chunk_tokens, temperature):
    states, weight, tokens, slopes = given()
    plain = selected_logprobs(states @ weight.T, tokens, temperature)
    expected = torch.autograd.grad((plain * slopes).sum(), (states, weight))
    chunked = head_logprobs(states, weight, tokens, temperature, dtype=torch.float32, chunk_tokens=chunk_tokens)
    found = torch.autograd.grad((chunked * slopes).sum(), (states, weight))
    torch.testing.assert_close(chunked, plain, rtol=1e-6, atol=1e-5)  # of values around 10
    for one, other in zip(found, expected, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-6


def test_gradients_agree_with_finite_differences():
    states, weight, tokens, _ = given(5, 4, 7)

    def function(states, weight):
        return head_logprobs(states, weight, tokens, 0.8, dtype=torch.float32, chunk_tokens=2)

    direction = torch.randn(1, 5, 4), torch.randn(7, 4)
    found = torch.autograd.grad(function(states, weight).sum(), (states, weight))
    slope = sum((g * d).sum() for g, d in zip(found, direction, strict=True))
    step = 1e-2
    with torch.no_grad():
        ahead = function(states + step * direction[0], weight + step * direction[1]).sum()
        behind = function(states - step * direction[0], weight - step * direction[1]).sum()
    assert float(slope) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-2)


def test_no_tensor_is_larger_than_a_chunk_of_logits():
    states, weight, tokens, slopes = given(num_tokens=256, hidden=4, vocabulary=301)
    with Largest() as seen:
        chunked = head_logprobs(states, weight, tokens, 1.0, dtype=torch.float32, chunk_tokens=16)
        (chunked * slopes).sum().backward()
    assert 301 * 4 <= seen.numel <= 16 * 301
    with Largest() as plain:
        selected_logprobs(states @ weight.T, tokens, 1.0).sum().backward()
    assert plain.numel == 256 * 301


def make(**settings):
    return load_policy(PolicyConfig(model="new:", new=NEW, **settings), seed=0, corpus=["def f(x): return x"])


def batch_of(policy):
    examples = [
        Example(prompt_ids=(60, 61), completion_ids=(70, 71, 72)),
        Example(prompt_ids=(60, 61), completion_ids=(80, 81)),
    ]
    return collate(examples, [1.0, 1.0], policy.pad_id, torch.device("cpu"), packed=policy.packed)


@pytest.mark.parametrize(
    "settings",
    [{}, {"packing": True}, {"lora": LoraSection(rank=4)}, {"autocast": "bfloat16"}],
    ids=["padded", "packed", "lora", "autocast"],
)
def test_a_policy_says_and_learns_the_same_with_a_chunked_head(settings):
    found = []
    for chunked in (False, True):
        policy = make(chunked_head=chunked, **settings)
        batch = batch_of(policy)
        logprobs = policy.logprobs(batch, 0.9)
        (logprobs * batch.mask).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.trainable().values()])
        found.append(((logprobs * batch.mask).detach(), gradient, policy.logits(batch).detach()))
    (plain, expected, logits), (chunked, gradient, same_logits) = found
    tolerance = (
        2e-2 if "autocast" in settings else 1e-5
    )  # a chunk's logits are rounded to bfloat16 as the plain ones are
    torch.testing.assert_close(chunked, plain, rtol=tolerance, atol=tolerance)
    assert float((gradient - expected).norm() / expected.norm()) < (5e-2 if "autocast" in settings else 1e-5)
    assert torch.equal(logits, same_logits)  # who asks for logits gets them


def test_a_head_that_is_more_than_one_product_is_refused(monkeypatch):
    policy = make()
    causal = policy.model
    assert plain_head(causal)
    forward = causal.forward

    def capped(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.logits = 30 * torch.tanh(output.logits / 30)
        return output

    monkeypatch.setattr(causal, "forward", capped)
    assert not plain_head(causal)
    monkeypatch.setattr("coderl.policy.plain_head", lambda _: False)
    with pytest.raises(ModelError, match=r"policy\.chunked_head"):
        make(chunked_head=True)


@pytest.mark.parametrize(("stage", "change"), [("grpo", {"entropy_coef": 0.1}), ("ppo", {"critic": "shared"})])
def test_it_is_refused_where_all_logits_are_needed(stage, change):
    raw = {"stages": [stage], "policy": {"model": "new:", "chunked_head": True}, "tasks": {"train": ["generated"]}}
    parse(raw)
    with pytest.raises(ConfigError, match=f"{stage}.{next(iter(change))}.* needs all logits"):
        parse({**raw, stage: change})
