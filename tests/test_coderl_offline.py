"""Stages that learn from stored programs: whole runs of a tiny policy, and what rejection sampling keeps."""

from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from coderl import cli  # noqa: E402
from coderl.config import RejectionConfig, RunConfig, parse  # noqa: E402
from coderl.errors import ConfigError  # noqa: E402
from coderl.methods.rejection import select  # noqa: E402
from coderl.pairs import read_pairs  # noqa: E402
from coderl.rollout import Rollout  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from coderl.store import RolloutStore  # noqa: E402
from coderl.train import run  # noqa: E402
from sandbox.verdict import CaseResult, Integrity, Isolation, Outcome, Verdict  # noqa: E402

TASKS = "generated?family=compose&level=1&split={}&count={}&seed=0"
NEW = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_layers": 1,
    "num_heads": 2,
    "vocab_size": 400,
    "max_positions": 96,
}


def config(tmp_path, **changes) -> RunConfig:
    raw = {
        "name": "tiny",
        "output": str(tmp_path),
        "stages": ["sft", "sample", "pairs", "dpo", "sample", "rejection", "eval"],
        "policy": {"model": "new:", "new": NEW},
        "tasks": {"train": [TASKS.format("train", 24)], "test": [TASKS.format("test", 6)]},
        "generation": {"max_new_tokens": 16, "batch_size": 64},
        "sft": {"steps": 70, "batch_size": 12, "optimizer": {"learning_rate": 5e-3}},
        "sample": {"num_tasks": 12, "samples_per_task": 6},
        "pairs": {"min_rejected": -1},
        "dpo": {"steps": 4, "batch_size": 4, "checkpoint_every": 2},
        "rejection": {"steps": 4, "batch_size": 4, "max_pass_rate": 1.0, "checkpoint_every": 2},
        "eval": {"samples_per_task": 2},
        "trackers": [],
        **changes,
    }
    return parse(raw)


def lines(folder):
    records = [json.loads(line) for line in folder.metrics_path.read_text().splitlines()]
    for record in records:
        record["values"] = {k: v for k, v in record.get("values", {}).items() if not k.startswith("time/")}
    return records


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    settings = config(tmp_path_factory.mktemp("runs"))
    folder = RunFolder.create(settings)
    run(settings, folder)
    return settings, folder


def test_pairs_are_sampled_ids_of_programs_that_ran_and_the_better_one_is_chosen(finished):
    _, folder = finished
    rollouts = {(r.prompt_ids, r.completion_ids): r for r in RolloutStore(folder.rollouts_dir).read("1_sample")}
    assert len(list(RolloutStore(folder.rollouts_dir).read("1_sample"))) == 72
    pairs = read_pairs(folder.pairs_path("2_pairs"))
    assert pairs
    for pair in pairs:
        chosen, rejected = (rollouts[pair.prompt_ids, ids] for ids in (pair.chosen_ids, pair.rejected_ids))
        assert chosen.verdict.fraction > rejected.verdict.fraction + 0.4
        assert pair.margin == pytest.approx(chosen.verdict.fraction - rejected.verdict.fraction)
        assert not chosen.truncated and not rejected.truncated


def test_dpo_touches_no_environment_and_two_sampling_stages_take_other_tasks(finished):
    _, folder = finished
    store = RolloutStore(folder.rollouts_dir)
    assert [s.stage for s in store.segments()] == ["1_sample", "4_sample", "6_eval"]
    first, second = ({r.task_id for r in store.read(stage)} for stage in ("1_sample", "4_sample"))
    assert len(first) == len(second) == 12
    assert not first & second


def test_a_run_that_died_in_the_middle_of_dpo_ends_with_the_same_metrics(finished, tmp_path, monkeypatch):
    settings, straight = finished
    again = settings.model_copy(update={"output": str(tmp_path)})
    from coderl.methods.dpo import Dpo

    class Died(BaseException):
        pass

    collect = Dpo.collect

    def dies(self, step):
        if step == 3:
            raise Died
        return collect(self, step)

    monkeypatch.setattr(Dpo, "collect", dies)
    folder = RunFolder.create(again)
    with pytest.raises(Died):
        run(again, folder)
    monkeypatch.undo()
    run(again, folder, resume=True)
    assert lines(folder) == lines(straight)


def test_pairs_are_made_from_another_runs_rollouts_and_learned_from_offline(finished, tmp_path):
    _, other = finished
    settings = config(
        tmp_path,
        stages=["pairs", "dpo"],
        policy={"model": str(other.model_dir("0_sft"))},
        pairs={"min_rejected": -1, "source": str(other.path), "max_per_task": 1},
    )
    folder = RunFolder.create(settings)
    run(settings, folder)
    assert {p.task_id for p in read_pairs(folder.pairs_path("0_pairs"))} <= {
        r.task_id for r in RolloutStore(other.rollouts_dir).read() if not r.stage.endswith("eval")
    }
    assert RolloutStore(folder.rollouts_dir).segments() == []


def test_rollouts_of_unknown_tasks_are_refused(finished, tmp_path):
    _, other = finished
    settings = config(
        tmp_path,
        stages=["pairs"],
        policy={"model": str(other.model_dir("0_sft"))},
        tasks={"train": ["generated?family=compose&level=2&split=train&count=3&seed=9"]},
        pairs={"source": str(other.path)},
    )
    with pytest.raises(ConfigError, match=r"is not in tasks\.train"):
        run(settings, RunFolder.create(settings))


@pytest.mark.parametrize("stage", ["pairs", "rejection"])
def test_rollouts_whose_ids_are_another_tokenizers_are_refused(finished, tmp_path, stage):
    """Else what they spell in this tokenizer would be learned, and pairs marked as this one's."""
    settings, other = finished
    new = {**settings.policy.new.model_dump(), "vocab_size": 300}
    here = config(
        tmp_path, stages=[stage], policy={"model": "new:", "new": new}, **{stage: {"source": str(other.path)}}
    )
    with pytest.raises(ConfigError, match="belong to another tokenizer"):
        run(here, RunFolder.create(here))


def test_a_policy_made_anew_reads_the_ids_of_another_run_from_scratch(finished, tmp_path):
    _, other = finished
    here = config(tmp_path, stages=["pairs"], pairs={"min_rejected": -1, "source": str(other.path)})
    folder = RunFolder.create(here)
    run(here, folder)
    assert read_pairs(folder.pairs_path("0_pairs"))


def rollout(task_id, outcome, program, **changes):
    verdict = Verdict(
        outcome=Outcome(outcome),
        cases=(CaseResult(outcome=Outcome(outcome)),),
        integrity=Integrity.SEPARATED,
        isolation=Isolation(backend="scripted"),
    )
    return Rollout(
        **{
            "stage": "0_sample",
            "step": 0,
            "task_id": task_id,
            "sample_index": 0,
            "seed": 0,
            "prompt_ids": (1,),
            "completion_ids": (2,),
            "logprobs": (0.0,),
            "truncated": False,
            "program": program,
            "verdict": verdict,
            **changes,
        }
    )


def test_rejection_keeps_unique_passing_programs_up_to_the_cap_and_drops_what_is_too_easy():
    """Correctness, point 38."""
    rollouts = [
        rollout("a", "AC", "def f(x):\n    return x"),
        rollout("a", "AC", "def f(y):\n    return y"),  # the same program
        rollout("a", "AC", "def f(x):\n    return +x"),
        rollout("a", "AC", "def f(x):\n    return x + 0"),  # the third kind: over the cap
        rollout("a", "WA", "def f(x):\n    return 1"),  # 4 of 5: the bin up to 0.8
        rollout("b", "AC", "def f(x):\n    return x"),  # always passes
        rollout("c", "WA", "def f(x):\n    return x"),  # never passes
        rollout("d", "AC", "def f(x):\n    return x"),  # 1 of 2 (the IE is no sample at all): the bin up to 0.6
        rollout("d", "WA", "def f(x):\n    return 1"),
        rollout("d", "IE", "def f(x):\n    return x"),
        rollout("e", "AC", "def f(x):\n    return x", truncated=True),  # passes, but never ended: 1 of 2
        rollout("e", "WA", "def f(x):\n    return 1"),
    ]
    kept, metrics = select(rollouts, RejectionConfig(max_per_task=2))
    assert [(r.task_id, r.program[-2:].strip()) for r in kept] == [("a", "x"), ("a", "+x"), ("d", "x")]
    assert kept[0].program == "def f(x):\n    return x"
    assert metrics == {
        "rejection/tasks_never_passed": 1,
        "rejection/tasks_too_easy": 1,
        "rejection/tasks_passed_to_0.2": 0,
        "rejection/tasks_passed_to_0.4": 0,
        "rejection/tasks_passed_to_0.6": 2,
        "rejection/tasks_passed_to_0.8": 1,
        "rejection/tasks_passed_to_1": 1,
        "rejection/kept": 3,
    }


def test_of_equal_programs_the_first_is_imitated_in_the_order_of_samples():
    first, again = "def f(x):\n    return x", "def f(y):\n    return y"
    rollouts = [rollout("a", "AC", program) for program in (first, "def f(x):\n    return +x", again)]
    for most, programs in ((1, [first]), (2, [first, rollouts[1].program])):
        kept, _ = select(rollouts, RejectionConfig(max_per_task=most, max_pass_rate=1.0))
        assert [r.program for r in kept] == programs


PIPELINE = {
    "stages": ["sample", "pairs", "reward_model", "ppo", "best_of_n", "eval"],
    "reward": {"learned": {"mix": "gate", "coef": 0.2}},
    "sample": {"num_tasks": 24, "samples_per_task": 6},
    "reward_model": {"steps": 4, "batch_size": 4},
    "ppo": {"steps": 3, "prompts_per_step": 4, "samples_per_prompt": 2, "checkpoint_every": 1},
    "best_of_n": {
        "samples_per_task": 4,
        "n": [1, 2, 4],
        "by": ["visible", "reward_model", "visible_then_reward_model", "agreement"],
    },
}


def test_the_classical_pipeline_runs_dies_and_resumes_to_the_same_metrics(finished, tmp_path, monkeypatch, capsys):
    from coderl.methods.ppo import Ppo

    _, other = finished

    class Died(BaseException):
        pass

    collect = Ppo.collect

    def dies(self, step):
        if step == 2:
            raise Died
        return collect(self, step)

    folders = {}
    for name in ("straight", "killed"):
        settings = config(tmp_path / name, policy={"model": str(other.model_dir("0_sft"))}, **PIPELINE)
        folders[name] = RunFolder.create(settings)
        if name == "killed":
            monkeypatch.setattr(Ppo, "collect", dies)
            with pytest.raises(Died):
                run(settings, folders[name])
            monkeypatch.undo()
        run(settings, folders[name], resume=name == "killed")
    records = lines(folders["straight"])
    assert records == lines(folders["killed"])
    quality = json.loads((folders["straight"].evals_dir / "2_reward_model_quality.json").read_text())
    learned_from = read_pairs(folders["straight"].pairs_path("1_pairs"))
    assert 0 < len(set(quality["held_out_tasks"]) & {p.task_id for p in learned_from}) < len(learned_from)
    for rollout in RolloutStore(folders["straight"].rollouts_dir).read("3_ppo"):
        assert rollout.learned_score is not None
        passed = rollout.verdict.outcome is Outcome.AC
        assert (0 < rollout.reward_parts["learned"] < 0.2) if passed else rollout.reward_parts["learned"] == 0
    chosen = json.loads((folders["straight"].evals_dir / "4_best_of_n.json").read_text())["choices"]
    rates = {(c["by"], c["n"]): c["pass_rate"] for c in chosen}
    for (by, n), rate in rates.items():
        assert rate <= rates["oracle", n] + 1e-9
        if n == 1:
            assert rate == pytest.approx(rates["random", 1], abs=0.15 if by == "agreement" else 1e-9)
    assert rates["visible", 4] >= rates["random", 4]

    # The command makes the same kind of choice from the run's folder: its last model, its reward model.
    out = tmp_path / "best.json"
    arguments = [
        "coderl",
        "sample",
        str(folders["straight"].path),
        "--best-of",
        "3",
        "--by",
        "visible",
        "--by",
        "reward_model",
    ]
    monkeypatch.setattr("sys.argv", [*arguments, "--limit", "4", "--out", str(out)])
    assert cli.main() == 0
    made = json.loads(out.read_text())["choices"]
    assert {(c["by"], c["n"]) for c in made} == {
        (by, n) for by in ("random", "oracle", "visible", "reward_model") for n in (1, 2, 3)
    }
    assert all(len(c["per_task"]) == 4 for c in made)
    assert "reward model" in out.with_suffix(".svg").read_text()
    assert cli.main() == 2  # already there
    assert "already there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "--best-of", "2"], "name some with --tasks"),
        (["nowhere", "--tasks", "easy", "--by", "reward_model"], "name one with --reward-model"),
        (["nowhere", "--tasks", "easy", "--by", "luck"], "best_of_n.by"),
    ],
)
def test_sample_refuses_before_it_works(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["coderl", "sample", *arguments])
    assert cli.main() == 2
    assert words in capsys.readouterr().err
