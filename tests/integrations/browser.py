"""A client that keeps what it is told to keep, as a browser does: a private cache of RFC 9111.

It keeps responses that say how to use them again, tells them apart by what `Vary` names, shows a
fresh one without asking, and asks with all its entity tags else (4.3.1). Its time is given to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass
class Page:
    """What is kept of one response."""

    asked: dict[str, str | None]
    headers: httpx.Headers
    body: bytes
    since: float

    def freshness(self) -> float:
        said = self.headers.get("Cache-Control", "")
        if "no-cache" in said:
            return 0.0
        lasts = re.search(r"max-age=(\d+)", said)
        return float(lasts[1]) - float(self.headers.get("Age", 0)) if lasts else 0.0


@dataclass
class Shown:
    """What its user gets. `asked`: the status that the server answered; None: it was not asked."""

    body: bytes
    asked: int | None
    headers: httpx.Headers


@dataclass
class Browser:
    """One user's."""

    http: httpx.AsyncClient
    now: float = 0.0
    pages: dict[str, list[Page]] = field(default_factory=dict)

    async def show(self, url: str, **headers: str) -> Shown:
        request = self.http.build_request("GET", url, headers=headers)
        kept = [each for each in self.pages.get(url, []) if self._is_for(each, request)]
        for page in kept:
            if self.now - page.since < page.freshness():
                return Shown(page.body, None, page.headers)
        tags = [page.headers["ETag"] for page in self.pages.get(url, []) if "ETag" in page.headers]
        if tags:
            request.headers["If-None-Match"] = ", ".join(tags)
        answer = await self.http.send(request)
        if answer.status_code == 304:
            assert answer.content == b""
            page = self._named(url, answer.headers["ETag"])
            page.headers.update(answer.headers)
            page.since, page.asked = self.now, self._asked(answer, request)
            return Shown(page.body, 304, page.headers)
        self._keep(url, request, answer)
        return Shown(answer.content, answer.status_code, answer.headers)

    def _named(self, url: str, tag: str) -> Page:
        named = [page for page in self.pages[url] if page.headers.get("ETag") == tag]
        assert named, f"304 with {tag}, which was never sent"
        return named[-1]

    def _keep(self, url: str, request: httpx.Request, answer: httpx.Response) -> None:
        said = answer.headers.get("Cache-Control", "")
        if answer.status_code != 200 or "no-store" in said or answer.headers.get("Vary") == "*":
            return
        page = Page(self._asked(answer, request), answer.headers, answer.content, self.now)
        others = [each for each in self.pages.get(url, []) if each.asked != page.asked]
        self.pages[url] = [*others, page]

    def _asked(self, answer: httpx.Response, request: httpx.Request) -> dict[str, str | None]:
        names = [name.strip().lower() for name in answer.headers.get("Vary", "").split(",")]
        return {name: request.headers.get(name) for name in names if name}

    def _is_for(self, page: Page, request: httpx.Request) -> bool:
        found: dict[str, Any] = {name: request.headers.get(name) for name in page.asked}
        return found == page.asked
