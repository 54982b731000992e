"""Which function does the head of a program, in any language, ask for?"""

from __future__ import annotations

import re

_COMMENT = ("//", "#", "*", "/*", "--", ">>>")
_NAME = re.compile(r"(\w+)\s*(?:<[^()]*>)?\s*(?:=\s*)?\(")


def head_of(prompt: str) -> str:
    """The last line that opens a function; "" where there is none.

    >>> head_of("// Add(1)\\nfunc Add(a int) int {\\n")
    'func Add(a int) int {'
    """
    lines = (line.strip() for line in reversed(prompt.splitlines()))
    return next((line for line in lines if _NAME.search(line) and not line.startswith(_COMMENT)), "")


def name_in(head: str) -> str:
    """
    >>> name_in("const hasClose = (numbers) => {"), name_in("bool is_prime(long n){")
    ('hasClose', 'is_prime')
    """
    found = _NAME.search(head)
    return found[1] if found else ""
