"""The batch that is drawn during the update: by the policy from before it, the same whatever is faster, kept by checkpoints."""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
accelerate = pytest.importorskip("accelerate")

from coderl.config import LoraSection, NewModelConfig, PolicyConfig, parse  # noqa: E402
from coderl.engines import OwnLoop  # noqa: E402
from coderl.errors import ConfigError, TrainingStopped  # noqa: E402
from coderl.loop import Trainer  # noqa: E402
from coderl.methods.grpo import Grpo  # noqa: E402
from coderl.methods.ppo import Ppo  # noqa: E402
from coderl.policy import load_policy  # noqa: E402
from coderl.prefetch import Batch, twin  # noqa: E402
from coderl.prompts import PromptRenderer  # noqa: E402
from coderl.workbench import Workbench  # noqa: E402
from sandbox.verdict import CaseResult, Coverage, Integrity, Isolation, Outcome, Verdict  # noqa: E402
from tasks.registry import load  # noqa: E402

NEW = NewModelConfig(hidden_size=32, intermediate_size=64, num_layers=1, num_heads=2, vocab_size=300, max_positions=96)
METHODS = {"grpo": Grpo, "ppo": Ppo}
SECONDS = 60.0  # until a thread that waits for another gives up


class LengthGrader:
    """A program passes if its length is even; it says that its first line ran."""

    def stream(self, requests):
        for place, request in enumerate(requests):
            outcome = Outcome.WA if len(request.program.source) % 2 else Outcome.AC
            yield (
                place,
                Verdict(
                    outcome=outcome,
                    cases=(CaseResult(outcome=outcome, cpu_ms=0.1),),
                    integrity=Integrity.SEPARATED,
                    isolation=Isolation(backend="scripted", layers=("none",)),
                    coverage=Coverage(lines=(1,), failed_line=None),
                ),
            )


class Gate(OwnLoop):
    """The own loop, which in the thread of the prefetch begins when `before` is set and sets `after` when it has ended."""

    def __init__(self, before=None, after=None):
        self.before, self.after = before, after

    def sample(self, policy, requests, **settings):
        aside = threading.current_thread().name.startswith("prefetch")
        if aside and self.before:
            assert self.before.wait(SECONDS)
            self.before.clear()
        yield from super().sample(policy, requests, **settings)
        if aside and self.after:
            self.after.set()


def bench(engine=None, **changes):
    online = {
        "steps": 4,
        "prompts_per_step": 3,
        "samples_per_prompt": 4,
        "off_policy_steps": 1,
        "importance": "truncate",
    }
    online |= {"optimizer": {"learning_rate": 1e-2}, **changes}
    config = parse(
        {
            "stages": ["grpo"],
            "policy": {"model": "new:"},
            "tasks": {"train": ["generated"]},
            "generation": {"max_new_tokens": 12},
            "reward": {"cases": "all"},
            "grpo": online,
            "ppo": online,
        }
    )
    tasks = load("generated?family=compose&level=1&split=train&count=5&seed=0")
    policy = load_policy(PolicyConfig(model="new:", new=NEW), seed=0, corpus=[t.reference for t in tasks])
    return Workbench(
        config=config,
        accelerator=accelerate.Accelerator(cpu=True),
        policy=policy,
        renderer=PromptRenderer(policy.tokenizer, config.prompt),
        grader=LengthGrader(),
        train_tasks=tasks,
        sft_tasks=[],
        test_tasks=[],
        engine=engine or OwnLoop(),
    )


def trained(made, name="grpo", *, steps=4, before_update=None, after_update=None):
    """The rollouts and metrics (but for times) of the steps, and the weights at the end."""
    method = METHODS[name](made, getattr(made.config, name), name)
    loop = Trainer(made, method, name)
    if before_update or after_update:
        update = loop._update

        def scripted(examples, step, num_steps):
            if before_update and step + 1 < num_steps:
                assert before_update.wait(SECONDS)
                before_update.clear()
            found = update(examples, step, num_steps)
            if after_update and step + 1 < num_steps:
                after_update.set()
            return found

        loop._update = scripted
    try:
        told = [(e.rollouts, without_times(m)) for e, m in itertools.islice(loop.run(4), steps)]
    finally:
        method.close()
    return told, made.policy.weights(), loop


def without_times(metrics):
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_what_is_learned_does_not_depend_on_whether_sampling_or_the_update_is_faster(name):
    sampled, updated = threading.Event(), threading.Event()
    one, weights, _ = trained(bench(Gate(after=sampled)), name, before_update=sampled)
    other, other_weights, _ = trained(bench(Gate(before=updated)), name, after_update=updated)
    assert one == other
    assert same(weights, other_weights)
    assert one[0][0] != one[1][0]


def test_a_batch_is_drawn_by_the_policy_from_before_the_last_update_and_corrected_for():
    made = bench()
    start = made.policy.weights()
    [(first, at_first), (second, at_second)], now, _ = trained(made, steps=2)
    assert not same(start, now)
    assert at_first["sampler/ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert at_second["sampler/ratio_max"] > 1.001
    assert 0 < at_second["sampler/effective_sample_size"] < 1 - 1e-6
    made.policy.load_weights(start)
    method = Grpo(made, made.config.grpo, "grpo")
    method._places = {r.seed: at for at, r in enumerate([*first, *second])}
    for rollouts in (first, second):  # both by the policy that the stage started from
        found = method.all_logprobs(method.examples(rollouts, masked=False))
        for rollout, logprobs in zip(rollouts, found, strict=True):
            assert torch.allclose(torch.tensor(rollout.logprobs), logprobs, atol=1e-4)
    method.close()


def test_seeds_and_first_batch_are_those_of_a_run_without_it():
    ahead, _, _ = trained(bench(), steps=2)
    plain, _, _ = trained(bench(off_policy_steps=0), steps=2)
    assert [r.seed for r in ahead[1][0]] == [r.seed for r in plain[1][0]]
    assert ahead[0] == plain[0]
    assert ahead[1][0] != plain[1][0]


@pytest.mark.parametrize("name", ["grpo", "ppo"])
def test_a_checkpoint_holds_the_batch_that_was_drawn(name, tmp_path):
    straight, weights, _ = trained(bench(curriculum={"sampler": "signal"}), name)
    _, _, loop = trained(bench(curriculum={"sampler": "signal"}), name, steps=2)
    torch.save(loop.state(), tmp_path / "state.pt")
    made = bench(curriculum={"sampler": "signal"})
    method = METHODS[name](made, getattr(made.config, name), name)
    resumed = Trainer(made, method, name)
    resumed.load_state(torch.load(tmp_path / "state.pt", weights_only=True), 2)
    told = [(e.rollouts, without_times(m)) for e, m in resumed.run(4)]
    method.close()
    assert told == straight[2:]
    assert same(weights, made.policy.weights())


def test_a_batch_comes_back_from_a_checkpoint_whole():
    method = Grpo(made := bench(coverage_mask=True), made.config.grpo, "grpo")
    batch = method._draw(made, 0)
    method.close()
    again = Batch.from_json(batch.to_json())
    kept = replace(batch.found.kept, generate_seconds=0.0, grade_seconds=0.0)
    assert again.found == replace(batch.found, kept=kept, metrics={})
    assert json.dumps(again.metrics) == json.dumps(batch.metrics)  # NaN is among them
    assert again.found.kept.rollouts[0].verdict.coverage.lines == (1,)


def test_times_add_up_to_the_step_and_say_what_was_hidden():
    made = bench()
    method = Grpo(made, made.config.grpo, "grpo")
    metrics = [m for _, m in Trainer(made, method, "grpo").run(4)]
    method.close()
    for values in metrics:
        parts = sum(values[f"time/{name}"] for name in ("generate", "grade", "score", "update", "idle"))
        assert parts == pytest.approx(values["time/step"])
    assert metrics[0]["time/hidden"] > 0
    assert "time/hidden" not in metrics[-1]  # no step follows


def test_what_stops_the_sampling_stops_the_run_and_no_thread_is_left():
    class Failing(Gate):
        def sample(self, policy, requests, **settings):
            if threading.current_thread().name.startswith("prefetch"):
                raise TrainingStopped("2 of 2 verdicts are unscorable")
            return super().sample(policy, requests, **settings)

    with pytest.raises(TrainingStopped, match="unscorable"):
        trained(bench(Failing()))
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]


def test_a_run_that_stops_does_not_wait_for_the_samples_of_the_next_step():
    drawn, stopped = [], threading.Event()

    class Slow(OwnLoop):
        def sample(self, policy, requests, **settings):
            for sample in super().sample(policy, requests, **settings):
                if threading.current_thread().name.startswith("prefetch"):
                    assert stopped.wait(SECONDS)
                    drawn.append(sample)
                yield sample

    made = bench(Slow())
    method = Grpo(made, made.config.grpo, "grpo")
    method.collect(0)  # begins with the next
    method._prefetch._ended.set()
    stopped.set()
    method.close()
    assert len(drawn) == 1


def test_a_twin_shares_what_is_not_trained_and_stands_still():
    config = PolicyConfig(model="new:", new=NEW, lora=LoraSection(rank=2, target_modules=["q_proj"]))
    policy = load_policy(config, seed=0, corpus=["def f(x): return x"])
    other = twin(policy)
    own = dict(policy.model.named_parameters())
    for name, parameter in other.model.named_parameters():
        assert (parameter is own[name]) is not own[name].requires_grad
    before = other.weights()
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(1.0)
    assert same(other.weights(), before)


def test_it_is_refused_without_a_correction_and_with_several_processes():
    with pytest.raises(ConfigError, match="set importance to truncate or mask"):
        bench(importance="none")
    several = SimpleNamespace(distributed_type=accelerate.DistributedType.MULTI_CPU, device=torch.device("cpu"))
    made = replace(bench(), accelerator=several)
    with pytest.raises(ConfigError, match="off_policy_steps 1 is for one training process"):
        Grpo(made, made.config.grpo, "grpo")
