"""`sandbox replay`: does this machine reach the verdict that another one reached?"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from sandbox.grader import Grader
from sandbox.record import differences, read_record, versions
from sandbox.speed import BY_LANGUAGE, TimeFactors
from sandbox.text import printable
from sandbox.verdict import Verdict


def register(app: typer.Typer, faults: Callable[[], AbstractContextManager[None]]) -> None:
    """Add the command; `faults` turns what a person can mend into one line and exit code 2."""

    @app.command()
    def replay(
        file: Annotated[Path, typer.Argument(help="A record that `sandbox grade --record` wrote.")],
        backend: Annotated[str, typer.Option(help="auto, jail, docker, landlock, plain, remote, or ray.")] = "auto",
        endpoint: Annotated[
            list[str] | None, typer.Option(help="With --backend remote: a server (again for more).")
        ] = None,
    ) -> None:
        """Grade a recorded request again; exit code 1 if the verdict differs, with each field that does.

        Limits of time are multiplied by what they were then; a remote server decides that itself.
        """
        with faults():
            request, then, made_with = read_record(file)
            own = (
                BY_LANGUAGE if backend in ("remote", "ray") else TimeFactors(machine=then.time_factor, languages=False)
            )
            with Grader(backend=backend, workers=1, endpoints=endpoint or (), times=own) as grader:
                (now,) = grader.grade([request])
        found = list(differences(then, now))
        for line in (_line("then", then, made_with), _line("now", now, versions())):
            print(printable(line, keep=""))
        for field, old, new in found:
            print(printable(f"differs: {field}: {old} then, {new} now", keep=""))
        print("the verdict differs" if found else "the same verdict")
        if found:
            raise typer.Exit(1)


def _line(when: str, verdict: Verdict, made_with: dict[str, str]) -> str:
    described = ", ".join(f"{name} {version}" for name, version in made_with.items())
    detail = f": {verdict.detail}" if verdict.detail else ""
    return f"{when:5}{verdict.outcome}{detail} ({verdict.isolation.backend}, {described})"
