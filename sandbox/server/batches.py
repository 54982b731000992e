"""How does a batch of programs become a stream of verdicts, whoever comes and goes meanwhile?

A `Batch` belongs to the connections that follow it. When the last one goes, what waits is dropped and what runs is killed; what
was reached stays, under an idempotency key, so that the same batch sent again only runs the rest. Lines come in the order in
which verdicts are reached.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass

from sandbox.grader import Grader
from sandbox.server.guard import Refusal
from sandbox.server.metrics import Metrics
from sandbox.spec import GradeRequest

HEARTBEAT_SECONDS = 10.0  # an empty line, so that a client can tell a busy server from one that is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One program of a batch, under the client's own name for it."""

    id: str
    request: GradeRequest


class Queue:
    """How many programs wait or run, and the bytes of their requests. Raises Refusal 429 beyond `most` or `most_bytes`."""

    def __init__(self, most: int, most_bytes: int, metrics: Metrics):
        self._most, self._most_bytes, self._metrics = most, most_bytes, metrics
        self._waiting = self._bytes = 0
        metrics.set("sandbox_max_queue", most)
        self.leave(0)

    def enter(self, count: int, num_bytes: int) -> None:
        if count > self._most:
            raise Refusal(413, f"{count} programs: this server takes at most {self._most} at once")
        if self._waiting + count > self._most or (self._bytes and self._bytes + num_bytes > self._most_bytes):
            self._metrics.add("sandbox_refused_total", reason="queue")
            raise Refusal(
                429, f"{self._waiting} programs wait, of at most {self._most} and {self._most_bytes} bytes: try again later",
                headers={"Retry-After": "1"},
            )  # fmt: skip
        self.leave(-count, -num_bytes)

    def leave(self, count: int, num_bytes: int = 0) -> None:
        self._waiting -= count
        self._bytes -= num_bytes
        self._metrics.set("sandbox_waiting", self._waiting)


class Batch:
    """Programs, whose requests take `asked_bytes`, and the lines of those whose verdict is reached."""

    def __init__(self, items: list[Item], asked_bytes: int, grader: Grader, queue: Queue, metrics: Metrics):
        self._grader, self._queue, self._metrics = grader, queue, metrics
        self._left = dict(enumerate(items))
        self._asked_bytes = asked_bytes
        self.lines: list[bytes] = []
        self._kept_bytes = 200 * len(items)
        self._followers = 0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._fault: BaseException | None = None

    @property
    def num_bytes(self) -> int:
        return self._kept_bytes + (self._asked_bytes if self._left else 0)

    def join(self) -> None:
        """One connection more, until it calls `leave`; begins, or goes on with, what is left. Raises Refusal 429."""
        if self._task is None and self._left:
            self._queue.enter(len(self._left), self._asked_bytes)
            self._fault = None
            self._task = asyncio.create_task(self._run())
        self._followers += 1

    async def follow(self) -> AsyncGenerator[bytes]:
        """All lines, those reached before first; ends when every program has its verdict."""
        position = 0
        while True:
            changed = self._changed
            if position < len(self.lines):
                position += 1
                yield self.lines[position - 1]
            elif not self._left:
                return
            elif self._fault is not None:
                raise self._fault
            else:
                try:
                    await asyncio.wait_for(changed.wait(), HEARTBEAT_SECONDS)
                except TimeoutError:
                    yield b"\n"

    async def leave(self) -> None:
        """One connection less; the last one to go ends what is left."""
        self._followers -= 1
        if not self._followers and self._task is not None:
            task, self._task = self._task, None
            self._metrics.add("sandbox_cancelled_total", len(self._left))
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        numbers = list(self._left)
        waiting = len(numbers)
        try:
            async with aclosing(self._grader.agrade([self._left[number].request for number in numbers])) as arrivals:
                async for index, verdict in arrivals:
                    item = self._left.pop(numbers[index])
                    waiting -= 1
                    self._queue.leave(1)
                    self._metrics.verdict(verdict)
                    record = {"id": item.id, "verdict": verdict.to_json()}
                    self.lines.append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
                    self._kept_bytes += len(self.lines[-1])
                    self._announce()
        except Exception as error:
            self._fault = error
        finally:
            self._queue.leave(waiting, self._asked_bytes)
            if self._task is asyncio.current_task():
                self._task = None
            self._announce()

    def _announce(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Remembered:
    """Batches by idempotency key, bounded by the bytes of their verdicts: the least recently used go first."""

    def __init__(self, max_bytes: int, metrics: Metrics):
        self._max_bytes, self._metrics = max_bytes, metrics
        self._kept: OrderedDict[str, tuple[bytes, Batch]] = OrderedDict()

    def find(self, key: str, body: bytes) -> Batch | None:
        """The batch of that key. Raises Refusal if the key was given to another body."""
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        digest, batch = self._kept[key]
        if digest != hashlib.sha256(body).digest():
            raise Refusal(422, "the Idempotency-Key was used for another body: give every batch its own")
        self._metrics.add("sandbox_replayed_total")
        return batch

    def keep(self, key: str, body: bytes, batch: Batch) -> None:
        self._kept[key] = (hashlib.sha256(body).digest(), batch)
        total = sum(batch.num_bytes for _, batch in self._kept.values())
        while total > self._max_bytes and len(self._kept) > 1:
            _, (_, old) = self._kept.popitem(last=False)
            total -= old.num_bytes
        self._metrics.set("sandbox_result_bytes", total)
