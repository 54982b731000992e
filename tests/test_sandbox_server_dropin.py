"""Do clients of SandboxFusion (verl) and Piston (open-r1) read here what they would read there?

The requests are those that the clients send, the readings those that they make of an answer: verl's
utils/reward_score/sandbox_fusion/utils.py, open-r1's utils/competitive_programming/{piston_client,cf_scoring}.py.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import pytest
from served import Served

from sandbox.languages import LanguageUnavailable, toolchain

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with Served() as server:
        yield server


def needs(language: str) -> None:
    try:
        toolchain(language)
    except LanguageUnavailable as error:
        pytest.skip(str(error))


def run_code(served: Served, code: str, stdin: str = "", language: str = "python", **more: Any) -> Any:
    asked = {
        "compile_timeout": 10, "run_timeout": 10, "code": code, "stdin": stdin, "language": language, "files": {},
        "fetch_files": [], **more,
    }  # fmt: skip
    status, said, _ = served.call("/run_code", asked)
    assert status == 200, said
    assert set(said) == {"status", "message", "compile_result", "run_result", "executor_pod_name", "files"}
    for command in filter(None, (said["compile_result"], said["run_result"])):
        assert set(command) == {"status", "execution_time", "return_code", "stdout", "stderr"}
    return said


def as_verl_reads(answer: Any, expected: str) -> bool | int:
    """True, False, or -1 sandbox error, -2 runtime error, -3 timeout, -4 compile error."""
    compiled, run = answer["compile_result"], answer["run_result"]
    if answer["status"] == "Failed":
        if compiled and (compiled["status"] in ("Error", "TimeLimitExceeded") or compiled["return_code"] != 0):
            return -4
        if run and run["status"] == "TimeLimitExceeded":
            return -3
        return -2 if run and (run["status"] == "Error" or run["return_code"] != 0) else -1
    if answer["status"] == "Success" and run and run["status"] == "Finished":
        return bool(run["stdout"].rstrip("\n") == expected.rstrip("\n"))
    return -1


@pytest.mark.parametrize(
    ("code", "reading", "seconds"),
    [
        ("print(int(input()) * 2)", True, 30),
        ("print(5)", False, 30),
        ("import sys\nprint(4)\nsys.exit(3)", -2, 30),
        ("import os\nos.kill(os.getpid(), 9)", -2, 30),
        ("print(", -2, 30),
        ("while True: pass", -3, 0.5),
        ("import time\ntime.sleep(9)", -3, 0.5),
        ("x = bytearray(8 << 30)\nprint(4)", -2, 30),
        ("while True: print('x' * 1000)", -2, 30),
    ],
)
def test_verl_reads_every_end_of_a_program(served: Served, code: str, reading: bool | int, seconds: float) -> None:
    assert as_verl_reads(run_code(served, code, "2", run_timeout=seconds, memory_limit_MB=128), "4") == reading


def test_the_sample_of_sandboxfusion_has_its_fields(served: Served) -> None:
    said = run_code(served, 'print("Hello, world!")\nimport sys\nprint("e", file=sys.stderr)')
    assert (said["status"], said["message"], said["compile_result"], said["files"]) == ("Success", "", None, {})
    run = said["run_result"]
    assert (run["status"], run["return_code"], run["stdout"], run["stderr"]) == (
        "Finished",
        0,
        "Hello, world!\n",
        "e\n",
    )
    assert 0 < run["execution_time"] < 10
    assert run_code(served, "import os\nos.kill(os.getpid(), 11)")["run_result"]["return_code"] == -11


def test_a_compiled_language_says_whether_it_compiled(served: Served) -> None:
    needs("cpp")
    good = run_code(served, '#include <cstdio>\nint main() { puts("4"); }', language="cpp")
    assert as_verl_reads(good, "4") is True
    assert good["compile_result"]["return_code"] == 0
    bad = run_code(served, "int main( {", language="cpp")
    assert as_verl_reads(bad, "") == -4
    assert "error" in bad["compile_result"]["stderr"]
    assert bad["run_result"] is None


def test_files_go_in_and_come_back(served: Served) -> None:
    files = {"data/in.bin": base64.b64encode(b"\xff\x00").decode(), "ignored": None}
    code = "import os\nopen('out', 'wb').write(open('data/in.bin', 'rb').read() * 2)\nprint(os.path.exists('ignored'))"
    said = run_code(served, code, files=files, fetch_files=["out", "none"])
    assert said["run_result"]["stdout"] == "False\n"
    assert {name: base64.b64decode(text) for name, text in said["files"].items()} == {"out": b"\xff\x00" * 2}


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"language": "racket"}, "language"),
        ({"run_timeout": -1}, "run_timeout"),
        ({"run_timeout": "10"}, "run_timeout"),
        ({"run_timeout": 1e9}, "run_timeout"),
        ({"code": None}, "code"),
        ({"args": ["-x"]}, "args"),
        ({"files": {"../x": ""}}, "'..' part"),
        ({"files": {"/etc/x": ""}}, "absolute"),
        ({"files": {"a\nb": ""}}, "control character"),
        ({"files": {"x" * 300: ""}}, "255 bytes"),
        ({"files": {"\ud800": ""}}, "surrogate"),
        ({"files": {"x": "no base64"}}, "no base64"),
        ({"files": {"x": "", "x/y": ""}}, "'x' is a file, too"),
        ({"fetch_files": ["../../etc/passwd"]}, "'..' part"),
        ({"fetch_files": ["*"]}, "pattern"),
    ],
)
def test_what_run_code_cannot_run_is_refused_in_one_line(served: Served, more: dict[str, Any], line: str) -> None:
    status, said, _ = served.call("/run_code", {"code": "print(1)", "language": "python", **more})
    assert (status, "\n" in said["error"]) == (422, False)
    assert line in said["error"]


def test_code_that_is_no_unicode_fails_and_takes_no_worker_with_it(served: Served) -> None:
    for _ in range(3):  # one more than there are workers
        said = served.call("/run_code", {"code": "print('\ud800')", "language": "python"})[1]
        assert (said["status"], said["run_result"]["stderr"]) == ("Failed", "a lone surrogate at character 7")


def test_a_link_in_place_of_a_file_to_fetch_is_not_followed(served: Served) -> None:
    said = run_code(
        served, "import os\nos.symlink('/etc/passwd', 'out')\nos.mkfifo('pipe')", fetch_files=["out", "pipe"]
    )
    assert (said["status"], said["files"]) == ("Success", {})


def execute(served: Served, **asked: Any) -> Any:
    status, said, _ = served.call("/api/v2/execute", {"language": "python", "version": "*", **asked})
    assert status == 200, said
    return said


def program(content: str, *others: Any) -> list[Any]:
    return [{"name": "main.py", "content": content}, *others]


def test_the_sample_of_piston_has_its_fields(served: Served) -> None:
    said = execute(served, files=program("print(input())"), stdin="x", args=[], compile_timeout=10000, run_timeout=3000,
                   compile_memory_limit=-1, run_memory_limit=-1)  # fmt: skip
    assert set(said) == {"language", "version", "run"}
    run = said["run"]
    assert (run["stdout"], run["stderr"], run["output"], run["code"], run["signal"]) == ("x\n", "", "x\n", 0, None)
    runtimes = served.call("/api/v2/runtimes")[1]
    assert {"language": "python", "version": said["version"], "aliases": ["py", "python3"]} in runtimes
    assert served.call("/v1/info")[1]["languages"] == [runtime["language"] for runtime in runtimes]


def test_piston_tells_exits_signals_and_time_apart(served: Served) -> None:
    def run(content: str, **more: Any) -> tuple[Any, ...]:
        found = execute(served, files=program(content), **more)["run"]
        return found["code"], found["signal"], found["status"]

    assert run("raise SystemExit(3)") == (3, None, "RE")
    assert run("import os; os.kill(os.getpid(), 11)") == (None, "SIGSEGV", "SG")
    assert run("while True: pass", run_timeout=500) == (None, "SIGKILL", "TO")
    assert run("import time; time.sleep(9)", run_timeout=500) == (None, "SIGKILL", "TO")
    assert run("while True: print('x' * 1000)", run_timeout=30000)[2] == "OL"


def test_piston_files_may_be_encoded(served: Served) -> None:
    others = [{"name": "a", "content": "Zg==", "encoding": "base64"}, {"name": "b", "content": "ff", "encoding": "hex"}]
    said = execute(served, files=program("print(open('a').read(), open('b', 'rb').read())", *others))
    assert said["run"]["stdout"] == "f b'\\xff'\n"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"language": "racket"}, "racket-* runtime is unknown"),
        ({"version": "2.7"}, "python-2.7 runtime is unknown"),
        ({"version": None}, "version"),
        ({"files": []}, "files"),
        ({"files": [{}]}, "files.0.content"),
        ({"files": [{"content": "x"}, {"name": "../x", "content": ""}]}, "'..' part"),
        ({"files": [{"content": "zz", "encoding": "hex"}]}, "no hex"),
        ({"args": ["x"]}, "args"),
        ({"run_timeout": -5}, "run_timeout"),
        ({"run_timeout": 5e-324}, "run_timeout"),
        ({"version": "\ud800"}, "python-\ud800 runtime is unknown"),
    ],
)
def test_what_piston_cannot_run_is_refused_with_a_message(served: Served, asked: dict[str, Any], line: str) -> None:
    whole = {"language": "python", "version": "*", "files": program("print(1)"), **asked}
    status, said, _ = served.call("/api/v2/execute", whole)
    assert status in (400, 422)
    assert line in said["message"]
    assert "\n" not in said["message"]


CHECKER = """
import sys
with open(sys.argv[1]) as a, open(sys.argv[2]) as b, open(sys.argv[3]) as c:
    given, right, found = a.read(), b.read(), c.read()
print(1 if sorted(found.split()) == sorted(right.split()) else 0)
"""


def codeforces(served: Served, submission: str, checker: str = "", language: str = "cf_python3") -> Any:
    suffix = "py" if language == "cf_python3" else "cpp"
    files = [
        {"name": f"main.{suffix}", "content": submission},
        *([{"name": "checker.py", "content": checker}] if checker else []),
        {"name": "input.txt", "content": "3\n"},
        {"name": "correct_output.txt", "content": "1 2 3\n"},
        {"name": "grader_config", "content": "TIME_LIMIT=1.0\nMEMORY_LIMIT=256.0\nINPUT_MODE=stdio"},
    ]
    return execute(served, language=language, files=files, run_timeout=4000)


def as_open_r1_reads(answer: Any) -> str | bool:
    if answer["compile"]["code"] != 0:
        return "no compile"
    return bool(answer["run"]["code"] == 0 and answer["run"]["stdout"].strip() == "1")


def test_open_r1_scores_codeforces_submissions(served: Served) -> None:
    right, turned = "print(*range(1, int(input()) + 1))", "print(3, 2, 1)"
    assert as_open_r1_reads(codeforces(served, right)) is True
    assert as_open_r1_reads(codeforces(served, turned)) is False
    assert as_open_r1_reads(codeforces(served, turned, CHECKER)) is True
    assert as_open_r1_reads(codeforces(served, "print(3, 2, 2)", CHECKER)) is False
    assert as_open_r1_reads(codeforces(served, "print(")) == "no compile"
    assert as_open_r1_reads(codeforces(served, "while True: pass")) is False
    assert as_open_r1_reads(codeforces(served, "print(1)\nraise SystemExit(1)")) is False


def test_a_submission_finds_neither_the_answer_nor_the_checker(served: Served) -> None:
    theft = (
        "import os\nprint(open('correct_output.txt').read() if 'correct_output.txt' in os.listdir() else os.listdir())"
    )
    assert as_open_r1_reads(codeforces(served, theft)) is False
    forged = "open('checker.py', 'w').write('print(1)')\nprint('1')"
    assert as_open_r1_reads(codeforces(served, forged, CHECKER)) is False


def test_a_faulty_checker_is_no_failure_of_the_submission(served: Served) -> None:
    asked = {"language": "cf_python3", "version": "*", "files": [
        {"name": "main.py", "content": "print(1)"}, {"name": "checker.py", "content": "1 / 0"},
        {"name": "grader_config", "content": "TIME_LIMIT=1"},
    ]}  # fmt: skip
    status, said, _ = served.call("/api/v2/execute", asked)
    assert (status, "the checker is faulty" in said["message"]) == (503, True)


def test_open_r1_scores_cpp(served: Served) -> None:
    needs("cpp")
    source = '#include <cstdio>\nint main() { puts("1 2 3"); }'
    assert as_open_r1_reads(codeforces(served, source, language="c++17")) is True
    assert as_open_r1_reads(codeforces(served, "int main( {", language="c++17")) == "no compile"
