"""Does the grader accept every published reference solution? Grades them all, whole data sets, and prints a table.

    python benchmarks/references.py DATA [--only WORD] [--workers N]

DATA is a folder with the published data, one folder a set, as in `SETS`; what is not there is listed as such. A reference that
is not accepted is named with its verdict; if its own data is at fault, `BROKEN` says how. Of the problem packages every
submission must get the verdict that its folder demands. Exit code 1 if anything else is not accepted.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sandbox import Grader, Outcome, SandboxError
from sandbox.jury import judge, submissions, time_limit
from sandbox.kattis import read_problem
from sandbox.languages import LanguageUnavailable, toolchain
from tasks.errors import TaskError
from tasks.registry import load

PLUS = "evalplus/humanevalplus/HumanEvalPlus"
HUMANEVAL_X = {"python": "python", "cpp": "cpp", "go": "go", "java": "java", "javascript": "js", "rust": "rust"}
SETS = {  # name: (the source of `tasks`, the path in DATA, how many references there are, the language)
    "HumanEval": ("humaneval", "humaneval/data/HumanEval.jsonl.gz", 164, "python"),
    "HumanEval+ (test programs)": ("humanevalplus", f"{PLUS}-OriginFmt.jsonl.gz", 164, "python"),
    "HumanEval+ (base and plus inputs)": ("humanevalplus", f"{PLUS}.jsonl.gz", 164, "python"),
    "MBPP": ("mbpp", "mbpp/mbpp.jsonl", 974, "python"),
    "MBPP sanitized": ("mbpp", "mbpp/sanitized-mbpp.json", 427, "python"),
    **{
        f"HumanEval-X {language}": ("humaneval-x", f"humaneval-x/{folder}/humaneval_{folder}.jsonl.gz", 164, language)
        for language, folder in HUMANEVAL_X.items()
    },
    "CodeContests sample": ("code_contests", "code_contests_sample", 60, "python"),
    "APPS sample": ("apps", "apps_sample/train", 5, "python"),
}
SEVERAL = "several answers are right, and no checker was published"
MANGLED = "its published tests and solution do not fit each other: the same outside the sandbox"
CRATES = "its solution needs a crate that is not of the standard library"
# (set, id): what is wrong with the published row itself, or what it needs besides the language
BROKEN: dict[tuple[str, str], str] = {
    **{
        ("CodeContests sample", f"code_contests/{name}"): why
        for names, why in (
            ("1041_e_tree_reconstruction_8858 1076_d_edge_deletion_9486 1325_c_ehab_and_pathetic_mexs_1064", SEVERAL),
            ("1391_e_pairs_of_pairs_6690 963_b_destruction_of_a_tree_65 576_a_vasya_and_petyas_game_7650", SEVERAL),
            ("1118_f1_tree_cutting_easy_version_12195 1176_e_cover_it_10635", MANGLED),
            ("1133_f1_spanning_tree_with_maximum_degree_10945", MANGLED),
            ("680_c_bear_and_prime_100_4430", "it is an interactive problem, published without its interactor"),
        )
        for name in names.split()
    },
    **{("HumanEval-X rust", f"HumanEval-X/Rust/{number}"): CRATES for number in (38, 50, 53, 91, 162)},
    ("HumanEval-X rust", "HumanEval-X/Rust/32"): "its test is commented out",
    **{("HumanEval-X cpp", f"HumanEval-X/CPP/{number}"): "it needs Boost's headers" for number in (22, 137)},
    ("HumanEval-X cpp", "HumanEval-X/CPP/162"): "it must be linked with OpenSSL",
    ("HumanEval-X go", "HumanEval-X/Go/95"): "its solution depends on the random order of a map",
    (
        "HumanEval-X javascript",
        "HumanEval-X/JavaScript/112",
    ): "its assertions fail in node as well, which only prints that",
    (
        "HumanEval-X javascript",
        "HumanEval-X/JavaScript/155",
    ): "its assertions fail in node as well, which only prints that",
    ("HumanEval-X javascript", "HumanEval-X/JavaScript/32"): "its example test calls a function that is not there",
    ("HumanEval-X javascript", "HumanEval-X/JavaScript/162"): "it needs the package js-md5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of the table; `others` are the names that were not accepted, and why."""

    name: str
    accepted: int
    total: int
    seconds: float
    others: tuple[str, ...] = ()
    broken: int = 0  # of `others`, those whose own data is at fault
    note: str = ""

    @property
    def ok(self) -> bool:
        return len(self.others) == self.broken and (bool(self.note) or self.accepted + self.broken == self.total)


def references(name: str, data: Path, grader: Grader) -> Line:
    """Every reference of a set, on all its cases."""
    source, place, total, language = SETS[name]
    began = time.monotonic()
    if not (data / place).exists():
        return Line(name=name, accepted=0, total=total, seconds=0.0, note=f"{place} is not there")
    try:
        toolchain(language)
        tasks = load(f"{source}:{data / place}?on_error=stop")
    except (LanguageUnavailable, TaskError) as error:
        return Line(name=name, accepted=0, total=total, seconds=0.0, note=str(error))
    verdicts = grader.grade([task.request(task.reference) for task in tasks])
    others, broken = [], 0
    for task, verdict in zip(tasks, verdicts, strict=True):
        if verdict.outcome is not Outcome.AC:
            why = BROKEN.get((name, task.id), "")
            broken += bool(why)
            others.append(f"{task.id}: {verdict.outcome} {verdict.detail}" + (f" (the data: {why})" if why else ""))
    return Line(
        name=name, accepted=len(tasks) - len(others), total=total, seconds=time.monotonic() - began,
        others=tuple(others), broken=broken,
    )  # fmt: skip


def packages(folder: Path, grader: Grader) -> Iterator[Line]:
    """The submissions of each problem package below `folder`."""
    for path in sorted(folder.glob("**/problem.yaml")):
        if not (path.parent / "submissions").is_dir():
            continue
        began = time.monotonic()
        problem = read_problem(path.parent)
        found = submissions(problem)
        lines = judge(problem, found, grader, time_limit(problem, found, grader))
        idle = [line.submission.name for line in lines if line.right is None]
        wrong = [f"{line.submission.name}: {line.outcome} {line.note}" for line in lines if line.right is False]
        yield Line(
            name=f"Kattis {path.parent.relative_to(folder)}",
            accepted=sum(line.right is True for line in lines),
            total=len(lines) - len(idle),
            seconds=time.monotonic() - began,
            others=tuple(wrong),
            note=f"not run, or with no demand: {', '.join(idle)}" if idle else "",
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Grade every published reference solution.")
    parser.add_argument("data", type=Path, help="the folder with the published data")
    parser.add_argument("--only", default="", help="the sets with this word in their names")
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"references: {arguments.data}: no folder: name the one with the published data", file=sys.stderr)
        return 2
    ok = True
    try:
        with Grader(workers=arguments.workers) as grader:
            for line in _lines(arguments.data, arguments.only.lower(), grader):
                print(
                    f"| {line.name} | {line.accepted} / {line.total} | {line.seconds:.0f} s | {line.note} |", flush=True
                )
                for other in line.others:
                    print(f"    {other[:300]}", flush=True)
                ok &= line.ok
    except SandboxError as error:
        print(f"references: {error}", file=sys.stderr)
        return 2
    return 0 if ok else 1


def _lines(data: Path, only: str, grader: Grader) -> Iterator[Line]:
    for name in SETS:
        if only in name.lower():
            yield references(name, data, grader)
    if only in "kattis" and (data / "kattis").is_dir():
        yield from packages(data / "kattis", grader)


if __name__ == "__main__":
    sys.exit(main())
