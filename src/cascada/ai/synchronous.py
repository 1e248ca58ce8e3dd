"""The transport of plain clients: as `asynchronous`, for threads that wait.

The cache is asked on its own event loop (`engine/home/carrying.py`); the provider is asked in a
thread of its own, with the client's own transport, which is made to be used by several.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, ClassVar, Final, Self, TypeVar, Unpack

from cascada.ai import forks
from cascada.ai.answers import Answer, Events
from cascada.ai.asynchronous import AsyncBody
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
from cascada.engine.home import carrying
from cascada.model.door import arguments
from cascada.model.entry import Miss
from cascada.model.errors import SourceBusy, WrongLoop
from cascada.model.loaded import Loaded

T = TypeVar("T")

_ASYNC: Final = "the SDK's async client with AsyncModelTransport"


def waited(cache: Cache, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """What `work` gives, on the loop of the cache."""
    return carrying.waited(cache._engine.life, work, "ModelTransport", "AsyncModelTransport")


class Synchronous:
    """The transport of a plain client, used from threads; else as the asynchronous one."""

    http: ClassVar[Any]
    body: ClassVar[type[Body]]

    def __init__(self, cache: Cache, *, transport: Any = None, **kept: Unpack[Keeping]) -> None:
        self._settings = keeper(type(self), cache, kept)
        self._inner = forks.own(self) if transport is None else transport
        accepted = f"a plain transport of {self.http.__name__}"
        arguments.instance(self._inner, "transport", self.http.BaseTransport, accepted)

    @classmethod
    def own(cls) -> Any:
        """The library's own transport."""
        return cls.http.HTTPTransport()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._inner.__exit__(*error)

    def close(self) -> None:
        self._inner.close()

    def handle_request(self, request: Any) -> Any:
        call = None
        if kind_asked(request) is not None:
            request.read()
            call = call_of(request)
        if call is None:
            return self._inner.handle_request(request)
        if asyncio._get_running_loop() is not None:
            raise WrongLoop(
                "a plain client waits for its answer, and would stop the event loop that runs on "
                f"this thread; use {_ASYNC}"
            )
        settings, tenant = self._settings, self._settings.tenant()
        try:
            if call.streamed:
                return self._followed(tenant, call, partial(self._pieces, request, call))
            load = partial(
                tenant.load,
                settings.data_type,
                call.id,
                partial(self._answer, request, call),
                type=Answer,
                **settings.terms,
            )
            hit = self._run(load)
            return rebuilt(self.http, hit.value, settings.status(hit))
        except NotKept as refused:
            if refused.answer is not None:
                return rebuilt(self.http, refused.answer, settings.status(Miss()))
        except SourceBusy:
            pass
        return self._inner.handle_request(request)

    def _run(self, work: Any) -> Any:
        return waited(self._settings.cache, work)

    def _answer(self, request: Any, call: Call) -> Loaded[Answer]:
        response = self._inner.handle_request(request)
        try:
            response.read()
        finally:
            response.close()
        return kept(response, call, self._settings.prices)

    def _followed(self, tenant: Tenant, call: Call, pieces: Any) -> Any:
        settings = self._settings

        async def begin() -> tuple[AsyncGenerator[Any], Any]:
            stream = tenant.stream(settings.data_type, call.id, pieces, **settings.terms)
            try:
                return stream, await anext(stream)
            except BaseException:
                await stream.aclose()
                raise

        stream, head = self._run(begin)
        return streamed(self.http, head, self.body(stream, settings.cache))

    def _pieces(self, request: Any, call: Call) -> Iterator[Any]:
        """As the async one, but that nothing ends a wait for what may come behind the end mark."""
        response = self._inner.handle_request(request)
        try:
            if not is_stream(response):
                response.read()
                raise not_kept(response, call, self._settings.prices)
            yield [response.status_code, kept_headers(response)]
            events = Events(call.kind, call.asked)
            for chunk in response.iter_bytes():
                events.feed(chunk)
                if events.ended:
                    response.close()
                    yield [chunk]
                    break
                yield chunk
            else:
                events.feed(b"\n")  # the last line may have no end
        finally:
            response.close()
        # Of one that was broken off, what has been said is not all.
        said = events.said if events.ended else None
        cost = cost_of(call, said, self._settings.prices)
        if not events.ended_well:
            raise NotKept(cost=cost)
        yield cost


class Body:
    """As `AsyncBody`, for a thread: each piece is waited for on the cache's own loop."""

    def __init__(self, stream: AsyncGenerator[Any], cache: Cache) -> None:
        self._body = AsyncBody(stream)
        self._cache = cache
        self._over = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._over:
            raise StopIteration
        try:
            piece = waited(self._cache, self._next)
        except BaseException:
            self.close()
            raise
        if piece is None:
            self._over = True
            raise StopIteration
        return piece

    async def _next(self) -> bytes | None:
        return await anext(self._body, None)

    def close(self) -> None:
        """Leave. A generator that holds this one calls it, too, from whatever thread collects it:
        on one that runs an event loop nothing may wait."""
        over, self._over = self._over, True
        loop = self._cache._engine.life.loop
        if over or loop is None or not loop.is_running():
            return
        if asyncio._get_running_loop() is None:
            waited(self._cache, self._body.aclose)
        else:
            asyncio.run_coroutine_threadsafe(self._body.aclose(), loop)
