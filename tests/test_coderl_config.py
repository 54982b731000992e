"""A config is validated whole, never corrected, and every fault is one line that names the key and what to do."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import yaml

from coderl.config import PromptConfig, apply_override, find, load, parse
from coderl.errors import ConfigError
from coderl.prompts import PromptRenderer
from tasks.registry import load as load_tasks

BASE = {"stages": ["grpo"], "policy": {"model": "new:"}, "tasks": {"train": ["easy"]}}


def fault(raw: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(raw)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", ["quickstart", "hacking", "pipeline", "smollm2_grpo"])
def test_a_shipped_config_loads_by_name_and_its_resolved_form_means_the_same(name):
    config = load(name)
    again = parse(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config


def test_a_path_wins_over_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text(yaml.safe_dump({**BASE, "name": "mine"}))
    assert load("quickstart").name == "mine"


def test_an_unknown_name_lists_the_shipped_ones():
    with pytest.raises(ConfigError, match=r"'quikstart'.*quickstart.*smollm2_grpo.*did you mean 'quickstart'"):
        find("quikstart")
    with pytest.raises(ConfigError, match=r"smollm2_mbpp\)$"):
        find("zzz")


def test_the_folder_of_a_run_is_told_apart_from_a_config(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(BASE))
    with pytest.raises(ConfigError, match=r"is the folder of a run; name its config: .*/config\.yaml$"):
        find(str(tmp_path))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"polcy": {}}, ["'polcy'", "did you mean 'policy'"]),
        ({"grpo": {"stesp": 3}}, ["'grpo.stesp'", "did you mean 'steps'"]),
        ({"grpo": {"optimizer": {"lerning_rate": 1}}}, ["'grpo.optimizer.lerning_rate'", "'learning_rate'"]),
        ({"policy": {"model": "new:", "lora": {"ranks": 4}}}, ["'policy.lora.ranks'", "'rank'"]),
        ({"grpo": {"zzz": 3}}, ["'grpo.zzz'", "valid keys here are steps"]),
        ({"kl_coef": 0.1}, ["unknown key 'kl_coef' here", "did you mean 'grpo.kl_coef' or "]),
        (
            {"grpo": {"learning_rate": 1}},
            ["'grpo.learning_rate' here", "did you mean 'grpo.optimizer.learning_rate' or "],
        ),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_valid_one(change, words):
    text = fault({**BASE, **change})
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grpo": {"steps": 0}}, ["grpo.steps", "greater than 0", "got 0"]),
        ({"grpo": {"samples_per_prompt": 1}}, ["grpo.samples_per_prompt", "got 1"]),  # a group of one has no baseline
        ({"stages": []}, ["stages is empty"]),
        ({"stages": ["eval"]}, ["tasks.test is empty"]),
        ({"stages": ["sft"], "tasks": {}}, ["tasks.sft and tasks.train are empty"]),
        ({"tasks": {}}, ["tasks.train is empty"]),
        ({"eval": {"k": [8], "samples_per_task": 4}}, ["k=8 needs samples_per_task >= 8, got 4"]),
        ({"eval": {"k": [1, 4], "temperature": 0}}, ["k=4 needs several samples", "temperature 0 has one"]),
        ({"eval": {"k": [0]}}, ["each 1 or more"]),
        ({"policy": {}}, ["'policy.model' is missing"]),
        ({"stages": ["dqo"]}, ["stages.0", "got 'dqo'"]),
        ({"stages": ["dpo"]}, ["dpo needs pairs", "dpo.pairs"]),
        ({"stages": ["dpo", "pairs"]}, ["dpo needs pairs"]),
        ({"stages": ["pairs"]}, ["pairs needs rollouts", "pairs.source"]),
        ({"eval": {"limit": 0}}, ["eval.limit", "greater than 0", "got 0"]),
        ({"eval": {"max_new_tokens": -1}}, ["eval.max_new_tokens", "greater than 0"]),
        ({"best_of_n": {"limit": -3}}, ["best_of_n.limit", "greater than 0"]),
        ({"grpo": {"eval_every": 5}}, ["tasks.test is empty", "grpo.eval_every"]),
        ({"grpo": {"optimizer": {"betas": [0.9, 1]}}}, ["grpo.optimizer.betas.1", "less than 1"]),
        ({"policy": {"model": "new:", "new": {"num_heads": 3}}}, ["hidden_size 128", "num_heads (3)"]),
        ({"policy": {"model": "new:", "lora": {"rank": 4}}}, ["policy.lora: a new model has no base", "name a model"]),
        ({"reward": {"scheme": "points", "cases": "visible"}}, ["scheme points counts groups of all cases"]),
        ({"dpo": {"loss": "robust"}}, ["robust needs label_smoothing above 0"]),
        ({"dpo": {"label_smoothing": 0.1}}, ["label_smoothing is for the losses cdpo and robust"]),
    ],
)
def test_a_bad_value_is_named_with_what_was_wrong(change, words):
    text = fault({**BASE, **change})
    assert all(word in text for word in words), text


def test_overrides_have_the_types_of_yaml_and_the_last_one_wins():
    overrides = ["grpo.steps=7", "grpo.optimizer.learning_rate=1e-5", "eval.k=[1, 2]", "policy.lora={rank: 4}"]
    overrides.append("policy.model=runs/quickstart/models/0_sft")
    config = load("quickstart", [*overrides, "grpo.steps=9"])
    assert config.grpo.steps == 9
    assert config.grpo.optimizer.learning_rate == 1e-5  # YAML 1.1 alone would read a string
    assert config.eval.k == [1, 2]
    assert config.policy.lora is not None and config.policy.lora.rank == 4
    assert load("quickstart", ["policy.lora=null"]).policy.lora is None


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("grpo.steps", "'grpo.steps'"),
        ("=3", "'=3'"),
        ("name.deep=3", "'name.deep=3'"),
        ("name=[", "'name=['"),
        ("tasks.train=[easy?limit=2]", "texts in brackets want quotes"),
        ("grpo.steps=many", "grpo.steps: "),
    ],
)
def test_a_bad_override_is_one_line_that_names_what_was_typed(override, named):
    with pytest.raises(ConfigError) as caught:
        load("quickstart", [override])
    text = str(caught.value)
    assert "\n" not in text and named in text


def test_an_override_leaves_its_siblings_alone():
    raw = {"grpo": {"steps": 3, "epochs": 2}}
    apply_override(raw, "grpo.steps=4")
    assert raw == {"grpo": {"steps": 4, "epochs": 2}}


@pytest.mark.parametrize("text", ["stages: [", "- a\n- b\n", "", "\xff"])
def test_a_file_that_is_no_mapping_is_one_line(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_config_cannot_be_changed_after_it_was_validated():
    config = parse(BASE)
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 3


@pytest.mark.parametrize("template", ["{promt}", "{prompt.text}", "{prompt[text]}", "{}", "{"])
def test_a_prompt_template_that_cannot_be_filled_in_names_the_fields(template):
    [task] = load_tasks("easy?limit=1")
    renderer = PromptRenderer(SimpleNamespace(chat_template=None), PromptConfig(instruction=template))
    with pytest.raises(ConfigError, match="the fields are prompt, signature, tests"):
        renderer.render(task)
