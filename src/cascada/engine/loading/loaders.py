"""The caller's own code as a loader: async or plain functions, single or batch, with a generator.

A plain function runs in the thread of a caller that waits, else in one of ours
(`engine/tasks/callers.py`), with the caller's context variables, so that it never blocks the event
loop. What it returns may be awaitable (a lambda around an async call).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, Final, NamedTuple

from cascada.engine.loading.dependencies import outlived_by
from cascada.engine.request import LoadResult, Origin, Request
from cascada.engine.tasks.callers import Caller, OtherLoop, caller, threads
from cascada.model.clock import Clock
from cascada.model.door import arguments
from cascada.model.errors import BadInput, Misuse
from cascada.model.loaded import Loaded
from cascada.model.made_of import MadeOf
from cascada.model.policy import CachePriority
from cascada.model.ttl import Duration


def call(function: Callable[..., Any], *args: Any, **named: Any) -> Awaitable[Any]:
    """Call `function`, wherever it has to run; to be awaited at once."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    ):
        whose = caller()
        if isinstance(whose, OtherLoop):
            return whose.run(functools.partial(function, *args, **named))
        made: Awaitable[Any] = function(*args, **named)
        return made
    return in_a_thread(functools.partial(function, *args, **named))


async def in_a_thread(
    function: Callable[[], Any], given_up: Callable[[Future[Any]], None] = outlived_by
) -> Any:
    """Call a plain function in its caller's thread, if that waits, else in one of ours, and await
    what it returns.

    `given_up` is told if this is cancelled while the function goes on in its thread.
    """
    whose = caller()
    return await _run(
        whose, threads().submit if whose is None else whose.submit, function, given_up
    )


async def _in_our_thread(function: Callable[[], Any]) -> Any:
    """The steps of a generator, of which a thread that waits could run no more than the first."""
    return await _run(None, threads().submit, function, outlived_by)


async def _run(
    whose: Caller | None,
    submit: Callable[..., Future[Any]],
    function: Callable[[], Any],
    given_up: Callable[[Future[Any]], None],
) -> Any:
    running = submit(contextvars.copy_context().run, _without_stop, function)
    try:
        result = await asyncio.wrap_future(running)
    except asyncio.CancelledError:
        running.add_done_callback(_discard)
        given_up(running)
        raise
    if not inspect.isawaitable(result):
        return result
    return await (whose.run(lambda: result) if isinstance(whose, OtherLoop) else result)


def _discard(running: Future[Any]) -> None:
    """Nobody waits for this any more; a coroutine that was never awaited would complain of it."""
    if not running.cancelled() and running.exception() is None:
        result = running.result()
        if inspect.iscoroutine(result):
            result.close()


def _without_stop(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except StopIteration as error:
        # No future can carry it (asyncio loses it, and who waits would wait for ever).
        raise RuntimeError("a plain function raised StopIteration") from error


async def from_thread(generator: Generator[Any, Any, Any]) -> AsyncGenerator[Any]:
    """The items of a plain generator, each made in a worker thread."""
    over, busy, one_at_a_time = object(), False, Lock()

    def step() -> Any:
        with one_at_a_time:
            return next(generator, over)

    def close() -> None:
        with one_at_a_time:
            generator.close()

    try:
        while True:
            busy = True
            item = await _in_our_thread(step)
            busy = False
            if item is over:
                return
            yield item
    finally:
        if busy:
            # Cancelled in the middle of a step, which goes on: its thread is not waited for.
            threads().submit(close)
        else:
            await _in_our_thread(close)


class Terms(NamedTuple):
    """How a call says that what is loaded is to be stored."""

    ttl: Duration | None = None
    tags: Sequence[str] = ()
    sources: Sequence[MadeOf] = ()
    priority: CachePriority | None = None


PLAIN: Final = Terms()


class SingleLoader:
    """A loader of one value, and the generator that is asked when it finds nothing.

    `args` are what both are called with.
    """

    def __init__(
        self,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None = None,
        *,
        clock: Clock,
        stored: Terms = PLAIN,
    ) -> None:
        self._loader = loader
        self._generator = generator
        self._timer = clock.monotonic
        self._stored = stored

    @property
    def generating(self) -> bool:
        return self._generator is not None

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        started = self._timer()
        loaded = None if self._loader is None else await call(self._loader)
        between = self._timer()
        origin: Origin = "loader"
        generated = 0.0
        # A question may leave the generator out: then it is the source alone that is asked.
        if self._generator is not None and requests[0].generating and is_nothing(loaded):
            loaded, origin = await call(self._generator), "generator"
            generated = self._timer() - between
        made = produced(loaded, origin, self._stored)
        made.loader_seconds, made.generator_seconds = between - started, generated
        return [made]


class BatchLoader:
    """A loader of many values in one call: ids to a mapping, or to a sequence in their order.

    What a mapping does not hold, and what is None in a sequence, is not there.
    """

    generating = False

    def __init__(self, loader: Callable[..., Any], *, clock: Clock, stored: Terms = PLAIN) -> None:
        self._loader = loader
        self._timer = clock.monotonic
        self._stored = stored

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        started = self._timer()
        ids = [request.key.resource_id for request in requests]
        rows = await call(self._loader, list(ids))
        spent = self._timer() - started
        made = [produced(row, "loader", self._stored) for row in in_order(rows, ids)]
        for each in made:
            each.loader_seconds = spent
        return made


def produced(loaded: object, origin: Origin, stored: Terms = PLAIN) -> LoadResult:
    """What a loader returned, bare or as `Loaded`; what it says goes before what the call said."""
    ttl, tags, sources, _ = stored
    if not isinstance(loaded, Loaded):
        absent = loaded is None
        return LoadResult(loaded, absent=absent, origin=origin, ttl=ttl, tags=tags, sources=sources)
    return LoadResult(
        loaded.value,
        absent=loaded.value is None,
        origin=origin,
        ttl=ttl if loaded.ttl is None else loaded.ttl,
        tags=(*tags, *loaded.tags),
        sources=(*sources, *loaded.sources),
        version=loaded.version,
        store=loaded.store,
        cost=loaded.cost,
    )


def is_nothing(loaded: object) -> bool:
    """Whether a loader returned nothing, bare or as `Loaded`."""
    return loaded is None or (isinstance(loaded, Loaded) and loaded.value is None)


def in_order(rows: object, ids: Sequence[str]) -> list[object]:
    """What a loader of many ids returned, one value for each id."""
    if isinstance(rows, Mapping):
        of_each = "a key of what the loader returned"
        by_text = {arguments.identity(found, of_each): row for found, row in rows.items()}
        return [by_text.get(wanted) for wanted in ids]
    if isinstance(rows, Sequence) and arguments.is_several(rows):
        if len(rows) != len(ids):
            raise BadInput(
                f"the loader was asked for {len(ids)} ids and returned {len(rows)} values; "
                "return one for each (None where there is none), or a mapping from id to value"
            )
        return list(rows)
    raise Misuse(
        f"the loader returned {type(rows).__name__}; return a mapping from id to value, "
        "or a list with one value for each id"
    )
