"""Every source on rows in its published schema: what it takes, that references pass and wrong programs fail, and bad rows."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sandbox import Grader
from sandbox.limits import Limits
from sandbox.spec import CallCase, Checker, FileCase, FunctionChecker, ProgramCase, StdioCase, SuiteCase
from tasks import jsonl
from tasks.errors import TaskError
from tasks.registry import load
from tasks.task import Split, Style, Task
from tasks.unpickle import packed_string, pickled_string

DATA = Path(os.environ.get("CODERL_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "apps_sample").exists(), reason=f"no benchmark data in {DATA}")


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=2) as opened:
        yield opened


def lines(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def outcomes(grader: Grader, task: Task, *programs: str) -> list[str]:
    return [str(verdict.outcome) for verdict in grader.grade([task.request(text) for text in programs])]


def packed(tests: Any) -> str:
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


APPS = {
    "problem_id": 7, "question": "Add two numbers.", "difficulty": "interview", "url": "https://example.org/7",
    "solutions": json.dumps(["print(sum(map(int, input().split())))\n"]), "starter_code": "",
    "input_output": json.dumps({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}),
}  # fmt: skip
APPS_CALL = {
    **APPS, "problem_id": 8, "difficulty": "introductory",
    "starter_code": "class Solution:\n    def half(self, n: int) -> float:\n        ",
    "solutions": json.dumps(["class Solution:\n    def half(self, n):\n        return n / 2\n"]),
    "input_output": json.dumps({"fn_name": "half", "inputs": [[1], [4]], "outputs": [0.5, 2.0]}),
}  # fmt: skip


def test_apps_rows_become_stdin_programs_and_calls_of_methods(tmp_path: Path, grader: Grader) -> None:
    first, second = load(f"apps:{lines(tmp_path / 'train.jsonl', APPS, APPS_CALL)}")
    assert (first.id, first.split, first.level) == ("apps/train/7", Split.TRAIN, 2)
    assert first.visible == (StdioCase(stdin="1 2\n", stdout="3\n"),)
    assert first.hidden == (StdioCase(stdin="3 4\n", stdout="7\n"),)
    assert second.visible == (CallCase(function="Solution.half", args=(1,), expected=0.5),)
    assert (second.entry_point, second.signature) == ("half", "def half(self, n: int) -> float:")
    assert outcomes(grader, first, first.reference, "print(3)") == ["AC", "WA"]
    assert outcomes(grader, second, second.reference, second.reference.replace("/ 2", "// 2")) == ["AC", "WA"]


def test_whole_numbers_are_compared_exactly_and_only_decimals_with_a_tolerance(tmp_path: Path, grader: Grader) -> None:
    tests = {"inputs": ["1\n"], "outputs": ["1000000007\n"]}
    decimals = {"inputs": ["1\n"], "outputs": ["0.33333333\n"]}
    rows = [{**APPS, "problem_id": i, "input_output": json.dumps(t)} for i, t in enumerate((tests, decimals))]
    whole, decimal = load(f"apps:{lines(tmp_path / 'test.jsonl', *rows)}")
    assert (whole.checker, decimal.checker) == (Checker.TOKENS, Checker.FLOATS)
    assert outcomes(grader, whole, "print(1000000007)", "print(1000000008)") == ["AC", "WA"]
    assert outcomes(grader, decimal, "print(1 / 3)", "print(0.334)") == ["AC", "WA"]


@needs_data
def test_the_released_folders_of_apps_load_and_their_solutions_pass(grader: Grader) -> None:
    tasks = load(f"apps:{DATA / 'apps_sample'}")
    assert {task.id for task in tasks} == {f"apps/train/{n}" for n in ("0001", "0111", "2287", "2404", "4184")}
    assert [str(v.outcome) for v in grader.grade([t.request(t.reference) for t in tasks])] == ["AC"] * 5
    assert {task.level for task in tasks} == {1, 2, 3}


TACO = {
    "question": "Add.", "solutions": json.dumps(["print(sum(map(int, input().split())))"]), "starter_code": "",
    "input_output": json.dumps({"inputs": ["1 2", ["3 4"]], "outputs": ["3", ["7"]]}), "difficulty": "MEDIUM_HARD",
    "raw_tags": "['math']", "name": "add", "source": "codeforces", "tags": "['Mathematics']",
    "skill_types": "['Data structures', 'Sorting']", "url": None, "Expected Auxiliary Space": None,
    "time_limit": "2.0 seconds", "date": None, "picture_num": None, "memory_limit": "256.0 megabytes",
    "Expected Time Complexity": None,
}  # fmt: skip


def test_taco_rows_have_limits_skills_and_lists_of_lines(tmp_path: Path, grader: Grader) -> None:
    (task,) = load(f"taco:{lines(tmp_path / 'train.jsonl', TACO)}")
    assert (task.limits.cpu_seconds, task.limits.memory_bytes, task.level) == (2.0, 256 << 20, 3)
    assert task.tags == ("taco", "Data structures", "Sorting")
    assert task.hidden == (StdioCase(stdin="3 4\n", stdout="7\n"),)
    assert outcomes(grader, task, task.reference) == ["AC"]


CONTESTS = {
    "name": "1_A. Sum", "description": "Add.", "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["3 4\n"], "output": ["7\n"]}, "generated_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "source": 2, "difficulty": 7, "cf_contest_id": 1, "cf_index": "A", "cf_points": 500.0, "cf_rating": 800,
    "cf_tags": ["math", ""], "is_description_translated": False, "untranslated_description": "",
    "solutions": {"language": [1, 3, 2], "solution": [
        "print 1", "print(sum(map(int, input().split())))",
        "#include <iostream>\nint main() { int a, b; std::cin >> a >> b; std::cout << a + b; }"]},
    "incorrect_solutions": {"language": [3], "solution": ["print(3)"]},
    "time_limit": {"seconds": 1, "nanos": 500_000_000}, "memory_limit_bytes": 256_000_000, "input_file": "", "output_file": "",
}  # fmt: skip


def test_code_contests_keeps_public_private_and_generated_tests_apart(tmp_path: Path, grader: Grader) -> None:
    path = lines(tmp_path / "code_contests-valid.jsonl", CONTESTS)
    (task,) = load(f"code_contests:{path}")
    assert (task.split, task.level, task.tags) == (Split.VALIDATION, 800, ("code_contests", "codeforces", "math"))
    assert [case.stdin for case in task.visible] == ["1 2\n"] and [case.stdin for case in task.hidden] == ["3 4\n"]
    assert (task.limits.cpu_seconds, task.limits.memory_bytes) == (1.5, 256_000_000)
    (more,) = load(f"code_contests:{path}?generated=yes")
    assert [case.stdin for case in more.hidden] == ["3 4\n", "5 5\n"]
    (cpp,) = load(f"code_contests:{path}?language=c%2B%2B")
    assert cpp.language == "cpp" and "iostream" in cpp.reference and cpp.id != task.id
    assert outcomes(grader, task, task.reference, CONTESTS["incorrect_solutions"]["solution"][0]) == ["AC", "WA"]
    assert outcomes(grader, cpp, cpp.reference) == ["AC"]


@needs_data
def test_the_folders_of_the_code_contests_sample_load(grader: Grader) -> None:
    tasks = load(f"code_contests:{DATA / 'code_contests_sample'}")
    assert len(tasks) == 60
    assert all(len(task.visible) == 1 and task.hidden for task in tasks)
    game = next(task for task in tasks if task.id == "code_contests/1141_a_game_23_2618")
    assert outcomes(grader, game, game.reference, "print(7)") == ["AC", "WA"]


LIVE = {
    "question_title": "Sum", "question_content": "Add.", "platform": "atcoder", "question_id": "abc301_a",
    "contest_id": "abc301", "contest_date": "2024-08-10T00:00:00", "starter_code": "", "difficulty": "easy",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "3 4\n", "output": "7\n", "testtype": "stdin"}]), "metadata": "{}",
}  # fmt: skip
LIVE_CALL = {
    **LIVE, "question_id": "3", "platform": "leetcode", "contest_date": "2024-09-01T00:00:00", "difficulty": "hard",
    "starter_code": "class Solution:\n    def add(self, xs: List[int], k: int) -> int:\n        ",
    "public_test_cases": json.dumps([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "[]\n-1", "output": "-1", "testtype": "functional"}]),
    "metadata": json.dumps({"func_name": "add"}),
}  # fmt: skip


def test_livecodebench_unpacks_private_tests_and_keeps_a_window_of_dates(tmp_path: Path, grader: Grader) -> None:
    path = lines(tmp_path / "test5.jsonl", LIVE, LIVE_CALL)
    first, second = load(f"livecodebench:{path}")
    assert first.hidden == (StdioCase(stdin="3 4\n", stdout="7\n"),)
    assert second.hidden == (CallCase(function="Solution.add", args=([], -1), expected=-1),)
    assert (first.date, second.date, first.level, second.level) == ("2024-08-10", "2024-09-01", 1, 3)
    assert outcomes(grader, first, "print(sum(map(int, input().split())))", "print(3)") == ["AC", "WA"]
    right = "class Solution:\n    def add(self, xs: List[int], k: int) -> int:\n        return sum(xs) + k\n"
    assert outcomes(grader, second, right, right.replace("+ k", "")) == ["AC", "WA"]
    (late,) = load(f"livecodebench:{path}?since=2024-09-01")
    (early,) = load(f"livecodebench:{path}?until=2024-08-10&since=2024-08-10")
    assert (late.id, early.id) == (second.id, first.id)
    with pytest.raises(TaskError, match="field \"since\": is '2024-9-1'; write the day as"):
        load(f"livecodebench:{path}?since=2024-9-1")


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["CODERL_TEST_TRAP"],)


def test_a_malicious_pickle_is_refused_and_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "trap"
    monkeypatch.setenv("CODERL_TEST_TRAP", str(trap))
    bad = base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()
    path = lines(tmp_path / "test.jsonl", LIVE, {**LIVE, "question_id": "evil", "private_test_cases": bad})
    with pytest.warns(
        UserWarning, match=r'1 row left out.*:2: field "private_test_cases": does not decode: a pickle with'
    ):
        assert [task.id for task in load(f"livecodebench:{path}")] == ["livecodebench/abc301_a"]
    assert not trap.exists()
    pickle.loads(zlib.decompress(base64.b64decode(bad)))
    assert trap.exists()  # it would have been


def test_only_a_pickle_of_one_string_is_read() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickled_string(pickle.dumps("[ä\n]", protocol)) == "[ä\n]"
    loop: list[Any] = []
    loop.append(loop)
    for value in (["a", "b"], b"bytes", 3, None, loop, Path("x"), {"a": 1}):
        with pytest.raises(ValueError, match="pickle"):
            pickled_string(pickle.dumps(value))
    for broken in (b"", b"\x80", b"X\xff\xff\xff\x7fabc.", pickle.dumps("abc")[:-1]):
        with pytest.raises(ValueError):
            pickled_string(broken)


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = base64.b64encode(zlib.compress(b"0" * 10_000_000)).decode()
    with pytest.raises(ValueError, match="more than 1000000 bytes"):
        packed_string(bomb, max_bytes=1_000_000)


BIG = {
    "task_id": "BigCodeBench/0", "complete_prompt": 'import math\ndef task_func(n):\n    """Root."""\n',
    "instruct_prompt": "Write task_func.", "canonical_solution": "    return math.isqrt(n)\n",
    "code_prompt": "import math\ndef task_func(n):\n",
    "test": "import unittest\nclass TestCases(unittest.TestCase):\n    def test_1(self):\n"
    "        self.assertEqual(task_func(10), 3)\n",
    "entry_point": "task_func", "doc_struct": "{}", "libs": "['math']",
}  # fmt: skip
BIG_MOCK = {
    **BIG, "task_id": "BigCodeBench/1", "complete_prompt": 'import os\ndef task_func(p):\n    """List."""\n',
    "code_prompt": "import os\ndef task_func(p):\n", "canonical_solution": "    return sorted(os.listdir(p))\n",
    "test": "import unittest\nfrom unittest.mock import patch\nclass TestCases(unittest.TestCase):\n"
    "    @patch('os.listdir', return_value=['b', 'a'])\n    def test_1(self, mocked):\n"
    "        self.assertEqual(task_func('x'), ['a', 'b'])\n        mocked.assert_called_once_with('x')\n", "libs": "['os']",
}  # fmt: skip


def test_bigcodebench_suites_run_apart_unless_they_patch(tmp_path: Path, grader: Grader) -> None:
    path = lines(tmp_path / "b.jsonl", BIG, BIG_MOCK, {**BIG, "task_id": "BigCodeBench/2", "libs": "['pandas', 're']"})
    plain, mocked, pandas = load(f"bigcodebench:{path}")
    assert isinstance(plain.hidden[0], SuiteCase) and isinstance(mocked.hidden[0], ProgramCase)
    assert pandas.tags == ("bigcodebench", "lib:pandas")
    assert len(load(f"bigcodebench:{path}?libs=standard")) == 2
    assert outcomes(grader, plain, plain.reference, plain.prompt + "    return 4\n", plain.prompt) == ["AC", "WA", "WA"]
    wrong = mocked.prompt + "    return os.listdir(p)\n"
    assert outcomes(grader, mocked, mocked.reference, wrong, mocked.reference + "\nraise SystemExit(0)\n") == [
        "AC",
        "WA",
        "RE",
    ]
    instruct = load(f"bigcodebench:{path}?variant=instruct")[0]
    assert (instruct.style, instruct.prompt) == (Style.INSTRUCTION, "Write task_func.")
    assert outcomes(grader, instruct, instruct.reference) == ["AC"]


FORCES = {
    "id": "1/A", "aliases": None, "contest_id": "1", "contest_name": "Round 1", "contest_type": "CF",
    "contest_start": 1_266_580_800, "contest_start_year": 2010, "index": "A", "time_limit": 1.0, "memory_limit": 64.0,
    "title": "Divisor", "description": "Print a proper divisor of n above 1.", "input_format": "n", "output_format": "d",
    "interaction_format": None, "note": None, "examples": [{"input": "4\n", "output": "2\n"}], "editorial": None,
    "rating": 1000, "tags": ["math"], "testset_size": 2, "official_tests": [{"input": "12\n", "output": "2\n"}],
    "official_tests_complete": True, "input_mode": "stdio", "executable": True, "generated_tests": 0,
    "generated_checker": "import sys\ndef main():\n    n = int(open(sys.argv[1]).read())\n"
    "    text = open(sys.argv[3]).read().split()\n    if len(text) != 1:\n        print(0)\n        return\n"
    "    d = int(text[0])\n    print(1 if 1 < d < n and n % d == 0 else 0)\n"
    "if __name__ == '__main__':\n    main()\n",
}  # fmt: skip


def test_a_codeforces_checker_accepts_every_right_answer_and_files_are_read_and_written(
    tmp_path: Path, grader: Grader
) -> None:
    on_files = {**FORCES, "id": "1/B", "input_mode": "file", "official_tests_complete": False}
    first, second = load(f"codeforces:{lines(tmp_path / 'test-00000.jsonl', FORCES, on_files)}")
    assert isinstance(first.checker, FunctionChecker) and first.limits.cpu_seconds == 1.0
    assert (first.level, first.date, first.split) == (1000, "2010-02-19", Split.TEST)
    assert (first.tags, second.tags) == (("codeforces", "math"), ("codeforces", "incomplete", "math"))
    largest = "n = int(input())\nprint(max(d for d in range(2, n) if n % d == 0))"
    assert outcomes(grader, first, largest, "print(5)", "print(1, 2)", "print(input())") == ["AC", "WA", "WA", "WA"]
    assert isinstance(second.hidden[0], FileCase)
    assert outcomes(grader, second, "open('output.txt', 'w').write('2')", "print(2)") == ["AC", "WA"]
    (cpp,) = load(f"codeforces:{tmp_path / 'test-00000.jsonl'}?language=cpp&limit=1")
    assert outcomes(grader, cpp, '#include <cstdio>\nint main() { puts("2"); }') == ["AC"]


def test_a_codeforces_dialogue_without_a_judge_is_a_bad_row(tmp_path: Path) -> None:
    path = lines(tmp_path / "t.jsonl", {**FORCES, "interaction_format": "Guess."})
    with pytest.raises(TaskError, match=r't.jsonl:1: field "interaction_format": asks for a dialogue'):
        load(f"codeforces:{path}")


LEET = {
    "task_id": "two-sum", "question_id": 1, "difficulty": "Easy", "tags": ["Array"], "problem_description": "Two sum.",
    "starter_code": "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        ",
    "estimated_date": "2015-08-07", "prompt": "from typing import *\nfrom collections import *\n",
    "completion": "class Solution:\n    def twoSum(self, nums: List[int], target: int) -> List[int]:\n        seen = {}\n"
    "        for i, x in enumerate(nums):\n            if target - x in seen:\n                return [seen[target - x], i]\n"
    "            seen[x] = i\n", "entry_point": "Solution().twoSum",
    "test": "def check(candidate):\n    assert candidate(nums = [2,7],target = 9) == [0, 1]\n"
    "    assert candidate(nums = [3,2,4],target = 6) == [1, 2]\n    assert candidate(nums = [3,3],target = 6) == [0, 1]\n",
    "input_output": [{"input": "nums = [2,7], target = 9", "output": "[0, 1]"}], "query": "Complete it.", "response": "..",
}  # fmt: skip
LEET_LIST = {
    **LEET, "task_id": "tail", "entry_point": "Solution().tail",
    "prompt": "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val, self.next = val, next\n"
    "def list_node(values):\n    head = None\n    for v in reversed(values):\n        head = ListNode(v, head)\n"
    "    return head\ndef is_same_list(a, b):\n    while a and b and a.val == b.val:\n        a, b = a.next, b.next\n"
    "    return not a and not b\n",
    "completion": "class Solution:\n    def tail(self, head):\n        return head.next\n",
    "test": "def check(candidate):\n    assert is_same_list(candidate(head = list_node([1, 2, 3])), list_node([2, 3]))\n",
}  # fmt: skip


def test_leetcode_asserts_become_calls_and_linked_lists_run_whole(tmp_path: Path, grader: Grader) -> None:
    first, second = load(f"leetcode:{lines(tmp_path / 'train.jsonl', LEET, LEET_LIST)}")
    assert first.visible[1] == CallCase(
        function="Solution.twoSum", kwargs={"nums": [3, 2, 4], "target": 6}, expected=[1, 2]
    )
    assert (len(first.visible), len(first.hidden), first.date, first.level) == (2, 1, "2015-08-07", 1)
    wrong = "class Solution:\n    def twoSum(self, nums: List[int], target: int):\n        return [0, 1]\n"
    assert outcomes(grader, first, first.reference, wrong) == ["AC", "WA"]
    assert isinstance(second.hidden[0], ProgramCase) and not second.visible
    program = "class Solution:\n    def tail(self, head):\n        return {}\n"
    assert outcomes(grader, second, program.format("head.next"), program.format("head")) == ["AC", "WA"]
    old = {key: LEET[key] for key in ("task_id", "prompt", "entry_point", "test", "completion")}
    meta = {"question_id": 1, "difficulty": "Hard", "lang_code": LEET["starter_code"], "query": "Old.", "split": "test"}
    (task,) = load(f"leetcode:{lines(tmp_path / 'old.jsonl', {**old, 'meta': meta})}")
    assert (task.prompt, task.level, task.split) == ("Old.", 3, Split.TEST)


def verl_row(truth: Any, index: int, **changes: Any) -> dict[str, Any]:
    return {
        "data_source": "codecontests", "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": f"Q{index}"}],
        "ability": "code", "reward_model": {"style": "rule", "ground_truth": json.dumps(truth)},
        "extra_info": {"split": "train", "index": index}, **changes,
    }  # fmt: skip


def test_verl_parquet_gives_stdin_calls_asserts_and_pytest_files(tmp_path: Path, grader: Grader) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    arrow = pytest.importorskip("pyarrow")
    rows = [
        verl_row({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]}, 0),
        verl_row({"fn_name": "twice", "inputs": [[1], [2]], "outputs": [[2], [4]]}, 1),
        verl_row({"functional": "assert twice(3) == 6"}, 2),
        verl_row({"pytest": "from solution import twice\n\ndef test_twice():\n    assert twice(4) == 8\n"}, 3),
        verl_row([{"input": "1 2\n", "output": "3\n", "testtype": "stdin", "metadata": {"func_name": None}}], 4),
        verl_row({}, 5, ability="math"),
        verl_row("no tests", 6),
    ]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "train.parquet")
    with pytest.warns(
        UserWarning, match=r'1 row left out, first: .*train.parquet\[6\]: field "reward_model.ground_truth"'
    ):
        tasks = load(f"verl:{tmp_path / 'train.parquet'}")
    assert [task.prompt for task in tasks] == ["Q0", "Q1", "Q2", "Q3", "Q4"]
    assert tasks[1].visible == (CallCase(function="twice", args=(1,), expected=2),)
    add, twice = "print(sum(map(int, input().split())))", "def twice(n):\n    return n * 2\n"
    for task, program in zip(tasks, (add, twice, twice, twice, add), strict=True):
        assert outcomes(grader, task, program, "def twice(n):\n    return 0\n") == ["AC", "WA"], task.id


ROWS = {
    "apps": (APPS, APPS_CALL), "taco": (TACO,), "code_contests": (CONTESTS,), "livecodebench": (LIVE, LIVE_CALL),
    "bigcodebench": (BIG, BIG_MOCK), "codeforces": (FORCES, {**FORCES, "id": "1/B", "input_mode": "file"}),
    "leetcode": (LEET, LEET_LIST), "verl": (verl_row({"functional": "assert f(1)"}, 0),),
}  # fmt: skip


@pytest.mark.parametrize("source", sorted(ROWS))
def test_the_tasks_of_each_source_round_trip_through_our_file_format(tmp_path: Path, source: str) -> None:
    tasks = load(f"{source}:{lines(tmp_path / 'rows.jsonl', *ROWS[source])}")
    jsonl.write(tmp_path / "ours.jsonl", tasks)
    assert jsonl.read(tmp_path / "ours.jsonl") == tasks


def test_the_tasks_of_all_sources_round_trip_through_parquet_and_datasets(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    from tasks import arrow

    tasks = [task for name in ROWS for task in load(f"{name}:{lines(tmp_path / f'{name}.jsonl', *ROWS[name])}")]
    arrow.write_parquet(tmp_path / "ours.parquet", tasks)
    arrow.write_dataset(tmp_path / "ours", tasks)
    assert load(f"dataset:{tmp_path / 'ours.parquet'}") == tasks
    assert load(f"dataset:{tmp_path / 'ours'}") == tasks


@pytest.mark.parametrize("source", sorted(ROWS))
def test_a_missing_field_names_file_row_and_field_and_does_not_stop_the_load(tmp_path: Path, source: str) -> None:
    good = ROWS[source][0]
    needed = {
        "apps": "question", "taco": "question", "code_contests": "description", "livecodebench": "question_content",
        "bigcodebench": "test", "codeforces": "description", "leetcode": "test", "verl": "reward_model",
    }[source]  # fmt: skip
    bad = {key: value for key, value in good.items() if key != needed}
    path = lines(tmp_path / "rows.jsonl", bad, good)
    with pytest.warns(
        UserWarning, match=rf'rows.jsonl: 1 row left out, first: .*rows.jsonl:1: field "{needed}": is missing'
    ):
        assert len(load(f"{source}:{path}")) == 1
    with pytest.raises(TaskError, match=rf'rows.jsonl:1: field "{needed}": is missing'):
        load(f"{source}:{path}?on_error=stop")


@pytest.mark.parametrize(
    ("source", "change", "fault"),
    [
        ("apps", {"input_output": "{"}, 'field "input_output": is not JSON'),
        ("apps", {"input_output": json.dumps({"inputs": ["1"], "outputs": []})}, "has 1 inputs but 0 outputs"),
        ("apps", {"input_output": "{}"}, "holds no test"),
        ("taco", {"time_limit": "900 seconds"}, 'field "time_limit": is 900 seconds; give more than 0, at most 60'),
        ("code_contests", {"private_tests": {"input": ["1"], "output": []}}, "has 1 inputs but 0 outputs"),
        ("code_contests", {"input_file": "in.txt"}, 'field "input_file": is not standard input'),
        (
            "livecodebench",
            {"private_test_cases": "AAAA"},
            'field "private_test_cases": does not decode: not base64 of zlib',
        ),
        ("livecodebench", {"private_test_cases": packed([3])}, r'field "private_test_cases\[0\]": is not an object'),
        (
            "livecodebench",
            {"private_test_cases": packed({})},
            'field "private_test_cases": is {}; write it as an array',
        ),
        ("livecodebench", {"contest_date": "soon"}, "field \"contest_date\": is 'soon'; begin it with the day"),
        ("codeforces", {"input_mode": "pipe"}, "field \"input_mode\": is 'pipe'"),
        (
            "codeforces",
            {"official_tests": [{"input": 3}]},
            r'official_tests\[0\]: field "input": is 3; write it as a string',
        ),
        ("leetcode", {"test": "def check(:"}, 'field "test": is not Python'),
        ("leetcode", {"test": "pass"}, 'field "test": does not define check'),
        ("verl", {"prompt": []}, 'field "prompt": has no message of the user'),
        ("bigcodebench", {"libs": "numpy"}, "field \"libs\": is 'numpy'"),
    ],
)
def test_bad_tests_are_named(tmp_path: Path, source: str, change: dict[str, Any], fault: str) -> None:
    path = lines(tmp_path / "rows.jsonl", {**ROWS[source][0], **change})
    with pytest.raises(TaskError, match=rf"rows.jsonl:1: .*{fault}"):
        load(f"{source}:{path}")


@pytest.mark.slow  # 20 s: the limit of trusted test code, twice
def test_a_test_that_loops_is_bounded_and_the_tasks_fault(tmp_path: Path, grader: Grader) -> None:
    path = lines(tmp_path / "rows.jsonl", verl_row({"functional": "f(1)\nwhile True: pass"}, 0))
    (task,) = load(f"verl:{path}")
    brief = replace(task, limits=Limits(cpu_seconds=0.3, wall_seconds=2.0))
    (verdict,) = grader.grade([brief.request("def f(n):\n    return n\n")])
    assert verdict.outcome in ("JE", "TLE", "WTLE") and verdict.status != "PASS"


def test_the_hub_is_asked_for_the_published_names_and_files(monkeypatch: pytest.MonkeyPatch, grader: Grader) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple[Any, ...]] = []
    answers = {
        "deepmind/code_contests": {"valid": [CONTESTS]}, "open-r1/codeforces": {"train": [FORCES]},
        "bigcode/bigcodebench": {"v0.1.3": [BIG], "v0.1.4": [BIG]}, "newfacade/LeetCodeDataset": {"test": [LEET]},
        "arrow": {"train": [TACO]}, "json": {"test1": [LIVE], "train": [APPS]},
    }  # fmt: skip

    def load_dataset(name: str, config: str | None = None, data_files: dict[str, str] | None = None) -> dict[str, Any]:
        asked.append((name, config, data_files))
        return {split: datasets.Dataset.from_list(rows) for split, rows in answers[name].items()}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    answers["json"] = {"test1": [LIVE]}
    assert [task.id for task in load("livecodebench?release=v2")] == ["livecodebench/abc301_a"]
    answers["json"] = {"train": [APPS]}
    assert [task.id for task in load("apps")] == ["apps/train/7"]
    assert load("taco")[0].split is Split.TRAIN
    assert load("code_contests")[0].split is Split.VALIDATION
    assert load("codeforces")[0].split is Split.TRAIN
    assert len(load("bigcodebench")) == 1
    assert load("leetcode")[0].split is Split.TEST
    live = {
        f"test{n}": f"hf://datasets/livecodebench/code_generation_lite/test{'' if n == 1 else n}.jsonl" for n in (1, 2)
    }
    apps = {split: f"hf://datasets/codeparrot/apps/{split}.jsonl" for split in ("train", "test")}
    taco = {split: f"hf://datasets/BAAI/TACO/{split}/*.arrow" for split in ("train", "test")}
    assert asked == [
        ("json", None, live), ("json", None, apps), ("arrow", None, taco), ("deepmind/code_contests", None, None),
        ("open-r1/codeforces", "verifiable", None), ("bigcode/bigcodebench", None, None),
        ("newfacade/LeetCodeDataset", None, None),
    ]  # fmt: skip


def test_a_folder_is_read_file_by_file_with_the_split_of_each(tmp_path: Path) -> None:
    lines(tmp_path / "train-00000-of-00002.jsonl", APPS)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "0000.jsonl.gz").write_bytes(gzip.compress(json.dumps(APPS).encode()))
    tasks = load(f"apps:{tmp_path}")
    assert {(task.id, task.split) for task in tasks} == {("apps/train/7", Split.TRAIN), ("apps/test/7", Split.TEST)}
    with pytest.raises(TaskError, match="holds no data file"):
        load(f"taco:{(tmp_path / 'empty').mkdir() or tmp_path / 'empty'}")


def test_an_unknown_value_of_an_option_is_named() -> None:
    for spec, fault in (
        ("code_contests:x?language=cob", "field \"language\": is 'cob'"),
        ("code_contests:x?generated=maybe", "field \"generated\": is 'maybe'"),
        ("livecodebench:x?release=v5", 'field "release": is of the hub'),
        ("livecodebench?release=v99", "field \"release\": is 'v99'"),
        ("bigcodebench:x?libs=all", "field \"libs\": is 'all'"),
        ("codeforces:x?language=klingon", "field \"language\": is 'klingon'"),
        ("verl", "names no data"),
        ("apps:/no/such/file.jsonl", "there is no such file"),
        ("jsonl:x?on_error=stp", 'field "on_error": is \'stp\'; did you mean "stop"'),
    ):
        with pytest.raises(TaskError, match=fault):
            load(spec)
