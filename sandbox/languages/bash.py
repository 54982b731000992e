"""Bash."""

from __future__ import annotations

from sandbox.languages import Harness, Language

LANGUAGE = Language(
    name="bash",
    aliases=("sh",),
    source="main.sh",
    run=("bash", "{source}"),
    install="apt-get install bash",
    hello="read -r line\nprintf '%s\\n' \"${line^^}\"\n",
    harness=Harness(end="read -r line_ && printf '\\n%s\\n' \"$line_\""),
)
