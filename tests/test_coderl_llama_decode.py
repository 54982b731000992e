"""The decoder of our own says what the model's forward pass says, for the models that it takes, and takes no others."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from coderl.generate import SampleRequest, generate  # noqa: E402
from coderl.kv_cache import STEP, GroupCache  # noqa: E402
from coderl.linear import use_onednn  # noqa: E402
from coderl.llama_decode import decoder_of  # noqa: E402

SIZES = {
    "vocab_size": 97,
    "hidden_size": 36,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
PROMPTS = [(5, 6, 7), (8,), (9, 10, 11, 12, 13, 14), (20, 21)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def made(family, **options):
    torch.manual_seed(3)
    settings = getattr(transformers, f"{family}Config")(**{**SIZES, **options})
    model = getattr(transformers, f"{family}ForCausalLM")(settings).eval()
    for name, parameter in model.named_parameters():
        parameter.data.mul_(3.0)  # far from uniform, so that mistakes show
        if name.endswith("bias") or "norm" in name:
            parameter.data.add_(torch.randn(parameter.shape) * 0.3)
    use_onednn(model)
    return model


MODELS = {
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "untied": ("Llama", {"tie_word_embeddings": False}),
    "heads that are not a part of the hidden size": ("Llama", {"head_dim": 8}),
    "biases, more heads of keys": ("Llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 6}),
    "stretched rotations": ("Llama", {"rope_parameters": LLAMA3}),
    "Qwen2": ("Qwen2", {}),
}


@pytest.fixture(params=MODELS)
def model(request):
    family, options = MODELS[request.param]
    return made(family, **options)


def forward_logits(model, ids):
    """Of the last position of each row alone, by the model's own forward pass without a cache."""
    with torch.no_grad():
        return torch.stack([model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1] for row in ids])


def prefill(model, prompts, group):
    width = max(map(len, prompts))
    ids, mask = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :], mask[row, width - len(prompt) :] = torch.tensor(prompt), 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        output = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True)
    return GroupCache(output.past_key_values, mask, group, STEP + 6)


def test_logprobs_are_those_of_the_forward_pass_also_after_rows_left_and_beyond_the_first_allocation(model):
    """Rows in mixed order, prompts of several lengths; a prompt loses some rows, another all."""
    group = torch.tensor([2, 0, 0, 1, 3, 2, 0, 2])
    cache = prefill(model, PROMPTS, group)
    decoder = decoder_of(model, 6 + STEP + 9)
    rows = [list(PROMPTS[g]) for g in group]
    generator = torch.Generator().manual_seed(0)
    for step in range(STEP + 6):
        if step in (3, 5, STEP + 2):
            keep = {3: [0, 2, 4, 5, 6, 7], 5: [4, 1, 5, 2], STEP + 2: [2]}[step]
            cache.select(torch.tensor(keep))
            rows = [rows[at] for at in keep]
        tokens = torch.randint(2, 97, (len(rows),), generator=generator)
        positions = torch.tensor([len(row) for row in rows])
        rows = [[*row, int(token)] for row, token in zip(rows, tokens, strict=True)]
        logits = decoder(tokens, positions, cache)
        if step < 8 or step > STEP - 3:
            ours, theirs = logits.log_softmax(-1), forward_logits(model, rows).log_softmax(-1)
            torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def sampled(model, temperature, batch_size=64):
    requests = [
        SampleRequest(key=(i, j), prompt_ids=prompt, seed=100 * i + j)
        for i, prompt in enumerate(PROMPTS)
        for j in range(3)
    ]
    found = generate(
        model,
        None,
        requests,
        eos_ids=frozenset(range(1, 40)),  # rows leave all the time
        pad_id=0,
        max_new_tokens=20,
        temperature=temperature,
        batch_size=batch_size,
    )
    return {sample.key: sample for sample in found}


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_tokens_and_logprobs_are_those_of_decoding_by_the_model(model, temperature, monkeypatch):
    ours = sampled(model, temperature)
    if temperature:
        assert len({len(sample.ids) for sample in ours.values()}) > 1  # else no row would have left before the end
    split = sampled(model, temperature, batch_size=5)
    monkeypatch.setattr("coderl.generate.decoder_of", lambda *_: None)
    theirs = sampled(model, temperature)
    for key, sample in ours.items():
        for other in (theirs[key], split[key]):
            assert sample.ids == other.ids
            assert sample.logprobs == pytest.approx(other.logprobs, abs=1e-5)


def test_weights_that_changed_between_two_calls_count():
    model = made("Llama")
    before = sampled(model, 0.9)
    for parameter in model.parameters():
        parameter.data.mul_(-0.5)
    after = sampled(model, 0.9)
    assert {k: s.ids for k, s in after.items()} != {k: s.ids for k, s in before.items()}
    row = [*PROMPTS[2], *after[2, 0].ids]
    logprob = (forward_logits(model, [row[:-1]]) / 0.9).log_softmax(-1)[0, row[-1]]
    assert after[2, 0].logprobs[-1] == pytest.approx(float(logprob), abs=1e-5)


def hooked(model):
    model.model.layers[1].mlp.register_forward_hook(lambda *_: None)
    return model


def patched(model):
    model.model.norm.forward = lambda states: states
    return model


def with_adapters(model):
    peft = pytest.importorskip("peft")
    return peft.get_peft_model(model, peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))


def of_own_class(model):
    class Other(type(model)):
        pass

    model.__class__ = Other
    return model


STRANGERS = {
    "another architecture": lambda: made("GPTNeoX", rope_parameters={"rope_type": "default", "rope_theta": 1e4}),
    "another activation": lambda: made("Llama", hidden_act="gelu"),
    "rotations that depend on the length": lambda: made(
        "Llama", rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    ),
    "another float type": lambda: made("Llama").bfloat16(),
    "a hook": lambda: hooked(made("Llama")),
    "a replaced forward": lambda: patched(made("Llama")),
    "adapters": lambda: with_adapters(made("Llama")),
    "a class of its own": lambda: of_own_class(made("Llama")),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_a_model_that_may_compute_something_else_is_decoded_by_its_own_forward_pass(name):
    model = STRANGERS[name]()
    assert decoder_of(model, 32) is None
    found = sampled(model, 0.0)[2, 0]
    if name != "another float type":
        row = [*PROMPTS[2], *found.ids]
        assert row[-1] == int(forward_logits(model, [row[:-1]]).argmax())


def test_a_model_with_a_sliding_window_keeps_its_own_cache():
    model = made("Qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=1, layer_types=None)
    found = sampled(model, 0.0)[2, 0]
    row = [*PROMPTS[2], *found.ids]
    assert row[-1] == int(forward_logits(model, [row[:-1]]).argmax())
