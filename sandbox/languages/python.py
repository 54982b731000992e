"""Python: run by the zygote itself, so that a program costs a fork and no start of an interpreter."""

from __future__ import annotations

from sandbox.languages import Harness, Language

LANGUAGE = Language(
    name="python",
    aliases=("py", "python3"),
    source="main.py",
    run=(),
    hello="print(input().upper())\n",
    harness=Harness(end="print('\\n' + input(), flush=True)"),
)
