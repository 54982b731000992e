"""In which languages can a program be written, and what does each need?

A language is data: one file in this folder with a record `LANGUAGE`; to add one, add a file (or call `register`). What
is installed is found out on first use (`toolchain`) and said by `sandbox doctor`. Templates in `compile` and `run` may use
{source} (the file of the program), {sources} (and others of its kind), {entry} (what `layout` found to start), {memory_mb}
and {stack_mb} (the run's limits).
"""

from __future__ import annotations

import functools
import glob
import importlib
import os
import pkgutil
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sandbox.errors import SandboxError


class LanguageUnavailable(SandboxError):
    """The toolchain of a language is not on this machine: one line with the cause and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harness:
    """How trusted test code shows that it reached its end: `end` copies one line from stdin to stdout.

    `end` is put before the last `depth` closing braces of the test code (0: after all of it); `head` before the program.
    """

    end: str
    depth: int = 0
    head: str = ""
    unit_mark: str = ""  # test code that holds this is for the language's own test runner, with these options
    unit_options: tuple[str, ...] = ()
    unit_depth: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prebuilt:
    """What every compile step would work out anew, made once: `compile` leaves `product` of `text` in the file `source`."""

    mark: str  # only programs that hold this need it; "": all
    source: str
    text: str
    compile: tuple[str, ...]
    product: str
    name: str  # of the product where it is kept; may hold /
    option: str  # of the compiler that is to use it; {folder} is where it is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    name: str
    source: str  # the file that holds the program
    run: tuple[str, ...]  # argv; the first word is looked up on the host, "./..." is a product
    hello: str  # a program that reads a line and prints it in upper case: the self-test
    compile: tuple[str, ...] = ()  # argv; empty: there is nothing to compile
    products: tuple[str, ...] = ()  # what compiling leaves and running needs; may hold *
    aliases: tuple[str, ...] = ()
    version: tuple[str, ...] = ("--version",)  # arguments of the first tool
    install: str = ""  # how to get it, for a person
    binds: tuple[str, ...] = ()  # patterns of host paths that the toolchain reads, besides /usr and its kind
    locate: Callable[[], Mapping[str, str]] | None = None  # tool: path, where PATH does not tell; may hold "bind:" keys
    layout: Callable[[str], tuple[str, str]] | None = None  # source text: (file name, entry)
    environment: Mapping[str, str] = field(default_factory=dict)  # $TMPDIR and $HOME are filled in
    time_factor: float = 1.0  # of cpu and wall limits, against those made for C++ and Python alike
    reserves_memory: bool = False  # maps far more than it uses: its address space says nothing
    processes: int = 0  # threads of its runtime, beyond those of the program
    harness: Harness | None = None
    prebuilt: Prebuilt | None = None

    @property
    def in_process(self) -> bool:
        """Run by the zygote itself."""
        return not self.run


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A language as found on this machine."""

    language: Language
    tools: Mapping[str, str]  # word of the templates: path
    binds: tuple[str, ...]
    version: str

    def command(self, template: tuple[str, ...], **values: tuple[object, ...]) -> tuple[str, ...]:
        """`template` filled in; a word that is nothing but a field may stand for several."""
        first, *rest = template
        words = [self.tools.get(first, first)]
        for word in rest:
            if word[1:-1] in values:
                words += map(str, values[word[1:-1]])
            else:
                words.append(word.format(**{name: value[0] for name, value in values.items() if value}))
        return tuple(words)


SYSTEM_FOLDERS = ("/usr/", "/bin/", "/sbin/", "/lib/", "/lib64/")  # in every jail

_added: dict[str, Language] = {}


def register(language: Language) -> None:
    """Add a language to this process, or replace one."""
    _added[language.name] = language
    _table.cache_clear()
    toolchain.cache_clear()


def names() -> tuple[str, ...]:
    return tuple(sorted({language.name for language in _table().values()}))


def get(name: str) -> Language:
    """The language of that name or alias. Raises KeyError with a line that lists the names."""
    try:
        return _table()[name.lower()]
    except KeyError:
        raise KeyError(f"language {name!r} is not known here: give one of {', '.join(names())}") from None


def of_file(name: str) -> str:
    """The language whose files are called like this one; "" for a name that tells nothing."""
    suffix = os.path.splitext(name)[1]
    for language in _table().values():
        if suffix and (os.path.splitext(language.source)[1] == suffix or suffix[1:] in language.aliases):
            return language.name
    return ""


@functools.cache
def toolchain(name: str) -> Toolchain:
    """What this machine has for a language. Raises LanguageUnavailable, or KeyError for an unknown name."""
    language = get(name)
    words = dict.fromkeys(
        words[0] for words in (language.compile, language.run) if words and not words[0].startswith("./")
    )
    found = dict(language.locate()) if language.locate else {}
    for word in words:
        path = found.get(word) or shutil.which(word)
        if path is None:
            remedy = language.install or f"install {word}"
            raise LanguageUnavailable(f"language {language.name}: no {word} on this machine; {remedy}")
        found[word] = path
    binds = [path for pattern in language.binds for path in glob.glob(pattern)]
    binds += [found.pop(key) for key in list(found) if key.startswith("bind:")]
    for word, path in found.items():
        found[word], home = installed(path)
        binds += [home] if home and home not in binds else []
    version = ""
    if words:
        first = found[next(iter(words))]
        answer = subprocess.run(
            [first, *language.version], capture_output=True, text=True, timeout=60, check=False, env=clean_environment()
        )
        version = next(iter((answer.stdout + answer.stderr).splitlines()), "")
    return Toolchain(language=language, tools=found, binds=tuple(binds), version=version)


def installed(tool: str) -> tuple[str, str]:
    """Where a tool really lies, and the folder or file to bind for it; "" if it lies with the system's.

    A folder that `bin` makes an installation (/opt/jdk-21, ~/.nvm/versions/node/v22) is bound whole; of a folder that holds
    other things of a person as well, only the tool.
    """
    real = os.path.realpath(tool)
    if real.startswith(SYSTEM_FOLDERS):
        return tool, ""
    folder = os.path.dirname(real)
    prefix = os.path.dirname(folder)
    home = os.path.realpath(os.path.expanduser("~"))
    shared = prefix in (home, f"{home}/.local", "/opt") or home.startswith(f"{prefix.rstrip('/')}/")
    return real, real if shared or os.path.basename(folder) != "bin" else prefix


def available() -> dict[str, str]:
    """For each language the version of its toolchain, or why it cannot be used (a line that begins with "language")."""
    found = {}
    for name in names():
        try:
            found[name] = toolchain(name).version
        except LanguageUnavailable as error:
            found[name] = str(error)
    return found


def clean_environment() -> dict[str, str]:
    """What a tool of the host is asked with: enough to find its own parts."""
    return {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "RUSTUP_HOME", "CARGO_HOME")}


@functools.cache
def _table() -> dict[str, Language]:
    shipped = [
        importlib.import_module(f"{__name__}.{module.name}").LANGUAGE for module in pkgutil.iter_modules(__path__)
    ]
    table = {}
    for language in [*shipped, *_added.values()]:
        for name in (language.name, *language.aliases):
            table[name] = language
    return table
