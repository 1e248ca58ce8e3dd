"""The items of an async generator that runs on another event loop, each asked for from this one.

A generator belongs to the loop that it was begun on: each of its steps is a piece of work that is
sent there, all of them in one context, as they would be in one task.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any, Final, TypeVar

from cascada.engine.tasks.crossing import Cut
from cascada.model.errors import LoadError

T = TypeVar("T")

_OVER: Final = object()

Work = Callable[[], Awaitable[Any]]


async def relayed(
    items: AsyncGenerator[T], run: Callable[[Work], Awaitable[Any]]
) -> AsyncGenerator[T]:
    """The items, where each step is awaited by `run`."""
    try:
        while (item := await run(lambda: anext(items, _OVER))) is not _OVER:
            yield item
    except Cut:
        raise ended() from None
    finally:
        with suppress(Cut):
            await run(items.aclose)


def waited_for(items: AsyncGenerator[T], run: Callable[[Work], Any]) -> Generator[T]:
    """The same for a thread, where `run` waits."""
    try:
        while (item := run(lambda: anext(items, _OVER))) is not _OVER:
            yield item
    except Cut:
        raise ended() from None
    finally:
        with suppress(Cut):
            run(items.aclose)


def ended() -> LoadError:
    return LoadError("the event loop that this stream runs on ended in the middle of it")
