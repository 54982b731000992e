"""Do the shipped corpora hold under the strongest backend of this machine, and does the self-test tell when they do not?"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from ordinary_user import DROP, readable_copy, system_python

from sandbox import Outcome
from sandbox.corpora import FOLDER, STANDARD_CASES, Specimen, read_corpora, read_file
from sandbox.errors import BadInput
from sandbox.limits import Limits
from sandbox.selfchecks import CHECKS, Check
from sandbox.selftest import Report, Row, State, chosen, selftest
from sandbox.selftest_table import lines, summary
from sandbox.spec import GradeRequest, Program, StdioCase
from sandbox.speed import TimeFactors

SPECIMENS = read_corpora()
COOPERATIVE_GAPS = {"any_always_equal.program", "cpp_always_equal"}  # where test and program share a process
NAMES = [specimen.name for specimen in SPECIMENS]
ENTRY = '[[program]]\nname = "a"\nwhat = "b"\nmust = {stdio = "AC"}\nsource = "print(4)"\n'


# Seconds of CPU each. `sandbox selftest` runs them; here they are slow.
HEAVY = {
    "callback_storm", "compile_bomb.stdio", "constexpr_bomb.stdio", "endless_answer", "huge_answer", "include_device.stdio",
    "lazy_gen", "macro_bomb.stdio", "many_tags.assert", "many_tags.call", "honest_cpp.stdio", "overload",
}  # fmt: skip
LIGHT_NAMES = [name for name in [*NAMES, *(check.name for check in CHECKS)] if name not in HEAVY]


@pytest.fixture(scope="module")
def report() -> Report:
    return selftest([s for s in SPECIMENS if s.name not in HEAVY], [c for c in CHECKS if c.name not in HEAVY])


@pytest.mark.slow
def test_the_heavy_ones_are_right_as_well() -> None:
    report = selftest([s for s in SPECIMENS if s.name in HEAVY], [c for c in CHECKS if c.name in HEAVY])
    assert len(report.rows) == len(HEAVY)
    assert report.ok, report


@pytest.mark.parametrize("name", LIGHT_NAMES)
def test_the_verdict_is_the_required_one_and_nothing_is_left(report: Report, name: str) -> None:
    (row,) = [row for row in report.rows if row.name == name]
    if row.state is State.NOT_RUN:
        pytest.skip(row.note)
    assert row.state is (State.GAP if name in COOPERATIVE_GAPS else State.OK), row


def test_nothing_is_left_behind_by_all_of_it(report: Report) -> None:
    assert report.left == ()
    assert report.ok


def test_every_program_has_a_name_of_its_own_and_says_what_it_does() -> None:
    assert [name for name, count in Counter(NAMES).items() if count > 1] == []
    assert all(specimen.what for specimen in SPECIMENS)
    assert {path.parent.name for path in FOLDER.glob("*/*.toml")} == {"hostile", "friendly"}
    assert all(set(specimen.must) <= {"AC", "WA"} for specimen in SPECIMENS if specimen.corpus == "friendly")


def test_a_hostile_program_may_only_be_accepted_where_that_is_harmless() -> None:
    """In a list the first case may be right, if a later one is not; alone AC is asked of programs that attack no answer."""
    accepted = {s.name for s in SPECIMENS if s.corpus == "hostile" and all("AC" in must.split("|") for must in s.must)}
    assert accepted == {
        "vfork_daemon.stdio", "daemon_holds_stdout.stdio", "subprocess_survivor.stdio", "asyncio_survivor.stdio",
        "mem_mmap_lazy.stdio", "no_rights", "move_folders", "starve_next", "stdin_unread.stdio", "stdin_tricks.stdio",
        "shrink_pipes.stdio", "symlink_work", "weird_names", "links_across",
    }  # fmt: skip


def test_the_table_says_where_every_line_of_the_list_is_tried() -> None:
    table = tomllib.loads((FOLDER / "coverage.toml").read_text())
    known = {f"program {name.split('.')[0]}" for name in NAMES} | {f"check {check.name}" for check in CHECKS}
    tests = {
        f"test {path.name}::{name}" for path in Path(__file__).parent.glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }  # fmt: skip
    places = [(line, place) for lines in table.values() for line, text in lines.items() for place in text.split(", ")]
    assert [pair for pair in places if pair[1] not in known | tests] == []
    assert len({line for line, _ in places}) >= 110


def test_what_fools_other_graders_is_tried_in_every_kind_of_case() -> None:
    tried = {s.name for s in SPECIMENS if s.section == "K_every_kind"}
    exploits = {name.split(".")[0] for name in tried if name.startswith("any_")}
    assert exploits >= {
        "any_always_equal", "any_frame_walk", "any_forged_channel", "any_exit_0", "any_patched_unittest",
        "any_prefix_output", "any_result_at_exit",
    }  # fmt: skip
    assert tried >= {f"{name}.{kind}" for name in exploits for kind in STANDARD_CASES}


def specimen(name: str, **changes: object) -> Specimen:
    (found,) = [s for s in SPECIMENS if s.name == name]
    fields = {field: getattr(found, field) for field in Specimen.__slots__}
    return Specimen(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_wrong_verdict_and_a_known_gap_are_told_apart() -> None:
    wrong = specimen("exit0_top.stdio", must=("AC",))
    gap = specimen("exit0_top.call", must=("AC",), gaps={"jail": "an example"})
    other = specimen("os_exit0.call", must=("AC",), gaps={"plain": "of another backend"})
    harmful = specimen("kill_all.stdio", harms=("jail",))
    report = selftest([wrong, gap, other, harmful], checks=(), backend="jail", lanes=1)
    assert [row.state for row in report.rows] == [State.WRONG, State.GAP, State.WRONG, State.NOT_RUN]
    assert not report.ok
    text = "\n".join(lines(report))
    assert "exit0_top.call: an example" in text
    assert "kill_all.stdio: would harm this machine" in text
    assert summary(report).startswith(
        "selftest FAILED: jail: 0 ok, 2 wrong, 1 known gaps, 1 not run, nothing left behind"
    )


def test_a_factor_of_time_reaches_the_programs() -> None:
    burns = "import time\nwhile time.process_time() < 0.2: pass\nprint(1)"
    request = GradeRequest(
        program=Program(source=burns),
        cases=(StdioCase(stdin="", stdout="1\n"),),
        limits=Limits(cpu_seconds=0.1, wall_seconds=5.0),
    )
    slow = [specimen("exit0_top.stdio", request=request, must=("AC",))]
    assert selftest(slow, (), lanes=1).rows[0].got == "TLE"
    assert selftest(slow, (), lanes=1, times=TimeFactors(machine=20.0)).rows[0].got == "AC"


def test_each_case_of_a_list_counts() -> None:
    report = selftest([specimen("counts_tests", must=("AC", "AC"))], checks=(), lanes=1)
    assert (report.rows[0].state, report.rows[0].got) == (State.WRONG, "AC WA")


def test_a_check_that_fails_or_breaks_is_wrong() -> None:
    def breaks(backend: str) -> str:
        raise OSError("no more of it")

    checks = [
        Check(name="a", what="fails", run=lambda backend: f"{backend} is wrong"),
        Check(name="b", what="breaks", run=breaks),
        Check(name="c", what="holds", run=lambda backend: ""),
    ]
    report = selftest([], checks, backend="jail", lanes=1)
    assert [(row.state, row.note) for row in report.rows] == [
        (State.WRONG, "jail is wrong"), (State.WRONG, "OSError: no more of it"), (State.OK, ""),
    ]  # fmt: skip


def test_a_descriptor_left_behind_is_seen() -> None:
    kept: list[int] = []

    def leak(backend: str) -> str:
        kept.append(os.open("/dev/null", os.O_RDONLY))
        return ""

    report = selftest([], [Check(name="a", what="leaks", run=leak)], backend="jail", lanes=1)
    os.close(kept[0])
    assert report.left == (f"descriptor {kept[0]} /dev/null",)
    assert not report.ok


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (('must = {stdio = "AC"}', 'must = {stdio = "OK"}'), "'OK' is not a valid Outcome"),
        (('must = {stdio = "AC"}', 'must = {pipe = "AC"}'), "pipe"),
        (('what = "b"', 'why = "b"'), "'why' is no field"),
        (('source = "print(4)"', 'limits = {cpu = 1}\nsource = ""'), "has no 'cpu'"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path: Path, change: tuple[str, str], fault: str) -> None:
    path = tmp_path / "A.toml"
    path.write_text(ENTRY)
    (read,) = read_file(path)
    assert (read.name, read.must) == ("a.stdio", (Outcome.AC,))
    path.write_text(ENTRY.replace(*change))
    with pytest.raises(BadInput, match=fault):
        list(read_file(path))


def test_a_section_and_a_name_choose() -> None:
    specimens, checks = chosen("i")
    assert {s.section for s in specimens} == {"I_bad_input"}
    assert checks == list(CHECKS)
    kinds = ("stdio", "call", "assert", "referee")
    assert [s.name for s in chosen(None, "exit0_top")[0]] == [f"exit0_top.{kind}" for kind in kinds]
    assert [s.name for s in chosen("A", "exit0_top.call")[0]] == ["exit0_top.call"]
    assert [check.name for check in chosen(None, "overload")[1]] == ["overload"]
    for section, only in (("Z", None), (None, "exit0"), ("B", "exit0_top")):
        with pytest.raises(BadInput):
            chosen(section, only)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parent.parent)
    return subprocess.run(
        [sys.executable, "-m", "sandbox", "selftest", *arguments],
        env={**os.environ, "PYTHONPATH": root, "NO_COLOR": "1"}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_the_command_prints_a_table_and_json_and_refuses_in_one_line() -> None:
    done = command("--only", "exit0_top")
    assert (done.returncode, done.stderr) == (0, "")
    assert "exit0_top.call" in done.stdout
    assert "selftest ok: jail: 4 ok, 0 wrong, 0 known gaps, 0 not run, nothing left behind" in done.stdout
    record = json.loads(command("--only", "exit0_top.stdio", "--json").stdout)
    assert record["ok"] is True
    assert record["rows"][0]["got"] == "WA"
    for arguments in (("--section", "Z"), ("--only", "nothing"), ("--backend", "strong")):
        done = command(*arguments)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1


def test_a_row_has_what_the_table_shows() -> None:
    row = Row(section="A", name="b", what="c", must="AC", got="WA", state=State.WRONG, note="\x1b[2Jno")
    text = "\n".join(
        lines(Report(isolation=selftest([], (), lanes=1).isolation, rows=(row,), left=("x",), seconds=1.0))
    )
    assert "\x1b" not in text
    assert "1 things left behind" in text


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_ordinary_user_is_as_safe() -> None:
    python = system_python()
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from sandbox.selftest import chosen, selftest\n"
        "from sandbox.selftest_table import lines\n"
        "report = selftest(*chosen(), backend='jail')\n"
        "print(*lines(report), sep='\\n'); sys.exit(not report.ok)\n"
    )
    with readable_copy() as folder:
        done = subprocess.run(
            [*DROP, python, "-B", "-c", code], cwd=folder, capture_output=True, text=True, timeout=300, check=False
        )
    if "no jail" in done.stderr or "SyntaxError" in done.stderr:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-3000:] + done.stderr
