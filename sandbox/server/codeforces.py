"""How are Piston's packages for Codeforces problems, which open-r1 trains with, answered here?

open-r1 sends the submission, input.txt, correct_output.txt, grader_config (TIME_LIMIT in s, MEMORY_LIMIT in MB, INPUT_MODE) and
perhaps checker.py, under the languages cf_python3 and c++17; it reads "1" or "0" on stdout, and whether it compiled. Here
this is a case like any other: expected output and checker are never where the submission runs. Without a checker, tokens are
compared.
"""

from __future__ import annotations

from typing import Any

from sandbox.limits import MEBIBYTE, Limits
from sandbox.requests_json import check_limits
from sandbox.server.fusion import TOO_LONG
from sandbox.server.guard import Refusal
from sandbox.server.piston import Execute, stage
from sandbox.spec import Checker, FunctionChecker, GradeRequest, Program, Rule, StdioCase
from sandbox.verdict import Outcome, Verdict

CONFIG = "grader_config"
LANGUAGES = {"cf_python3": "python", "c++17": "cpp", "cf_c++17": "cpp"}
WALL_FACTOR = 3.0  # of the time limit, which is one of CPU time
# Runs checker.py as open-r1's data set says: python checker.py input.txt correct_output.txt solution_output.txt
_CHECKER = """
TEXT = {text!r}
def check(stdin, stdout, answer):
    import contextlib, io, sys
    names = ("input.txt", "correct_output.txt", "solution_output.txt")
    for name, text in zip(names, (stdin, answer, stdout)):
        with open(name, "w") as file:
            file.write(text)
    sys.argv = ["checker.py", *names]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            exec(compile(TEXT, "checker.py", "exec"), {{"__name__": "__main__"}})
        except SystemExit:
            pass
    return min(1.0, max(0.0, float(said.getvalue().split()[-1])))
"""


def codeforces_request(asked: Execute) -> GradeRequest | None:
    """The problem that a request for one of these packages describes; None for any other. Raises Refusal."""
    files = {file.name: file.content for file in asked.files}
    if asked.language not in LANGUAGES or CONFIG not in files:
        return None
    config = dict(line.partition("=")[::2] for line in files[CONFIG].splitlines())
    if config.get("INPUT_MODE", "stdio").lower() not in ("stdio", "none", ""):
        raise Refusal(400, "INPUT_MODE: only problems that read standard input are graded here")
    try:
        seconds = float(config.get("TIME_LIMIT", "2"))
        megabytes = int(float(config.get("MEMORY_LIMIT", "256")))
        limits = Limits(
            cpu_seconds=seconds, wall_seconds=WALL_FACTOR * seconds + 1, memory_bytes=megabytes * MEBIBYTE,
            output_bytes=64 * MEBIBYTE,
        )  # fmt: skip
        check_limits(limits)
    except (ValueError, OverflowError):
        raise Refusal(400, f"{CONFIG}: TIME_LIMIT and MEMORY_LIMIT are no numbers above 0, or too great") from None
    checker: Rule = Checker.TOKENS
    if files.get("checker.py"):
        checker = FunctionChecker(source=_CHECKER.format(text=files["checker.py"]), accepts_answer=False)
    case = StdioCase(stdin=files.get("input.txt", ""), stdout=files.get("correct_output.txt", ""), checker=checker)
    program = Program(source=asked.files[0].content, language=LANGUAGES[asked.language])
    return GradeRequest(program=program, cases=(case,), limits=limits)


def codeforces_answer(asked: Execute, verdict: Verdict) -> dict[str, Any]:
    """The body of the response. Raises Refusal 503 where nobody knows: open-r1 tries again, and counts no failure."""
    if verdict.outcome in (Outcome.IE, Outcome.JE):
        raise Refusal(503, f"{verdict.outcome}: {verdict.detail}")
    answer = {"language": asked.language, "version": asked.version}
    if verdict.outcome is Outcome.CE:
        return answer | {"compile": stage("", verdict.detail, code=1), "run": stage("", "", code=None)}
    share = verdict.cases[0].share or 0.0 if verdict.outcome is Outcome.PA else float(verdict.outcome is Outcome.AC)
    said = "Time limit exceeded" if verdict.outcome in TOO_LONG else verdict.detail
    return answer | {"compile": stage("", "", code=0), "run": stage(f"{share:g}", said, code=0)}
