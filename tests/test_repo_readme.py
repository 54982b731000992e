"""Do the commands in README.md and docs/ exist, with the options they are shown with, and do the quick ones run?

Shown is what stands behind `$ ` in a ```console block, in a ```bash or ```sh block, or between backticks in a sentence.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import typer.main

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    p for p in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))] if p.is_file()
]
PROGRAMS = ("coderl", "sandbox")
# Quick, and without lasting effect: run in full. A console block is run if all its commands are of these kinds.
QUICK = re.compile(
    r"(coderl|sandbox)( \w+)* --(help|version)$|coderl (config|configs|tasks)( |$)|sandbox (doctor|run)( |$)|(cat|echo|printf) "
)
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


def console_commands(block: str) -> list[str]:
    """The commands of a console block; a line that ends in a backslash, or opens a here-document, goes on."""
    commands: list[str] = []
    lines = iter(block.splitlines())
    for line in lines:
        if not line.startswith("$ "):
            continue
        command = line[2:]
        while command.endswith("\\"):
            command = f"{command[:-1].rstrip()} {next(lines).removeprefix('> ').strip()}"
        if here := re.search(r"<<-?\s*'?(\w+)'?", command):
            for inner in lines:
                command += f"\n{inner.removeprefix('> ')}"
                if inner.removeprefix("> ").strip() == here[1]:
                    break
        commands.append(command)
    return commands


def shown_commands(text: str) -> list[str]:
    """Every invocation of our two programs in a document."""
    found: list[str] = []
    for language, body in FENCE.findall(text):
        if language == "console":
            found += console_commands(body)
        elif language in {"bash", "sh", "shell"}:
            found += re.sub(r"\\\n\s*", " ", body).splitlines()
    found += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    parts = [part.strip() for command in found for part in re.split(r"&&|\|\||;|\||\n", command.split(" #")[0])]
    return [part for part in parts if re.match(rf"({'|'.join(PROGRAMS)}) [a-z-]", part)]


def application(program: str) -> typer.Typer:
    return importlib.import_module(f"{program}.cli").app


def fault(command: str, application: Callable[[str], typer.Typer] = application) -> str:
    """What is wrong with a shown command, by the program's own description of itself; "" if nothing."""
    program, *words = shlex.split(re.sub(r"[<>].*", "", command))
    node = typer.main.get_command(application(program))
    while words and hasattr(node, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in node.commands:
            return f"`{command}`: {program} has no command {words[0]!r} ({', '.join(node.commands)})"
        node = node.commands[words.pop(0)]
    known = {"-h", "--help"}.union(*([*p.opts, *p.secondary_opts] for p in node.params))
    options = {w.split("=")[0] for w in words if re.match(r"--?[a-zA-Z]", w)}
    return f"`{command}`: unknown option {', '.join(sorted(options - known))}" if options - known else ""


def test_a_console_block_is_read_with_its_continued_lines():
    block = "$ coderl train x \\\n    --resume\nout\n$ cat > a <<'END'\n> one\n> END\n$ sandbox doctor\n"
    assert console_commands(block) == ["coderl train x --resume", "cat > a <<'END'\none\nEND", "sandbox doctor"]


def test_commands_are_found_in_blocks_and_sentences_but_not_in_output():
    console = "```console\n$ cd x && coderl eval --limit 3\ncoderl says hello\n```\n"
    text = f"Use `coderl train quickstart`.\n{console}```python\ncoderl x\n```\n"
    assert shown_commands(text) == ["coderl eval --limit 3", "coderl train quickstart"]


def test_an_unknown_command_and_an_unknown_option_are_faults():
    app = typer.Typer()

    @app.command()
    def train(config: str, resume: bool = False) -> None: ...

    @app.command()
    def report(run: str) -> None: ...

    assert fault("coderl train quickstart --resume seed=1", lambda _: app) == ""
    assert "no command 'trian'" in fault("coderl trian quickstart", lambda _: app)
    assert fault("coderl train quickstart --resum", lambda _: app).endswith("unknown option --resum")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_exists_with_its_options(document):
    commands = shown_commands(document.read_text(encoding="utf-8"))
    missing = {c.split()[0] for c in commands if not (ROOT / c.split()[0] / "cli.py").is_file()}
    if missing:
        pytest.skip(f"{', '.join(sorted(missing))} has no cli.py yet")
    assert [f for f in map(fault, commands) if f] == []


def quick_blocks() -> list[str]:
    if not (ROOT / "README.md").is_file():
        return []
    blocks = [
        console_commands(b)
        for lang, b in FENCE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
        if lang == "console"
    ]
    return ["\n".join(block) for block in blocks if block and all(QUICK.match(c) for c in block)]


@pytest.mark.parametrize("script", quick_blocks(), ids=lambda script: script.splitlines()[0])
def test_the_quick_console_blocks_of_the_readme_run(script, tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in PROGRAMS:  # the entry points of this checkout, whether or not it is installed
        if not (ROOT / program / "cli.py").is_file():
            pytest.skip(f"{program} has no cli.py yet")
        launcher = programs / program
        launcher.write_text(f"#!{sys.executable}\nimport sys\nfrom {program}.cli import main\nsys.exit(main())\n")
        launcher.chmod(0o755)
    (tmp_path / "work").mkdir()
    environment = os.environ | {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path / "work",
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    assert done.stdout.strip()
