"""What was answered already? An append-only JSONL file of replies, so that no question is paid for twice.

A line is synced before its answer counts. A process that was killed can leave half a line at the end;
the next one cuts it off.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from coderl.errors import FeedbackError, RunFolderError
from coderl.feedback.chat import Ask, Chat, Reply
from coderl.run_folder import explained

SCHEMA = 1


class Journal:
    """The replies in a file, open for more. Raises RunFolderError, also if another process has it open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._replies: dict[str, Reply] = {}
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise explained(error, path) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise RunFolderError(f"{path}: another process is writing it; wait, or stop it") from error
        try:
            self._read()
        except BaseException:
            os.close(self._descriptor)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def ask(self, chat: Chat, asks: Sequence[Ask], on_answer: Callable[[], None] = lambda: None) -> list[Reply]:
        """A reply to every ask, from the file or from `chat`; equal asks are sent once; `on_answer` counts the new ones."""
        keys = [ask.key(chat.identity) for ask in asks]
        missing = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in self._replies}
        waiting = list(missing)
        for place, reply in chat.answers(list(missing.values())):
            self._append(waiting[place], chat.name, reply)
            on_answer()
        left = [key for key in waiting if key not in self._replies]
        if left:
            raise FeedbackError(f"{chat.name}: gave no answer to {len(left)} of {len(waiting)} questions; run it again")
        return [self._replies[key] for key in keys]

    def unanswered(self, chat: Chat, asks: Sequence[Ask]) -> int:
        """How many different asks are not in the file."""
        return len({ask.key(chat.identity) for ask in asks} - self._replies.keys())

    def _append(self, key: str, model: str, reply: Reply) -> None:
        line = json.dumps({"schema": SCHEMA, "key": key, "model": model, "reply": asdict(reply)}) + "\n"
        try:
            os.write(self._descriptor, line.encode())
            os.fsync(self._descriptor)
        except OSError as error:
            raise explained(error, self._path) from error
        self._replies[key] = reply

    def _read(self) -> None:
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._descriptor, whole)
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                record = json.loads(line)
                self._replies[record["key"]] = Reply.from_json(record["reply"])
            except (ValueError, KeyError, TypeError) as error:
                raise RunFolderError(
                    f"{self._path}, line {number}: not a reply ({error}); move the file away to ask everything again"
                ) from error
