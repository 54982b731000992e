"""Is every point of the list of what trainers get wrong named by a test; and the points that no other file looks at."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.config import NewModelConfig, OptimizerConfig, PolicyConfig, StageConfig, parse  # noqa: E402
from coderl.errors import ConfigError  # noqa: E402
from coderl.experience import Example, collate  # noqa: E402
from coderl.generate import SampleRequest, generate  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.base import Experience, MethodBase, TokenLoss  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.prompts import PromptRenderer  # noqa: E402
from coderl.rollout import Rollout  # noqa: E402
from tasks.task import Split, Style, Task  # noqa: E402

NUM_POINTS = 40
_NAMED = re.compile(r"[Cc]orrectness, points? ((?:\d+)(?:(?:, | and )\d+)*)")
NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=270, max_positions=64)


def named_points() -> dict[int, list[str]]:
    """By number: the tests whose docstring says that they are about that point."""
    found: dict[int, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for numbers in _NAMED.findall(ast.get_docstring(node) or ""):
                    for number in re.findall(r"\d+", numbers):
                        found.setdefault(int(number), []).append(f"{path.name}::{node.name}")
    return found


def test_every_point_is_named_by_a_test():
    assert sorted(named_points()) == list(range(1, NUM_POINTS + 1))


@pytest.fixture(scope="module")
def policy():
    made = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x):\n    return x + 1\n"])
    for parameter in made.model.parameters():
        parameter.data.mul_(4)  # far from uniform, so that mistakes show
    return made


def test_a_pad_token_that_is_the_stop_token_hides_nothing_and_counts_nowhere(policy):
    """Correctness, point 2: masks are explicit, the first stop token is in, and so is one that a prompt holds."""
    stop = min(policy.eos_ids)
    examples = [
        Example(prompt_ids=(60, stop, 61), completion_ids=(70, stop)),
        Example(prompt_ids=(62,), completion_ids=(71, 72, 73, stop)),
    ]
    found = []
    for pad in (stop, 99):
        batch = collate(examples, [1.0, 1.0], pad, torch.device("cpu"))
        assert batch.mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
        assert batch.attention_mask.sum(1).tolist() == [5, 5]
        found.append(policy.logprobs(batch, 1.0).detach() * batch.mask)
    assert torch.equal(*found)


def test_a_stop_token_in_the_prompt_ends_no_completion(policy):
    """Correctness, point 3: looked for in the completion alone."""
    stop = min(policy.eos_ids)
    request = SampleRequest(key=0, prompt_ids=(60, stop, 61, stop), seed=1)
    options = {"pad_id": policy.pad_id, "max_new_tokens": 8, "temperature": 1.0, "batch_size": 1}
    [sample] = generate(policy.model, policy.tokenizer, [request], eos_ids=frozenset({stop}), **options)
    others = frozenset(range(policy.model.config.vocab_size)) - {stop}
    [ended] = generate(policy.model, policy.tokenizer, [request], eos_ids=others, **options)
    assert len(sample.ids) == (sample.ids.index(stop) + 1 if stop in sample.ids else 8) > 0
    assert len(ended.ids) == 1 and not ended.truncated  # any of several ids ends it


def test_the_model_is_put_back_into_the_mode_it_was_in_after_sampling(policy):
    """Correctness, point 9."""
    request = SampleRequest(key=0, prompt_ids=(60,), seed=1)
    options = {"eos_ids": policy.eos_ids, "pad_id": policy.pad_id, "max_new_tokens": 2, "temperature": 1.0}
    modes = []
    handle = policy.model.register_forward_pre_hook(lambda model, args: modes.append(model.training))
    for training in (True, False):
        policy.model.train(training)
        list(generate(policy.model, policy.tokenizer, [request], batch_size=1, **options))
        assert policy.model.training is training
    handle.remove()
    assert modes and not any(modes)


def test_training_sees_the_sampled_ids_and_not_what_their_text_would_be_tokenised_to(policy):
    """Correctness, point 5: ids that no tokenizer would give stay as they were sampled."""
    spelled = tuple(policy.tokenizer(letter, add_special_tokens=False)["input_ids"][0] for letter in "return")
    text = policy.decode(spelled)
    assert text == "return" and tuple(policy.tokenizer(text, add_special_tokens=False)["input_ids"]) != spelled
    batch = collate([Example(prompt_ids=(60,), completion_ids=spelled)], [1.0], policy.pad_id, torch.device("cpu"))
    assert batch.completion_ids[0].tolist() == list(spelled)
    rollout = Rollout(
        stage="0_grpo", step=1, task_id="t", sample_index=0, seed=0, prompt_ids=(60,), completion_ids=spelled,
        logprobs=(0.0,) * len(spelled), truncated=True, completion=text,
    )  # fmt: skip
    assert Rollout.from_json(rollout.to_json()).completion_ids == spelled


def test_a_prompt_ends_without_white_space_so_that_no_token_is_broken(policy):
    """Correctness, point 6: of its second half (6a): a prompt that ends in a line end breaks the token that indents."""
    task = Task(
        id="t/a", prompt="def f(x):\n    ", style=Style.COMPLETION, split=Split.TRAIN, visible=(), hidden=(),
        reference="def f(x):\n    return x\n",
    )  # fmt: skip
    prompt = PromptRenderer(policy.tokenizer, parse(BASE).prompt).render(task)
    assert policy.tokenizer.decode(prompt.ids) == "def f(x):"


BASE = {"stages": ["grpo"], "policy": {"model": "new:"}, "tasks": {"train": ["generated"]}}


@pytest.mark.parametrize("key", ["top_p", "top_k", "min_p", "repetition_penalty"])
def test_settings_that_would_change_the_behaviour_policy_do_not_exist(key):
    """Correctness, point 7."""
    with pytest.raises(ConfigError, match=key):
        parse({**BASE, "generation": {key: 0.5}})


def test_a_run_cannot_train_at_temperature_zero():
    """Correctness, point 7."""
    with pytest.raises(ConfigError, match=r"generation.temperature.*greater than 0"):
        parse({**BASE, "generation": {"temperature": 0}})


class Scripted(MethodBase):
    """-log p of given completions, times a number."""

    def __init__(self, policy, optimizer, scale):
        super().__init__(policy, optimizer.learning_rate)
        self.config = StageConfig(optimizer=optimizer)
        self._scale = scale

    def collect(self, step):
        examples = [Example(prompt_ids=(60, 61), completion_ids=(70, 71, 72), place=0)]
        return Experience(examples=examples)

    def loss(self, batch, step):
        return TokenLoss(-self._scale * self._policy.logprobs(batch, 1.0), {})


def bench_of(policy):
    config = SimpleNamespace(seed=0, policy=PolicyConfig(model="new:"))
    return SimpleNamespace(accelerator=accelerate.Accelerator(cpu=True), policy=policy, config=config)


def stepped(optimizer, *, scale=1.0, steps=1):
    """The policy after some steps, and the metrics of each."""
    policy = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=["def f(x): return x"])
    bench = bench_of(policy)
    before = policy.weights()
    metrics = [values for _, values in Trainer(bench, Scripted(policy, optimizer, scale), "scripted").run(steps)]
    return before, policy.weights(), metrics


def test_the_logged_norm_is_that_before_clipping_and_the_step_is_clipped():
    """Correctness, point 20: eps is so large that Adam's step is proportional to the gradient that it was given."""
    free = OptimizerConfig(learning_rate=1.0, max_grad_norm=1e9, eps=1e6)
    tight = free.model_copy(update={"max_grad_norm": 0.01})
    before, loose, [plain] = stepped(free)
    _, held, [clipped] = stepped(tight)
    norm = plain["grad_norm/policy"]
    assert clipped["grad_norm/policy"] == pytest.approx(norm) and norm > 0.02
    assert stepped(tight, scale=3.0)[2][0]["grad_norm/policy"] == pytest.approx(3 * norm, rel=1e-4)
    moved = [sum(float(((w[n] - before[n]).double() ** 2).sum()) for n in before) ** 0.5 for w in (loose, held)]
    assert moved[1] / moved[0] == pytest.approx(0.01 / norm, rel=0.05)


def test_the_rate_falls_to_zero():
    """Correctness, point 20: linear over 4 steps."""
    _, _, metrics = stepped(OptimizerConfig(learning_rate=1e-3, schedule="linear"), steps=4)
    assert [m["learning_rate"] for m in metrics] == pytest.approx([1e-3, 7.5e-4, 5e-4, 2.5e-4])


def test_the_optimizer_is_adamw_with_the_configs_numbers(policy):
    """Correctness, point 20."""
    optimizer = OptimizerConfig(learning_rate=1e-3, eps=1e-5, betas=(0.5, 0.75), weight_decay=0.125)
    bench = bench_of(policy)
    trainer = Trainer(bench, Scripted(policy, optimizer, 1.0), "scripted")
    [group] = trainer.state()["optimizer"]["param_groups"]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.5, 0.75), 1e-5, 0.125)
