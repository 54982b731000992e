"""What did the policy write? Programs with their verdicts, and the tests that they failed."""

from __future__ import annotations

from coderl.report.markup import Html, facts, join, table, tag
from coderl.report.samples import SHOWN_TESTS, FailedTest, Sample
from sandbox import Outcome

MAX_PROGRAM = 4000  # characters of a program shown
MAX_PROMPT = 1200  # of a task
MAX_CELL = 300  # of an input or an output


def sample(shown: Sample) -> Html:
    rollout, verdict = shown.rollout, shown.rollout.verdict
    outcome = str(verdict.outcome) if verdict else "not graded"
    passed = verdict is not None and verdict.outcome is Outcome.AC
    at = f" step {shown.step}" if shown.step else ""
    summary = tag(
        "summary",
        tag("span", outcome, cls="verdict good" if passed else "verdict bad"),
        f" {shown.stage}{at}, {shown.why} {rollout.reward:.3g}: {rollout.task_id}",
    )
    parts = ", ".join(f"{name} {value:.3g}" for name, value in rollout.reward_parts.items())
    cases = f"{verdict.num_passed} of {len(verdict.cases)} cases passed" if verdict else ""
    if verdict and verdict.detail:
        cases += f": {verdict.detail}"
    told = facts(
        [
            ("reward", parts),
            ("verdict", cases),
            ("integrity", str(verdict.integrity) if verdict else ""),
            ("length", f"{len(rollout.completion_ids)} tokens{', cut off' if rollout.truncated else ''}"),
        ]
    )
    asked = [tag("h3", "task"), _code(shortened(shown.task.prompt.strip(), MAX_PROMPT))] if shown.task else []
    title = "program" if rollout.program else "completion, in which no code was found"
    program = _code(shortened(rollout.program or rollout.completion, MAX_PROGRAM))
    return tag("details", summary, told, *asked, tag("h3", title), program, _failed(shown.failed))


def shortened(text: str, limit: int) -> str:
    """
    >>> shortened("abcdef", 4)
    'abcd\\n… 2 more characters'
    """
    return text if len(text) <= limit else f"{text[:limit]}\n… {len(text) - limit} more characters"


def _failed(tests: list[FailedTest]) -> Html:
    if not tests:
        return Html()
    shown = tests[:SHOWN_TESTS]
    known = any(test.asked for test in shown)
    header = ["test", "verdict", *(["input", "expected"] if known else []), "got"]
    rows = []
    for test in shown:
        asked = [_cell(test.asked), _cell(test.expected)] if known else []
        got = test.got or test.detail
        rows.append([f"{test.number}{' (hidden)' if test.hidden else ''}", test.outcome, *asked, _cell(got)])
    more = len(tests) - len(shown)
    note = [tag("p", f"{more} more failed.", cls="note")] if more else []
    return join([tag("h3", "tests that it failed"), table(header, rows, cls="tests"), *note])


def _cell(text: str) -> Html:
    return tag("pre", shortened(text.strip("\n"), MAX_CELL)) if text else Html("–")


def _code(text: str) -> Html:
    return tag("pre", tag("code", text))
