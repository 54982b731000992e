"""How does text of a program get into a page without becoming part of it? Children are escaped unless they are `Html`.

>>> tag("p", "1 < 2 & ", tag("b", "so"), cls="note")
'<p class="note">1 &lt; 2 &amp; <b>so</b></p>'
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib import resources

from sandbox import printable

VOID = {"meta", "br", "col", "link"}


class Html(str):
    """Markup made by this package. Never made from text that comes from a model, a task, a config or a file."""

    __slots__ = ()


def tag(element: str, /, *children: str, cls: str = "", **attributes: str) -> Html:
    """One element. Children that are not `Html` are text; attributes are text always."""
    given = {"class": cls, **attributes} if cls else attributes
    head = "".join(f' {key.replace("_", "-")}="{escape(value)}"' for key, value in given.items())
    if element in VOID:
        return Html(f"<{element}{head}>")
    return Html(f"<{element}{head}>{join(children)}</{element}>")


def join(children: Iterable[str]) -> Html:
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def escape(text: str) -> Html:
    """Text for a page, also inside quotes."""
    return Html(html.escape(printable(text), quote=True))


def document(title: str, *body: str, policy: str) -> str:
    """A whole page in the report's style, under a Content-Security-Policy."""
    style = resources.files("coderl.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("title", f"{title} · coderl"),
        tag("style", Html(style)),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", *body), lang="en") + "\n"


def table(header: list[str], rows: Iterable[list[str]], *, cls: str = "") -> Html:
    """A table that scrolls sideways on a narrow screen; cells after the first of a row are set to the right."""
    head = tag("thead", tag("tr", *(tag("th", cell, scope="col") for cell in header)))
    body = tag("tbody", *(tag("tr", *(tag("td", cell) for cell in row)) for row in rows))
    return tag("div", tag("table", head, body, cls=cls), cls="wide", tabindex="0")


def facts(pairs: Iterable[tuple[str, str]]) -> Html:
    """A list of names and what they are."""
    return tag("dl", *(join([tag("dt", name), tag("dd", value)]) for name, value in pairs if value))
