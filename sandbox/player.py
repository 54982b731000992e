"""How does a candidate answer a test that runs in another jail?

Executes the program as a module, then serves the referee's requests, one at a time: names, calls, attributes, items,
iteration. Plain values go by value; everything else stays here and is known to the referee by a number. A function
of the test arrives as a `Callback`: calling it asks the referee and waits.

Arguments are copies. So that functions that work in place can be tested, the lists, dicts and sets given to a call
travel back if, and only if, it returned None: a call that returns an answer cannot also edit what it is compared with.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Callable
from typing import Any

from sandbox.codec import CodecError, decode, encode
from sandbox.guest import MAX_TEXT, Channel, compiled, describe, leave, load, note, show

TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, object, type(None), range)
}
TYPES.update((name, x) for name, x in vars(builtins).items() if isinstance(x, type) and issubclass(x, Exception))
NAMES = {kind: name for name, kind in TYPES.items()}


def play(source: bytes, control: int) -> None:
    channel = Channel(control)
    code = compiled(source, channel)
    Player(channel, load(code, channel, {})).wait()


class Player:
    def __init__(self, channel: Channel, namespace: dict[str, Any]):
        self._channel = channel
        self._namespace = namespace
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}  # id -> index into _objects, which keeps it alive
        self._operations: dict[str, Callable[[Any], Any]] = {
            "names": self._names, "call": self._call, "do": self._do,
        }  # fmt: skip

    def wait(self) -> Any:
        """Serve requests until something else comes, which is then the reply to a callback."""
        while True:
            message = self._channel.receive()
            if message is None:
                leave()
            if "op" not in message:
                return message
            self._channel.send(self.answer(message))

    def call_back(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._channel.send(
            {
                "op": "call",
                "r": number,
                "args": [encode(value, self._export) for value in args],
                "kwargs": [[name, encode(value, self._export)] for name, value in kwargs.items()],
            }
        )
        reply = self.wait()
        if "re" in reply:
            return decode(reply["re"], self._resolve)
        raise exception(reply["raise"]["type"], [decode(tree) for tree in reply["raise"]["args"]])

    def answer(self, message: Any) -> Any:
        try:
            result = self._operations[message["op"]](message)
        except SystemExit:
            raise
        except BaseException as error:
            if not isinstance(error, StopIteration):
                note(error)
                show(error)
            return {"error": fault(error)}
        try:
            return {"ok": encode(result, self._export), **self._changes}
        except CodecError as error:
            return {"bad": str(error)[:MAX_TEXT]}

    _changes: dict[str, Any] = {}  # noqa: RUF012 - replaced, never changed

    def _names(self, message: Any) -> Any:
        self._objects, self._numbers, self._changes = [], {}, {}
        return {name: self._namespace[name] for name in message["names"] if name in self._namespace}

    def _call(self, message: Any) -> Any:
        self._changes = {}
        args = [decode(tree, self._resolve) for tree in message["args"]]
        kwargs = {name: decode(tree, self._resolve) for name, tree in message["kwargs"]}
        result = self._objects[message["h"]](*args, **kwargs)
        self._changes = {}  # those of calls made meanwhile
        if result is None:
            given = [*enumerate(message["args"]), *message["kwargs"]]
            after = {**dict(enumerate(args)), **kwargs}
            mutable = [(key, tree) for key, tree in given if type(after[key]) in (list, dict, set)]
            trees = [(key, tree, encode(after[key], self._export)) for key, tree in mutable]
            if changed := [[key, new] for key, old, new in trees if new != old]:
                self._changes = {"args": changed}
        return result

    def _do(self, message: Any) -> Any:
        self._changes = {}
        args = [decode(tree, self._resolve) for tree in message["args"]]
        result = _DO[message["do"]](self._objects[message["h"]], *args)
        self._changes = {}
        return result

    def _export(self, x: Any) -> Any:
        if isinstance(x, type) and x in NAMES:
            return {"g": NAMES[x]}
        if type(x) is Callback:
            return {"r": x.number}
        number = self._numbers.get(id(x))
        if number is None:
            number = self._numbers[id(x)] = len(self._objects)
            self._objects.append(x)
        return {"h": number}

    def _resolve(self, tag: str, payload: Any) -> Any:
        if tag == "h":
            return self._objects[payload]
        if tag == "g":
            return TYPES[payload]
        return Callback(self, payload)


class Callback:
    """A function of the test, seen from the candidate."""

    def __init__(self, player: Player, number: int):
        self._player, self.number = player, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._player.call_back(self.number, args, kwargs)


def fault(error: BaseException) -> dict[str, Any]:
    """An exception as data: its nearest builtin type, its arguments where plain, a line for a person."""
    kind: type = next((kind for kind in type(error).__mro__ if kind in NAMES), RuntimeError)
    try:
        args = [encode(value) for value in error.args]
        if len(str(args)) > 10 * MAX_TEXT:
            raise CodecError("too long")
    except Exception:
        args = [describe(error)]
    return {"type": NAMES[kind if issubclass(kind, Exception) else RuntimeError], "args": args, "text": describe(error)}


def exception(name: Any, args: list[Any]) -> Exception:
    """The builtin exception of that name; RuntimeError where there is none that takes these arguments."""
    kind = TYPES.get(name, RuntimeError) if isinstance(name, str) else RuntimeError
    if not issubclass(kind, Exception):
        kind = RuntimeError
    try:
        made: Exception = kind(*args)
    except Exception:
        made = RuntimeError(*args)
    return made


_DO: dict[str, Callable[..., Any]] = {
    "attribute": getattr, "set_attribute": setattr, "delete_attribute": delattr, "item": operator.getitem,
    "set_item": operator.setitem, "delete_item": operator.delitem, "len": len, "iter": iter, "next": next, "bool": bool,
    "str": str, "repr": repr, "int": int, "float": float, "index": operator.index, "reversed": reversed,
    "is_instance": lambda kind, x: isinstance(x, kind), "is_subclass": lambda kind, x: issubclass(x, kind),
    "enter": lambda x: x.__enter__(), "exit": lambda x: x.__exit__(None, None, None),
}  # fmt: skip
