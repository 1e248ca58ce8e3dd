"""Between an SDK and its model: each call once, for all who make it at the same time or later.

An SDK that is built on httpx sends all it asks through a transport. This one looks at each request:
what is a call to a model is loaded through the cache, under the id of what it asks; all else passes
by. So nothing of an SDK is wrapped, and what comes back is what the provider sent.

    plain:    tenant.load(type, id, ask)          one request, one answer for all who wait
    streamed: tenant.stream(type, id, pieces)     followed live; replayed chunk by chunk

What is not to be kept is raised by the loader (`NotKept`) with what came, so that it reaches all
who wait, and no tier. An answer of another status than 200 is such: the SDK sees it as it was, and
tries again if it would have.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, Self, Unpack

from cascada.ai import forks
from cascada.ai.answers import Answer, Events
from cascada.ai.calls import (
    Call,
    NotKept,
    call_of,
    cost_of,
    is_stream,
    keeper,
    kept,
    kept_headers,
    kind_asked,
    not_kept,
    rebuilt,
    streamed,
)
from cascada.api.cache import Cache
from cascada.api.keeping import Keeping
from cascada.api.tenant.handle import Tenant
from cascada.model.door import arguments
from cascada.model.entry import Miss
from cascada.model.errors import LoadError, SourceBusy
from cascada.model.loaded import Loaded

_AFTER_THE_END: Final = 0.25
"""Seconds for what comes behind the end mark: the end of the body, after which the connection can
be used again. Without it the connection is closed."""


class Asynchronous:
    """The transport of an async client. `http` is httpx or httpx2, `body` a stream of its."""

    http: ClassVar[Any]
    body: ClassVar[type[AsyncBody]]

    def __init__(self, cache: Cache, *, transport: Any = None, **kept: Unpack[Keeping]) -> None:
        """`transport`: what asks the provider; the library's own, unless another is given."""
        self._settings = keeper(type(self), cache, kept)
        self._inner = forks.own(self) if transport is None else transport
        accepted = f"an async transport of {self.http.__name__}"
        arguments.instance(self._inner, "transport", self.http.AsyncBaseTransport, accepted)

    @classmethod
    def own(cls) -> Any:
        """The library's own transport."""
        return cls.http.AsyncHTTPTransport()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._inner.__aexit__(*error)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def handle_async_request(self, request: Any) -> Any:
        call = None
        if kind_asked(request) is not None:
            await request.aread()
            call = call_of(request)
        if call is None:
            return await self._inner.handle_async_request(request)
        settings, tenant = self._settings, self._settings.tenant()
        try:
            if call.streamed:
                pieces = partial(self._pieces, request, call)
                return await self._followed(tenant, call, pieces)
            hit = await tenant.load(
                settings.data_type,
                call.id,
                partial(self._answer, request, call),
                type=Answer,
                **settings.terms,
            )
            return rebuilt(self.http, hit.value, settings.status(hit))
        except NotKept as refused:
            if refused.answer is not None:
                return rebuilt(self.http, refused.answer, settings.status(Miss()))
        except SourceBusy:
            pass
        # Nothing is left of a stream that could not be followed and was not kept, or so many loads
        # run that this one got no turn: the call does not fail for its cache.
        return await self._inner.handle_async_request(request)

    async def _answer(self, request: Any, call: Call) -> Loaded[Answer]:
        response = await self._inner.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return kept(response, call, self._settings.prices)

    async def _followed(self, tenant: Tenant, call: Call, pieces: Any) -> Any:
        settings = self._settings
        stream = tenant.stream(settings.data_type, call.id, pieces, **settings.terms)
        try:
            head = await anext(stream)
        except BaseException:
            await stream.aclose()
            raise
        return streamed(self.http, head, self.body(stream))

    async def _pieces(self, request: Any, call: Call) -> AsyncGenerator[Any]:
        """The head, then the bytes as they come; the last of them in a list (`next_of`), and what
        all of it has cost, which no reader sees."""
        response = await self._inner.handle_async_request(request)
        try:
            if not is_stream(response):
                await response.aread()
                raise not_kept(response, call, self._settings.prices)
            yield [response.status_code, kept_headers(response)]
            events = Events(call.kind, call.asked)
            chunks = aiter(response.aiter_bytes())
            async for chunk in chunks:
                events.feed(chunk)
                if events.ended:
                    last = chunk + await _rest(chunks)
                    await response.aclose()
                    yield [last]
                    break
                yield chunk
            else:
                events.feed(b"\n")  # the last line may have no end
        finally:
            await response.aclose()
        # Of one that was broken off, what has been said is not all.
        said = events.said if events.ended else None
        cost = cost_of(call, said, self._settings.prices)
        if not events.ended_well:
            raise NotKept(cost=cost)
        yield cost


async def _rest(chunks: AsyncIterator[bytes]) -> bytes:
    """What comes behind the end mark, if it comes at once."""
    found = b""
    try:
        async with asyncio.timeout(_AFTER_THE_END):
            async for chunk in chunks:
                found += chunk
    except Exception:  # noqa: BLE001 - the answer is whole; how its connection ends changes nothing
        pass
    return found


async def next_of(stream: AsyncGenerator[Any]) -> bytes | None:
    """The next bytes; None at the end.

    Who has read the end mark leaves at once, and if nobody else follows, the stream ends: before it
    was kept, if it were still under way. So the bytes with the end mark, which come in a list, are
    handed out when all is over. Nothing is waited for by then but the stream itself.
    """
    try:
        piece = await anext(stream, None)
    except NotKept:  # it ends as the provider ended it
        return None
    if isinstance(piece, list):
        (piece,) = piece
        with suppress(Exception):  # whether it was kept or not: this is all that was said
            await anext(stream, None)
    return piece


class AsyncBody:
    """A stream's bytes for one reader, who may leave at any time.

    Somebody else may close it, too, while the reader waits. A generator that runs cannot be closed:
    then the reader leaves with the next piece, and is told that this was not the end.
    """

    def __init__(self, stream: AsyncGenerator[Any]) -> None:
        self._stream = stream
        self._waiting = False
        self._left = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._waiting = True
        try:
            piece = await next_of(self._stream)
        finally:
            self._waiting = False
            if self._left:
                await self._stream.aclose()
        if self._left:
            raise LoadError("this stream was closed while it was read")
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def aclose(self) -> None:
        self._left = True
        if not self._waiting:
            await self._stream.aclose()
