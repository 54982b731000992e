"""Loading and making policies; frozen references; what a person is told when a model does not fit."""

from __future__ import annotations

import resource

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("peft")

from coderl import checkpoint  # noqa: E402
from coderl.config import LoraSection, NewModelConfig, PolicyConfig  # noqa: E402
from coderl.errors import ModelError, RunFolderError  # noqa: E402
from coderl.experience import Example, collate  # noqa: E402
from coderl.functional import kl_estimates  # noqa: E402
from coderl.methods.base import MethodBase  # noqa: E402
from coderl.packing import takes_packed_rows  # noqa: E402
from coderl.policy import load_policy, stop_token_ids  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402

CORPUS = ["# add 3 to x\ndef f(x):\n    return x + 3\n"] * 10
NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=2, num_heads=2, vocab_size=270, max_positions=64)


def make(**settings):
    return load_policy(PolicyConfig(model="new:", new=NEW, **settings), seed=0, corpus=CORPUS)


def logprobs(policy):
    example = Example(prompt_ids=(60, 61), completion_ids=(70, 71, 72))
    return policy.logprobs(collate([example], [1.0], policy.pad_id, torch.device("cpu")), 1.0).detach()


@pytest.mark.parametrize("lora", [None, LoraSection(rank=4)])
def test_a_frozen_reference_has_kl_zero_until_the_policy_moves_and_stays_where_it_was(lora):
    """Correctness, point 11."""
    policy = make(lora=lora)
    reference = policy.weights()
    start = logprobs(policy)
    with policy.using(reference):
        assert torch.equal(logprobs(policy), start)
    for parameter in policy.trainable().values():
        parameter.data.add_(0.05)
    moved = logprobs(policy)
    with policy.using(reference):
        assert torch.equal(logprobs(policy), start)
    assert torch.equal(logprobs(policy), moved)  # the block left nothing behind
    assert float(kl_estimates(moved, start)[2].sum()) > 0


def test_lora_trains_adapters_only_and_starts_at_the_base_model():
    base, adapted = make(), make(lora=LoraSection(rank=4))
    assert all("lora_" in name for name in adapted.trainable())
    torch.testing.assert_close(logprobs(adapted), logprobs(base))


def test_a_made_policy_is_a_function_of_its_seed():
    assert torch.equal(logprobs(make()), logprobs(make()))
    other = load_policy(PolicyConfig(model="new:", new=NEW), seed=1, corpus=CORPUS)
    assert not torch.equal(logprobs(other), logprobs(make()))


def test_saved_and_loaded_again_it_says_the_same(tmp_path):
    policy = make()
    policy.save(tmp_path / "m")
    loaded = load_policy(PolicyConfig(model=str(tmp_path / "m")), seed=9)
    torch.testing.assert_close(logprobs(loaded), logprobs(policy))
    assert loaded.eos_ids == policy.eos_ids
    text = "def f(x):\n    return x + 12\n"
    assert loaded.decode(loaded.encode_completion(text)) == text


def test_a_saved_adapter_is_loaded_on_its_base_and_trained_further(tmp_path):
    make().save(tmp_path / "base")
    lora = LoraSection(rank=4)
    policy = load_policy(PolicyConfig(model=str(tmp_path / "base"), lora=lora), seed=0)
    for parameter in policy.trainable().values():
        parameter.data.add_(0.05)
    policy.save(tmp_path / "adapter")
    loaded = load_policy(PolicyConfig(model=str(tmp_path / "adapter"), lora=lora), seed=5)
    torch.testing.assert_close(logprobs(loaded), logprobs(policy))
    assert loaded.trainable().keys() == policy.trainable().keys()


def test_dropout_is_off_everywhere():
    """Correctness, point 9."""
    policy = make()
    policy.model.train()
    assert torch.equal(logprobs(policy), logprobs(policy))


def test_a_folder_without_a_model_is_one_clear_line(tmp_path):
    with pytest.raises(ModelError, match=r"no model folder there.*import-model.*or give another folder or a hub id"):
        load_policy(PolicyConfig(model=str(tmp_path)), seed=0)
    with pytest.raises(ModelError, match="no model folder there"):
        load_policy(PolicyConfig(model="./nowhere"), seed=0)


def test_weights_that_were_cut_off_are_one_line(tmp_path):
    make().save(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"m': cannot be loaded: .*header"):
        load_policy(PolicyConfig(model=str(tmp_path / "m")), seed=0)


def test_weights_that_cannot_be_written_whole_are_one_line_and_no_model(tmp_path):
    method, run = MethodBase(make(), 0.1), RunFolder(tmp_path)
    method.finish(run, "0_sft")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # the kernel refuses as it does on a full disk
    try:
        with pytest.raises(RunFolderError, match=r"models/2_grpo: cannot be written: File too large"):
            method.finish(run, "2_grpo")
        with pytest.raises(RunFolderError, match="stage001-step0000002: cannot be written: the disk is full"):
            checkpoint.save(
                tmp_path / "checkpoints", checkpoint.Position(stage=1, step=2), {"x": torch.ones(9000)}, keep=1
            )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert run.last_model() == run.model_dir("0_sft")
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["0_sft"]
    assert list((tmp_path / "checkpoints").iterdir()) == []


TINY = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("kind", "changes", "packs"),
    [
        ("Llama", {}, True),
        ("Mistral", {"num_key_value_heads": 2, "sliding_window": None}, True),
        ("Mistral", {"num_key_value_heads": 2, "sliding_window": 4096}, False),
        ("Qwen2", {"num_key_value_heads": 2}, True),
        ("Qwen2", {"num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 0}, False),
        ("Bloom", {"n_layer": 2, "n_head": 2}, False),
    ],
)
def test_packed_rows_are_for_models_that_keep_them_apart(kind, changes, packs):
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**TINY, **changes, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    assert takes_packed_rows(getattr(transformers, f"{kind}ForCausalLM")(config)) is packs


def test_packing_is_refused_where_it_would_change_what_is_learned(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    small = {**TINY, "vocab_size": 300, "num_key_value_heads": 2, "sliding_window": 8, "bos_token_id": None}
    MistralForCausalLM(MistralConfig(**small, eos_token_id=1, pad_token_id=0)).save_pretrained(tmp_path)
    make().tokenizer.save_pretrained(tmp_path)
    load_policy(PolicyConfig(model=str(tmp_path)), seed=0)
    with pytest.raises(ModelError, match=r"policy.packing: .*sliding windows"):
        load_policy(PolicyConfig(model=str(tmp_path), packing=True), seed=0)


def test_a_tokenizer_without_pad_or_stop_token_is_an_error_with_a_remedy(tmp_path):
    policy = make()
    policy.tokenizer.pad_token = None
    policy.save(tmp_path / "nopad")
    with pytest.raises(ModelError, match=r"no pad token: set policy.pad_token, e.g. to '<\|end\|>'"):
        load_policy(PolicyConfig(model=str(tmp_path / "nopad")), seed=0)
    with pytest.raises(ModelError, match=r"policy.pad_token '<none>': no token of"):
        load_policy(PolicyConfig(model=str(tmp_path / "nopad"), pad_token="<none>"), seed=0)
    named = load_policy(PolicyConfig(model=str(tmp_path / "nopad"), pad_token="<|end|>"), seed=0)
    assert named.pad_id in named.eos_ids  # pad equal to EOS is fine: masks are explicit
    torch.testing.assert_close(logprobs(named), logprobs(policy))

    policy.tokenizer.eos_token = None
    policy.model.generation_config.eos_token_id = None
    policy.model.config.eos_token_id = None
    policy.save(tmp_path / "noeos")
    with pytest.raises(ModelError, match="no EOS token"):
        load_policy(PolicyConfig(model=str(tmp_path / "noeos"), pad_token="<|pad|>"), seed=0)


def test_every_configured_stop_token_counts():
    """Correctness, point 3."""
    policy = make()
    policy.model.generation_config.eos_token_id = [5, 7]
    assert stop_token_ids(policy.model, policy.tokenizer) == {5, 7, policy.tokenizer.eos_token_id}


@pytest.mark.parametrize("settings", [{}, {"lora": LoraSection(rank=4)}, {"chunked_head": True}, {"packing": True}])
def test_gradients_are_the_same_with_activations_computed_again(settings):
    found = []
    for again in (False, True):
        policy = make(gradient_checkpointing=again, **settings)
        policy.model.train()
        calls = []
        layer = next(module for name, module in policy.model.named_modules() if name.endswith("layers.0"))
        layer.self_attn.register_forward_hook(lambda *_, seen=calls: seen.append(1))
        example = Example(prompt_ids=(60, 61), completion_ids=(70, 71, 72))
        policy.logprobs(collate([example], [1.0], policy.pad_id, torch.device("cpu")), 1.0).sum().backward()
        found.append((torch.cat([p.grad.flatten() for p in policy.trainable().values()]), len(calls)))
    (plain, once), (checkpointed, twice) = found
    assert (once, twice) == (1, 2)
    torch.testing.assert_close(checkpointed, plain, rtol=1e-6, atol=1e-7)
