"""How is an image for the docker backend made from this machine, without a registry?

The interpreter with its standard library, a shell, a few tools, and the shared libraries of all, as a tar that the engine
imports. No file of any home, no configuration, no package goes in.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sysconfig
import tarfile
from pathlib import Path

from sandbox.container import IMAGE, engine
from sandbox.slot import interpreter

TOOLS = ("sh", "bash", "cat", "echo", "ls", "true", "false", "env", "sleep", "awk", "tr", "yes", "ps", "id")
LEFT_OUT = (
    "site-packages", "dist-packages", "test", "tests", "idlelib", "ensurepip", "__pycache__", "turtledemo", "lib2to3",
)  # fmt: skip
FOLDERS = (
    "box", "box/work", "box/tmp", "coderl", "coderl/sandbox", "judge", "proc", "sys", "dev", "tmp", "etc", "var", "run",
)  # fmt: skip
PASSWD = "root:x:0:0::/:/bin/false\n"


def build_from_host(tag: str = IMAGE) -> tuple[str, int]:
    """Make the image `tag`: its id, and how many bytes went to the engine. Raises SandboxUnavailable."""
    client = engine()
    python = interpreter()
    data = pack(python)
    repository, _, name = tag.partition(":")
    changes = [f"LABEL coderl.python={python}"]
    try:
        client.api.import_image_from_data(data, repository=repository, tag=name or "latest", changes=changes)
        return str(client.images.get(tag).id), len(data)
    finally:
        client.close()


def pack(python: str) -> bytes:
    """The root file system as a tar."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    wanted = {python, *(found for tool in TOOLS if (found := shutil.which(tool)))}
    wanted |= {str(path) for path in _walk(stdlib)}
    for path in sorted(wanted):
        if path == python or ".so" in path or path.startswith(("/bin/", "/usr/bin/")):
            wanted |= set(_libraries(path))
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        made: set[str] = set()
        for folder in FOLDERS:
            _folder(tar, folder, made)
        for path in sorted(wanted):
            inside = path.lstrip("/")
            _folder(tar, os.path.dirname(inside), made)
            info = tar.gettarinfo(os.path.realpath(path), inside)
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.type, info.linkname = tarfile.REGTYPE, ""
            info.size = os.path.getsize(path)
            info.mode = (info.mode | 0o444) & 0o755
            with open(path, "rb") as file:
                tar.addfile(info, file)
        info = tarfile.TarInfo("etc/passwd")
        info.size, info.mode = len(PASSWD), 0o644
        tar.addfile(info, io.BytesIO(PASSWD.encode()))
    return stream.getvalue()


def _libraries(path: str) -> list[str]:
    """The shared libraries that a program or library needs, as the dynamic linker finds them."""
    done = subprocess.run(["ldd", path], capture_output=True, text=True, check=False)
    words = (line.split("=>")[-1].split() for line in done.stdout.splitlines())
    return [word[0] for word in words if word and word[0].startswith("/")]


def _walk(folder: Path) -> list[Path]:
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        found += [Path(here, name) for name in files if not name.endswith((".pyc", ".a"))]
    return found


def _folder(tar: tarfile.TarFile, name: str, made: set[str]) -> None:
    if not name or name in made:
        return
    _folder(tar, os.path.dirname(name), made)
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(info)
    made.add(name)
