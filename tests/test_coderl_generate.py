"""Sampling: the same sample whatever batch it is in, log-probabilities of the sampling distribution, stop tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from coderl.config import NewModelConfig, PolicyConfig  # noqa: E402
from coderl.experience import Example, collate, pack  # noqa: E402
from coderl.generate import SampleRequest, _draw, generate  # noqa: E402
from coderl.policy import load_policy  # noqa: E402

CORPUS = ["# add 3 to x\ndef f(x):\n    return x + 3\n", "# double x\ndef f(x):\n    return x * 2\n"] * 20
PROMPTS = [(60, 70, 80), (61,), (62, 63, 64, 65, 66), (70, 71)]


@pytest.fixture(scope="module")
def policy():
    new = NewModelConfig(
        hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, vocab_size=280, max_positions=64
    )
    made = load_policy(PolicyConfig(model="new:", new=new), seed=1, corpus=CORPUS)
    for parameter in made.model.parameters():
        parameter.data.mul_(4)  # far from uniform, so that mistakes show
    return made


def sample(policy, requests, **settings):
    options = {"max_new_tokens": 12, "temperature": 0.8, "batch_size": 64, "eos_ids": policy.eos_ids, **settings}
    samples = generate(policy.model, policy.tokenizer, requests, pad_id=policy.pad_id, **options)
    return {s.key: s for s in samples}


def requests(copies=3):
    return [
        SampleRequest(key=(i, j), prompt_ids=prompt, seed=100 * i + j)
        for i, prompt in enumerate(PROMPTS)
        for j in range(copies)
    ]


def test_a_sample_is_the_same_alone_in_a_batch_and_in_any_order(policy):
    """Correctness, point 1."""
    together = sample(policy, requests())
    shuffled = sample(policy, requests()[::-1], batch_size=5)
    for request in requests():
        alone = sample(policy, [request])[request.key]
        for other in (together[request.key], shuffled[request.key]):
            assert other.ids == alone.ids
            assert other.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_logprobs_of_the_sampler_are_those_that_training_computes(policy, temperature):
    """KV cache, left padding and row removal on one side, one padded forward pass on the other."""
    samples = sample(policy, requests(), temperature=temperature)
    examples = [Example(prompt_ids=r.prompt_ids, completion_ids=samples[r.key].ids) for r in requests()]
    batch = collate(examples, [1.0] * len(examples), policy.pad_id, torch.device("cpu"))
    logprobs = policy.logprobs(batch, temperature)
    for row, request in enumerate(requests()):
        kept = samples[request.key].logprobs
        assert logprobs[row, : len(kept)].tolist() == pytest.approx(kept, abs=1e-4)


def test_logprobs_do_not_depend_on_pad_width_or_neighbours(policy):
    """Correctness, point 1."""
    short = Example(prompt_ids=(61,), completion_ids=(70, 80, 90))
    long = Example(prompt_ids=tuple(range(60, 90)), completion_ids=tuple(range(60, 80)))
    alone = policy.logprobs(collate([short], [1.0], policy.pad_id, torch.device("cpu")), 1.0)
    padded = policy.logprobs(collate([short, long], [1.0, 1.0], policy.pad_id, torch.device("cpu")), 1.0)
    torch.testing.assert_close(padded[0, :3], alone[0], atol=1e-5, rtol=1e-5)


def test_sampling_follows_the_distribution(policy):
    prompt = PROMPTS[0]
    many = [SampleRequest(key=j, prompt_ids=prompt, seed=j) for j in range(4000)]
    first = torch.tensor([s.ids[0] for s in sample(policy, many, max_new_tokens=1, batch_size=4000).values()])
    with torch.no_grad():
        probabilities = torch.softmax(policy.model(torch.tensor([prompt])).logits[0, -1] / 0.8, -1)
    counts = torch.bincount(first, minlength=len(probabilities)) / len(many)
    assert float((counts - probabilities).abs().sum()) / 2 < 0.12  # total variation; about 0.09 expected by chance


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_largest_uniform_number_draws_a_token_that_has_a_probability(temperature):
    """In float32 it is 1: the sum of all probabilities, beyond which there is no token."""
    logits = torch.tensor([[0.0, 1.0, 0.0, -torch.inf], [2.0, -1e4, -1e4, -1e4]])
    noise = torch.full((2,), 1 - 2**-53, dtype=torch.float64)
    tokens, logprobs = _draw(logits, noise, temperature)
    assert tokens.tolist() == [2, 0]
    assert logprobs.tolist() == pytest.approx(torch.log_softmax(logits / temperature, -1)[[0, 1], [2, 0]].tolist())


def test_greedy_is_the_argmax_of_transformers_generate(policy):
    greedy = sample(policy, [SampleRequest(key=0, prompt_ids=PROMPTS[2], seed=5)], temperature=0)[0]
    with torch.no_grad():
        expected = policy.model.generate(torch.tensor([PROMPTS[2]]), max_new_tokens=12, do_sample=False)
    assert list(greedy.ids) == expected[0, len(PROMPTS[2]) :].tolist()


def test_a_stop_token_ends_a_sample_and_belongs_to_it(policy):
    """Correctness, point 2."""
    plain = sample(policy, requests())
    stop_id = plain[0, 0].ids[3]
    options = {"eos_ids": frozenset({stop_id})}
    samples = generate(
        policy.model,
        policy.tokenizer,
        requests(),
        pad_id=policy.pad_id,
        max_new_tokens=12,
        temperature=0.8,
        batch_size=64,
        **options,
    )
    for one in samples:
        assert one.truncated == (stop_id not in one.ids)
        assert stop_id not in one.ids[:-1]
        if one.truncated:
            assert len(one.ids) == 12
        shared = min(len(one.ids), len(plain[one.key].ids))
        assert one.ids[:shared] == plain[one.key].ids[:shared]  # stopping changes nothing before it


def test_a_stop_string_ends_a_sample(policy):
    plain = sample(policy, requests())
    text = policy.decode(plain[0, 0].ids[:4])
    stop = text[-2:]
    stopped = sample(policy, [replace(r, stop=(stop,)) for r in requests()])
    assert stop in policy.decode(stopped[0, 0].ids)
    assert not stopped[0, 0].truncated
    assert len(stopped[0, 0].ids) <= 4


@pytest.mark.parametrize("stop", [("8",), (" ",), ("return ", "=;"), ("dod8", "ß"), ("\ufffd",)])
def test_stop_strings_end_a_sample_at_the_first_token_that_completes_one(policy, stop):
    """Also one that ends with a space, or with a part of a character; looking at every text tells where."""
    plain = sample(policy, requests(), eos_ids=frozenset())
    stopped = sample(policy, [replace(r, stop=stop) for r in requests()], eos_ids=frozenset())
    assert any(not one.truncated for one in stopped.values())
    for key, one in stopped.items():
        texts = [policy.tokenizer.decode(plain[key].ids[:end]) for end in range(1, 13)]
        ends = [end for end, text in enumerate(texts, 1) if any(string in text for string in stop)]
        assert one.ids == plain[key].ids[: ends[0] if ends else 12] and one.truncated == (not ends)


@pytest.mark.parametrize(("limit", "expected"), [(10, 2), (10**9, 1)])
def test_a_small_model_is_sampled_by_one_thread_and_the_others_come_back(policy, monkeypatch, limit, expected):
    monkeypatch.setattr("coderl.threads.SMALL", limit)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = generate(
            policy.model, policy.tokenizer, requests(), eos_ids=policy.eos_ids, pad_id=0, max_new_tokens=3,
            temperature=1.0, batch_size=4,
        )  # fmt: skip
        next(found)
        assert torch.get_num_threads() == expected
        found.close()  # by a reader that wants no more
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def some_examples():
    torch.manual_seed(0)
    shared = (60, 61, 62, 63)
    prompts = [shared, shared, (70,), shared, (71, 72, 73, 74, 75, 76), (70,)]
    return [
        Example(prompt_ids=p, completion_ids=tuple(torch.randint(60, 200, (1 + 3 * i,)).tolist()))
        for i, p in enumerate(prompts)
    ]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("budget", [1, 30, 64])
def test_micro_batches_hold_every_example_once_and_keep_to_the_budget(packed, budget):
    examples = some_examples()
    batches = list(pack(examples, budget, packed=packed))
    assert sorted(i for rows in batches for i in rows) == list(range(6))
    for rows in batches:
        batch = collate([examples[i] for i in rows], [1.0] * len(rows), 0, torch.device("cpu"), packed=packed)
        assert batch.input_ids.numel() <= budget or len(rows) == 1


def test_packed_and_padded_rows_give_the_same_logprobs_and_gradients(policy):
    examples = some_examples()
    results = []
    for packed in (False, True):
        batch = collate(examples, [1.0] * 6, policy.pad_id, torch.device("cpu"), packed=packed)
        logprobs = policy.logprobs(batch, 0.7)
        policy.model.zero_grad()
        (logprobs * batch.weights).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.model.parameters()])
        results.append((torch.cat(batch.split(logprobs.detach())), gradient))
    policy.model.zero_grad()
    torch.testing.assert_close(results[1][0], results[0][0], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(results[1][1], results[0][1], atol=1e-3, rtol=1e-3)
    assert collate(examples, [1.0] * 6, 0, torch.device("cpu"), packed=True).input_ids.numel() == 4 + 1 + 6 + 51


def test_a_cache_that_grows_in_place_holds_what_one_that_copies_holds():
    """Beyond the first allocation, and after rows have left the batch."""
    from transformers.cache_utils import DynamicCache

    from coderl.kv_cache import STEP, GrowingLayer, grow_in_place

    torch.manual_seed(0)
    caches = DynamicCache(), DynamicCache()
    for step in range(STEP + 9):
        rows = 3 if step < 40 else 2
        keys, values = torch.randn(rows, 2, 5 if step == 0 else 1, 4), torch.randn(rows, 2, 5 if step == 0 else 1, 4)
        for cache in caches:
            if step == 40:
                cache.batch_select_indices(torch.tensor([0, 2]))
            held = cache.update(keys, values, 0)
            if cache is caches[0]:
                expected = held
            elif step == 0:
                grow_in_place(cache)
                assert type(cache.layers[0]) is GrowingLayer
            assert torch.equal(held[0], expected[0]) and torch.equal(held[1], expected[1])
            assert cache.get_seq_length() == 5 + step
