"""How does SandboxFusion's POST /run_code read here?

Its request and response, field by field (bytedance/SandboxFusion, sandbox/server/sandbox_api.py), with the statuses that
verl's client tells apart: top Success, Failed or SandboxError; each command Finished, Error or TimeLimitExceeded. Of this
server's own: compiling has limits of its own, whatever `compile_timeout` says; stderr is its last 8 KiB; unless
`memory_limit_MB` says otherwise a program has 1 GiB; a language that is not here is refused with 422, as there.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sandbox import languages
from sandbox.limits import MEBIBYTE, Limits
from sandbox.requests_json import MOST
from sandbox.run_once import RunRequest, RunResult
from sandbox.server.guard import Refusal
from sandbox.spec import Program
from sandbox.verdict import Outcome
from sandbox.workfiles import WorkFile, clash, name_fault

LANGUAGES = {"nodejs": "javascript"}  # what is called otherwise there
MEMORY_BYTES = 1024 * MEBIBYTE
TOO_LONG = (Outcome.TLE, Outcome.WTLE)


class RunCode(BaseModel):
    """The body of the request."""

    model_config = ConfigDict(strict=True, extra="ignore")

    code: str
    language: str
    compile_timeout: float = Field(10, gt=0)
    run_timeout: float = Field(10, gt=0, le=MOST.wall_seconds)
    memory_limit_MB: int = Field(-1, le=MOST.memory_bytes // MEBIBYTE)
    stdin: str | None = None
    files: dict[str, str | None] = {}
    fetch_files: list[str] = []
    args: list[str] = []


def read_run_code(tree: Any) -> RunCode:
    """Raises Refusal."""
    try:
        asked = RunCode.model_validate(tree)
    except ValidationError as error:
        raise Refusal(422, first_fault(error)) from None
    if asked.args:
        raise Refusal(422, "args: there are none for programs here: leave it out")
    return asked


def run_code_request(asked: RunCode) -> RunRequest:
    """Raises Refusal."""
    files = {name: _decoded(name, text) for name, text in asked.files.items() if text is not None}
    memory = asked.memory_limit_MB * MEBIBYTE if asked.memory_limit_MB > 0 else MEMORY_BYTES
    return run_request(
        asked.code,
        LANGUAGES.get(asked.language, asked.language),
        stdin=asked.stdin or "",
        limits=Limits(cpu_seconds=asked.run_timeout, wall_seconds=asked.run_timeout, memory_bytes=memory),
        files=files,
        fetch=tuple(asked.fetch_files),
    )


def run_request(
    source: str, language: str, *, stdin: str, limits: Limits, files: dict[str, bytes], fetch: tuple[str, ...] = ()
) -> RunRequest:
    """A run for the drop-in paths: files that are text are there when it is compiled, too. Raises Refusal."""
    try:
        name = languages.get(language).name
    except KeyError as error:
        raise Refusal(422, f"language: {error.args[0]}") from None
    for file in (*files, *fetch):
        if fault := name_fault(file) or ("a pattern: give names" if "*" in file else ""):
            raise Refusal(422, f"files: {fault}")
    if fault := clash(files):
        raise Refusal(422, f"files: {fault}")
    if sum(map(len, files.values())) > limits.file_bytes:
        raise Refusal(422, f"files: more than {limits.file_bytes} bytes")
    texts, others = {}, []
    for file, data in files.items():
        try:
            texts[file] = data.decode()
        except UnicodeDecodeError:
            others.append(WorkFile(name=file, data=data))
    if languages.get(name).in_process:  # nothing is compiled: all of them as they are
        others, texts = [WorkFile(name=file, data=data) for file, data in files.items()], {}
    return RunRequest(
        program=Program(source=source, language=name, files=texts),
        stdin=stdin.encode("utf-8", "replace"),
        limits=limits,
        files=tuple(others),
        fetch=fetch,
    )


def run_code_answer(asked: RunCode, result: RunResult) -> dict[str, Any]:
    """The body of the response."""
    case = result.case
    answer: dict[str, Any] = {
        "status": "Success", "message": "", "compile_result": None, "run_result": None, "executor_pod_name": None,
        "files": {},
    }  # fmt: skip
    if case.outcome is Outcome.IE:
        return answer | {"status": "SandboxError", "message": case.detail}
    if result.compile_seconds is not None:
        answer["compile_result"] = _command(result.compile_seconds, 0, "", "")
    if not result.compiled:
        late = case.detail.startswith("compiling: more than") and case.detail.endswith(" s")
        status, code = ("TimeLimitExceeded", None) if late else ("Finished", 1)
        command = _command(result.compile_seconds or 0.0, code, "", case.detail) | {"status": status}
        return answer | {"status": "Failed", "compile_result": command}
    stdout, stderr = text(result.stdout), text(result.stderr)
    if case.outcome is Outcome.CE and not stderr:  # a language without a compiler says it when it starts
        stderr = case.detail
    command = _command(case.wall_ms / 1000, return_code(result), stdout, stderr)
    if case.outcome in TOO_LONG:
        command |= {"status": "TimeLimitExceeded", "return_code": None}
    answer["run_result"] = command
    answer["status"] = "Success" if case.outcome is Outcome.AC else "Failed"
    answer["files"] = {
        file.name: base64.b64encode(file.data).decode() for file in result.files if file.data is not None
    }
    return answer


def return_code(result: RunResult) -> int:
    """As a shell's parent sees it: the exit code, or minus the signal; never 0 for a program that did not end well."""
    case = result.case
    if case.outcome is Outcome.AC:
        return 0
    return case.exit_code or (-case.signal if case.signal else 1)


def text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def first_fault(error: ValidationError) -> str:
    """One line of a pydantic error."""
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'the body'}: {fault['msg']}"


def _command(seconds: float, code: int | None, stdout: str, stderr: str) -> dict[str, Any]:
    return {
        "status": "Finished", "execution_time": seconds, "return_code": code, "stdout": stdout, "stderr": stderr,
    }  # fmt: skip


def _decoded(name: str, content: str) -> bytes:
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(422, f"files: {name[:40]!r} is no base64") from None
