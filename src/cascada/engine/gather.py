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
        self._asked: dict[str, asyncio.Future[Any]] = {}
        self._waiting: list[str] = []
        self._timer: asyncio.Handle | None = None

    async def ask(self, texts: Sequence[str]) -> list[Any]:
        """One result for each text, in their order: what the source made, or the exception."""
        futures = [self._asked.get(text) or self._enter(text) for text in texts]
        # Shielded: they are shared with whoever else has asked for the same.
        return await asyncio.gather(*map(asyncio.shield, futures), return_exceptions=True)

    def _enter(self, text: str) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        future = self._asked[text] = loop.create_future()
        self._waiting.append(text)
        if self._max_batch is not None and len(self._waiting) >= self._max_batch:
            self._leave()
        elif self._timer is None:
            self._timer = loop.call_later(self._max_wait, self._leave)
        return future

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        texts, self._waiting = self._waiting, []
        if texts:
            self._background.run(self._request(texts), "request")

    async def _request(self, texts: list[str]) -> None:
        futures = [self._asked[text] for text in texts]
        try:
            async with self._slots:
                results = _one_for_each(texts, await self._call(list(texts)))
        except BaseException as error:
            for future in futures:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else _ended())
                    future.exception()  # retrieved: everybody may have left
            if not isinstance(error, Exception):
                raise
        else:
            for future, result in zip(futures, results, strict=True):
                if not future.done():
                    future.set_result(result)
        finally:
            for text in texts:
                del self._asked[text]


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
