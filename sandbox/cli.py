"""The command `sandbox`: grade samples, run one program, say what this machine offers.

Everything a person can get wrong ends in one line on stderr and exit code 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from sandbox import languages, relative
from sandbox.backend import SandboxUnavailable
from sandbox.commands import replay, serve
from sandbox.commands.serve import PreloadOption
from sandbox.container import IMAGE
from sandbox.errors import BadInput, SandboxError
from sandbox.grader import Grader
from sandbox.limits import MEBIBYTE, Limits
from sandbox.record import record_name, versions, write_record
from sandbox.run_once import RunRequest, run_once
from sandbox.samples import FileSample, check_writable, read_samples, read_tasks, write_lines
from sandbox.spec import Program
from sandbox.speed import TimeFactors, read_factor
from sandbox.summary import print_summary
from sandbox.verdict import Outcome, Verdict

app = typer.Typer(
    help="Run and judge untrusted programs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
image_app = typer.Typer(help="The image of the docker backend.", no_args_is_help=True)
app.add_typer(image_app, name="image")
BackendOption = Annotated[str, typer.Option(help="auto, jail, docker, landlock, or plain (limits only: no isolation).")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sandbox, of coderl {versions()['coderl']}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


@app.command()
def grade(
    tasks: Annotated[
        Path, typer.Argument(help="Tasks: JSONL of ours or of `coderl tasks export`, or HumanEval.jsonl(.gz).")
    ],
    samples: Annotated[
        Path,
        typer.Argument(help="Samples: {task_id, completion} or {task_id, solution} a line, or a folder of TASK/0.py."),
    ],
    backend: BackendOption = "auto",
    min_isolation: Annotated[str, typer.Option(help="Refuse a backend weaker than this one.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Programs at once (default: a few more than cores).")
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="With --backend remote: http://HOST:PORT of `sandbox serve` (again for more)."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write results here, one JSON object a line.")] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write a file for each sample into this folder, for `sandbox replay`.")
    ] = None,
    time_factor: Annotated[str, typer.Option(help="Multiplies limits of time; `machine`: measured here.")] = "1",
    relative_limits: Annotated[
        float | None,
        typer.Option(
            min=1, help="Limit of cpu time: this times what the task's reference solution needs, in half seconds."
        ),
    ] = None,
    preload: PreloadOption = None,
) -> None:
    """Grade every sample against its task."""
    with _faults():
        known = read_tasks(tasks)
        rows = read_samples(samples, known)
        if relative_limits is not None and time_factor != "1":
            raise BadInput(
                "--time-factor: a reference solution was as slow as this machine: give it or --relative-limits"
            )
        for place, is_folder in ((out, False), (record, True)):
            if place is not None:
                check_writable(place, folder=is_folder)
        times = TimeFactors(machine=read_factor(time_factor, backend), languages=relative_limits is None)
        with Grader(
            backend=backend,
            workers=workers,
            min_isolation=min_isolation,
            times=times,
            endpoints=endpoint or (),
            preload=preload or (),
        ) as grader:
            if relative_limits is not None:
                rows = relative.relative_limits(rows, known, relative_limits, grader)
            bar = Console(stderr=True)
            graded: dict[int, Verdict] = {}
            arrivals = grader.stream([row.request for row in rows])
            try:
                graded.update(
                    track(
                        arrivals, "grading", total=len(rows), console=bar, transient=True, disable=not bar.is_terminal
                    )
                )
            except KeyboardInterrupt:
                _keep(out, rows, graded)
                raise
        verdicts = [graded[number] for number in range(len(rows))]
        try:
            if out is not None:
                pairs = zip(rows, verdicts, strict=True)
                write_lines(out, ({"task_id": row.task_id, **verdict.to_json()} for row, verdict in pairs))
            if record is not None:
                for number, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
                    write_record(record / record_name(number, row.task_id), row.request, verdict)
        finally:  # a disk that is full now takes nothing from what was found
            print_summary([(row.task_id, verdict) for row, verdict in zip(rows, verdicts, strict=True)], known)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A program; - for the standard input.")],
    language: Annotated[str, typer.Option(help="Its language; told by the name of the file if not given.")] = "",
    stdin: Annotated[Path | None, typer.Option(help="A file for its standard input.")] = None,
    backend: BackendOption = "auto",
    cpu_seconds: Annotated[float, typer.Option(help="CPU time.")] = 4.0,
    wall_seconds: Annotated[float, typer.Option(help="Time by the clock.")] = 10.0,
    memory_mib: Annotated[int, typer.Option(help="Memory, MiB.")] = 512,
    output_mib: Annotated[int, typer.Option(help="Output, MiB.")] = 8,
    processes: Annotated[int, typer.Option(help="Processes and threads.")] = 32,
) -> None:
    """Run a program in the sandbox: its output on stdout, its verdict on stderr; exit code 1 unless it is AC."""
    with _faults():
        try:
            limits = Limits(
                cpu_seconds=cpu_seconds,
                wall_seconds=wall_seconds,
                memory_bytes=memory_mib * MEBIBYTE,
                output_bytes=output_mib * MEBIBYTE,
                processes=processes,
            )
        except ValueError as error:
            raise BadInput(str(error)) from None
        read = sys.stdin.buffer.read() if file == Path("-") else _read(file)
        source = read.decode("utf-8", "surrogateescape")
        try:
            program = Program(
                source=source, language=languages.get(language or languages.of_file(file.name) or "python").name
            )
        except KeyError as error:
            raise BadInput(f"{file}: {error.args[0]}") from None
        done = run_once(RunRequest(program=program, stdin=_read(stdin) if stdin else b"", limits=limits), backend)
    result = done.case
    sys.stdout.buffer.write(done.stdout)
    sys.stdout.flush()
    sys.stderr.buffer.write(done.stderr)
    used = f"cpu {result.cpu_ms:.0f} ms, wall {result.wall_ms:.0f} ms, memory {result.memory_bytes / MEBIBYTE:.0f} MiB"
    sys.stderr.write(f"{result.outcome}{': ' if result.detail else ''}{result.detail} ({used})\n")
    sys.stderr.flush()
    if result.outcome is not Outcome.AC:
        raise typer.Exit(1)


@app.command()
def judge(
    problem_dir: Annotated[Path, typer.Argument(help="A Kattis problem package: a folder with a problem.yaml.")],
    submission: Annotated[list[Path] | None, typer.Argument(help="Files or folders (default: all in it).")] = None,
    backend: BackendOption = "auto",
    min_isolation: Annotated[str, typer.Option(help="Refuse a backend weaker than this one.")] = "",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Programs at once (default: a few more than cores).")
    ] = None,
    time_limit: Annotated[float | None, typer.Option(min=0.01, help="Seconds of cpu time for each test.")] = None,
) -> None:
    """Judge submissions of a problem; exit code 1 unless each gets the verdict that its folder demands."""
    from sandbox.judge_command import judge_package

    with _faults():
        right = judge_package(problem_dir, submission or [], backend, min_isolation, workers, time_limit)
    if not right:
        raise typer.Exit(1)


@image_app.command("build")
def image_build(
    tag: Annotated[str, typer.Option(help="Its name.")] = IMAGE,
    language: Annotated[
        list[str] | None, typer.Option(help="Only these besides Python (again for more), or none.")
    ] = None,
) -> None:
    """Make the image of the docker backend from this machine, without a registry: the languages that it has."""
    from sandbox.image import build_from_host

    with _faults():
        tools = _toolchains(language)
        digest, size = build_from_host(tag, tools)
    with_languages = ", ".join(["python", *(chain.language.name for chain in tools)])
    Console().print(
        f"{tag}: {digest[:19]}, {size / MEBIBYTE:.0f} MiB: {with_languages}", highlight=False, soft_wrap=True
    )


@image_app.command("dockerfile")
def image_dockerfile() -> None:
    """Print a Dockerfile of the image, for `docker build -t coderl-sandbox -`, where a registry can be reached."""
    from sandbox.image import DOCKERFILE

    sys.stdout.write(DOCKERFILE.read_text())


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Say what this machine offers, and what would make it offer more; exit code 1 if no jail can open."""
    from sandbox.doctor import probe

    findings = probe()
    console = Console(soft_wrap=True)
    if as_json:
        print(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=1))
    for finding in findings if not as_json else ():
        state = "ok" if finding.ok else "MISSING" if finding.required else "weaker"
        remedy = "" if finding.ok else f"; {finding.remedy}"
        console.print(f"{state:8}{finding.name}: {finding.detail}{remedy}", markup=False, highlight=False)
    if any(finding.required and not finding.ok for finding in findings):
        raise typer.Exit(1)


@app.command()
def selftest(
    backend: BackendOption = "auto",
    section: Annotated[str | None, typer.Option(help="Only this section: a letter, A to M.")] = None,
    only: Annotated[str | None, typer.Option(help="Only the program of this name.")] = None,
    time_factor: Annotated[str, typer.Option(help="Multiplies limits of time; `machine`: measured here.")] = "1",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run the shipped hostile and friendly programs on this machine; exit code 1 unless every verdict is right."""
    from sandbox.selftest import chosen
    from sandbox.selftest import selftest as run_selftest
    from sandbox.selftest_table import lines, to_json

    with _faults():
        specimens, checks = chosen(section, only)
        times = TimeFactors(machine=read_factor(time_factor, backend))
        report = run_selftest(specimens, checks, backend, times=times)
    if as_json:
        print(json.dumps(to_json(report), indent=1))
    else:
        print("\n".join(lines(report)))
    if not report.ok:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the command. SIGPIPE stays ignored: a program that closes its input must not end its judge."""
    app(prog_name="sandbox")


@contextmanager
def _faults() -> Iterator[None]:
    """Turn what a person can mend into one line and exit code 2."""
    try:
        yield
    except (SandboxError, SandboxUnavailable) as error:
        sys.stderr.write(f"sandbox: {error}\n")
        raise typer.Exit(2) from None
    except ValueError as error:
        if not str(error).startswith(("backend ", "endpoint ", "time_factor ")):
            raise
        sys.stderr.write(f"sandbox: {error}\n")
        raise typer.Exit(2) from None


def _toolchains(wanted: list[str] | None) -> list[languages.Toolchain]:
    """Of the languages that are named; of all that are here if none is."""
    if wanted == ["none"]:
        return []
    found = {}
    for name in wanted or languages.names():
        try:
            language = languages.get(name)
            if not language.in_process:
                found[language.name] = languages.toolchain(language.name)
        except KeyError as error:
            raise BadInput(f"--language {name}: {error.args[0]}, or none") from None
        except languages.LanguageUnavailable:
            if wanted:
                raise
    return list(found.values())


for command in (serve, replay):
    command.register(app, _faults)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}): check the path") from None


def _keep(out: Path | None, rows: list[FileSample], graded: dict[int, Verdict]) -> None:
    """What was graded before an interrupt goes beside `out`, under a name that tells it from a whole result."""
    place = ""
    if out is not None and graded:
        partial = out.with_name(f"{out.name}.partial")
        write_lines(partial, ({"task_id": rows[n].task_id, **graded[n].to_json()} for n in sorted(graded)))
        place = f"; their verdicts are in {partial}"
    sys.stderr.write(f"sandbox: interrupted after {len(graded)} of {len(rows)} samples{place}\n")
