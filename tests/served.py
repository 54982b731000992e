"""A real server on a free port of this machine, and the plainest client for it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = str(Path(__file__).resolve().parent.parent)


@dataclass
class Served:
    """`sandbox serve` in a process of its own; `port` once it listens."""

    arguments: tuple[str, ...] = ()
    token: str = ""
    process: subprocess.Popen[str] = field(init=False)
    port: int = field(init=False)

    def __enter__(self) -> Served:
        environment = {**os.environ, "PYTHONPATH": ROOT, "SANDBOX_TOKEN": self.token}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sandbox", "serve", *("--port", "0", "--workers", "2"), *self.arguments],
            env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        said = self.process.stdout.readline()
        assert "http://" in said, said
        self.port = int(said.split("http://")[1].split(" ")[0].rpartition(":")[2])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()
        self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, path: str, body: Any = None, method: str = "", **headers: str) -> tuple[int, Any, dict[str, str]]:
        """(status, what the body says, headers); JSON unless the body is bytes already."""
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if data is not None else {}
        sent |= {"Authorization": f"Bearer {self.token}"} if self.token else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method or ("GET" if data is None else "POST"), path, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode()
            kind = answer.headers.get("content-type", "")
            if kind == "application/x-ndjson":
                said: Any = [json.loads(line) for line in text.splitlines() if line]
            else:
                said = json.loads(text) if kind == "application/json" else text
            return answer.status, said, {name.lower(): value for name, value in answer.headers.items()}
        finally:
            connection.close()

    def metric(self, line: str) -> float:
        """The value of one line of /metrics, e.g. 'sandbox_waiting'; 0 where there is none."""
        text = self.call("/metrics")[1]
        return next((float(row.rpartition(" ")[2]) for row in text.splitlines() if row.startswith(f"{line} ")), 0.0)
