"""The command line: what it prints, what it refuses in one line, and with which exit code it ends."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest.mock import ANY

import pytest
import yaml

from coderl import cli
from coderl.config import parse
from coderl.errors import TrainingStopped
from coderl.evaluate.breakdown import BestOf, Group
from coderl.run_folder import RunFolder
from sandbox.spec import CallCase
from tasks import jsonl
from tasks.task import Split, Style, Task

EVALUATION = SimpleNamespace(  # an Evaluation, without the imports that one needs
    metrics=lambda: {"eval/pass@1": 0.5, "eval/pass@1_low": 0.25, "eval/pass@1_high": 0.75},
    scores=[None] * 8,
    groups=[Group(by="language", value="go", num_tasks=3, pass_at_k={1: (0.25, 0.125, 0.5)})],
    best_of_n=[
        BestOf(n=1, random=0.5, visible=0.5, visible_low=0.25, visible_high=0.75, oracle=0.5),
        BestOf(n=4, random=0.5, visible=0.625, visible_low=0.5, visible_high=0.875, oracle=0.75),
    ],
    diversity=None,
)
ROOT = Path(__file__).resolve().parent.parent
RAW = {
    "name": "r",
    "stages": ["grpo"],
    "policy": {"model": "new:"},
    "tasks": {"train": ["easy?split=train"], "test": ["easy?split=test"]},
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(RAW))
    return tmp_path


def coderl(monkeypatch, capsys, *arguments):
    """(exit code, stdout, stderr) of `coderl *arguments`, in this process."""
    monkeypatch.setattr(sys, "argv", ["coderl", *arguments])
    code = cli.main()
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: coderl(monkeypatch, capsys, *arguments)


@pytest.fixture
def trained(monkeypatch):
    """What the CLI hands to the trainer; put an exception in "raises" to let it fail."""
    seen = {}

    def train(config, folder, *, resume, profile):
        seen.update(config=config, folder=folder, resume=resume, profile=profile)
        if "raises" in seen:
            raise seen["raises"]

    def evaluate_model(config, out):
        seen.update(config=config, out=out)
        return EVALUATION

    module = ModuleType("coderl.train")
    module.run, module.evaluate_model = train, evaluate_model
    monkeypatch.setitem(sys.modules, "coderl.train", module)
    return seen


def refused(result, *words):
    """The command ended with exit code 2 and one line on stderr that holds `words`."""
    code, out, err = result
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words), err


def test_help_answers_at_once_and_imports_nothing_heavy():
    """In cpu time, which a busy machine changes little; by the clock: benchmarks/startup.py."""
    code = (
        "import sys, time; start = time.process_time(); from coderl.cli import main; sys.argv = ['coderl', '--help']; "
        "code = main(); heavy = {'torch', 'transformers', 'numpy', 'pydantic', 'yaml', 'tasks'} & set(sys.modules); "
        "print(); print(code, sorted(heavy), time.process_time() - start)"
    )
    best = 9.0
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
        )
        status, heavy, seconds = done.stdout.splitlines()[-1].rsplit(" ", 2)
        assert (status, heavy) == ("0", "[]")
        best = min(best, float(seconds))
        if best < 0.3:
            return
    pytest.fail(f"--help takes {best:.2f} s of cpu time at best")


def test_train_makes_the_folder_and_hands_it_over_locked(here, run, trained):
    code, out, err = run("train", "c.yaml", "grpo.steps=7")
    assert (code, err) == (0, "")
    assert out == "report: runs/r/report.html\n"
    assert trained["config"].grpo.steps == 7
    assert trained["resume"] is False
    assert trained["profile"] is False
    assert RunFolder.open("runs/r").config().grpo.steps == 7
    assert run("train", "c.yaml", "--overwrite")[0] == 2  # the first run still holds the lock


def test_train_hands_over_the_wish_for_a_profile(here, run, trained):
    assert run("train", "c.yaml", "--profile")[0] == 0
    assert trained["profile"] is True


def test_a_second_run_under_the_same_name_is_refused_and_overwritten_on_demand(here, run, trained):
    assert run("train", "c.yaml")[0] == 0
    trained["folder"].unlock()
    refused(run("train", "c.yaml"), "--resume", "--overwrite", "name=")
    assert run("train", "c.yaml", "--overwrite")[0] == 0
    assert run("train", "c.yaml", "name=other")[0] == 0


def test_resume_hands_over_the_same_folder_and_writes_down_what_changed(here, run, trained):
    run("train", "c.yaml")
    trained["folder"].unlock()
    assert run("train", "c.yaml", "grpo.steps=200", "--resume")[0] == 0
    assert trained["resume"] is True
    assert RunFolder.open("runs/r").config().grpo.steps == 200
    record = json.loads(Path("runs/r/versions.json").read_text())
    assert [r["changes"] for r in record["resumed"]] == [{"grpo.steps": [100, 200]}]


@pytest.mark.parametrize("override", ["seed=1", "policy.model=other", "tasks.train=[humaneval]", "stages=[eval]"])
def test_resume_refuses_a_change_that_would_make_it_another_run(here, run, trained, override):
    run("train", "c.yaml")
    trained.pop("folder").unlock()
    refused(run("train", "c.yaml", override, "--resume"), override.partition("=")[0], "name=")
    assert "folder" not in trained


def test_resume_without_a_run_is_one_line(here, run, trained):
    refused(run("train", "c.yaml", "--resume"), "no such folder", "without --resume")


def test_resume_and_overwrite_exclude_each_other(here, run, trained):
    refused(run("train", "c.yaml", "--resume", "--overwrite"), "choose one")


def test_a_dry_run_says_what_would_happen_and_writes_nothing(here, run, trained):
    code, out, _ = run("train", "quickstart", "--dry-run")
    assert code == 0
    assert "sft, eval, grpo, eval" in out
    assert "runs/quickstart" in out
    assert "made from scratch" in out
    assert trained == {}
    assert not Path("runs").exists()
    assert (
        "policy      here/not (no such folder here; asked of the hub)\n"
        in run("train", "c.yaml", "policy.model=here/not", "--dry-run")[1]
    )
    assert "policy      .\n" in run("train", "c.yaml", "policy.model=.", "--dry-run")[1]


def test_an_unknown_task_source_is_one_line_of_tasks(here, run):
    refused(run("train", "c.yaml", "tasks.train=[humanevall]", "--dry-run"), "humanevall", "humaneval")


def test_what_stops_a_training_is_one_line_and_a_bug_is_a_traceback(here, run, trained):
    trained["raises"] = TrainingStopped("the loss is nan;\nlower the learning rate")
    refused(run("train", "c.yaml"), "coderl: the loss is nan; lower the learning rate")
    trained["folder"].unlock()
    trained["raises"] = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError):
        run("train", "c.yaml", "--overwrite")


def test_a_full_disk_is_one_line_wherever_it_was_met(here, run, trained):
    trained["raises"] = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/tmp/somewhere")
    refused(run("train", "c.yaml"), "No space left on device: '/tmp/somewhere'", "make room")
    trained["raises"] = OSError(errno.EBADF, "a bug")
    with pytest.raises(OSError, match="a bug"):
        run("train", "c.yaml")


def test_errors_of_the_sandbox_are_for_a_person_too(here, run, trained):
    class SandboxError(Exception):
        pass

    class NoBackend(SandboxError):
        pass

    trained["raises"] = NoBackend("no backend works here: run `sandbox doctor`")
    refused(run("train", "c.yaml"), "sandbox doctor")


def test_ctrl_c_ends_with_130_and_the_command_to_go_on(here, run, trained):
    trained["raises"] = KeyboardInterrupt()
    code, _, err = run("train", "c.yaml", "grpo.steps=3", "--overwrite")
    assert code == 130
    assert err.strip() == "interrupted; resume with: coderl train c.yaml grpo.steps=3 --resume"


def test_a_missing_package_of_the_extra_is_one_line(here, run, monkeypatch):
    gone = ("torch", "accelerate", "transformers")

    class NoTorch:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in gone:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for name in [n for n in sys.modules if n.partition(".")[0] in gone or n == "coderl.train"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [NoTorch(), *sys.meta_path])
    refused(run("train", "c.yaml"), "pip install 'coderl[train]'")
    assert not Path("runs").exists()


def test_eval_takes_a_model_and_tasks_alone(here, run, trained):
    code, out, _ = run(
        "eval", "--model", "org/m", "--tasks", "easy", "--tasks", "mbpp:sanitized", "--samples", "8", "--k", "1", "--k", "8",
        "--temperature", "0.2", "--max-new-tokens", "9", "--limit", "5", "--out", "o.json",
    )  # fmt: skip
    assert code == 0
    config = trained["config"]
    assert config.stages == ["eval"]
    assert config.policy.model == "org/m"
    assert config.tasks.test == ["easy", "mbpp:sanitized"]
    given = config.eval
    assert (given.samples_per_task, given.k, given.temperature, given.max_new_tokens, given.limit) == (
        8,
        [1, 8],
        0.2,
        9,
        5,
    )
    assert trained["out"] == Path("o.json")
    assert out.splitlines() == [
        "pass@1 50.0%  (95 % interval 25.0% to 75.0%)",
        "language go: pass@1 25.0% (12.5% to 50.0%)  3 tasks",
        "best of 4 by visible tests 62.5% (50.0% to 87.5%), at random 50.0%, oracle 75.0%",
        "8 tasks; written to o.json",
    ]


def test_eval_of_a_config_keeps_its_settings_but_for_those_given(here, run, trained):
    assert run("eval", "c.yaml", "sandbox.workers=3", "--samples", "2")[0] == 0
    config = trained["config"]
    assert (config.sandbox.workers, config.eval.samples_per_task) == (3, 2)
    assert (config.stages, config.policy.model, config.tasks.test) == (["eval"], "new:", ["easy?split=test"])


def test_eval_of_a_run_takes_its_last_model(here, run, trained):
    folder = RunFolder.create(parse(RAW))
    refused(run("eval", "runs/r"), "--model")
    for stage in ("0_sft", "2_grpo", "10_grpo"):
        folder.model_dir(stage).mkdir(parents=True)
    assert run("eval", "runs/r")[0] == 0
    assert trained["config"].policy.model == "runs/r/models/10_grpo"


def test_settings_alone_are_settings_not_a_config(here, run, trained):
    assert run("eval", "generation.batch_size=3", "--model", "m", "--tasks", "easy")[0] == 0
    assert trained["config"].generation.batch_size == 3


def test_eval_refuses_before_it_works(here, run, trained):
    refused(run("eval"), "--model", "--tasks")
    refused(run("eval", "--model", "m"), "--tasks")
    refused(run("eval", "c.yaml", "--k", "8"), "k=8 needs samples_per_task >= 8")
    refused(run("eval", "c.yaml", "--out", "none/o.json"), "no folder none")
    Path("o.json").write_text("an old result")
    refused(run("eval", "c.yaml", "--out", "o.json"), "already there")
    assert trained == {}


def test_config_prints_yaml_that_loads_to_the_same_config(here, run):
    code, out, _ = run("config", "c.yaml", "grpo.optimizer.learning_rate=1e-5")
    assert code == 0
    assert parse(yaml.safe_load(out)) == parse({**RAW, "grpo": {"optimizer": {"learning_rate": 1e-5}}})
    listed = run("config")[1].splitlines()
    assert [line.split()[0] for line in listed] == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    assert all(line.endswith(".") for line in listed)  # whole sentences


def test_faults_of_a_config_are_one_line(here, run):
    refused(run("config", "quikstart"), "quikstart", "quickstart")
    refused(run("config", "c.yaml", "grpo.stpes=1"), "grpo.stpes", "'steps'")


def test_report_of_what_is_not_a_run_is_one_line(here, run):
    refused(run("report", "."), "not a run of coderl")


def test_report_prints_the_path_of_the_page(here, run):
    pytest.importorskip("matplotlib")
    RunFolder.create(parse(RAW))
    code, out, _ = run("report", "runs/r")
    assert (code, out) == (0, "runs/r/report.html\n")
    assert Path("runs/r/report.html").is_file()


def test_import_model_of_what_is_no_model_is_one_line(here, run):
    refused(run("import-model", "nothing.gguf", "out"), "no such file")


def test_tasks_are_listed_and_shown_without_control_characters(here, run):
    assert "generated" in run("tasks", "list")[1]
    case = CallCase(function="f", args=("\x1b[2J",), expected="\x1b[2J")
    task = Task(
        id="bad/\x1b[31m", prompt="Say \x1b]0;owned\x07.", style=Style.INSTRUCTION, split=Split.TRAIN, entry_point="f",
        visible=(case,), hidden=(case,),
    )  # fmt: skip
    jsonl.write(Path("t.jsonl"), [task])
    code, out, err = run("tasks", "show", "jsonl:t.jsonl")
    assert code == 0, err
    assert "\x1b" not in out
    assert "\\x1b[31m" in out
    assert "1 visible and 1 hidden cases" in out
    assert "1 of 1 tasks" in out


@pytest.mark.parametrize("arguments", [["trian"], ["train"], ["train", "c.yaml", "--resum"], ["tasks", "show"]])
def test_a_mistyped_command_ends_with_2_and_no_traceback(here, run, arguments):
    code, _, err = run(*arguments)
    assert code == 2
    assert "Traceback" not in err
    assert "Error" in err


def test_the_module_runs_as_a_program_and_dies_of_sigint_with_130(tmp_path):
    """`python -m coderl` with a real signal: the interpreter raises KeyboardInterrupt while it trains."""
    stub = tmp_path / "sitecustomize.py"
    stub.write_text(
        "import signal, sys, time, types\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a test run in the background ignores it
        "module = types.ModuleType('coderl.train')\n"
        "def run(config, folder, *, resume, profile):\n"
        "    print('training', flush=True)\n"
        "    time.sleep(60)\n"
        "module.run = run\n"
        "sys.modules['coderl.train'] = module\n"
    )
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(RAW))
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "coderl", "train", "c.yaml"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "training\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "resume with: python -m coderl train c.yaml --resume" in err
    assert "Traceback" not in err


GOOD = Task(
    id="t/good", prompt="Double.", style=Style.INSTRUCTION, split=Split.TEST, entry_point="f", visible=(),
    hidden=tuple(CallCase(function="f", args=(n,), expected=2 * n) for n in (0, 3)),
    reference="def f(n):\n    return n * 2\n",
)  # fmt: skip
WEAK = replace(GOOD, id="t/weak", hidden=(CallCase(function="f", args=(2,), expected=4),))


def test_validate_reports_weak_tests_writes_the_clean_list_and_goes_on_where_it_was(here, run):
    jsonl.write(Path("t.jsonl"), [GOOD, WEAK])
    code, out, err = run("tasks", "validate", "jsonl:t.jsonl", "--out", "v")
    assert code == 0, err
    assert "t/weak: accepts commonest hidden expected value" in out
    assert "2 tasks, 0 of them from" in out
    assert jsonl.read(Path("v/clean.jsonl")) == [GOOD]
    report = json.loads(Path("v/report.json").read_text())
    assert (report["num_tasks"], report["num_graded_now"]) == (2, 2)
    assert report["sources"]["jsonl:t.jsonl"]["null_passes"] == 1
    assert [finding["score"] for finding in report["findings"]] == [1.0, 0.75]
    assert "2 tasks, 2 of them from" in run("tasks", "validate", "jsonl:t.jsonl", "--out", "v")[1]
    findings = Path("v/findings.jsonl")
    findings.write_text(findings.read_text().splitlines(keepends=True)[0] + '{"key": "ha')
    assert "2 tasks, 1 of them from" in run("tasks", "validate", "jsonl:t.jsonl", "--out", "v")[1]
    assert json.loads(Path("v/report.json").read_text())["sources"] == report["sources"] | {
        "jsonl:t.jsonl": report["sources"]["jsonl:t.jsonl"] | {"program_seconds": ANY}
    }


def test_validate_refuses_what_it_cannot_use_in_one_line(here, run):
    jsonl.write(Path("t.jsonl"), [GOOD])
    refused(run("tasks", "validate", "jsonl:none.jsonl"), "none.jsonl", "no such file")
    refused(
        run("tasks", "validate", "jsonl:t.jsonl", "jsonl:t.jsonl?limit=1"),
        "'t/good' is a task of jsonl:t.jsonl already",
    )
    refused(run("tasks", "validate", "jsonl:t.jsonl", "--out", "t.jsonl"), "t.jsonl: is a file")


def test_export_filter_and_decontaminate_say_how_to_read_what_they_wrote(here, run):
    other = replace(GOOD, id="t/other", prompt="Say it twice.", level=3, date="2024-05-31", reference="")
    jsonl.write(Path("t.jsonl"), [GOOD, other])
    jsonl.write(Path("e.jsonl"), [replace(GOOD, id="e/copy")])
    code, out, err = run("tasks", "export", "jsonl:t.jsonl", "--out", "t.parquet")
    assert (code, out) == (0, "2 tasks; read them with dataset:t.parquet\n"), err
    code, out, err = run("tasks", "filter", "dataset:t.parquet", "--since", "2024-05-01", "--out", "f.jsonl")
    assert (code, out) == (0, "     1 left out: no date\n1 of 2 tasks left; read them with jsonl:f.jsonl\n"), err
    assert jsonl.read(Path("f.jsonl")) == [other]
    code, out, err = run(
        "tasks",
        "decontaminate",
        "jsonl:t.jsonl",
        "--against",
        "jsonl:e.jsonl",
        "--out",
        "d.jsonl",
        "--report",
        "r.json",
    )
    assert code == 0, err
    assert out.startswith("t/good ~ e/copy: same prompt: double\n")
    assert jsonl.read(Path("d.jsonl")) == [other]
    assert [match["evaluation_id"] for match in json.loads(Path("r.json").read_text())["matches"]] == ["e/copy"]


def test_filter_refuses_a_pass_rate_without_a_policy_and_one_that_is_none(here, run):
    jsonl.write(Path("t.jsonl"), [GOOD])
    refused(run("tasks", "filter", "jsonl:t.jsonl", "--out", "f.jsonl", "--pass-rate", "0-1"), "--config or --model")
    refused(run("tasks", "filter", "jsonl:t.jsonl", "--out", "f.jsonl", "--pass-rate", "2", "--model", "m"), "0.1-0.9")
    refused(run("tasks", "filter", "jsonl:t.jsonl", "--out", "f.jsonl", "--level", "9-1"), "level", "lower level first")
    refused(run("tasks", "filter", "jsonl:t.jsonl", "--out", "t.jsonl"), "t.jsonl: is there already")
