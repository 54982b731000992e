"""Products by oneDNN: what PyTorch's own linear layer computes, forwards and backwards."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from coderl.linear import OneDnnLinear, multiplies, product_with, use_onednn  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")


def pair(bias, inputs=7, outputs=5):
    torch.manual_seed(0)
    plain = torch.nn.Linear(inputs, outputs, bias=bias)
    fast = torch.nn.Sequential(copy.deepcopy(plain))
    use_onednn(fast)
    assert type(fast[0]) is OneDnnLinear
    return plain, fast


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 7), (1, 1, 7), (0, 7)])
def test_values_and_all_gradients_are_those_of_a_plain_linear_layer(bias, shape):
    plain, fast = pair(bias)
    given = torch.randn(shape)
    results = []
    for layer in (plain, fast):
        x = given.clone().requires_grad_()
        y = layer(x)
        (y.sin() * torch.arange(y.numel()).view(y.shape)).sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in layer.parameters())])
    for ours, theirs in zip(results[1], results[0], strict=True):
        assert ours.shape == theirs.shape and (ours - theirs).norm() <= 1e-6 * theirs.norm()


def test_gradients_of_a_transposed_and_of_a_sliced_input_are_right():
    plain, fast = pair(bias=False)
    base = torch.randn(7, 9)
    for view in (lambda x: x.t(), lambda x: x.t()[2:5], lambda x: x.t()[::2]):
        grads = []
        for layer in (plain, fast):
            x = base.clone().requires_grad_()
            layer.zero_grad()
            (layer(view(x)) ** 2).sum().backward()
            grads.append((x.grad, next(layer.parameters()).grad))
        torch.testing.assert_close(grads[1], grads[0])


def test_other_types_and_autocast_go_the_usual_way():
    plain, fast = pair(bias=True)
    x = torch.randn(3, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fast(x).dtype == torch.bfloat16 and torch.equal(fast(x), plain(x))
    assert torch.equal(fast.double()(x.double()), plain.double()(x.double()))


def test_a_copy_computes_with_its_own_weights_and_the_names_stay():
    plain, fast = pair(bias=True)
    twin = copy.deepcopy(fast)
    with torch.no_grad():
        fast[0].weight.zero_()
    x = torch.randn(3, 7)
    torch.testing.assert_close(twin(x), plain(x))
    assert list(twin.state_dict()) == ["0.weight", "0.bias"]


def test_the_product_is_the_same_with_and_without_gradients():
    _, fast = pair(bias=True)
    x = torch.randn(4, 7)
    with torch.no_grad():
        assert torch.equal(fast(x), fast(x.t().contiguous().t()))
        without = fast(x)
    assert torch.equal(without, fast(x))


@pytest.mark.skipif(not multiplies(torch.bfloat16), reason="no products of bfloat16 on this processor")
def test_adapters_too_small_for_bfloat16_weights_still_count():
    """Merged, they would be lost: a weight of 1 and the next one in bfloat16 differ by 1/128."""
    peft = pytest.importorskip("peft")
    plain = torch.nn.Sequential(torch.nn.Linear(8, 6, bias=False)).bfloat16()
    plain[0].weight.data.fill_(1.0)
    without = product_with([plain[0]], torch.bfloat16)
    layer = peft.get_peft_model(plain, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["0"])).base_model.model[0]
    layer.lora_A["default"].weight.data.fill_(0.01)
    layer.lora_B["default"].weight.data.fill_(0.01)
    x = torch.ones(3, 8)
    added = product_with([layer], torch.bfloat16)(x) - without(x)
    expected = 8 * 2 * 0.01 * 0.01 * 4 / 2  # inputs x rank x A x B x scaling
    torch.testing.assert_close(added, torch.full((3, 6), expected))
