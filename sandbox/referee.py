"""How does a test run without the candidate in its process?

Executes trusted test code in a jail of its own. The candidate's names are bound to its plain values or to `Handle`s:
proxies whose operations are requests to the player, relayed and checked by the judge. One message decides: how
the test ended.

What a handle does not do: compare. `==` is identity, and `<`, `+`, `in` never ask the candidate, since an object
that may see what it is compared with can always agree. Iteration, len, indexing, attributes, calls, bool, str, int and
float are forwarded. `isinstance` asks the candidate's class.
"""

from __future__ import annotations

import ast
import os
import sys
import types
from collections.abc import ItemsView, Iterator, KeysView, Sequence, ValuesView
from itertools import islice
from typing import Any

from sandbox.codec import CodecError, decode, encode
from sandbox.guest import Channel, describe, leave
from sandbox.lift import free_names, parsed
from sandbox.player import NAMES, TYPES, exception, fault
from sandbox.suite import FILE, install_library, run_suite

MAX_ITEMS = 1_000_000  # of an iterator given as an argument, which travels as a list
_LISTS = (Iterator, range, KeysView, ValuesView, ItemsView)


def referee(source: bytes, control: int) -> None:
    """Run one test after another; `source` is an archive of packages that they need, or empty."""
    channel = Channel(control)
    if source:
        install_library(source)
    while (message := channel.receive()) is not None:
        channel.send(Bench(channel).run(message))
    leave()


class BadArgument(Exception):
    """The test gives the candidate something that cannot travel."""


class Unwieldy(BadArgument):
    """It holds too much to travel, or is nested too deep: perhaps because of what the candidate answered."""


class _Foreign(CodecError):
    """Of a type that cannot travel."""


class Bench:
    """One test."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self._handles: dict[int, Handle] = {}
        self._functions: list[Any] = []
        self._raised: list[Exception] = []  # by the candidate
        self._heard = False  # has the candidate answered anything?
        self._typed = False  # has it answered with a type of Python's own, of which the test may make an object?
        self._refused: BadArgument | None = None  # the last one
        self._swallowed = False  # has it hidden from the test that an assertion failed in a function given to it?
        self._texts: dict[str, str] = {}  # the test's code, by the names that tracebacks have for it

    def run(self, message: Any) -> dict[str, str]:
        """How the test ended: passed, failed, raised (by the candidate), misfit (its answer), undefined or broken."""
        try:
            bound = decode(message["bound"], self._resolve)
        except Exception as error:  # a reference to nothing
            return end("misfit", describe(error))
        ended = self._run(message, bound)
        if self._refused is not None and ended["end"] == "passed":  # it took that for an exception of the candidate
            return self._blame(self._refused)
        if self._swallowed and ended["end"] == "passed":
            return end("failed", "an assertion failed in a function that the test gave to the program")
        return ended

    def _run(self, message: Any, bound: dict[str, Any]) -> dict[str, str]:
        self._texts = {"prelude.py": message.get("prelude", ""), "test.py": message["code"], FILE: message["code"]}
        if "suite" in message:
            self._heard = any(type(value) is not Handle for value in bound.values())
            ended = run_suite(message, bound, self._blame)
            if ended["end"] == "empty":
                return end("misfit" if self._heard else "broken", "it holds no tests, or skips all of them")
            return ended
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        names: list[str] = message["names"]
        try:
            exec(compile(message["prelude"], "prelude.py", "exec", dont_inherit=True), module.__dict__)
            code = compile(message["code"], "test.py", "exec", dont_inherit=True)
        except BaseException as error:
            return end("broken", describe(error))
        module.__dict__.update(bound)
        self._heard = any(type(value) is not Handle for value in bound.values())
        try:
            exec(code, module.__dict__)
        except SystemExit as stop:  # unittest.main() ends so
            return end("failed") if stop.code else end("passed")
        except BaseException as error:
            return self._blame(error, missing=[name for name in names if name not in bound])
        return end("passed")

    def request(self, message: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """Ask the player; serves callbacks until the answer comes. Raises what the candidate raised.

        A StopIteration that is not the end of an iterator becomes a RuntimeError, as in a generator: in `map(f, ..)` it
        would end the test's own loop.
        """
        trees = [self._encode(value) for value in args]
        named = [[name, self._encode(value)] for name, value in (kwargs or {}).items()]
        self._channel.send({**message, "args": trees, "kwargs": named})
        failed = False
        while True:
            reply = self._channel.receive()
            if reply is None:
                leave()
            if "op" not in reply:
                break
            served, broken = self._serve(reply)
            failed |= broken
            self._channel.send(served)
        self._heard = True
        self._swallowed |= failed and reply.get("error", {}).get("type") != "AssertionError"
        if "error" in reply:
            error = exception(reply["error"]["type"], [decode(tree) for tree in reply["error"]["args"]])
            if isinstance(error, StopIteration | StopAsyncIteration) and message.get("do") != "next":
                error = RuntimeError(f"the program raised {describe(error)}")
            self._raised.append(error)
            raise error
        if message["op"] == "call" and reply["ok"] is None:  # whatever the player says of others
            given: dict[Any, Any] = {**dict(enumerate(args)), **(kwargs or {})}
            for key, tree in reply.get("args", ()):
                update(given[key], decode(tree, self._resolve))
        return decode(reply["ok"], self._resolve)

    def _serve(self, message: Any) -> tuple[Any, bool]:
        """Run a function of the test for the candidate: the reply, and whether an assertion failed in it."""
        self._heard = True
        try:
            args = [decode(tree, self._resolve) for tree in message["args"]]
            kwargs = {name: decode(tree, self._resolve) for name, tree in message["kwargs"]}
            return {"re": self._encode(self._functions[message["r"]](*args, **kwargs))}, False
        except BadArgument:
            raise
        except (Exception, SystemExit) as error:  # `sys.exit` given to the candidate would end the test well
            return {"raise": fault(error)}, isinstance(error, AssertionError) and not self._meant(error)

    def _meant(self, error: BaseException) -> bool:
        """Is this the candidate's, or raised by a `raise` of the test, which may want to see it caught?"""
        if any(error is raised for raised in self._raised):
            return True
        file, line = _origin(error)
        raises = [node for node in ast.walk(parsed(self._texts.get(file, ""))) if isinstance(node, ast.Raise)]
        return any(node.lineno <= line <= (node.end_lineno or 0) for node in raises)

    def _blame(
        self, error: BaseException, failures: tuple[type[BaseException], ...] = (), missing: Sequence[str] = ()
    ) -> dict[str, str]:
        """How a test ended that ended so; `failures` are failed assertions by other names."""
        if any(error is raised for raised in self._raised):
            return end("raised", describe(error))
        if isinstance(error, (AssertionError, *failures)):
            return end("failed")
        if isinstance(error, NameError) and error.name in missing:
            return end("undefined", str(error.name))
        chain: list[BaseException] = []
        link: BaseException | None = error
        while link is not None and len(chain) < 50:
            chain.append(link)
            link = link.__cause__ or link.__context__
        if any(link is raised for link in chain for raised in self._raised):
            return end("raised", describe(self._raised[-1]))
        if isinstance(error, BadArgument) and self._heard and (isinstance(error, Unwieldy) or self._typed):
            return end("misfit", str(error))
        if isinstance(error, BadArgument) or self._is_broken(error):
            return end("broken", describe(error))
        return end("misfit" if self._heard else "broken", type(error).__name__)

    def _is_broken(self, error: BaseException) -> bool:
        """Would it end so whatever the candidate answers? Its code compiles; what it evaluates may be an answer."""
        if isinstance(error, NameError):  # one that a loop over the answer binds is missing where that is empty
            return not self._heard or error.name in free_names("\n".join(dict.fromkeys(self._texts.values())))
        if isinstance(error, ImportError):
            return not self._heard or _origin(error)[0] in self._texts
        return isinstance(error, SyntaxError) and not self._heard

    def _encode(self, value: Any) -> Any:
        try:
            return encode(value, self._export)
        except CodecError as error:
            kind = BadArgument if isinstance(error, _Foreign) else Unwieldy
            self._refused = kind(f"the test's argument cannot be passed: {error}")
            raise self._refused from None

    def _export(self, x: Any) -> Any:
        if type(x) is Handle:
            return {"h": object.__getattribute__(x, "_sandbox_number")}
        if isinstance(x, type) and x in NAMES:
            return {"g": NAMES[x]}
        if isinstance(x, _LISTS):
            return encode(list(islice(x, MAX_ITEMS)), self._export)
        if not callable(x):
            raise _Foreign(f"a {type(x).__name__} is neither a plain value nor a function")
        number = next((i for i, function in enumerate(self._functions) if function is x), len(self._functions))
        self._functions[number:] = [x] if number == len(self._functions) else self._functions[number:]
        return {"r": number}

    def _resolve(self, tag: str, payload: Any) -> Any:
        if tag == "g":
            self._typed = True
            return TYPES[payload]
        if tag == "r":
            return self._functions[payload]
        if payload not in self._handles:
            self._handles[payload] = Handle(self, payload)
        return self._handles[payload]


def _origin(error: BaseException) -> tuple[str, int]:
    """The file, without its folder, and the line where it was raised."""
    file, line = "", 0
    trace = error.__traceback__
    while trace is not None:
        file, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return os.path.basename(file), line


def end(kind: str, detail: str = "") -> dict[str, str]:
    return {"end": kind, "detail": detail}


def update(old: Any, new: Any) -> None:
    """Make the container `old` equal to `new` in place, and nested ones with it where they have a counterpart."""
    if type(old) is list and type(new) is list:
        old[:] = [_merge(a, b) for a, b in zip(old, new, strict=False)] + new[len(old) :]
    elif type(old) is dict and type(new) is dict:
        merged = {key: _merge(old.get(key), value) for key, value in new.items()}
        old.clear()
        old.update(merged)
    elif type(old) is set and type(new) is set:
        old.intersection_update(new)
        old |= new


def _merge(old: Any, new: Any) -> Any:
    if type(old) is type(new) and type(old) in (list, dict, set):
        update(old, new)
        return old
    return new


class Handle:
    """An object of the candidate, seen from the test. Equal to itself only."""

    __slots__ = ("__weakref__", "_sandbox_bench", "_sandbox_number")
    _sandbox_bench: Bench
    _sandbox_number: int

    def __init__(self, bench: Bench, number: int):
        object.__setattr__(self, "_sandbox_bench", bench)
        object.__setattr__(self, "_sandbox_number", number)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return self._sandbox_bench.request({"op": "call", "h": self._sandbox_number}, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__qualname__"):
            raise AttributeError(name)
        return _do(self, "attribute", name)

    def __setattr__(self, name: str, value: Any) -> None:
        _do(self, "set_attribute", name, value)

    def __delattr__(self, name: str) -> None:
        _do(self, "delete_attribute", name)

    def __getitem__(self, key: Any) -> Any:
        if type(key) is slice:
            return list(self)[key]
        return _do(self, "item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        _do(self, "set_item", key, value)

    def __delitem__(self, key: Any) -> None:
        _do(self, "delete_item", key)

    def __iter__(self) -> Iterator[Any]:
        items = _do(self, "iter")
        while True:
            try:
                item = _do(items, "next")
            except StopIteration:
                return
            yield item

    def __next__(self) -> Any:
        return _do(self, "next")

    def __reversed__(self) -> Any:
        return _do(self, "reversed")

    def __len__(self) -> Any:
        return _do(self, "len")

    def __bool__(self) -> Any:
        return _do(self, "bool")

    def __str__(self) -> Any:
        return _do(self, "str")

    def __repr__(self) -> Any:
        return _do(self, "repr")

    def __int__(self) -> Any:
        return _do(self, "int")

    def __float__(self) -> Any:
        return _do(self, "float")

    def __index__(self) -> Any:
        return _do(self, "index")

    def __enter__(self) -> Any:
        return _do(self, "enter")

    def __exit__(self, *_: object) -> None:
        _do(self, "exit")  # whatever it says: a failed assertion of the test is not the candidate's to swallow

    def __instancecheck__(self, x: Any) -> Any:
        return _do(self, "is_instance", x)

    def __subclasscheck__(self, x: Any) -> Any:
        return _do(self, "is_subclass", x)


def _do(handle: Handle, what: str, *args: Any) -> Any:
    if type(handle) is not Handle:
        raise TypeError(f"{type(handle).__name__} object is not an iterator")
    return handle._sandbox_bench.request({"op": "do", "h": handle._sandbox_number, "do": what}, args)
