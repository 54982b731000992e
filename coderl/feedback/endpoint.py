"""A judge behind an OpenAI-compatible endpoint (`POST BASE/chat/completions`): vLLM, llama.cpp, Ollama, or a hosted model.

Busy or failing servers (408, 409, 429, 5xx, no connection, no JSON) are asked again after a growing pause, or the one that
Retry-After names; any other refusal ends the command at once with what the server said. The key (OPENAI_API_KEY) goes to this
endpoint alone: redirects are not followed, and it is not sent over plain http to another machine.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any
from urllib.parse import urlsplit

from coderl.errors import ConfigError, FeedbackError
from coderl.feedback.chat import Ask, Reply
from sandbox.server.settings import is_local

KEY_VARIABLE = "OPENAI_API_KEY"
MAX_ATTEMPTS = 6
MAX_PAUSE_SECONDS = 60.0
MAX_BYTES = 8_000_000
RETRIED = {408, 409, 425, 429, 500, 502, 503, 504}


class EndpointChat:
    """See `coderl.feedback.chat.Chat`. Raises ConfigError for a URL that cannot be used."""

    weighs = False

    def __init__(
        self,
        base: str,
        model: str,
        *,
        key: str = "",
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        pause: Callable[[float], Any] | None = None,
    ) -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"judge {base!r}: not an address; write e.g. http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ConfigError(
                f"judge at {parts.hostname}: a password in the address ends up in files; use {KEY_VARIABLE}"
            )
        if key and parts.scheme == "http" and not is_local(parts.hostname):
            raise ConfigError(
                f"judge {base}: the key would cross the network in the clear; use https, or unset {KEY_VARIABLE}"
            )
        self.name = model
        self.identity = f"{base.rstrip('/')} {model}"
        self._url = f"{base.rstrip('/')}/chat/completions"
        self._key, self._concurrency, self._timeout = key, concurrency, timeout_seconds
        self._ending = threading.Event()
        self._pause = pause or self._ending.wait
        self._opener = urllib.request.build_opener(_NoRedirect)

    def answers(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """After a refusal nothing more is sent, and the answers that are under way are yielded before it is raised."""
        pool = ThreadPoolExecutor(self._concurrency)
        refused: FeedbackError | None = None
        try:
            places = {pool.submit(self._unless_ending, ask): place for place, ask in enumerate(asks)}
            for done in as_completed(places):
                try:
                    reply = done.result()
                except FeedbackError as error:
                    refused = refused or error
                    self._ending.set()
                else:
                    if reply is not None:
                        yield places[done], reply
        finally:
            self._ending.set()
            pool.shutdown(wait=True, cancel_futures=True)
            self._ending.clear()
        if refused is not None:
            raise refused

    def _unless_ending(self, ask: Ask) -> Reply | None:
        return None if self._ending.is_set() else self._answer(ask)

    def _answer(self, ask: Ask) -> Reply:
        body = json.dumps(
            {
                "model": self.name,
                "messages": [{"role": "system", "content": ask.system}, {"role": "user", "content": ask.user}],
                "max_tokens": ask.max_new_tokens,
                "temperature": 0,
            }
        ).encode()
        fault = ""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            wait = min(2.0 ** (attempt - 1), MAX_PAUSE_SECONDS) * (0.75 + random.random() / 2)
            try:
                return _reply(self._post(body), attempt)
            except urllib.error.HTTPError as error:
                said = _said(error)
                fault = f"{error.code} {said}"
                if error.code not in RETRIED:
                    raise FeedbackError(f"judge {self._url}: refused with {fault}") from error
                wait = _retry_after(error.headers.get("Retry-After")) or wait
            except (OSError, http.client.HTTPException) as error:
                fault = str(getattr(error, "reason", error)) or type(error).__name__
            except (ValueError, KeyError, IndexError, TypeError) as error:
                fault = f"no chat completion in its answer ({type(error).__name__})"
            if attempt < MAX_ATTEMPTS:
                self._pause(wait)
            if self._ending.is_set():
                break
        raise FeedbackError(
            f"judge {self._url}: gave up after {attempt} attempts: {fault}; run the same command again to go on"
        )

    def _post(self, body: bytes) -> Any:
        headers = {
            "Content-Type": "application/json",
            **({"Authorization": f"Bearer {self._key}"} if self._key else {}),
        }
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        with self._opener.open(request, timeout=self._timeout) as answer:
            return json.loads(answer.read(MAX_BYTES))


def key_from_environment() -> str:
    return os.environ.get(KEY_VARIABLE, "").strip()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **named: Any) -> None:
        return None


def _reply(record: Any, num_attempts: int) -> Reply:
    """Raises ValueError, KeyError, IndexError or TypeError for what is no chat completion."""
    text = record["choices"][0]["message"]["content"]
    if not isinstance(text, str):
        raise ValueError("no text")
    usage = record.get("usage") or {}
    return Reply(
        text=text,
        num_prompt_tokens=int(usage.get("prompt_tokens") or 0),
        num_completion_tokens=int(usage.get("completion_tokens") or 0),
        num_attempts=num_attempts,
    )


def _said(error: urllib.error.HTTPError) -> str:
    """The server's own words, shortened to a line."""
    try:
        text = error.read(4000).decode("utf-8", "replace")
    except OSError:
        return str(error.reason)
    try:
        told = json.loads(text)["error"]
        text = told["message"] if isinstance(told, dict) else str(told)
    except (ValueError, KeyError, TypeError):
        pass
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line[:200] or str(error.reason)


def _retry_after(value: str | None) -> float:
    """Seconds, 0 where the header does not say (a date is as good as nothing)."""
    try:
        return min(max(float(value or 0), 0.0), MAX_PAUSE_SECONDS)
    except ValueError:
        return 0.0
