"""What does a client ask for? The body of POST /v1/grade, checked whole before anything runs.

    {"schema": 1, "requests": [{"id": "a", "program": {..} or hash, "task": {..} or hash}], "blobs": {hash: JSON text}}

A program or a task is written out, or named by the SHA-256 of its JSON text. `blobs` brings texts that the server may lack;
they are kept for later bodies. If a hash is not known any more the answer is 424 with "missing": the client sends these again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sandbox.codec import CodecError, loads
from sandbox.errors import nearest
from sandbox.forms import FormFault
from sandbox.requests_json import TaskPart, check_schema, digest, read_program, read_task
from sandbox.server.batches import Item
from sandbox.server.blobs import BlobStore
from sandbox.server.guard import Refusal
from sandbox.spec import Program

MAX_ID = 200  # characters
_BODY = ("schema", "requests", "blobs")
_ITEM = ("id", "program", "task")
T = TypeVar("T")


def read_batch(tree: Any, blobs: BlobStore) -> tuple[list[Item], int]:
    """The programs of a body, and the bytes of what it names without bringing it. Raises Refusal."""
    try:
        return _read(tree, blobs)
    except FormFault as fault:
        raise Refusal(422, str(fault)) from None


def _read(tree: Any, blobs: BlobStore) -> tuple[list[Item], int]:
    _known("the body", tree, _BODY)
    check_schema(tree)
    requests = tree.get("requests")
    if not isinstance(requests, list) or not requests:
        raise FormFault("requests", "is no array, or empty", "give at least one request")
    brought = {name: _blob(name, text) for name, text in _texts(tree.get("blobs", {})).items()}
    for name, (value, size) in brought.items():
        blobs.put(name, value, size)
    items: list[Item] = []
    missing: dict[str, None] = {}
    seen: set[str] = set()
    named: dict[str, int] = {}

    def find(value: Any, kind: type[T], read: Callable[[Any], T]) -> T | None:
        if not isinstance(value, str):
            return read(value)
        kept = brought.get(value) or blobs.get(value)
        if kept is None:
            missing[value] = None
            return None
        found, size = kept
        if value not in brought:
            named[value] = size
        if not isinstance(found, kind):
            raise FormFault("", f"{value} is the hash of something else", "give that of a program, then of a task")
        return found

    for number, record in enumerate(requests):
        where = f"requests[{number}]"
        try:
            _known("a request", record, _ITEM)
            name = record.get("id")
            if not isinstance(name, str) or not 0 < len(name) <= MAX_ID:
                raise FormFault("id", f"is {str(name)[:40]!r}", f"give a text of 1 to {MAX_ID} characters")
            if name in seen:
                raise FormFault("id", f"{name!r} is there already", "give every request its own")
            seen.add(name)
            program = find(record.get("program"), Program, read_program)
            task = find(record.get("task"), TaskPart, read_task)
        except FormFault as fault:
            raise FormFault(f"{where}: {fault.field}".rstrip(": "), fault.fault, fault.remedy) from None
        if program is not None and task is not None:
            items.append(Item(id=name, request=task.request(program)))
    if missing:
        raise Refusal(424, f"{len(missing)} hashes are not known here: send their texts in blobs", missing=[*missing])
    return items, sum(named.values())


def _texts(blobs: Any) -> dict[str, str]:
    if not isinstance(blobs, dict) or not all(isinstance(text, str) for text in blobs.values()):
        raise FormFault("blobs", "is no object of texts", "write {hash: JSON text}")
    return blobs


def _blob(name: str, text: str) -> tuple[Program | TaskPart, int]:
    where = f"blobs[{name[:16]!r}]"
    try:
        data = text.encode()
    except UnicodeEncodeError:
        raise FormFault(where, "holds a lone surrogate", "write it as \\ud800 in the inner JSON") from None
    if digest(data) != name:
        raise FormFault(where, f"has the hash {digest(data)}", "name each text by its SHA-256")
    try:
        record = loads(data)
    except CodecError as error:
        raise FormFault(where, f"cannot be read ({error})", "give JSON") from None
    if not isinstance(record, dict):
        raise FormFault(where, "is no object", "give a program or a task")
    value = read_program(record) if "source" in record else read_task(record)
    return value, len(data)


def _known(what: str, record: Any, valid: tuple[str, ...]) -> None:
    if not isinstance(record, dict):
        raise FormFault("", f"{what} is no object", "write {..}")
    for unknown in (key for key in record if key not in valid):
        raise FormFault(unknown, f"is no key of {what}", nearest(unknown, valid))
