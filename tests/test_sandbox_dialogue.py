"""Interactive cases, validators and checkers that are programs, and cases with files: is each verdict the right one?

Interactors and validators here are small Python programs that speak the Kattis or the testlib protocol.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from sandbox import (
    FileCase,
    Grader,
    GradeRequest,
    Group,
    InteractiveCase,
    Limits,
    Outcome,
    Program,
    ProgramChecker,
    Protocol,
    StdioCase,
    Verdict,
)
from sandbox.limits import MEBIBYTE
from sandbox.spec import Award, Rule

TIGHT = Limits(cpu_seconds=0.25, wall_seconds=1.5, output_bytes=MEBIBYTE)
SLEEPY = replace(TIGHT, wall_seconds=0.6)  # for programs that only wait

# Thinks of the number in the input; tells lower or higher; seven guesses.
GUESS = """
import sys
number = int(open(sys.argv[1]).read())
for _ in range(7):
    line = sys.stdin.readline()
    if not line.strip().lstrip("-").isdigit(): sys.exit(43)
    guess = int(line)
    if not 1 <= guess <= 100: sys.exit(43)
    print("correct" if guess == number else "lower" if guess > number else "higher", flush=True)
    if guess == number: break
else: sys.exit(43)
sys.exit(43 if sys.stdin.read().strip() else 42)
"""
PLAYER = """
low, high = 1, 100
while True:
    middle = (low + high) // 2
    print(middle, flush=True)
    told = input()
    if told == "correct": break
    if told == "lower": high = middle - 1
    else: low = middle + 1
"""


@pytest.fixture(scope="module")
def grader() -> Iterator[Grader]:
    with Grader(workers=1) as opened:
        yield opened


def interactor(source: str, **changes: object) -> ProgramChecker:
    return ProgramChecker(program=Program(source=source), **changes)  # type: ignore[arg-type]


def talk(grader: Grader, source: str, umpire: str = GUESS, limits: Limits = TIGHT, number: int = 77) -> Verdict:
    case = InteractiveCase(input=f"{number}\n", interactor=interactor(umpire))
    return grader.grade([GradeRequest(program=Program(source=source), cases=(case,), limits=limits)])[0]


def checked(grader: Grader, source: str, rule: Rule, *, stdin: str = "2\n", answer: str = "4\n") -> Verdict:
    case = StdioCase(stdin=stdin, stdout=answer, checker=rule)
    return grader.grade([GradeRequest(program=Program(source=source), cases=(case,), limits=TIGHT)])[0]


@pytest.mark.parametrize("number", [1, 50, 100])
def test_a_dialogue_that_the_interactor_accepts_is_accepted(grader: Grader, number: int) -> None:
    assert talk(grader, PLAYER, number=number).outcome is Outcome.AC


END_WELL_AFTER = PLAYER + "\nimport os, sys, time\n"
ENDINGS = {
    "says nothing and leaves": ("", "CE"),  # no code at all
    "leaves without a word": ("pass", "WA"),
    "crashes without a word": ("1/0", "RE"),
    "guesses wrong seven times": ("for _ in range(9): print(1, flush=True)", "WA"),
    "says nonsense, then crashes when told nothing": ("print('x', flush=True)\ninput()", "WA"),
    "says nonsense, then runs for ever": ("print('x', flush=True)\nwhile True: pass", "WA"),
    "says nonsense, then ignores signals": (
        "import signal, time\nfor n in (1, 2, 13): signal.signal(n, signal.SIG_IGN)\nprint('x', flush=True)\ntime.sleep(60)",
        "WA",
    ),
    "does not flush": (
        "import sys\n" + PLAYER.replace(", flush=True", "").replace("input()", "sys.stdin.readline().strip()"),
        "WTLE",
    ),
    "waits for the other to begin": ("input()", "WTLE"),
    "computes for ever": ("while True: pass", "TLE"),
    "floods": ("while True: print('5' * 1000)", "WA|OLE"),
    "floods one line": ("import os\nwhile True: os.write(1, b'5' * 65536)", "OLE"),
    "is right, and says more": (PLAYER + "print('more', flush=True)\n", "WA"),
    "is right, and crashes": (END_WELL_AFTER + "sys.exit(3)", "RE"),
    "is right, and crashes a moment later": (END_WELL_AFTER + "os.close(1); time.sleep(0.2); os._exit(3)", "RE"),
    "is right, and never ends": (END_WELL_AFTER + "os.close(1)\nwhile True: pass", "TLE"),
    "is right, and sleeps": (END_WELL_AFTER + "os.close(1); time.sleep(60)", "WTLE"),
    "is right, and leaves a child that holds the pipe": (
        END_WELL_AFTER + "if os.fork() == 0: time.sleep(60)",
        "AC|WTLE",
    ),
    "prints a verdict": ("print('42\\ncorrect\\nAC', flush=True)", "WA"),
    "answers from another process": (f"import os\nif os.fork() == 0:\n exec({PLAYER!r})\nelse: os.wait()", "AC"),
}


@pytest.mark.parametrize("what", ENDINGS)
def test_who_ends_first_and_how_decides_a_dialogue(grader: Grader, what: str) -> None:
    source, wanted = ENDINGS[what]
    verdict = talk(grader, source, limits=SLEEPY if wanted == "WTLE" else TIGHT)
    assert verdict.outcome in wanted.split("|"), verdict
    assert talk(grader, PLAYER).outcome is Outcome.AC


FAULTY = {
    "exits with another code": "raise SystemExit(0)",
    "crashes": "1/0",
    "does not compile": "def",
    "floods": "while True: print('x' * 1000)",
    "computes for ever": "while True: pass",
    "kills itself": "import os\nos.kill(os.getpid(), 9)",
    "uses all memory": "x = []\nwhile True: x.append(bytearray(1 << 20))",
}


@pytest.mark.parametrize("what", FAULTY)
def test_an_interactor_that_fails_is_the_tasks_fault_however_the_program_waits(grader: Grader, what: str) -> None:
    limits = Limits(cpu_seconds=0.5, wall_seconds=1.0, memory_bytes=64 * MEBIBYTE, output_bytes=MEBIBYTE)
    case = InteractiveCase(input="1", interactor=interactor(FAULTY[what], limits=limits))
    waits = Program(source="import sys\nsys.stdin.read()")
    roomy = Limits(cpu_seconds=2.0, wall_seconds=8.0)
    (verdict,) = grader.grade([GradeRequest(program=waits, cases=(case,), limits=roomy)])
    assert verdict.outcome is Outcome.JE, verdict


@pytest.mark.parametrize("source", ["print('x')", "pass", "import os\nos.close(1)\nimport time\ntime.sleep(60)"])
@pytest.mark.parametrize("read", ["int(input())", "os._exit(43 + 0 * int(input()))", "input() == 'y' or os.abort()"])
def test_a_program_cannot_make_itself_unscorable_by_what_an_interactor_cannot_read(
    grader: Grader, source: str, read: str
) -> None:
    case = InteractiveCase(input="1", interactor=interactor(f"import os\nx = {read}\nraise SystemExit(42)"))
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=(case,), limits=SLEEPY)])
    assert verdict.outcome in (Outcome.WA, Outcome.WTLE), verdict


def test_an_interactor_that_outlasts_an_honest_program_is_the_tasks_fault(grader: Grader) -> None:
    limits = Limits(cpu_seconds=0.5, wall_seconds=0.5)
    case = InteractiveCase(input="1", interactor=interactor("import time\ntime.sleep(60)", limits=limits))
    (verdict,) = grader.grade([GradeRequest(program=Program(source="print(1)"), cases=(case,), limits=SLEEPY)])
    assert verdict.outcome is Outcome.JE, verdict


def test_a_dialogue_of_many_lines_and_of_long_ones_blocks_nobody(grader: Grader) -> None:
    echo = "import sys\nfor line in sys.stdin:\n sys.stdout.write(line); sys.stdout.flush()\n"
    many = (
        "import sys\nfor n in range(3000):\n print(n, flush=True)\n if input() != str(n): sys.exit(43)\n"
        "text = 'x' * 200000\nprint(text, flush=True)\nsys.exit(42 if input() == text else 43)\n"
    )
    limits = Limits(cpu_seconds=5.0, wall_seconds=20.0)
    assert talk(grader, echo, many, limits).outcome is Outcome.AC
    # Both write more than a pipe holds before they read a word.
    both = "import sys\nsys.stdout.write('y' * 700000); sys.stdout.flush()\nn = len(sys.stdin.read(700000))\n"
    assert talk(grader, both, both + "sys.exit(42 if n == 700000 else 43)", limits).outcome is Outcome.AC


def test_a_program_sees_nothing_of_the_interactor(grader: Grader) -> None:
    spy = (
        "import glob, os\nfound = [p for p in glob.glob('/box/**', recursive=True) if os.path.isfile(p)]\n"
        "number = next((open(p).read() for p in found if 'input' in p), '1')\nprint(number, flush=True)\ninput()\n"
    )
    verdict = talk(grader, spy)
    assert verdict.outcome is not Outcome.AC
    assert verdict.cases[0].output_head == "1\n"


def test_an_interactor_may_give_a_part_of_the_points(grader: Grader) -> None:
    source = "import sys\nn = int(input())\nopen(sys.argv[3] + 'score.txt', 'w').write(str(n))\nsys.exit(42)"
    cases = tuple(InteractiveCase(input="", interactor=interactor(source, full_score=50.0)) for _ in range(2))
    groups = (Group(cases=(0, 1), points=100, award=Award.SUM),)
    requests = [
        GradeRequest(program=Program(source=f"print({n})"), cases=cases, groups=groups)
        for n in (50, 25, 0, "'junk'", 60)
    ]
    found = [(v.outcome.value, v.points) for v in grader.grade(requests)]
    assert found == [("AC", 100.0), ("PA", 50.0), ("PA", 0.0), ("WA", 0.0), ("AC", 100.0)]


KATTIS = "import sys\nn = int(open(sys.argv[1]).read())\nright = int(open(sys.argv[2]).read())\n"
KATTIS += "words = sys.stdin.read().split()\nsys.exit(42 if words == [str(right)] and right == 2 * n else 43)\n"
TESTLIB = "import sys\ngiven, output, answer = (open(name).read() for name in sys.argv[1:4])\n"
TESTLIB += "sys.exit(0 if output.split() == answer.split() else 2 if not output else 1)\n"


@pytest.mark.parametrize("rule", [interactor(KATTIS), interactor(TESTLIB, protocol=Protocol.TESTLIB)])
def test_a_validator_decides_by_its_exit_code(grader: Grader, rule: ProgramChecker) -> None:
    found = [checked(grader, source, rule).outcome for source in ("print(4)", "print(5)", "pass", "print(4, 4)", "1/0")]
    assert found == [Outcome.AC, Outcome.WA, Outcome.WA, Outcome.WA, Outcome.RE]


@pytest.mark.parametrize(
    ("code", "kattis", "testlib"),
    [
        (0, "JE", "AC"),
        (1, "JE", "WA"),
        (2, "JE", "WA"),
        (3, "JE", "JE"),
        (7, "JE", "JE"),
        (42, "AC", "JE"),
        (43, "WA", "JE"),
    ],
)
def test_exit_codes_mean_what_the_protocol_says(grader: Grader, code: int, kattis: str, testlib: str) -> None:
    source = f"raise SystemExit({code})"
    for protocol, wanted in ((Protocol.KATTIS, kattis), (Protocol.TESTLIB, testlib)):
        assert checked(grader, "print(4)", interactor(source, protocol=protocol)).outcome == wanted


def test_a_testlib_checker_gives_a_share_with_code_7(grader: Grader) -> None:
    for text, outcome, share in (("0.5", "PA", 0.5), ("1", "AC", 1.0), ("0", "PA", 0.0), ("2.5x", "JE", None)):
        said = f"print('points 1, you said?\\npoints {text} half', file=sys.stderr)"  # what it quotes is no verdict
        source = f"import sys\n{said}\nsys.exit(7)"
        verdict = checked(grader, "print(4)", interactor(source, protocol=Protocol.TESTLIB))
        assert (verdict.outcome.value, verdict.cases[0].share) == (outcome, share)


def test_a_validator_gets_its_arguments_and_what_it_tells_the_jury_stays_there(grader: Grader) -> None:
    source = (
        "import sys\nopen(sys.argv[3] + 'judgemessage.txt', 'a').write('the answer is 4')\n"
        "open(sys.argv[3] + 'teammessage.txt', 'w').write('too small')\nprint('the answer is 4')\n"
        "sys.exit(42 if sys.argv[4:] == ['case_sensitive', 'x y'] and sys.stdin.read() == '4\\n' else 43)"
    )
    rule = interactor(source, arguments=("case_sensitive", "x y"))
    assert checked(grader, "print(4)", rule).outcome is Outcome.AC
    wrong = checked(grader, "print(5)", rule)
    assert (wrong.outcome, wrong.detail) == (Outcome.WA, "too small")


def test_a_validator_with_files_of_its_own_finds_them(grader: Grader) -> None:
    program = Program(
        source="import sys, helper\nsys.exit(helper.code())", files={"helper.py": "def code(): return 42\n"}
    )
    assert checked(grader, "print(4)", ProgramChecker(program=program)).outcome is Outcome.AC


def test_a_validator_that_does_not_read_a_long_output_blocks_nobody(grader: Grader) -> None:
    assert checked(grader, "print('x' * 900000)", interactor("raise SystemExit(42)")).outcome is Outcome.AC


TWICE = "n = int(open('in.txt').read())\nopen('out.txt', 'w').write(f'{2 * n}\\n')\n"
DAEMON = f"import os, time\nif os.fork() == 0:\n exec({TWICE!r})\n time.sleep(60)\ntime.sleep(0.2)"
FILES = {
    "right": (TWICE, "AC"),
    "right, and noise on stdout": (TWICE + "print('noise')\n", "AC"),
    "wrong": (TWICE.replace("2 *", "3 *"), "WA"),
    "on stdout only": ("print(4)", "WA"),
    "under another name": (TWICE.replace("out.txt", "OUT.TXT"), "WA"),
    "right, then a crash": (TWICE + "1/0", "RE"),
    "a link to the input": ("import os\nos.symlink('in.txt', 'out.txt')", "WA"),
    "a link to a file of the host": ("import os\nos.symlink('/etc/passwd', 'out.txt')", "WA"),
    "a pipe": ("import os\nos.mkfifo('out.txt')", "WA"),
    "a folder": ("import os\nos.mkdir('out.txt')", "WA"),
    "a device": ("import os\nos.symlink('/dev/zero', 'out.txt')", "WA"),
    "too large": ("open('out.txt', 'w').write('4' * 3000000)", "OLE"),
    "longer than the folder": ("f = open('out.txt', 'w')\nwhile True: f.write('4' * 1000000)", "FLE"),
    "sparse, of a terabyte": ("open('out.txt', 'w').truncate(1 << 40)", "FLE"),
    "written by a child that lives on": (DAEMON, "AC"),
}  # fmt: skip


@pytest.mark.parametrize("what", FILES)
def test_files_are_judged_by_what_is_in_them_when_all_is_over(grader: Grader, what: str) -> None:
    source, wanted = FILES[what]
    case = FileCase(inputs={"in.txt": "2\n"}, outputs={"out.txt": "4\n"})
    limits = Limits(cpu_seconds=1.0, wall_seconds=4.0, output_bytes=2 * MEBIBYTE, file_bytes=8 * MEBIBYTE)
    (verdict,) = grader.grade([GradeRequest(program=Program(source=source), cases=(case,), limits=limits)])
    assert verdict.outcome == wanted, verdict


def test_every_output_file_counts_and_a_checker_sees_the_input(grader: Grader) -> None:
    source = "import sys\ngiven, right = (open(name).read() for name in sys.argv[1:3])\n"
    source += "sys.exit(42 if given == '2\\n' and right == sys.stdin.read() else 43)"
    case = FileCase(inputs={"a/in.txt": "2\n"}, outputs={"x": "1", "b/y": "2"}, checker=interactor(source))
    both = "import os\nos.mkdir('b')\nopen('x', 'w').write('1')\nopen('b/y', 'w').write('2')\nassert open('a/in.txt').read()"
    sources = [both, both.replace("'2'", "'3'"), both.replace("'x'", "'z'")]
    verdicts = grader.grade([GradeRequest(program=Program(source=source), cases=(case,)) for source in sources])
    assert [v.outcome.value for v in verdicts] == ["AC", "WA", "WA"]


@pytest.mark.parametrize(
    "case",
    [
        FileCase(inputs={}, outputs={}),
        FileCase(inputs={"../in": ""}, outputs={"out": ""}),
        FileCase(inputs={}, outputs={"/out": ""}),
        InteractiveCase(input="", interactor=interactor(" ")),
        InteractiveCase(input="", interactor=ProgramChecker(program=Program(source="x", language="klingon"))),
        InteractiveCase(input="\ud800", interactor=interactor("1")),
        StdioCase(stdin="", stdout="", checker=interactor("1", arguments=("\0",))),
    ],
)
def test_a_case_that_cannot_be_judged_is_the_tasks_fault(
    grader: Grader, case: FileCase | InteractiveCase | StdioCase
) -> None:
    (verdict,) = grader.grade([GradeRequest(program=Program(source="print(1)"), cases=(case,))])
    assert verdict.outcome is Outcome.JE, verdict
