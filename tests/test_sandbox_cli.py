"""Do the commands do what they say, and is every mistake one line and exit code 2?"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HUMANEVAL = {
    "task_id": "HumanEval/0",
    "prompt": "def twice(n):\n    '''Twice n.'''\n",
    "entry_point": "twice",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n",
}
CALL = {"id": "call", "cases": [{"function": "f", "args": [{"t": [1, 2]}], "expected": {"s": [1, 2]}}]}
STDIO = {"id": "stdio", "cases": [{"stdin": "2", "stdout": "4"}], "limits": {"cpu_seconds": 1}, "checker": "tokens"}
ASSERT = {"id": "assert", "cases": [{"code": "assert f(2) == 4", "names": ["f"]}]}


def sandbox(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parent.parent)
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "PYTHONPATH": root}
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def lines(path: Path, *records: object) -> Path:
    text = "".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_a_program_that_closes_its_input_does_not_end_the_command(tmp_path: Path) -> None:
    program, stdin = tmp_path / "program.py", tmp_path / "stdin"
    program.write_text("import os\nos.close(0)\nprint(4)")
    stdin.write_bytes(b"x" * 20_000_000)
    done = sandbox("run", program, "--stdin", stdin, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "4\n")


def test_whoever_reads_the_table_may_stop_early(tmp_path: Path) -> None:
    command = f"{sys.executable} -m sandbox selftest --section C | head -1"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""


def test_without_its_libraries_the_command_names_the_first_that_is_missing(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    for name in ("sandbox", "coderl"):
        code = f"import sys; from {name}.__main__ import main; sys.exit(main())"  # as the installed command starts
        for start in (["-m", name], ["-c", code]):
            command = [sys.executable, "-S", *start, "--help"]  # -S: no installed packages
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr == f"{name}: the command needs typer, which is not here: pip install typer\n"


def test_humaneval_and_our_own_tasks_are_graded_and_written(tmp_path: Path) -> None:
    tasks = lines(tmp_path / "tasks.jsonl.gz", HUMANEVAL, CALL, STDIO, ASSERT)
    samples = lines(
        tmp_path / "samples.jsonl",
        {"task_id": "HumanEval/0", "completion": "    return 2 * n\n"},
        {"task_id": "HumanEval/0", "completion": "    return n\n"},
        {"task_id": "call", "solution": "def f(x): return set(x)"},
        {"task_id": "stdio", "solution": "print(int(input()) * 2)"},
        {"task_id": "assert", "solution": "def f(x): return 2 * x"},
    )
    done = sandbox("grade", tasks, samples, "--workers", 1, "--out", "results.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "4/5 samples accepted, 4/4 tasks solved" in done.stdout
    assert "pass@1 87.5%" in done.stdout  # (1/2 + 1 + 1 + 1) / 4
    assert "no sample" not in done.stdout
    results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [(r["task_id"], r["outcome"]) for r in results] == [
        ("HumanEval/0", "AC"), ("HumanEval/0", "WA"), ("call", "AC"), ("stdio", "AC"), ("assert", "AC"),
    ]  # fmt: skip


def test_pass_at_k_is_counted_over_tasks_where_all_have_k_samples_and_without_the_unscorable() -> None:
    from sandbox.summary import pass_at
    from sandbox.verdict import Integrity, Isolation, Outcome, Verdict

    def graded(task_id: str, outcomes: str) -> list[tuple[str, Verdict]]:
        kinds = {"a": Outcome.AC, "w": Outcome.WA, "i": Outcome.IE}
        made = {"cases": (), "integrity": Integrity.SEPARATED, "isolation": Isolation(backend="jail")}
        return [(task_id, Verdict(outcome=kinds[letter], **made)) for letter in outcomes]  # type: ignore[arg-type]

    # one of 12 passes: 1/12, and 1 - C(11,10)/C(12,10) = 1 - 11/66 = 5/6; five of 10: 1/2, and 1 - C(5,10)/C(10,10) = 1
    rates = pass_at(graded("x", "a" + 11 * "w") + graded("y", "aaaaawwwww" + 3 * "i"))
    assert rates == pytest.approx({1: (1 / 12 + 1 / 2) / 2, 10: (5 / 6 + 1) / 2})
    assert pass_at(graded("x", 12 * "a") + graded("y", "w")) == {1: 0.5}
    assert pass_at(graded("x", "i")) == {}


def test_tasks_without_a_sample_are_told(tmp_path: Path) -> None:
    tasks = lines(tmp_path / "tasks.jsonl", CALL, STDIO, ASSERT)
    samples = lines(tmp_path / "samples.jsonl", {"task_id": "stdio", "solution": "print(4)"})
    done = sandbox("grade", tasks, samples, "--workers", 1, cwd=tmp_path)
    assert "2 of 3 tasks have no sample, and are not counted" in done.stdout


def test_a_place_for_results_is_tried_before_anything_runs(tmp_path: Path) -> None:
    tasks, samples = lines(tmp_path / "tasks.jsonl", CALL), lines(tmp_path / "samples.jsonl", GOOD)
    for option, place in (("--out", "nowhere/results.jsonl"), ("--out", "."), ("--record", "tasks.jsonl/records")):
        done = sandbox("grade", tasks, samples, "--backend", "magic", option, place, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"sandbox: {place}: cannot be written"), done.stderr


def test_what_was_found_is_told_even_if_it_cannot_be_written(tmp_path: Path) -> None:
    tasks = lines(tmp_path / "tasks.jsonl", STDIO)
    samples = lines(tmp_path / "samples.jsonl", {"task_id": "stdio", "solution": "print(4)"})
    (tmp_path / "records" / "00000-stdio.json" / "in_the_way").mkdir(parents=True)
    done = sandbox("grade", tasks, samples, "--workers", 1, "--record", "records", cwd=tmp_path)
    assert done.returncode == 2 and "00000-stdio.json: cannot be written" in done.stderr
    assert "1/1 samples accepted" in done.stdout


def test_what_was_graded_before_an_interrupt_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from sandbox import cli
    from sandbox.verdict import Integrity, Isolation, Outcome, Verdict

    class Interrupted:
        def __init__(self, **settings: object) -> None: ...

        def __enter__(self) -> Interrupted:
            return self

        def __exit__(self, *_: object) -> None: ...

        def stream(self, requests: object) -> Iterator[tuple[int, Verdict]]:
            isolation = Isolation(backend="jail")
            yield 1, Verdict(outcome=Outcome.WA, cases=(), integrity=Integrity.SEPARATED, isolation=isolation)
            raise KeyboardInterrupt

    monkeypatch.setattr(cli, "Grader", Interrupted)
    tasks = lines(tmp_path / "tasks.jsonl", CALL, STDIO)
    samples = lines(tmp_path / "samples.jsonl", GOOD, {"task_id": "stdio", "solution": ""}, GOOD)
    out = tmp_path / "results.jsonl"
    done = CliRunner().invoke(cli.app, ["grade", str(tasks), str(samples), "--out", str(out)])
    assert done.exit_code == 130 and not out.exists()
    assert done.stderr == f"sandbox: interrupted after 1 of 3 samples; their verdicts are in {out}.partial\n"
    [kept] = [json.loads(line) for line in Path(f"{out}.partial").read_text().splitlines()]
    assert (kept["task_id"], kept["outcome"]) == ("stdio", "WA")


def test_a_program_comes_by_a_pipe_and_help_and_version_have_their_usual_names(tmp_path: Path) -> None:
    from importlib import metadata

    command = f"echo 'print(3)' | {sys.executable} -m sandbox run -"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(
        ["sh", "-c", command], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr
    assert sandbox("-h", cwd=tmp_path).stdout == sandbox("--help", cwd=tmp_path).stdout
    assert sandbox("grade", "-h", cwd=tmp_path).returncode == 0
    assert sandbox("--version", cwd=tmp_path).stdout == f"sandbox, of coderl {metadata.version('coderl')}\n"


GOOD = {"task_id": "call", "solution": "x"}
MISTAKES: dict[str, tuple[object, object, str]] = {
    # name: (task line, sample line, what the message must hold)
    "not JSON": ("{", GOOD, "tasks.jsonl:1: is not JSON"),
    "not an object": ([1], GOOD, "tasks.jsonl:1"),
    "no id": ({"cases": [{"stdin": "", "stdout": ""}]}, GOOD, "tasks.jsonl:1: id is missing"),
    "no cases": ({"id": "a", "cases": []}, GOOD, "tasks.jsonl:1: cases is empty"),
    "an unknown field": ({**CALL, "cheker": "equal"}, GOOD, "'cheker'"),
    "an unknown checker": ({**CALL, "checker": "same"}, GOOD, "checker is 'same'"),
    "a bad limit": ({**CALL, "limits": {"cpu_seconds": -1}}, GOOD, "limits.cpu_seconds"),
    "a NaN limit": (
        '{"id": "call", "cases": [{"stdout": ""}], "limits": {"cpu_seconds": NaN}}',
        GOOD,
        "limits.cpu_seconds",
    ),
    "an unknown limit": ({**CALL, "limits": {"cpu": 1}}, GOOD, "'cpu'"),
    "no expected": ({"id": "a", "cases": [{"function": "f"}]}, GOOD, "cases[0]: expected is missing"),
    "a bad value": ({"id": "a", "cases": [{"function": "f", "expected": {"a": 1}}]}, GOOD, "cases[0]"),
    "an unknown case": ({"id": "a", "cases": [{"in": "", "out": ""}]}, GOOD, "cases[0]"),
    "a broken prompt": ({**HUMANEVAL, "prompt": "def ("}, GOOD, "tasks.jsonl:1"),
    "an unknown task": (CALL, {"task_id": "b", "solution": ""}, "samples.jsonl:1: task_id 'b'"),
    "neither": (CALL, {"task_id": "call"}, "samples.jsonl:1"),
    "a number": (CALL, {"task_id": "call", "solution": 4}, "solution is a number: write a string"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_file_is_one_line_with_its_place(tmp_path: Path, name: str) -> None:
    from sandbox.errors import BadInput
    from sandbox.samples import read_samples, read_tasks

    task, sample, message = MISTAKES[name]
    with pytest.raises(BadInput) as caught:
        read_samples(lines(tmp_path / "samples.jsonl", sample), read_tasks(lines(tmp_path / "tasks.jsonl", task)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mistake_ends_with_code_2_one_line_and_no_file(tmp_path: Path) -> None:
    tasks = lines(tmp_path / "tasks.jsonl", CALL, CALL)
    samples = lines(tmp_path / "samples.jsonl", GOOD)
    for arguments in (
        ("grade", tasks, samples, "--out", "results.jsonl"),
        ("grade", "missing.jsonl", samples, "--out", "results.jsonl"),
        ("run", "missing.py"),
        ("run", tasks, "--cpu-seconds", "nan"),
        ("run", tasks, "--backend", "magic"),
    ):
        done = sandbox(*arguments, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith("sandbox: ") and done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["samples.jsonl", "tasks.jsonl"]


def test_a_place_that_cannot_be_written_is_named_and_the_old_file_stays(tmp_path: Path) -> None:
    from sandbox.errors import BadInput
    from sandbox.samples import write_lines

    with pytest.raises(BadInput, match="nowhere"):
        write_lines(tmp_path / "nowhere" / "results.jsonl", [])
    old = lines(tmp_path / "results.jsonl", {"old": 1})

    def breaks() -> object:
        yield {"new": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lines(old, breaks())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]
    assert json.loads(old.read_text()) == {"old": 1}


def test_run_prints_the_output_on_stdout_and_the_verdict_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("print('hello', input())")
    (tmp_path / "name.txt").write_text("there\n")
    done = sandbox("run", "program.py", "--stdin", "name.txt", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "hello there\n")
    assert done.stderr.startswith("AC (cpu ")
    (tmp_path / "program.py").write_text("while 1: pass")
    done = sandbox("run", "program.py", "--cpu-seconds", "0.2", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("TLE: more than 0.2 s of cpu time")


def test_preloaded_modules_are_there_and_a_missing_one_is_one_line(tmp_path: Path) -> None:
    tasks = lines(tmp_path / "tasks.jsonl", {"id": "stdio", "cases": [{"stdin": "", "stdout": "True"}]})
    source = "import sys\nprint('decimal' in sys.modules)\n"
    samples = lines(tmp_path / "samples.jsonl", {"task_id": "stdio", "solution": source})
    out = tmp_path / "out.jsonl"
    done = sandbox("grade", tasks, samples, "--out", out, "--preload", "decimal", "--workers", 1, cwd=tmp_path)
    assert (done.returncode, json.loads(out.read_text())["outcome"]) == (0, "AC"), done.stderr
    done = sandbox("grade", tasks, samples, "--preload", "no_such_module", cwd=tmp_path)
    assert done.returncode == 2
    assert "preload 'no_such_module'" in done.stderr
    assert "Traceback" not in done.stderr


def test_limits_relative_to_the_reference_are_what_it_needs_times_the_factor(tmp_path: Path) -> None:
    task = {
        "id": "a",
        "cases": [{"stdin": "1000", "stdout": "0"}],
        "checker": "tokens",
        "reference": "input(); print(0)",
    }
    slow = "import time\nwhile time.process_time() < 1.5: pass\nprint(0)"
    tasks = lines(tmp_path / "tasks.jsonl", task)
    samples = lines(
        tmp_path / "samples.jsonl", {"task_id": "a", "solution": slow}, {"task_id": "a", "solution": "print(0)"}
    )
    common = ("grade", tasks, samples, "--workers", 1, "--out", "results.jsonl")
    for options, wanted in (((), ["AC", "AC"]), (("--relative-limits", 2), ["TLE", "AC"])):
        done = sandbox(*common, *options, cwd=tmp_path)
        results = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
        assert [result["outcome"] for result in results] == wanted, done.stderr


def test_a_task_whose_reference_tells_no_time_is_named(tmp_path: Path) -> None:
    samples = lines(tmp_path / "samples.jsonl", {"task_id": "stdio", "solution": "print(4)"})
    for extra, word in (({}, "has no reference"), ({"reference": "print(5)"}, "not accepted (WA")):
        tasks = lines(tmp_path / "tasks.jsonl", STDIO | extra)
        done = sandbox("grade", tasks, samples, "--relative-limits", 2, "--out", "results.jsonl", cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "'stdio'" in done.stderr and word in done.stderr and not (tmp_path / "results.jsonl").exists()
    done = sandbox("grade", tasks, samples, "--relative-limits", 2, "--time-factor", 2, cwd=tmp_path)
    assert done.returncode == 2 and "--relative-limits" in done.stderr
