"""How do Piston's POST /api/v2/execute and GET /api/v2/runtimes read here?

Its request and response, field by field (engineer-man/piston, docs/api-v2.md). Of this server's own: the first file is the
program, under the name that its language needs; `args` and versions other than the one that is here are refused; compiling has
limits of its own; unless `run_memory_limit` says otherwise a program has 1 GiB; `output` is stdout, then the end of stderr.
"""

from __future__ import annotations

import base64
import binascii
import platform
import re
import signal
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox import languages
from sandbox.languages import LanguageUnavailable, Toolchain
from sandbox.limits import Limits
from sandbox.requests_json import MOST
from sandbox.run_once import RunRequest, RunResult
from sandbox.server.fusion import MEMORY_BYTES, first_fault, return_code, run_request, text
from sandbox.server.guard import Refusal
from sandbox.verdict import Outcome

Find = Callable[[str], Toolchain]  # by the name of a language; raises LanguageUnavailable
WALL_MS = 3000.0  # Piston's own
_MOST_MS = 1000 * MOST.cpu_seconds
_STATUS = {
    Outcome.TLE: ("TO", "Time limit exceeded"), Outcome.WTLE: ("TO", "Time limit exceeded (wall clock)"),
    Outcome.OLE: ("OL", "output length exceeded"), Outcome.IE: ("XX", "the sandbox failed"),
}  # fmt: skip


class File(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    name: str | None = None
    content: str
    encoding: Literal["utf8", "base64", "hex"] = "utf8"


class Execute(BaseModel):
    """The body of the request."""

    model_config = ConfigDict(strict=True, extra="ignore")

    language: str
    version: str
    files: list[File] = Field(min_length=1)
    stdin: str = ""
    args: list[str] = []
    run_timeout: float = Field(WALL_MS, ge=1, le=1000 * MOST.wall_seconds)
    run_cpu_time: float | None = Field(None, ge=1, le=_MOST_MS)
    compile_timeout: float = 10000
    run_memory_limit: int = Field(-1, le=MOST.memory_bytes)
    compile_memory_limit: int = -1


def read_execute(tree: Any) -> Execute:
    """Raises Refusal."""
    try:
        asked = Execute.model_validate(tree)
    except ValidationError as error:
        raise Refusal(400, first_fault(error)) from None
    if asked.args:
        raise Refusal(400, "args: there are none for programs here: leave it out")
    return asked


def execute_request(asked: Execute, find: Find) -> RunRequest:
    """Raises Refusal."""
    try:
        language = languages.get(asked.language).name
        matches = version_matches(asked.version, version_of(language, find))
    except (KeyError, LanguageUnavailable):
        matches = False
    if not matches:
        raise Refusal(400, f"{asked.language}-{asked.version} runtime is unknown")
    program, *others = asked.files
    cpu_ms = min(asked.run_cpu_time or asked.run_timeout, _MOST_MS)
    return run_request(
        text(_content(program)),
        language,
        stdin=asked.stdin,
        limits=Limits(
            cpu_seconds=cpu_ms / 1000,
            wall_seconds=asked.run_timeout / 1000,
            memory_bytes=asked.run_memory_limit if asked.run_memory_limit > 0 else MEMORY_BYTES,
        ),
        files={file.name or f"file{i}.code": _content(file) for i, file in enumerate(others, 1)},
    )


def execute_answer(asked: Execute, result: RunResult, find: Find) -> dict[str, Any]:
    """The body of the response. Raises Refusal where nobody knows how the program would have ended."""
    case = result.case
    if case.outcome is Outcome.IE:
        raise Refusal(503, case.detail)
    language = languages.get(asked.language).name
    answer: dict[str, Any] = {"language": language, "version": version_of(language, find)}
    if result.compile_seconds is not None:
        code = 0 if result.compiled else 1
        answer["compile"] = stage("", "" if result.compiled else case.detail, code=code)
    if not result.compiled:
        return answer
    status, message = _STATUS.get(case.outcome, (None, None))
    code, name = return_code(result), None
    if code < 0 or status == "TO":
        name = _signal(-code if code < 0 else signal.SIGKILL)
        status, message = status or "SG", message or f"Caught fatal signal {name}"
    elif code and status is None:
        status, message = "RE", f"Exited with error status {code}"
    stderr = text(result.stderr) or (case.detail if case.outcome is Outcome.CE else "")
    answer["run"] = stage(text(result.stdout), stderr, code=None if name else code) | {
        "signal": name, "message": message, "status": status, "cpu_time": round(case.cpu_ms),
        "wall_time": round(case.wall_ms), "memory": case.memory_bytes,
    }  # fmt: skip
    return answer


def stage(stdout: str, stderr: str, *, code: int | None) -> dict[str, Any]:
    """The result of compiling or running."""
    return {
        "stdout": stdout, "stderr": stderr, "output": stdout + stderr, "code": code, "signal": None, "message": None,
        "status": None, "cpu_time": None, "wall_time": None, "memory": None,
    }  # fmt: skip


def list_runtimes(find: Find) -> list[dict[str, Any]]:
    """The languages whose toolchain is where programs run."""
    found = []
    for name in languages.names():
        try:
            version = version_of(name, find)
        except LanguageUnavailable:
            continue
        found.append({"language": name, "version": version, "aliases": list(languages.get(name).aliases)})
    return found


def version_of(language: str, find: Find) -> str:
    """Three numbers. Raises LanguageUnavailable."""
    if languages.get(language).in_process:
        return platform.python_version()
    found = re.search(r"\d+(\.\d+)+", find(language).version)
    numbers = (found.group() if found else "0").split(".")
    return ".".join((*numbers, "0", "0")[:3])


def version_matches(selector: str, version: str) -> bool:
    """Does a SemVer selector accept `version`? Of these: "*", "3.11.2", "3.11", "3.x", "^3.10", "~3.11".

    >>> [version_matches(selector, "3.11.2") for selector in ("*", "3.x", "3.11", "3.11.1", "^3.10", "~3.10", ">=3")]
    [True, True, True, False, True, False, False]
    """
    if selector.strip() == "*":
        return True
    found = re.fullmatch(r"([\^~]?)v?(\d{1,9})(?:\.(\d{1,9}|x|\*))?(?:\.(\d{1,9}|x|\*))?", selector.strip())
    if found is None:
        return False
    kind, *parts = found.groups()
    asked = [int(part) for part in parts if part and part.isdigit()]
    have = [int(part) for part in version.split(".")]
    same = {"^": 1, "~": 2}.get(kind, len(asked))
    return have[:same] == asked[:same] and have >= asked


def _content(file: File) -> bytes:
    try:
        if file.encoding == "base64":
            return base64.b64decode(file.content, validate=True)
        if file.encoding == "hex":
            return bytes.fromhex(file.content)
    except (binascii.Error, ValueError):
        raise Refusal(400, f"files: {str(file.name)[:40]!r} is no {file.encoding}") from None
    return file.content.encode("utf-8", "replace")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"
