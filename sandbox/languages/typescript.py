"""TypeScript: by Node.js where that strips types (22.6 and later), not checked by a compiler."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Mapping

from sandbox.languages import Harness, Language, LanguageUnavailable

NEEDED = (22, 6)


@functools.cache
def locate() -> Mapping[str, str]:
    node = shutil.which("node")
    if node is None:
        raise LanguageUnavailable("language typescript: no node on this machine; install Node.js 22.6 or later")
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=False)
    found = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    if found is None or tuple(map(int, found.groups())) < NEEDED:
        version = answer.stdout.strip()
        raise LanguageUnavailable(
            f"language typescript: node {version} cannot strip types; install Node.js 22.6 or later"
        )
    return {"node": node}


LANGUAGE = Language(
    name="typescript",
    aliases=("ts",),
    source="main.ts",
    run=("node", "--experimental-strip-types", "--no-warnings", "--max-old-space-size={memory_mb}", "{source}"),
    locate=locate,
    install="install Node.js 22.6 or later",
    time_factor=1.5,
    environment={"OPENSSL_CONF": "/dev/null"},  # it wants to read the one in /etc
    reserves_memory=True,
    processes=16,
    hello=(
        "import { readFileSync } from 'node:fs';\n"
        "const text: string = readFileSync(0, 'utf8');\nconsole.log(text.trim().toUpperCase());\n"
    ),
    harness=Harness(end="console.log('\\n' + require('fs').readFileSync(0, 'utf8'));"),
)
