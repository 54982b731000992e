"""The decoder of our own says what the model's forward pass says, for the models that it takes, and takes no others."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from coderl.generate import SampleRequest, generate  # noqa: E402
from coderl.kv_cache import STEP, GroupCache  # noqa: E402
from coderl.linear import multiplies, use_onednn  # noqa: E402
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


ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def with_adapters(model, targets=("q_proj",), **options):
    """None of them is zero, as they are when they are made."""
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=3, lora_alpha=5, target_modules=list(targets), task_type="CAUSAL_LM", **options)
    adapted = peft.get_peft_model(model, config).eval()
    for name, parameter in adapted.named_parameters():
        if ".lora_B" in name:
            parameter.data.normal_(0, 0.2)
    return adapted


def made(family, lora=(), **options):
    torch.manual_seed(3)
    settings = getattr(transformers, f"{family}Config")(**{**SIZES, **options})
    model = getattr(transformers, f"{family}ForCausalLM")(settings).eval()
    for name, parameter in model.named_parameters():
        parameter.data.mul_(3.0)  # far from uniform, so that mistakes show
        if name.endswith("bias") or "norm" in name:
            parameter.data.add_(torch.randn(parameter.shape) * 0.3)
    model = with_adapters(model, lora) if lora else model
    use_onednn(model)
    return model


MODELS = {
    "tied": ("Llama", {"tie_word_embeddings": True}),
    "untied": ("Llama", {"tie_word_embeddings": False}),
    "heads that are not a part of the hidden size": ("Llama", {"head_dim": 8}),
    "biases, more heads of keys": ("Llama", {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 6}),
    "stretched rotations": ("Llama", {"rope_parameters": LLAMA3}),
    "Qwen2": ("Qwen2", {}),
    "adapters": ("Llama", {"lora": ALL, "attention_bias": True}),
    "adapters on some layers": ("Qwen2", {"lora": ["k_proj", "up_proj", "lm_head"], "tie_word_embeddings": False}),
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


def sampled(model, temperature, batch_size=64, autocast=None):
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
        autocast=autocast,
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


def test_adapters_that_are_switched_off_or_merged_into_the_weights_add_nothing():
    model = made("Llama", lora=ALL)
    adapted = sampled(model, 0.9)
    with model.disable_adapter():
        off = sampled(model, 0.9)
        row = [*PROMPTS[2], *off[2, 0].ids]
        logprob = (forward_logits(model, [row[:-1]]) / 0.9).log_softmax(-1)[0, row[-1]]
    assert off[2, 0].logprobs[-1] == pytest.approx(float(logprob), abs=1e-5)
    assert {k: s.ids for k, s in off.items()} != {k: s.ids for k, s in adapted.items()}
    model.merge_adapter()
    assert {k: s.ids for k, s in sampled(model, 0.9).items()} == {k: s.ids for k, s in adapted.items()}


@pytest.mark.skipif(not multiplies(torch.bfloat16), reason="no products of bfloat16 on this processor")
@pytest.mark.parametrize("kind", ["weights", "autocast", "weights with adapters"])
def test_in_bfloat16_logprobs_are_no_further_from_those_of_float32_than_the_models_own(kind, monkeypatch):
    """Of the same tokens: those that our decoder drew."""
    model = made("Llama", lora=ALL if kind == "weights with adapters" else ())
    for parameter in model.parameters():
        parameter.data = parameter.data.bfloat16().float()  # so that float32 knows no more of them
    exact, autocast = copy.deepcopy(model), torch.bfloat16 if kind == "autocast" else None
    if kind != "autocast":
        model = model.bfloat16()
    taken = []
    monkeypatch.setattr("coderl.generate.decoder_of", lambda *args: taken.append(decoder_of(*args)) or taken[-1])
    ours = sampled(model, 1.0, autocast=autocast)
    assert taken[0] is not None
    errors = {"ours": 0.0, "own": 0.0}
    for key, sample in ours.items():
        ids = torch.tensor([[*PROMPTS[key[0]], *sample.ids]])
        drawn = torch.tensor(sample.ids).unsqueeze(1)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast is not None):
            own = model(input_ids=ids).logits[0, -len(drawn) - 1 : -1].float().log_softmax(-1).gather(1, drawn)
        with torch.no_grad():
            right = exact(input_ids=ids).logits[0, -len(drawn) - 1 : -1].log_softmax(-1).gather(1, drawn)
        errors["ours"] += float((torch.tensor(sample.logprobs).unsqueeze(1) - right).abs().sum())
        errors["own"] += float((own - right).abs().sum())
    assert errors["ours"] < 1.1 * errors["own"]


def hooked(model, name="model.layers.1.mlp"):
    model.get_submodule(name).register_forward_hook(lambda *_: None)
    return model


def patched(model):
    model.model.norm.forward = lambda states: states
    return model


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
    "another float type": lambda: made("Llama").double(),
    "a hook": lambda: hooked(made("Llama")),
    "a replaced forward": lambda: patched(made("Llama")),
    "adapters of another kind": lambda: with_adapters(made("Llama"), use_dora=True),
    "adapters with biases": lambda: with_adapters(made("Llama", attention_bias=True), lora_bias=True),
    "adapters on the embedding": lambda: with_adapters(made("Llama"), ["embed_tokens"]),
    "a layer of the head's own": lambda: with_adapters(made("Llama"), modules_to_save=["lm_head"]),
    "a hook on adapters": lambda: hooked(with_adapters(made("Llama")), "base_model"),
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
