"""How is text of an untrusted program shown to a person? Without a character that shows nothing or steers what shows it."""

from __future__ import annotations


def printable(text: str, *, keep: str = "\n\t") -> str:
    """`text` with control, format and other invisible characters as their Python escapes, but for those in `keep`.

    >>> printable("a\\x1b[31m\\u202eb\\n")
    'a\\\\x1b[31m\\\\u202eb\\n'
    >>> printable("one\\nline", keep="")
    'one\\\\nline'
    """
    plain = text
    for character in keep:
        plain = plain.replace(character, "")
    if plain.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
