"""Small requests gathered into large ones: what is asked within a moment is asked in one call.

Promise: every text that is asked for while a request for it waits or is under way is asked once;
a request holds at most `max_batch` texts and leaves `max_wait` seconds after its first (or as soon
as it is full); at most `max_calls` requests are under way. Who leaves takes nothing from the
others. A request that fails, or brings another number of results than texts, fails for its texts
alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cascada.engine.background import Background

Call = Callable[[list[str]], Awaitable[Any]]


class Request:
    """One call of the source, and what came of it once it is `over`."""

    def __init__(self, over: asyncio.Future[None]) -> None:
        self.texts: list[str] = []
        self.over = over
        self.results: dict[str, Any] = {}
        self.error: Exception | None = None

    def result_of(self, text: str) -> Any:
        return self.results[text] if self.error is None else self.error


class Gatherer:
    """The requests to one source, on one event loop."""

    def __init__(
        self,
        call: Call,
        background: Background,
        *,
        max_batch: int | None = None,
        max_wait: float = 0.0,
        max_calls: int = 8,
    ) -> None:
        self._call = call
        self._background = background
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._slots = asyncio.Semaphore(max_calls)
        self._asked: dict[str, Request] = {}
        self._waiting: Request | None = None
        self._timer: asyncio.Handle | None = None

    async def ask(self, texts: Sequence[str]) -> list[Any]:
        """One result for each text, in their order: what the source made, or the exception."""
        requests = [self._asked.get(text) or self._enter(text) for text in texts]
        for request in dict.fromkeys(requests):
            # Shielded: it is shared with whoever else has asked for the same.
            await asyncio.shield(request.over)
        return [request.result_of(text) for request, text in zip(requests, texts, strict=True)]

    def _enter(self, text: str) -> Request:
        loop = asyncio.get_running_loop()
        if self._waiting is None:
            self._waiting = Request(loop.create_future())
            self._timer = loop.call_later(self._max_wait, self._leave)
        request = self._asked[text] = self._waiting
        request.texts.append(text)
        if self._max_batch is not None and len(request.texts) >= self._max_batch:
            self._leave()
        return request

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        request, self._waiting, self._timer = self._waiting, None, None
        if request is not None:
            self._background.run(self._send(request), "request")

    async def _send(self, request: Request) -> None:
        texts = request.texts
        try:
            async with self._slots:
                results = _one_for_each(texts, await self._call(list(texts)))
            request.results = dict(zip(texts, results, strict=True))
        except BaseException as error:
            request.error = error if isinstance(error, Exception) else _ended()
            if not isinstance(error, Exception):
                raise
        finally:
            for text in texts:
                del self._asked[text]
            request.over.set_result(None)


def _one_for_each(texts: list[str], results: Any) -> list[Any]:
    found = list(results)
    if len(found) != len(texts):
        raise ValueError(
            f"the source was asked for {len(texts)} texts and returned {len(found)} results; "
            "it has to return one for each, in their order"
        )
    return found


def _ended() -> Exception:
    return RuntimeError("the request was cancelled: the cache is closing")
