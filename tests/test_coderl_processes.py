"""Two processes are one: the same samples, rewards, metrics and gradients, to rounding, for every family of methods."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate.utils import DistributedType  # noqa: E402

from coderl.config import PolicyConfig, RunConfig, parse  # noqa: E402
from coderl.errors import ConfigError  # noqa: E402
from coderl.launch import check_launch  # noqa: E402
from coderl.pairs import Pair, write_pairs  # noqa: E402
from coderl.run_folder import RunFolder  # noqa: E402
from coderl.store import RolloutStore  # noqa: E402
from coderl.train import run  # noqa: E402
from tasks.registry import load as load_tasks  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TASKS = "generated?family=compose&level=1&split={}&count={}&seed=0"
NEW = {"hidden_size": 32, "intermediate_size": 64, "num_layers": 1, "num_heads": 2, "vocab_size": 400}

# 3 prompts and 5 pairs do not divide by two processes; eps keeps Adam from making much of the rounding of a small gradient.
ONLINE = {"steps": 2, "prompts_per_step": 3, "samples_per_prompt": 4, "micro_batch_tokens": 400}
OFFLINE = {"steps": 2, "batch_size": 5, "micro_batch_tokens": 400}
OPTIMIZER = {"optimizer": {"learning_rate": 1e-3, "eps": 1e-2}}
RUNS = {
    "sft": OFFLINE,
    "grpo": {**ONLINE, "epochs": 2, "minibatches": 3, "kl_coef": 0.01, "target_kl": 1.0},
    "dapo": {**ONLINE, "curriculum": {"gate": "replace", "max_rounds": 3}},
    "reinforce_pp": {**ONLINE, "kl_coef": 0.01},
    "ppo": {**ONLINE, "epochs": 2, "minibatches": 2, "kl_target": 0.01, "scale_rewards": True},
    "dpo": OFFLINE,
    "kto": {**OFFLINE, "loss": "kto"},
    "reward_model": {**OFFLINE, "members": 2, "ties": "davidson"},
}
RELATIVES = ("dapo", "reinforce_pp", "kto")  # of methods that are here without them
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in RELATIVES else name for name in RUNS]

WORKER = """
import os, sys
from pathlib import Path
import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from coderl.config import load
from coderl.run_folder import RunFolder
from coderl.train import run

rank = os.environ.get("RANK", "0")
if sharded := os.environ.get("SHARDED"):  # accelerate shards for accelerators alone: on a CPU it has to be told
    import coderl.train
    from accelerate import PartialState
    from accelerate.utils import DeepSpeedPlugin, DistributedType, FullyShardedDataParallelPlugin

    class Sharded(coderl.train.Accelerator):
        def __init__(self, **options):
            super().__init__(**options)
            if sharded == "FSDP":
                plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="transformer_based_wrap")
                self.state._shared_state["fsdp_plugin"] = plugin
            else:
                plugin = DeepSpeedPlugin(zero_stage=int(os.environ["ZERO_STAGE"]))
                plugin.set_mixed_precision("no")
                plugin.select(_from_accelerator_state=True)
                self.state._shared_state["deepspeed_plugins"] = plugin
                self.deepspeed_engine_wrapped = None
            self.state.distributed_type = DistributedType(sharded)
            PartialState._shared_state["distributed_type"] = DistributedType(sharded)  # which later states copy

    coderl.train.Accelerator = Sharded

def watch(path):
    config, gradients = load(path), []
    def keep(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        whole = [g.full_tensor() if hasattr(g, "full_tensor") else g for g in grads]
        gradients.append(torch.cat([g.detach().flatten().clone() for g in whole]))
    hook = register_optimizer_step_pre_hook(keep)
    resume = bool(os.environ.get("RESUME"))
    folder = RunFolder.open(f"{config.output}/{config.name}") if resume else RunFolder.create(config)
    try:
        run(config, folder, resume=resume)
    finally:
        hook.remove()
    torch.save(gradients, Path(config.output) / f"{config.name}.{rank}.pt")

for path in sys.argv[1:]:
    watch(path)
"""


def config(output: Path, name: str, model: str | Path, **changes: object) -> RunConfig:
    method = "dpo" if name == "kto" else name
    raw = {
        "name": name,
        "output": str(output),
        "stages": [method],
        "policy": {"model": str(model), "new": {**NEW, "max_positions": 96}},
        "tasks": {"train": [TASKS.format("train", 40)], "test": [TASKS.format("test", 3)]},
        "generation": {"max_new_tokens": 16, "batch_size": 32},
        "reward": {"scheme": "rltf", "format_weight": 0.5, "length_weight": 0.5},
        "eval": {"samples_per_task": 2},
        "trackers": [],
        **changes,
    }
    return parse(raw)


def launch(num_processes: int, script: Path, *paths: Path, **flags: str) -> None:
    command = [sys.executable]
    if num_processes > 1:
        command += ["-m", "torch.distributed.run", f"--nproc_per_node={num_processes}", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    environment |= flags
    done = subprocess.run(
        [*command, str(script), *map(str, paths)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with the run `sft`, whose policy all start from, pairs.jsonl and worker.py."""
    base = tmp_path_factory.mktemp("processes")
    steps = {"steps": 40, "batch_size": 16, "optimizer": {"learning_rate": 1e-2}}
    start = config(base, "sft", "new:", sft=steps)
    folder = RunFolder.create(start)
    run(start, folder)
    preferences = []
    for number, task in enumerate(load_tasks(TASKS.format("train", 40))[:12]):
        good = Pair(prompt=task.prompt, chosen=task.reference, rejected="pass", task_id=task.id, source="execution")
        preferences.append(replace(good, margin=number / 12, tie=number % 5 == 4))
    write_pairs(base / "pairs.jsonl", preferences)

    (base / "worker.py").write_text(WORKER)
    return base


@pytest.fixture(scope="module")
def runs(base):
    """Called with the name of a run: the folder that holds it by one process (alone/) and by two (both/), from one policy."""
    model, made = RunFolder.open(base / "sft").model_dir("0_sft"), set()

    def get(name: str) -> Path:
        names = [other for other in RUNS if (other in RELATIVES) == (name in RELATIVES)]
        if name not in made:
            for count, place in ((1, base / "alone"), (2, base / "both")):
                launch(count, base / "worker.py", *(written(place, base, other, model) for other in names))
            made.update(names)
        return base

    return get


def written(place: Path, base: Path, name: str, model: Path) -> Path:
    """The config file of a run."""
    import yaml

    pairs = {"pairs": [str(base / "pairs.jsonl")]} if name in ("dpo", "kto", "reward_model") else {}
    section = {**RUNS[name], **OPTIMIZER, **pairs}
    settings = config(place, name, model, **{"dpo" if name == "kto" else name: section})
    place.mkdir(exist_ok=True)
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    return path


def gradients(base: Path, count: str, name: str, rank: int = 0) -> list:
    return torch.load(base / count / f"{name}.{rank}.pt", weights_only=True)


def metrics(base: Path, count: str, name: str) -> list[dict]:
    path = RunFolder.open(base / count / name).metrics_path
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_make_the_gradients_of_one(runs, name):
    """Correctness, point 23."""
    alone, both = (gradients(runs(name), count, name) for count in ("alone", "both"))
    assert len(alone) == len(both) >= 2
    for number, (one, two) in enumerate(zip(alone, both, strict=True)):
        assert float(one.norm()) > 1e-3
        rounding = (
            1e-6 if number == 0 else 3e-6
        )  # later ones are of weights that differ by the rounding of those before
        assert float((two - one).norm() / one.norm()) < rounding
    for one, other in zip(both, gradients(runs(name), "both", name, rank=1), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_report_the_metrics_of_one(runs, name):
    for one, two in zip(*(metrics(runs(name), count, name) for count in ("alone", "both")), strict=True):
        assert one.get("event") == two.get("event")
        values = {k: v for k, v in one.get("values", {}).items() if not k.startswith("time/")}
        others = {k: v for k, v in two.get("values", {}).items() if not k.startswith("time/")}
        assert others == pytest.approx(values, rel=1e-5, abs=2e-6, nan_ok=True)


@pytest.mark.parametrize(
    "name", ["grpo", "ppo", *(pytest.param(n, marks=pytest.mark.slow) for n in ("dapo", "reinforce_pp"))]
)
def test_two_processes_sample_grade_and_store_the_same_in_the_same_order(runs, name):
    kept = []
    for count in ("alone", "both"):
        rollouts = list(RolloutStore(RunFolder.open(runs(name) / count / name).rollouts_dir).read())
        kept.append([(r.step, r.task_id, r.sample_index, r.completion_ids, r.reward) for r in rollouts])
    assert kept[0] == kept[1]
    assert len({reward for *_, reward in kept[0]}) > 2  # else a wrong advantage could not be seen


FLAT = """
import os, sys
from dataclasses import replace
from types import SimpleNamespace
import accelerate, torch
from test_coderl_loop import NEW, Scripted, examples
from coderl.config import PolicyConfig
from coderl.loop import Trainer
from coderl.methods.base import Experience
from coderl.policy import load_policy

rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))

class Flat(Scripted):
    def collect(self, step):
        all = [replace(e, idle=step == 1, advantages=e.advantages * (step != 1)) for e in examples()]
        return Experience(examples=all[rank::count])

config = PolicyConfig(model="new:", new=NEW)
policy = load_policy(config, seed=0, corpus=["def f(x): return x"])
bench = SimpleNamespace(
    accelerator=accelerate.Accelerator(cpu=True), policy=policy, config=SimpleNamespace(seed=0, policy=config)
)
loop = Trainer(bench, Flat(policy, [], micro_batch_tokens=100), "flat")
weights = [torch.cat([p.detach().flatten() for p in policy.model.parameters()]) for _ in loop.run(3)]
if rank == 0:
    torch.save(weights, sys.argv[1])
"""


def test_a_step_that_teaches_nothing_leaves_the_weights_alone_by_any_number_of_processes(tmp_path):
    """Else momentum would move them, by several processes only: one calls no model then."""
    script = tmp_path / "flat.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT / 'tests')!r})\n{FLAT}")
    found = []
    for count in (1, 2):
        launch(count, script, tmp_path / f"{count}.pt")
        first, second, third = torch.load(tmp_path / f"{count}.pt", weights_only=True)
        assert torch.equal(first, second) and not torch.equal(second, third)
        found.append(third)
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-5)


FSDP = {"SHARDED": "FSDP"}
ZERO = {"SHARDED": "DEEPSPEED", "DS_ACCELERATOR": "cpu"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "flags"),
    [
        pytest.param("grpo", FSDP, id="grpo-fsdp"),
        pytest.param("dpo", FSDP, id="dpo-fsdp"),
        pytest.param("grpo", {**ZERO, "ZERO_STAGE": "2"}, id="grpo-zero2"),
        pytest.param("dpo", {**ZERO, "ZERO_STAGE": "1"}, id="dpo-zero1"),
    ],
)
def test_training_sharded_over_two_processes_is_that_of_one(base, tmp_path, method, flags):
    """FSDP and DeepSpeed: gradients, samples, metrics and the saved model, in a run of three stages that is resumed once."""
    import shutil

    import yaml
    from safetensors.torch import load_file

    if "ZERO_STAGE" in flags:
        pytest.importorskip("deepspeed")
    section = {**RUNS[method], **OPTIMIZER, "checkpoint_every": 1, "micro_batch_tokens": 100}  # several of each process
    section |= {"pairs": [str(base / "pairs.jsonl")]} if method == "dpo" else {}
    sft = {**OFFLINE, **OPTIMIZER, "micro_batch_tokens": 200}
    folders = {}
    for count, place in ((1, tmp_path / "alone"), (2, tmp_path / "sharded")):
        place.mkdir()
        stages = {"stages": ["sft", method, "eval"], "sft": sft, method: section}
        settings = config(place, method, RunFolder.open(base / "sft").model_dir("0_sft"), **stages)
        path = place / "run.yaml"
        path.write_text(yaml.safe_dump(settings.model_dump(mode="json")))
        launch(count, base / "worker.py", path, **flags if count == 2 else {})
        folders[count] = RunFolder.open(place / method)
    sharded = gradients(tmp_path, "sharded", method)
    if "ZERO_STAGE" in flags:  # each process steps with its part of them, the last with zeros at its end
        sharded = [
            torch.cat(pair) for pair in zip(sharded, gradients(tmp_path, "sharded", method, rank=1), strict=True)
        ]
    for one, two in zip(gradients(tmp_path, "alone", method), sharded, strict=True):
        assert not two[len(one) :].any()
        assert float((two[: len(one)] - one).norm() / one.norm()) < 1e-5

    def values(folder: RunFolder) -> list[dict]:
        found = [json.loads(line).get("values", {}) for line in folder.metrics_path.read_text().splitlines()]
        return [{k: v for k, v in line.items() if not k.startswith("time/")} for line in found]

    for one, two in zip(values(folders[1]), values(folders[2]), strict=True):
        assert two == pytest.approx(one, rel=1e-4, abs=1e-5, nan_ok=True)
    saved = [load_file(folder.model_dir(f"1_{method}") / "model.safetensors") for folder in folders.values()]
    assert saved[0].keys() == saved[1].keys()
    for name, tensor in saved[0].items():
        torch.testing.assert_close(saved[1][name], tensor, rtol=1e-4, atol=1e-6)

    kept = values(folders[2])
    for count, environment, rounding in (
        (2, flags, 1e-6),
        (1, {}, 1e-4),
    ):  # on as it was launched, and without sharding
        for path in folders[2].checkpoints_dir.glob(
            "stage002*"
        ):  # as if killed before the evaluation and the last step
            shutil.rmtree(path)
        launch(count, base / "worker.py", tmp_path / "sharded" / "run.yaml", **environment, RESUME="1")
        for one, two in zip(kept, values(folders[2]), strict=True):
            assert two == pytest.approx(one, rel=rounding, abs=rounding / 10, nan_ok=True)


@pytest.mark.parametrize(("rank", "shares"), [(0, ["a", "c", "e"]), (1, ["b", "d", ""])])
def test_processes_ask_for_samples_equally_often_in_an_evaluation(monkeypatch, tmp_path, rank, shares):
    """What they exchange about unscorable verdicts each time would else be waited for in vain."""
    from contextlib import nullcontext
    from types import SimpleNamespace

    from coderl.evaluate import passrate

    found, progress = [], []

    def collect(_bench, tasks, **_):
        found.append("".join(tasks))
        return SimpleNamespace(rollouts=[])

    monkeypatch.setattr(passrate, "collect", collect)
    monkeypatch.setattr(passrate, "gather_shares", lambda _bench, rollouts, _num_each: rollouts)
    monkeypatch.setattr(passrate, "score", lambda *_, **__: None)
    settings = config(tmp_path, "sft", "new:", generation={"batch_size": 1})
    bench = SimpleNamespace(
        config=settings,
        accelerator=SimpleNamespace(num_processes=2),
        policy=SimpleNamespace(gathered=nullcontext),
        share=lambda items: items[rank::2],
    )
    on_progress = lambda *counts: progress.append(counts)
    passrate.evaluate(bench, settings.eval, list("abcde"), label="eval", step=0, on_progress=on_progress)
    assert found == shares
    assert progress == [(2, 5), (4, 5), (5, 5)]


def test_fewer_prompts_than_processes_is_one_clear_line(tmp_path):
    from coderl.train import _check_share

    stage = config(tmp_path, "grpo", "new:", grpo={"prompts_per_step": 2}).grpo
    _check_share("grpo", stage, 2)
    with pytest.raises(ConfigError, match=r"grpo.prompts_per_step: 2 is less than the 3 processes"):
        _check_share("grpo", stage, 3)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_launch_configs(path):
    from accelerate.commands.config.config_args import load_config_from_file

    settings = load_config_from_file(str(path))
    assert settings.num_processes == 8
    if settings.distributed_type == "FSDP":
        assert settings.fsdp_config["fsdp_version"] == 2
    if settings.distributed_type == "DEEPSPEED":
        chosen = settings.deepspeed_config
        plugin = SimpleNamespace(
            zero_stage=chosen["zero_stage"],
            deepspeed_config={
                "zero_optimization": {"offload_optimizer": {"device": chosen["offload_optimizer_device"]}}
            },
        )
        accelerator = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED, deepspeed_plugin=plugin)
        check_launch(accelerator, "1_grpo", ["policy"], PolicyConfig(model="new:"))


@pytest.mark.parametrize(
    ("kind", "is_fsdp2", "modules", "fault"),
    [
        (
            "DEEPSPEED",
            False,
            ["policy", "critic"],
            "DEEPSPEED shards the policy alone, and this stage trains policy, critic",
        ),
        ("FSDP", False, ["policy"], "FSDP is not supported, FSDP 2 is"),
        ("FSDP", True, ["policy", "critic"], "this stage trains policy, critic"),
        ("FSDP", True, ["member_0"], "this stage trains member_0"),
    ],
)
def test_a_launch_that_would_go_wrong_is_one_clear_line(kind, is_fsdp2, modules, fault):
    accelerator = SimpleNamespace(distributed_type=DistributedType(kind), is_fsdp2=is_fsdp2)
    with pytest.raises(ConfigError, match=fault):
        check_launch(accelerator, "1_ppo", modules, PolicyConfig(model="new:"))
    check_launch(
        SimpleNamespace(distributed_type=DistributedType("MULTI_GPU")), "1_ppo", modules, PolicyConfig(model="new:")
    )


@pytest.mark.parametrize(
    ("stage", "offload", "policy", "fault"),
    [
        (3, "none", {}, "ZeRO stage 3 with the optimizer offloaded to none is not supported"),
        (2, "cpu", {}, "ZeRO stage 2 with the optimizer offloaded to cpu is not supported"),
        (2, "none", {"dtype": "bfloat16"}, "not bfloat16 with autocast none"),
        (1, "none", {"autocast": "bfloat16"}, "not float32 with autocast bfloat16"),
    ],
)
def test_what_deepspeed_was_never_seen_to_train_right_is_refused(stage, offload, policy, fault):
    zero = {"stage": stage, "offload_optimizer": {"device": offload}}
    plugin = SimpleNamespace(zero_stage=stage, deepspeed_config={"zero_optimization": zero})
    accelerator = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED, deepspeed_plugin=plugin)
    with pytest.raises(ConfigError, match=fault):
        check_launch(accelerator, "1_grpo", ["policy"], PolicyConfig(model="new:", **policy))
