"""What does a program's own claim about its lines come to? Pure; anything that is no line of the program is left out."""

from __future__ import annotations

from collections.abc import Iterable

from sandbox.verdict import Coverage

MAX_DIGITS = 8  # of a line number: a source has at most 1 MiB


def claimed(claims: Iterable[bytes], *, num_lines: int, num_before: int = 0, failed: bool = True) -> Coverage | None:
    """The claims of several runs together; None if there are none.

    `num_before` lines stood before the program's first when it ran. With `failed` the last line that an exception left is
    `failed_line`.

    >>> claimed([b"1\\n2\\n!2\\n", b"1\\n9\\nx\\n"], num_lines=3)
    Coverage(lines=(1, 2), failed_line=2)
    """
    lines: set[int] = set()
    failed_line, any_claim = None, False
    for claim in claims:
        for entry in claim.split(b"\n"):
            number = entry.removeprefix(b"!")
            if not number.isdigit() or len(number) > MAX_DIGITS:
                continue
            any_claim, line = True, int(number) - num_before
            if not 1 <= line <= num_lines:
                continue
            if entry.startswith(b"!"):
                failed_line = line
            else:
                lines.add(line)
    return Coverage(lines=tuple(sorted(lines)), failed_line=failed_line if failed else None) if any_claim else None
