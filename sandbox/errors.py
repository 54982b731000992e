"""What does the sandbox raise? One tree; every message is one line that names the input, the fault and the remedy."""

from __future__ import annotations

from collections.abc import Iterable


class SandboxError(Exception):
    """Base of the errors below."""


class BadInput(SandboxError):
    """A file, or a field in it, cannot be graded as it is."""


def nearest(word: str, names: Iterable[str]) -> str:
    """A remedy that names the closest valid name, and all of them when none is close.

    >>> nearest("humanevall", ["mbpp", "humaneval"])
    'did you mean "humaneval"?'
    """
    from difflib import get_close_matches  # only where something is wrong already

    valid = sorted(names)
    close = get_close_matches(word, valid, n=1, cutoff=0.5)
    return f'did you mean "{close[0]}"?' if close else "valid: " + ", ".join(valid)
