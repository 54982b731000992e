"""How is an image for the docker backend made from this machine, without a registry?

The interpreter with its standard library, a shell, a few tools, the compilers and runtimes of chosen languages, and the
shared libraries of all, as a tar that the engine imports. A toolchain is what Debian's package manager says belongs to
it, or the folder that it was installed in. No file of any home, no configuration of the machine, no Python package goes in.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from sandbox.backend import SandboxUnavailable
from sandbox.container import IMAGE, engine
from sandbox.languages import Toolchain
from sandbox.slot import interpreter

DOCKERFILE = Path(__file__).with_name("Dockerfile")
PATH = ("/usr/local/bin", "/usr/bin", "/bin")
TOOLS = ("sh", "bash", "cat", "echo", "ls", "true", "false", "env", "sleep", "awk", "tr", "yes", "ps", "id")
LEFT_OUT = {
    "site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "__pycache__", "turtledemo", "lib2to3",
}  # fmt: skip
# Of packages: what is only read by people, and all of /etc but what points to programs and runs Java.
DOCUMENTS = (
    "/usr/share/doc",
    "/usr/share/man",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/lintian",
    "/usr/share/bug",
)
SETTINGS = ("/etc/alternatives/", "/etc/java")
NEVER = {
    "dpkg",
    "perl",
    "perl-base",
    "debconf",
    "install-info",
    "python3",
    "gnupg",
    "adduser",
    "passwd",
    "apt",
    "systemd",
}
FOLDERS = (
    "box", "box/work", "coderl", "coderl/sandbox", "judge", "proc", "sys", "dev", "tmp", "etc", "var", "run",
)  # fmt: skip
PASSWD = "root:x:0:0::/:/bin/false\n"


def build_from_host(tag: str = IMAGE, toolchains: Iterable[Toolchain] = ()) -> tuple[str, int]:
    """Make the image `tag` with these toolchains: its id, and its size in bytes. Raises SandboxUnavailable."""
    client = engine()
    python = interpreter()
    repository, _, name = tag.partition(":")
    changes = [f"LABEL coderl.python={python}", f"ENV PATH={':'.join(PATH)}"]
    old = {image.id for image in client.images.list(name=tag)}
    try:
        with tempfile.NamedTemporaryFile(prefix="sandbox-image-", suffix=".tar") as stream:
            pack(stream, python, toolchains)
            stream.flush()
            size = os.path.getsize(stream.name)
            client.api.import_image_from_file(stream.name, repository=repository, tag=name or "latest", changes=changes)
        made = str(client.images.get(tag).id)
        for image in old - {made}:
            with suppress(Exception):  # in use, or with another name
                client.images.remove(image)
        return made, size
    finally:
        client.close()


def pack(stream: IO[bytes], python: str, toolchains: Iterable[Toolchain] = ()) -> None:
    """Write the root file system as a tar. Raises SandboxUnavailable where it is not known what belongs to a toolchain."""
    wanted = {python, *(found for tool in TOOLS if (found := shutil.which(tool)))}
    wanted |= set(_walk(sysconfig.get_path("stdlib"), LEFT_OUT, (".pyc", ".a")))
    links: dict[str, str] = {}
    for tools in toolchains:
        wanted |= set(_of_toolchain(tools))
        links |= {
            f"usr/local/bin/{word}": path for word, path in tools.tools.items() if os.path.dirname(path) not in PATH
        }
    for path in sorted(wanted):
        if _is_binary(path):
            wanted |= set(_libraries(path))
    with tarfile.open(fileobj=stream, mode="w") as tar:
        root = _Root(tar)
        for folder in FOLDERS:
            root.folder(folder)
        root.link("var/tmp", "/tmp")
        for folder in ("/bin", "/sbin", "/lib", "/lib64"):  # links on most machines
            root.add(folder)
        for path in sorted(wanted):
            root.add(path)
        for name, target in links.items():
            root.link(name, target)
        root.text("etc/passwd", PASSWD)


class _Root:
    """The tar that is written: folders before what is in them, links with what they point to, nothing twice."""

    def __init__(self, tar: tarfile.TarFile):
        self._tar, self._done = tar, {""}

    def add(self, path: str) -> None:
        """A file, link or folder of this machine, at its real place; and the links in its path that lead there."""
        parent, name = os.path.split(os.path.abspath(path))
        self._links(parent)
        here = os.path.join(os.path.realpath(parent), name)
        if os.path.islink(here):
            if here.lstrip("/") not in self._done:
                self.link(here.lstrip("/"), os.readlink(here))
                self.add(os.path.join(os.path.dirname(here), os.readlink(here)))
        elif os.path.isdir(here):
            self.folder(here.lstrip("/"))
        elif os.path.isfile(here) and self._first(here):
            self.folder(os.path.dirname(here).lstrip("/"))
            self._put(here, tarfile.REGTYPE)

    def folder(self, name: str) -> None:
        if not self._first(name):
            return
        self.folder(os.path.dirname(name))
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        self._tar.addfile(info)

    def link(self, name: str, target: str) -> None:
        if self._first(name):
            self.folder(os.path.dirname(name))
            self._put(name, tarfile.SYMTYPE, target)

    def text(self, name: str, content: str) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = len(content), 0o644
        self._tar.addfile(info, io.BytesIO(content.encode()))

    def _first(self, path: str) -> bool:
        name = path.lstrip("/")
        fresh = name not in self._done
        self._done.add(name)
        return fresh

    def _links(self, folder: str) -> None:
        """Folders above that are links on this machine (/bin, /lib) are links in the image."""
        while folder != "/":
            if os.path.islink(folder):
                self.add(folder)
            folder = os.path.dirname(folder)

    def _put(self, path: str, kind: bytes, target: str = "") -> None:
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.linkname = kind, target
        if kind == tarfile.SYMTYPE:
            self._tar.addfile(info)
            return
        state = os.stat(path)
        info.size, info.mode = state.st_size, (state.st_mode | 0o444) & 0o755
        with open(path, "rb") as file:
            self._tar.addfile(info, file)


def _of_toolchain(tools: Toolchain) -> Iterator[str]:
    for bind in tools.binds:
        yield from _walk(bind, {"doc", "man"})
    inside = tuple(bind.rstrip("/") + "/" for bind in tools.binds)
    for tool in tools.tools.values():
        yield tool
        if not os.path.realpath(tool).startswith(inside):
            yield from _of_packages(tool)


def _of_packages(tool: str) -> Iterator[str]:
    """The files of the Debian package that `tool` is of, of all that it depends on, and of what it recommends."""
    name = _owner(os.path.realpath(tool))
    if name is None:
        if shutil.which("dpkg-query") is None or _is_script(os.path.realpath(tool)):
            raise SandboxUnavailable(
                f"{tool}: of no Debian package, so what belongs to it is not known: leave its language out, or use a Dockerfile"
            )
        return  # a program on its own: its libraries go along
    links, owners = _dependencies()
    recommended = _output("dpkg-query", "-W", "-f", "${Recommends}", name).replace("|", ",").split(",")  # libc6-dev is
    seen, waiting = set(NEVER), [name, *(word for part in recommended if (word := _bare(part)) in links)]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        waiting += [owner for needed in links.get(package, ()) for owner in owners.get(needed, ())]
        for path in _output("dpkg-query", "-L", package).splitlines():
            wanted = not path.startswith(DOCUMENTS) and (not path.startswith("/etc/") or path.startswith(SETTINGS))
            if wanted and (os.path.islink(path) or os.path.isfile(path)):
                yield path


def _owner(path: str) -> str | None:
    for candidate in (path, path.removeprefix("/usr")):  # where /bin is a link, packages may say either
        answer = _output("dpkg-query", "-S", candidate)
        if ": " in answer:
            return answer.splitlines()[0].split(": ")[0].split(",")[0].split(":")[0]
    return None


def _dependencies() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Of the installed packages: what each depends on, and which packages provide a name."""
    links: dict[str, list[str]] = {}
    owners: dict[str, list[str]] = {}
    for line in _output("dpkg-query", "-W", "-f", "${Package}\t${Pre-Depends},${Depends}\t${Provides}\n").splitlines():
        name, needs, provides = line.split("\t")
        links[name] = [word for part in needs.replace("|", ",").split(",") if (word := _bare(part))]
        for other in (name, *map(_bare, provides.split(","))):
            owners.setdefault(other, []).append(name)
    return links, owners


def _bare(part: str) -> str:
    """`libc6 (>= 2.36)` and `python3:any` without what follows the name."""
    return part.strip().split(" ")[0].split(":")[0]


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def _is_script(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"#!"


def _is_binary(path: str) -> bool:
    """A program or library of this machine's kind; not what only looks like one by its name."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode) or not (os.access(path, os.X_OK) or ".so" in path):
            return False
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _libraries(path: str) -> list[str]:
    """The shared libraries that a program or library needs, as the dynamic linker finds them."""
    words = (line.split("=>")[-1].split() for line in _output("ldd", path).splitlines())
    return [word[0] for word in words if word and word[0].startswith("/")]


def _walk(top: str, left_out: set[str], suffixes: tuple[str, ...] = ()) -> Iterator[str]:
    """What lies below `top`, but for folders of these names and files that end so."""
    for here, folders, files in os.walk(top):
        folders[:] = [name for name in folders if name not in left_out]
        links = [name for name in folders if os.path.islink(os.path.join(here, name))]
        yield from (os.path.join(here, name) for name in [*files, *links] if not name.endswith(suffixes))
