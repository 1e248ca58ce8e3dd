"""Small requests gathered into large ones: what is asked within a moment is asked in one call.

Promise: every text that is asked for while a request for it waits is asked once; a request holds at
most `max_batch` texts and leaves `max_wait` seconds after its first (or as soon as it is full); at
most `max_calls` requests are under way. Who leaves takes nothing from the others. A request that
fails, or brings another number of results than texts, fails for its texts alone.

A request that is under way is nobody's who comes later: what it brings may be older than an
invalidation that his load would not hear of, since its lease is younger. And a request is part of
all loads that wait for it, not of the one that began it: what the source reads through the cache
becomes a source of all their results, and it must wait for none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from cascada.engine.loading.dependencies import LoadContext, current, loading
from cascada.engine.stack import Stack
from cascada.engine.tasks.singleflight import LoadTask
from cascada.model.errors import BadInput, LoadError

Call = Callable[[list[str]], Awaitable[Any]]


class Request:
    """One call of the source, what it reads (`context`), and what came of it once it is `over`."""

    def __init__(self, over: asyncio.Future[None], context: LoadContext) -> None:
        self.texts: list[str] = []
        self.over = over
        self.context = context
        self.results: dict[str, Any] = {}
        self.error: BaseException | None = None

    def result_of(self, text: str) -> Any:
        return self.results[text] if self.error is None else self.error

    async def wait(self, context: LoadContext | None) -> None:
        """Until it is over, as part of the load of `context`."""
        # Shielded: it is shared with whoever else has asked for the same.
        over = asyncio.shield(self.over)
        if context is None:
            await over
            return
        context.owner.wait_for(self.context.owner)
        try:
            await over
        finally:
            context.owner.wait_no_more(self.context.owner)
        context.join(self.context)


class Gatherer:
    """The requests of one tenant to one source, on one event loop."""

    def __init__(
        self,
        call: Call,
        stack: Stack,
        tenant: str,
        *,
        max_batch: int | None = None,
        max_wait: float = 0.0,
        max_calls: int = 8,
    ) -> None:
        self._call = call
        self._stack = stack
        self._tenant = tenant
        self._background = stack.background
        self._max_batch = max_batch
        self._max_wait = max_wait
        self._slots = asyncio.Semaphore(max_calls)
        self._asked: dict[str, Request] = {}
        self._waiting: Request | None = None
        self._timer: asyncio.Handle | None = None

    async def ask(self, texts: Sequence[str]) -> list[Any]:
        """One result for each text, in their order: what the source made, or the exception."""
        requests = [self._asked.get(text) or self._enter(text) for text in texts]
        context = current(self._stack)
        for request in dict.fromkeys(requests):
            await request.wait(context)
        return [request.result_of(text) for request, text in zip(requests, texts, strict=True)]

    def _enter(self, text: str) -> Request:
        loop = asyncio.get_running_loop()
        if self._waiting is None:
            context = LoadContext(self._stack, LoadTask(), self._tenant)
            self._waiting = Request(loop.create_future(), context)
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
                self._close(request)
                with loading(request.context):
                    results = _one_for_each(texts, await self._call(list(texts)))
            request.results = dict(zip(texts, results, strict=True))
        except asyncio.CancelledError:
            request.error = _ended()
            raise
        except BaseException as error:  # noqa: BLE001 - it is theirs who wait, whatever it is
            request.error = error
        finally:
            self._close(request)
            request.over.set_result(None)

    def _close(self, request: Request) -> None:
        """Let nobody join it any more."""
        for text in request.texts:
            if self._asked.get(text) is request:
                del self._asked[text]


def _one_for_each(texts: list[str], results: Any) -> list[Any]:
    found = list(results)
    if len(found) != len(texts):
        raise BadInput(
            f"the source was asked for {len(texts)} texts and returned {len(found)} results; "
            "it has to return one for each, in their order"
        )
    return found


def _ended() -> Exception:
    return LoadError("the request was cancelled: the cache is closing, or its source did it")
