"""How does a plain Python value travel between a jail and the judge?

As JSON where JSON is exact (None, bool, str, finite float, int up to 64 bits, list) and as an object with one tag for the
rest: tuple {"t":[..]}, dict {"d":[[key,value],..]}, set {"s":[..]}, frozenset {"f":[..]}, bytes {"b":"hex"}, large int
{"i":"hex"}, nan and infinities {"x":"nan"}, complex {"c":[re,im]}. Both directions are strict and bounded in depth,
size and time, and raise only CodecError. Nothing is ever unpickled, and no method of an encoded object is called.

References {"h":n} (an object of the candidate), {"r":n} (a function of the test) and {"g":"name"} (a builtin type)
exist only where the caller passes `export` or `resolve`.
"""

from __future__ import annotations

import collections
import json
import math
import struct
import sys
from collections.abc import Callable, Iterable, Sequence
from sys import get_int_max_str_digits
from typing import Any

MAX_DEPTH = 100  # of nested values
MAX_NODES = 1 << 20  # values in one message: shared parts count each time
MAX_DIGITS = 4300  # of an int written in decimal
MAX_COLLISIONS = 1_000_000  # pairs of keys with equal hashes in one message: each may cost a comparison
HEADER = struct.Struct("<I")
length = len  # beside a program that replaces the builtin, frames are still cut where they end

Export = Callable[[object], Any]
Resolve = Callable[[str, Any], Any]


class CodecError(ValueError):
    """Not a plain value, or not the JSON of one."""


def encode(value: object, export: Export | None = None) -> Any:
    """The JSON tree of a plain value.

    A subclass of a plain type counts as that type unless it changes how it compares or what it holds. `export` gives
    the tree of anything else. Raises CodecError.

    >>> encode({1: (2.5, float("nan"))})
    {'d': [[1, {'t': [2.5, {'x': 'nan'}]}]]}
    """
    try:
        return _Encoder(export).encode(value, 0)
    except CodecError:
        raise
    except Exception as error:  # a hostile subclass, or a candidate that broke its own interpreter
        raise CodecError(f"cannot encode a {type(value).__name__}: {type(error).__name__}") from None


def decode(tree: Any, resolve: Resolve | None = None) -> Any:
    """The value of a JSON tree; `resolve(tag, payload)` gives the values of references. Raises CodecError."""
    return _Decoder(resolve).decode(tree, 0)


def dumps(tree: Any) -> bytes:
    """A JSON tree (of `encode`, or a frame that holds such trees) as ASCII."""
    return "".join(_ENCODE(tree, 0)).encode("ascii")


def loads(data: bytes) -> Any:
    """The JSON tree in `data`; refuses duplicate keys, NaN tokens, long numbers, deep nests. Raises CodecError."""
    try:
        short = 0 < get_int_max_str_digits() <= MAX_DIGITS  # then Python itself refuses long numbers
        return (_DECODE_SHORT if short else _DECODE)(data.decode("utf-8"))
    except CodecError:
        raise
    except (ValueError, RecursionError) as error:
        raise CodecError(f"not JSON: {error}") from None


def frame(tree: Any) -> bytes:
    """One message on a control socket: length, then JSON."""
    data = dumps(tree)
    if length(data) >= 1 << 32:
        raise CodecError("the message is longer than 4 GiB")
    return HEADER.pack(length(data)) + data


_MAX_RAW = 1 << 63
_NONFINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_KNOWN: dict[type, type] = {
    collections.Counter: dict, collections.defaultdict: dict, collections.OrderedDict: dict, collections.deque: list,
}  # fmt: skip
_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_OWN_RULES = frozenset({"__eq__", "__ne__", "__hash__", "__len__", "__iter__", "__getitem__", "__contains__"})


def _check_text(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise CodecError("a string holds a lone surrogate") from None
    return text


def _are_plain(values: Sequence[Any]) -> bool:
    """Do these travel as they are? They are of one kind, mostly: asked of all at once, that takes a tenth of the time."""
    kinds = set(map(type, values))
    if len(kinds) != 1:
        return False
    (kind,) = kinds
    if kind is str:
        return all(map(str.isascii, values))
    return all(map(math.isfinite, values)) if kind is float else kind is int or kind is bool


def _fit(values: Sequence[int]) -> bool:
    return min(values) >= -_MAX_RAW and max(values) < _MAX_RAW


class _Encoder:
    def __init__(self, export: Export | None):
        self._export = export
        self._left = MAX_NODES

    def encode(self, x: Any, depth: int) -> Any:
        kind = type(x)
        self._left -= 1
        if self._left < 0:
            raise CodecError(f"more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise CodecError(f"nested deeper than {MAX_DEPTH} levels, or refers to itself")
        if x is None or kind is bool:
            return x
        if kind is str:
            return _check_text(x)
        if kind is int:
            return x if -_MAX_RAW <= x < _MAX_RAW else {"i": hex(x)}
        if kind is float:
            return x if math.isfinite(x) else {"x": "nan" if x != x else "inf" if x > 0 else "-inf"}
        if kind is list:
            return self._many(x, depth)
        if kind is tuple:
            return {"t": self._many(x, depth)}
        if kind is dict:
            return {"d": [self._many(pair, depth) for pair in list(dict.items(x))]}
        if kind is set:
            return {"s": self._many(list(x), depth)}
        if kind is frozenset:
            return {"f": self._many(list(x), depth)}
        if kind is bytes:
            return {"b": x.hex()}
        if kind is complex:
            return {"c": [self.encode(x.real, depth + 1), self.encode(x.imag, depth + 1)]}
        return self._other(x, kind, depth)

    def _many(self, values: Sequence[Any], depth: int) -> list[Any]:
        if depth < MAX_DEPTH and _are_plain(values) and (type(values[0]) is not int or _fit(values)):
            self._left -= len(values)
            if self._left >= 0:
                return list(values)
        return [self.encode(value, depth + 1) for value in values]

    def _other(self, x: Any, kind: type, depth: int) -> Any:
        base = _KNOWN.get(kind) or _plain_base(kind)
        if base is not None:
            return self.encode(_as_base(x, base), depth)
        numpy = sys.modules.get("numpy")
        if numpy is not None and kind.__module__ == "numpy" and isinstance(x, numpy.generic | numpy.ndarray):
            plain = x.tolist()
            if type(plain) in (bool, int, float, complex, str, bytes, list):
                return self.encode(plain, depth)
        if self._export is not None:
            return self._export(x)
        raise CodecError(f"a {kind.__name__} is not a plain value")


def _plain_base(kind: type) -> type | None:
    """The plain type that `kind` extends, unless a class between them changes its rules."""
    for ancestor in type.mro(kind):
        if ancestor in _PLAIN:
            return ancestor
        if ancestor not in _KNOWN and not _OWN_RULES.isdisjoint(vars(ancestor)):
            return None
    return None


def _as_base(x: Any, base: type) -> Any:
    """A copy of `x` as `base`, through methods of the base class only."""
    if base is dict:
        return dict(dict.items(x))
    if base is list:
        return list(collections.deque.__iter__(x) if isinstance(x, collections.deque) else list.__iter__(x))
    if base in (set, frozenset, tuple):
        return base(base.__iter__(x))
    if base is str:
        return str.__str__(x)
    if base is int:
        return int.__add__(x, 0)
    if base is float:
        return float.__add__(x, 0.0) if x != 0 else float.__abs__(x)
    if base is complex:
        return complex.__add__(x, 0)
    return bytes.__add__(x, b"")


class _Decoder:
    def __init__(self, resolve: Resolve | None):
        self._resolve = resolve
        self._left = MAX_NODES
        self._collisions = MAX_COLLISIONS

    def decode(self, tree: Any, depth: int) -> Any:
        kind = type(tree)
        self._left -= 1
        if self._left < 0:
            raise CodecError(f"more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise CodecError(f"nested deeper than {MAX_DEPTH} levels")
        if tree is None or kind is bool or kind is int:
            return tree
        if kind is float:
            if not math.isfinite(tree):
                raise CodecError("a bare number is not finite")
            return tree
        if kind is str:
            return _check_text(tree)
        if kind is list:
            return self.items(tree, depth)
        if kind is not dict or len(tree) != 1:
            raise CodecError('an object must have exactly one tag, as {"d":[[key,value],..]} for a dict')
        ((tag, payload),) = tree.items()
        reader = _TAGS.get(tag)
        if reader is not None:
            return reader(self, payload, depth)
        if self._resolve is None:
            raise CodecError(f"unknown tag {str(tag)[:20]!r}")
        return self._resolve(tag, payload)

    def items(self, payload: Any, depth: int) -> list[Any]:
        if type(payload) is not list:
            raise CodecError("a tag of a container must hold an array")
        if depth < MAX_DEPTH and _are_plain(payload):
            self._left -= len(payload)
            if self._left >= 0:
                return list(payload)
        return [self.decode(item, depth + 1) for item in payload]

    def read_tuple(self, payload: Any, depth: int) -> Any:
        return tuple(self.items(payload, depth))

    def read_set(self, payload: Any, depth: int) -> Any:
        values = self.items(payload, depth)
        self._check_keys(values)
        return set(values)

    def read_frozenset(self, payload: Any, depth: int) -> Any:
        return frozenset(self.read_set(payload, depth))

    def read_dict(self, payload: Any, depth: int) -> Any:
        pairs = self.items(payload, depth)
        if not all(type(pair) is list and len(pair) == 2 for pair in pairs):
            raise CodecError("a dict must be an array of pairs")
        self._check_keys([key for key, _ in pairs])
        return dict(pairs)

    def _check_keys(self, keys: list[Any]) -> None:
        """Keys must be hashable, distinct, and not chosen to collide (a table of those takes quadratic time)."""
        try:
            hashes = collections.Counter(map(hash, keys))
        except TypeError:
            raise CodecError("a key or a set element is not hashable") from None
        self._collisions -= sum(n * (n - 1) // 2 for n in hashes.values() if n > 1)
        if self._collisions < 0:
            raise CodecError("too many keys with the same hash")
        if len(set(keys)) != len(keys):
            raise CodecError("a key or a set element appears twice")

    def read_bytes(self, payload: Any, depth: int) -> Any:
        try:
            if type(payload) is str and " " not in payload:
                return bytes.fromhex(payload)
        except ValueError:
            pass
        raise CodecError("bytes must be hexadecimal digits")

    def read_int(self, payload: Any, depth: int) -> Any:
        try:
            if type(payload) is str and payload.isascii() and payload.lstrip("-").startswith("0x"):
                return int(payload, 16)
        except ValueError:
            pass
        raise CodecError("a large int must be hexadecimal, as in 0xff")

    def read_special(self, payload: Any, depth: int) -> Any:
        if type(payload) is not str or payload not in _NONFINITE:
            raise CodecError("x must be nan, inf or -inf")
        return float(payload)  # a new object: containers take a NaN that is the same object for equal

    def read_complex(self, payload: Any, depth: int) -> Any:
        parts = self.items(payload, depth)
        if len(parts) != 2 or not all(type(part) is float for part in parts):
            raise CodecError("a complex number must be two floats")
        return complex(*parts)


_TAGS: dict[str, Callable[[_Decoder, Any, int], Any]] = {
    "t": _Decoder.read_tuple, "d": _Decoder.read_dict, "s": _Decoder.read_set, "f": _Decoder.read_frozenset,
    "b": _Decoder.read_bytes, "i": _Decoder.read_int, "x": _Decoder.read_special, "c": _Decoder.read_complex,
}  # fmt: skip


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise CodecError("an object has a key twice")
    return result


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise CodecError(f"a number has more than {MAX_DIGITS} digits")
    return int(digits)


def _refuse(token: str) -> float:
    raise CodecError(f"{token} is not JSON")


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """What `json.JSONEncoder.encode` makes anew for every value."""
    plain = json.JSONEncoder(separators=(",", ":"), allow_nan=False, check_circular=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return lambda tree, _level: plain.iterencode(tree)
    quote = json.encoder.encode_basestring_ascii
    encoder: Callable[[Any, int], Iterable[str]] = make(
        None, plain.default, quote, None, plain.key_separator, plain.item_separator, False, False, False
    )
    return encoder


def _decoder(strict: json.JSONDecoder) -> Callable[[str], Any]:
    """`strict.decode`, at once where there is no space around the value."""
    scan: Callable[[str, int], tuple[Any, int]] = strict.scan_once  # type: ignore[attr-defined]

    def decode_text(text: str) -> Any:
        try:
            tree, end = scan(text, 0)
            if end == length(text):
                return tree
        except StopIteration:  # no value begins here
            pass
        return strict.decode(text)

    return decode_text


# Made once, so that a program that replaces json.dumps or json.loads harms only itself.
_ENCODE = _encoder()
_DECODE = _decoder(json.JSONDecoder(object_pairs_hook=_pairs, parse_int=_int, parse_constant=_refuse))
_DECODE_SHORT = _decoder(json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_refuse))
