"""What people open in a browser: a question box at `/`, and the API at `/docs`.

Both are pages of this service alone. They work without a network, and the browser is told to ask no
other host for anything, whatever stands in an answer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse

_FOLDER: Final = Path(__file__).parent.parent / "pages"
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "connect-src 'self'",
        "img-src data:",
        "script-src 'unsafe-inline'",
        "style-src 'unsafe-inline'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class Try:
    """What the question box is filled with: there is an agent, and a collection that answers.

    tenant: None where callers show a token, which is no page's business to hold.
    """

    tenant: str | None
    agent: str
    collection: str
    questions: Sequence[str]


def add_pages(app: FastAPI) -> None:
    """Show both; `app.state.to_try` may say what the question box begins with."""
    app.state.to_try = None
    app.add_route("/", _landing, include_in_schema=False)
    app.add_route("/docs", _docs, include_in_schema=False)


async def _landing(request: Request) -> HTMLResponse:
    to_try: Try | None = request.app.state.to_try
    begins = "{}" if to_try is None else _as_script(to_try)
    return _answer(_page("landing.html").replace("const TRY = {};", f"const TRY = {begins};"))


async def _docs(request: Request) -> HTMLResponse:
    return _answer(_page("docs.html"))


@cache
def _page(name: str) -> str:
    style = (_FOLDER / "style.css").read_text("utf-8")
    return (_FOLDER / name).read_text("utf-8").replace("/*STYLE*/", style)


def _as_script(to_try: Try) -> str:
    """As JSON in which no text can end the script that it stands in."""
    fields = {
        "question": to_try.questions[0] if to_try.questions else "",
        "agent": to_try.agent,
        "collection": to_try.collection,
        "caller": to_try.tenant or "",
    }
    said = json.dumps({"fields": fields, "questions": list(to_try.questions)})
    return said.replace("<", "\\u003c")


def _answer(page: str) -> HTMLResponse:
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return HTMLResponse(page, headers=headers)
