"""What a run exports loads with plain transformers, says the same as the run's model, and its card holds what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from peft import PeftModel  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from coderl.config import RunConfig, parse  # noqa: E402
from coderl.errors import ModelError, RunFolderError  # noqa: E402
from coderl.export import export  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from coderl.train import run  # noqa: E402

TASKS = "generated?family=compose&level=1&split={}&count=12&seed=0"
SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_layers": 1,
    "num_heads": 2,
    "vocab_size": 400,
    "max_positions": 96,
}


def config(folder: Path, name: str, **policy: object) -> RunConfig:
    return parse(
        {
            "name": name,
            "output": str(folder),
            "stages": ["eval", "sft", "eval"],
            "policy": {"new": SMALL, **policy},
            "tasks": {"train": [TASKS.format("train")], "test": [TASKS.format("test")]},
            "generation": {"max_new_tokens": 8},
            "sft": {"steps": 2, "batch_size": 4, "optimizer": {"learning_rate": 1e-2}},
            "eval": {"samples_per_task": 2, "bootstrap": 50},
            "trackers": [],
        }
    )


def finished(settings: RunConfig) -> RunFolder:
    folder = RunFolder.create(settings)
    run(settings, folder)
    folder.unlock()
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return finished(config(tmp_path_factory.mktemp("whole"), "whole", model="new:"))


@pytest.fixture(scope="module")
def lora(whole: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    base = str(whole.last_model())
    return finished(config(tmp_path_factory.mktemp("lora"), "lora", model=base, lora={"rank": 2, "alpha": 4}))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(2, 12).unsqueeze(0)).logits


def test_an_exported_model_is_the_one_of_the_run(whole: RunFolder, tmp_path: Path) -> None:
    out = export(whole, tmp_path / "model")
    mine, theirs = AutoModelForCausalLM.from_pretrained(out), AutoModelForCausalLM.from_pretrained(whole.last_model())
    assert torch.equal(logits(mine), logits(theirs))
    text = "def f(x):"
    assert AutoTokenizer.from_pretrained(out)(text) == AutoTokenizer.from_pretrained(whole.last_model())(text)


def test_the_layout_is_what_vllm_reads(whole: RunFolder, tmp_path: Path) -> None:
    out = export(whole, tmp_path / "model")
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json"} <= {
        p.name for p in out.iterdir()
    }
    assert json.loads((out / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


def test_the_card_holds_the_measured_numbers(whole: RunFolder, tmp_path: Path) -> None:
    card = (export(whole, tmp_path / "model") / "README.md").read_text()
    _, head, body = card.split("---\n", 2)
    [result] = yaml.safe_load(head)["model-index"][0]["results"]
    last = [json.loads(line) for line in whole.metrics_path.read_text().splitlines()][-1]["values"]
    assert result["metrics"][0]["value"] == round(last["eval/pass@1"], 4)
    assert f"{last['eval/pass@1']:.1%} ({last['eval/pass@1_low']:.1%} to {last['eval/pass@1_high']:.1%})" in body
    assert "base_model" not in yaml.safe_load(head)
    for stated in ("0_eval", "2_eval", "points", TASKS.format("test"), "jail", "max_new_tokens"):
        assert stated in body


def test_an_adapter_is_merged_to_the_same_function(lora: RunFolder, whole: RunFolder, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(whole.last_model())
    before = logits(base)
    adapted = logits(PeftModel.from_pretrained(base, lora.last_model()))
    merged = logits(AutoModelForCausalLM.from_pretrained(export(lora, tmp_path / "model")))
    assert torch.allclose(merged, adapted, atol=1e-5)
    assert not torch.allclose(merged, before, atol=1e-5)


def test_an_adapter_can_stay_one_and_whole_weights_cannot_become_one(
    lora: RunFolder, whole: RunFolder, tmp_path: Path
) -> None:
    out = export(lora, tmp_path / "adapter", adapter=True)
    assert (out / "adapter_config.json").is_file() and not (out / "model.safetensors").exists()
    assert yaml.safe_load((out / "README.md").read_text().split("---\n")[1])["base_model"] == str(whole.last_model())
    with pytest.raises(ModelError, match="leave --adapter out"):
        export(whole, tmp_path / "other", adapter=True)
    assert not (tmp_path / "other").exists()


def test_a_missing_stage_and_a_full_folder_are_one_line_and_nothing_is_written(
    whole: RunFolder, tmp_path: Path
) -> None:
    with pytest.raises(RunFolderError, match="it has 1_sft"):
        export(whole, tmp_path / "model", stage="7_ppo")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    with pytest.raises(RunFolderError, match="not empty"):
        export(whole, tmp_path / "full")
    assert [p.name for p in tmp_path.iterdir()] == ["full"] and (tmp_path / "full" / "mine.txt").read_text() == "keep"
