"""What does the labelling page answer, and with what? Pages made here, a little JavaScript, nothing from elsewhere.

- GET / is the item that the annotator has before them, or the way to sign in; GET /label.css, /label.js.
- POST /answer, /results, /undo, /sign-in, /sign-out.

The policy of every page lets it load its own two files and nothing else, and lets no text become a script (Trusted Types).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import jinja2
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from coderl.errors import CoderlError, ConfigError
from coderl.label.guard import Access, Refused, check_csrf, check_name, csrf_token, read_form
from coderl.label.show import changed_lines, shown_program, shown_text, unified
from coderl.label.store import Assignment, Kind, LabelStore, Submission
from sandbox import printable

LETTERS = "ABCDEFGHI"
MAX_REASON = 2000
MAX_SECONDS = 4 * 3600.0
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def label_app(store: LabelStore, access: Access) -> FastAPI:
    """The whole server over a store."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    pages = _Pages()
    labelling = _Labelling(store, access, pages)

    @app.middleware("http")
    async def every(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        try:
            access.check_host(request)
            if request.method not in ("GET", "HEAD"):
                access.check_origin(request)
            answer = await call(request)
        except Refused as refused:
            answer = JSONResponse({"error": refused.line}, refused.status)
        except CoderlError as error:
            answer = JSONResponse({"error": " ".join(str(error).split())}, 503)
        for name, value in HEADERS.items():
            answer.headers[name] = value
        answer.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        return answer

    @app.get("/label.js")
    def script() -> Response:
        return Response(pages.script, media_type="text/javascript")

    @app.get("/label.css")
    def style() -> Response:
        return Response(pages.style, media_type="text/css")

    @app.get("/")
    async def front(request: Request) -> Response:
        return await asyncio.to_thread(labelling.front, request.cookies.get(access.cookie, ""))

    @app.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        form = await read_form(request)
        return await asyncio.to_thread(labelling.sign_in, form)

    @app.post("/sign-out")
    async def sign_out(request: Request) -> Response:
        return await _posted(request, labelling.sign_out)

    @app.post("/answer")
    async def answer(request: Request) -> Response:
        return await _posted(request, labelling.answer)

    @app.post("/results")
    async def results(request: Request) -> Response:
        return await _posted(request, labelling.results)

    @app.post("/undo")
    async def undo(request: Request) -> Response:
        return await _posted(request, labelling.undo)

    async def _posted(request: Request, handler: Callable[..., Response]) -> Response:
        """A form of somebody who is signed in. Raises Refused."""
        form = await read_form(request)
        session = request.cookies.get(access.cookie, "")
        wants_json = "application/json" in request.headers.get("accept", "")
        return await asyncio.to_thread(labelling.of_session, session, form, handler, wants_json)

    return app


class _Labelling:
    """What the paths do; each in a thread of its own, as the database waits for the disk."""

    def __init__(self, store: LabelStore, access: Access, pages: _Pages) -> None:
        self._store, self._access, self._pages = store, access, pages

    def front(self, session: str) -> Response:
        name = self._store.session(session)
        if not name:
            return self._pages.answer("sign_in.html", names_suffice=self._access.names_suffice)
        assignment = self._store.next(name, time.time())
        shared: dict[str, Any] = {"name": name, "csrf": csrf_token(session), "progress": self._store.progress()}
        if assignment is None:
            return self._pages.answer("done.html", **shared)
        return self._pages.answer("item.html", **shared, **_item_fields(assignment))

    def sign_in(self, form: dict[str, str]) -> Response:
        try:
            name = check_name(form.get("name", ""))
        except ConfigError as error:
            return self._sign_in_again(str(error), 400)
        session = self._store.sign_in(name, form.get("token", "").strip(), names_suffice=self._access.names_suffice)
        if not session:
            return self._sign_in_again("That name and token do not belong together.", 403)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._access.cookie, session, httponly=True, samesite="strict", max_age=30 * 86400)
        return answer

    def _sign_in_again(self, fault: str, status: int) -> Response:
        return self._pages.answer("sign_in.html", status=status, fault=fault, names_suffice=self._access.names_suffice)

    def of_session(
        self, session: str, form: dict[str, str], handler: Callable[..., Response], wants_json: bool
    ) -> Response:
        name = self._store.session(session)
        if not name:
            raise Refused(401, "you are not signed in: reload the page")
        check_csrf(session, form)
        answer = handler(name, form, session)
        return JSONResponse({"status": "done"}) if wants_json and isinstance(answer, RedirectResponse) else answer

    def sign_out(self, name: str, form: dict[str, str], session: str) -> Response:
        self._store.sign_out(session)
        answer = RedirectResponse("/", 303)
        answer.delete_cookie(self._access.cookie)
        return answer

    def answer(self, name: str, form: dict[str, str], session: str) -> Response:
        assignment = self._own(name, form)
        self._store.submit(name, _submission(assignment, form), time.time())
        return RedirectResponse("/", 303)

    def results(self, name: str, form: dict[str, str], session: str) -> Response:
        assignment = self._own(name, form)
        self._store.see_results(assignment.id, name, time.time())
        said: dict[str, Any] = {}
        for letter, choice in _shown(assignment):
            result = assignment.item.choices[choice].result
            said[letter] = result and {
                "outcome": result.outcome,
                "passed": result.passed,
                "total": result.total,
                "cases": [[printable(text) for text in case] for case in result.cases],
            }
        return JSONResponse(said)

    def undo(self, name: str, form: dict[str, str], session: str) -> Response:
        self._store.undo(name, time.time())
        return RedirectResponse("/", 303)

    def _own(self, name: str, form: dict[str, str]) -> Assignment:
        number = form.get("assignment", "")
        found = self._store.assignment(int(number), name) if number.isdecimal() and len(number) < 10 else None
        if found is None:
            raise Refused(404, "this item is not before you: reload the page")
        return found


class _Pages:
    """Templates, each answered with a policy whose nonce is used once."""

    def __init__(self) -> None:
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("coderl.label", "pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
        )
        folder = resources.files("coderl.label").joinpath("pages")
        report_style = resources.files("coderl.report").joinpath("style.css").read_text(encoding="utf-8")
        self.style = report_style + folder.joinpath("label.css").read_text(encoding="utf-8")
        self.script = folder.joinpath("label.js").read_text(encoding="utf-8")

    def answer(self, template: str, *, status: int = 200, **fields: Any) -> Response:
        nonce = secrets.token_urlsafe(16)
        defaults = {"nonce": nonce, "name": "", "fault": ""}
        text = self._templates.get_template(template).render(**{**defaults, **fields})
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
            "trusted-types 'none'"
        )
        return HTMLResponse(text, status, headers={"Content-Security-Policy": policy})


def _shown(assignment: Assignment) -> list[tuple[str, int]]:
    """(letter, index of the choice), as they stand on the page."""
    return [(LETTERS[place], choice) for place, choice in enumerate(assignment.shown_order)]


def _item_fields(assignment: Assignment) -> dict[str, Any]:
    item, shown = assignment.item, _shown(assignment)
    texts = [item.choices[choice].program for _, choice in shown]
    pair = len(texts) == 2
    changed = changed_lines(texts[0], texts[1]) if pair else (frozenset[int](),) * len(texts)
    return {
        "assignment": assignment,
        "submit_key": secrets.token_urlsafe(16),
        "pair": pair,
        "question": shown_text(item.question),
        "programs": [
            {"name": letter, "rank": place, "lines": shown_program(text, item.language, changed=marks)}
            for place, ((letter, _), text, marks) in enumerate(zip(shown, texts, changed, strict=True), 1)
        ],
        "ranks": range(1, len(texts) + 1),
        "diff": unified(texts[0], texts[1]) if pair else [],
        "has_results": any(choice.result is not None for choice in item.choices),
        "strength": assignment.strength or 2,
    }


def _submission(assignment: Assignment, form: dict[str, str]) -> Submission:
    """Raises Refused for a form that holds no answer."""
    size = len(assignment.shown_order)
    try:
        kind = Kind(form.get("answer", ""))
        places = _ranks_by_place(kind, size, form)
        strength = int(form.get("strength", "2"))
        seconds = float(form.get("seconds") or 0)
    except (ValueError, KeyError):
        raise Refused(400, "choose an answer first") from None
    if not 1 <= strength <= 3 or not 0 <= seconds < float("inf") or not 0 < len(form.get("submit_key", "")) <= 64:
        raise Refused(400, "the form is not one of this page: reload it")
    ranks = [0] * size
    for place, choice in enumerate(assignment.shown_order):
        ranks[choice] = places[place]
    return Submission(
        submit_key=form["submit_key"],
        assignment=assignment.id,
        kind=kind,
        ranks=tuple(ranks),
        strength=strength if len(set(ranks)) > 1 else 0,
        reason=printable(form.get("reason", "").replace("\r\n", "\n").strip()[:MAX_REASON]),
        seconds=min(seconds, MAX_SECONDS),
    )


def _ranks_by_place(kind: Kind, size: int, form: dict[str, str]) -> list[int]:
    """The ranks as they stand on the page. Raises ValueError or KeyError."""
    if kind is Kind.BOTH_BAD:
        return [1] * size
    if kind is Kind.RANKING and size > 2:
        ranks = [int(form[f"rank_{letter}"]) for letter in LETTERS[:size]]
        if not all(1 <= rank <= size for rank in ranks):
            raise ValueError("a rank is out of range")
        return ranks
    if size != 2:
        raise ValueError(f"{kind} is no answer to {size} programs")
    return {Kind.FIRST: [1, 2], Kind.SECOND: [2, 1], Kind.TIE: [1, 1]}[kind]
