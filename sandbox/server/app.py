"""Which paths does the server answer, and with what?

- POST /v1/grade: a batch (`sandbox.server.requests`); NDJSON, one line {"id": .., "verdict": {..}} as each verdict is reached,
  an empty line while nothing happens. With an Idempotency-Key the same body never runs twice.
- POST /run_code: SandboxFusion's. POST /api/v2/execute, GET /api/v2/runtimes: Piston's.
- GET /v1/info, /metrics (Prometheus), /healthz (the only one that asks for no token).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sandbox.grader import Grader
from sandbox.requests_json import SCHEMA
from sandbox.run_once import RunRequest, RunResult
from sandbox.server.batches import Batch, Queue, Remembered
from sandbox.server.blobs import BlobStore
from sandbox.server.codeforces import codeforces_answer, codeforces_request
from sandbox.server.fusion import read_run_code, run_code_answer, run_code_request
from sandbox.server.guard import Answer, Guard, Refusal
from sandbox.server.metrics import TEXT, Metrics
from sandbox.server.piston import execute_answer, execute_request, list_runtimes, read_execute
from sandbox.server.requests import read_batch
from sandbox.server.settings import ServeSettings
from sandbox.spec import GradeRequest
from sandbox.verdict import Verdict

WAITING_BODIES = 16  # of the greatest size
MAX_KEY = 200  # characters of an Idempotency-Key
PATHS = ("/v1/grade", "/run_code", "/api/v2/execute", "/api/v2/runtimes", "/v1/info", "/metrics", "/healthz")
T = TypeVar("T")


class Service:
    """What the paths share."""

    def __init__(self, grader: Grader, settings: ServeSettings):
        self.grader, self.settings = grader, settings
        self.metrics = Metrics()
        self.metrics.set("sandbox_workers", grader.workers)
        self.guard = Guard(settings)
        self.queue = Queue(settings.max_queue, WAITING_BODIES * settings.max_body_bytes, self.metrics)
        self.blobs = BlobStore(settings.blob_bytes)
        self.remembered = Remembered(settings.result_bytes, self.metrics)

    async def batch(self, request: Request) -> Response:
        key = _key(request)
        tree, body = await self.guard.read_json(request)
        batch = self.remembered.find(key, body) if key else None
        if batch is None:
            items, named_bytes = read_batch(tree, self.blobs)
            batch = Batch(items, len(body) + named_bytes, self.grader, self.queue, self.metrics)
            self.metrics.set("sandbox_blob_bytes", self.blobs.num_bytes)
            batch.join()
            if key:
                self.remembered.keep(key, body, batch)
        else:
            batch.join()
        return Lines(batch)

    async def run(self, request: Request, asked: RunRequest, size: int) -> RunResult:
        """The end of one program. Raises Refusal."""
        result = await self._alone(request, self.grader.arun(asked), size)
        self.metrics.add("sandbox_programs_total", outcome=result.case.outcome.value)
        return result

    async def verdict(self, request: Request, asked: GradeRequest, size: int) -> Verdict:
        """The verdict on one program. Raises Refusal."""
        verdict = await self._alone(request, self._first(asked), size)
        self.metrics.verdict(verdict)
        return verdict

    async def _first(self, asked: GradeRequest) -> Verdict:
        async with aclosing(self.grader.agrade([asked])) as arrivals:
            return (await anext(arrivals))[1]

    async def _alone(self, request: Request, work: Coroutine[Any, Any, T], size: int) -> T:
        """What `work` comes to; it counts as one program in the queue, and is dropped when the client goes."""
        try:
            self.queue.enter(1, size)
        except Refusal:
            work.close()
            raise
        task, gone = asyncio.create_task(work), asyncio.create_task(_disconnected(request.receive))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                self.metrics.add("sandbox_cancelled_total")
                raise Refusal(499, "the client has gone")
            return await task
        finally:
            self.queue.leave(1, size)
            task.cancel()
            gone.cancel()
            await asyncio.gather(task, gone, return_exceptions=True)

    def info(self) -> dict[str, Any]:
        """May run compilers, to ask for their versions: not for the event loop."""
        isolation = self.grader.isolation
        return {
            "schema": SCHEMA,
            "isolation": {"backend": isolation.backend, "layers": list(isolation.layers)},
            "workers": self.grader.workers,
            "languages": [runtime["language"] for runtime in list_runtimes(self.grader.toolchain)],
            "max_body_bytes": self.settings.max_body_bytes,
            "max_queue": self.settings.max_queue,
        }


class Lines(Response):
    """A batch as NDJSON. The batch was joined; it is left when this ends, however it ends."""

    def __init__(self, batch: Batch):
        super().__init__(media_type="application/x-ndjson")
        self._batch = batch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            sender = asyncio.create_task(self._send(send))
            gone = asyncio.create_task(_disconnected(receive))
            try:
                await asyncio.wait({sender, gone}, return_when=asyncio.FIRST_COMPLETED)
                if sender.done():
                    await sender
            finally:
                sender.cancel()
                gone.cancel()
                await asyncio.gather(sender, gone, return_exceptions=True)
        finally:
            await self._batch.leave()

    async def _send(self, send: Send) -> None:
        async with aclosing(self._batch.follow()) as lines:
            async for line in lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Watched:
    """Stands before the paths: checks the caller, counts answers by path and status, keeps every fault to one line."""

    def __init__(self, app: ASGIApp, service: Service):
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in PATHS else "other"

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                self._service.metrics.add("sandbox_requests_total", path=path, status=str(status))
                if status in (401, 403, 413):
                    self._service.metrics.add("sandbox_refused_total", reason=_REASONS[status])
            await send(message)

        if path != "/healthz":
            try:
                self._service.guard.check_caller(Request(scope))
            except Refusal as refusal:
                await refusal.response()(scope, receive, counted)
                return
        await self._app(scope, receive, counted)


def create_app(grader: Grader, settings: ServeSettings) -> FastAPI:
    """The application on an open grader, which it does not close."""
    service = Service(grader, settings)
    app = FastAPI(title="sandbox", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.add_middleware(Watched, service=service)

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        if request.url.path.startswith("/api/v2/"):  # where Piston's clients look for the line
            refusal.extra["message"] = refusal.line
        return refusal.response()

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> Response:
        line = f"{request.method} {request.url.path[:100]}: {error.detail}; there are {', '.join(PATHS)}"
        return Refusal(error.status_code, line).response()

    @app.post("/v1/grade")
    async def grade(request: Request) -> Response:
        return await service.batch(request)

    @app.post("/run_code")
    async def fusion(request: Request) -> Response:
        tree, body = await service.guard.read_json(request)
        asked = read_run_code(tree)
        return Answer(run_code_answer(asked, await service.run(request, run_code_request(asked), len(body))))

    @app.post("/api/v2/execute")
    async def piston(request: Request) -> Response:
        tree, body = await service.guard.read_json(request)
        asked = read_execute(tree)
        if (problem := codeforces_request(asked)) is not None:
            return Answer(codeforces_answer(asked, await service.verdict(request, problem, len(body))))
        found = await service.run(request, execute_request(asked, grader.toolchain), len(body))
        return Answer(execute_answer(asked, found, grader.toolchain))

    @app.get("/api/v2/runtimes")
    async def runtimes() -> Response:
        return Answer(await asyncio.to_thread(list_runtimes, grader.toolchain))

    @app.get("/v1/info")
    async def info() -> Response:
        return Answer(await asyncio.to_thread(service.info))

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=TEXT)

    @app.get("/healthz")
    async def healthz() -> Response:
        return Answer({"status": "ok"})

    return app


_REASONS = {401: "token", 403: "host", 413: "size"}


def _key(request: Request) -> str:
    """The Idempotency-Key, "" if there is none. Raises Refusal."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return ""
    if len(keys) > 1 or not 0 < len(keys[0]) <= MAX_KEY or not keys[0].isascii() or not keys[0].isprintable():
        raise Refusal(400, f"the Idempotency-Key is not one text of 1 to {MAX_KEY} ASCII characters")
    return keys[0]
