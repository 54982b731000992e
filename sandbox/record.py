"""How is one verdict kept so that another machine can reach it again, and do the two agree?

A record is one JSON object: the request, the verdict, and what graded it. What depends on time, load or the machine (times,
memory, processes, attempts, the layers of the isolation) is kept, and not compared.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from sandbox.codec import CodecError, loads
from sandbox.errors import BadInput
from sandbox.forms import FormFault
from sandbox.requests_json import SCHEMA, read_request, request_to_json
from sandbox.samples import write_lines
from sandbox.spec import GradeRequest
from sandbox.verdict import Verdict

OF_VERDICT = ("outcome", "integrity", "points", "max_points", "time_factor")
OF_CASE = ("outcome", "flags", "exit_code", "signal", "output_digest", "output_truncated", "share")


def versions() -> dict[str, str]:
    """What grades here."""
    try:
        version = metadata.version("coderl")
    except metadata.PackageNotFoundError:
        version = "unknown"
    return {"coderl": version, "python": platform.python_version(), "platform": platform.platform()}


def record_to_json(request: GradeRequest, verdict: Verdict) -> dict[str, Any]:
    """Raises CodecError where a case holds something that is no plain value."""
    return {
        "schema": SCHEMA, "request": request_to_json(request), "verdict": verdict.to_json(), "versions": versions(),
    }  # fmt: skip


def record_name(number: int, task_id: str) -> str:
    """The name of a sample's file, safe whatever the task is called, e.g. 00007-HumanEval_3.json."""
    return (
        f"{number:05}-{''.join(c if c.isascii() and (c.isalnum() or c in '-.') else '_' for c in task_id)[:100]}.json"
    )


def write_record(path: Path, request: GradeRequest, verdict: Verdict) -> None:
    """Raises BadInput if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}): choose another place") from None
    write_lines(path, (record_to_json(request, verdict),))


def read_record(path: Path) -> tuple[GradeRequest, Verdict, dict[str, str]]:
    """The request, the verdict, and what graded it. Raises BadInput."""
    try:
        record = loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}): check the path") from None
    except CodecError as error:
        raise BadInput(f"{path}: is no record ({error}): `sandbox grade --record` writes them") from None
    try:
        request = read_request(record["request"])
        return request, Verdict.from_json(record["verdict"]), {str(k): str(v) for k, v in record["versions"].items()}
    except FormFault as fault:
        raise BadInput(f"{path}: request: {fault}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise BadInput(f"{path}: is no record ({reason}): `sandbox grade --record` writes them") from None


def differences(then: Verdict, now: Verdict) -> Iterator[tuple[str, Any, Any]]:
    """(field, then, now) of what must be the same on any machine and is not."""
    yield from _differ("", OF_VERDICT, then, now)
    if len(then.cases) != len(now.cases):
        yield "cases", len(then.cases), len(now.cases)
    for number, (old, new) in enumerate(zip(then.cases, now.cases, strict=False)):
        yield from _differ(f"cases[{number}].", OF_CASE, old, new)


def _differ(where: str, names: tuple[str, ...], then: object, now: object) -> Iterator[tuple[str, Any, Any]]:
    for name in names:
        old, new = getattr(then, name), getattr(now, name)
        if old != new:
            yield where + name, old, new
