"""`sandbox serve`: grade over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from sandbox.access import read_token
from sandbox.errors import BadInput
from sandbox.limits import MEBIBYTE
from sandbox.speed import TimeFactors, read_factor

PreloadOption = Annotated[
    list[str] | None, typer.Option(help="A module that programs find already imported (again for more), e.g. numpy.")
]


def register(app: typer.Typer, faults: Callable[[], AbstractContextManager[None]]) -> None:
    """Add the command; `faults` turns what a person can mend into one line and exit code 2."""

    @app.command()
    def serve(
        host: Annotated[
            str, typer.Option(help="Address to bind to. Any but this machine's own needs a token.")
        ] = "127.0.0.1",
        port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
        token_file: Annotated[
            Path | None, typer.Option(help="A file with the token that clients must send (else: SANDBOX_TOKEN).")
        ] = None,
        backend: Annotated[str, typer.Option(help="auto, jail, docker, landlock or plain.")] = "auto",
        min_isolation: Annotated[str, typer.Option(help="Refuse a backend weaker than this one.")] = "",
        workers: Annotated[
            int | None, typer.Option(min=1, help="Programs at once (default: a few more than cores).")
        ] = None,
        max_queue: Annotated[int, typer.Option(min=1, help="Programs that may wait or run: more are told 429.")] = 4096,
        max_body_mib: Annotated[
            int, typer.Option(min=1, help="Size of a request, MiB: a larger one is told 413.")
        ] = 64,
        time_factor: Annotated[str, typer.Option(help="Multiplies limits of time; `machine`: measured here.")] = "1",
        preload: PreloadOption = None,
    ) -> None:
        """Grade over HTTP, for the remote backend, verl (SandboxFusion) and open-r1 (Piston); see docs/serving.md."""
        with faults():
            try:
                from sandbox.server.settings import ServeSettings
                from sandbox.server.start import serve as run_server
            except ModuleNotFoundError as error:
                raise BadInput(f"serve needs {error.name}: pip install 'coderl[serve]'") from None
            from sandbox.grader import Grader

            settings = ServeSettings(
                host=host, port=port, token=read_token(token_file), max_queue=max_queue,
                max_body_bytes=max_body_mib * MEBIBYTE,
            )  # fmt: skip
            times = TimeFactors(machine=read_factor(time_factor, backend))
            with Grader(
                backend=backend, workers=workers, min_isolation=min_isolation, times=times, preload=preload or ()
            ) as grader:
                run_server(grader, settings)
