"""How is a pickled string read without running the pickle?

LiveCodeBench packs its private tests as base64 of zlib of a pickle of one string, which is JSON. A pickle is a program; this
reads the bytes of the one that says "here is a string" and refuses all others, so nothing in it is ever looked up or called.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib

MAX_BYTES = 1 << 30  # what one row may unpack to
_STRINGS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"})
_HARMLESS = frozenset({"PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"})


def pickled_string(data: bytes) -> str:
    """The string that `data` is a pickle of. Raises ValueError for any other pickle.

    >>> import pickle
    >>> pickled_string(pickle.dumps("[1, 2]"))
    '[1, 2]'
    """
    found: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(data):
            if operation.name in _STRINGS:
                found.append(str(argument))
            elif operation.name not in _HARMLESS:
                raise ValueError(f"a pickle with {operation.name}, not one of a string")
    except (IndexError, UnicodeError, OverflowError) as error:
        raise ValueError(f"a broken pickle ({error})") from None
    if len(found) != 1:
        raise ValueError(f"a pickle of {len(found)} strings, not of one")
    return found[0]


def packed_string(text: str, *, max_bytes: int = MAX_BYTES) -> str:
    """The string in base64 of zlib of its pickle. Raises ValueError, also for what unpacks to more than `max_bytes`."""
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), max_bytes)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"not base64 of zlib ({error})") from None
    if unpacker.unconsumed_tail:
        raise ValueError(f"more than {max_bytes} bytes when unpacked")
    if not unpacker.eof:
        raise ValueError("zlib data that end too soon")
    return pickled_string(data)
