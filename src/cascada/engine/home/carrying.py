"""Calls from elsewhere: carried to the loop that a cache is at home on, and what they bring back.

A cache belongs to one event loop at a time (`lifecycle.py`). A thread that waits, and a loop
that is another one, send their calls there, hits too. When that loop ends in the middle, the call
is sent again, to where the cache is by then; but not one that may be carried out only once, if it
had begun: nobody knows what became of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing
from contextvars import copy_context
from functools import partial
from typing import Any, Final, TypeVar

from cascada.engine.home.bridge import bridge
from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.tasks.callers import Caller, Once, OtherLoop, Waiting, notes_of_tasks
from cascada.engine.tasks.crossing import Crossing, Cut, stopped
from cascada.engine.tasks.relay import relayed, waited_for
from cascada.model.errors import Unanswered, WrongLoop

T = TypeVar("T")

MOST_CUTS: Final = 3
"""Ends of loops in the middle of one call, after which it is not begun again."""

PAUSE: Final = 0.005
PAUSES: Final = 3000
"""Seconds between two looks for where the cache is, while the loop that it was on comes to its
end, and how many there are."""

PAUSES_WHILE_STOPPED: Final = 200
"""The same for a loop that does not run: a loop that is about to be closed does not, in between."""


class Attempts:
    """How often one call was sent. `once`: it may be carried out only once."""

    def __init__(self, *, once: bool) -> None:
        self.once = Once() if once else None
        self._cuts = self._pauses = self._stopped = 0

    def cut(self, cut: Cut) -> None:
        """It was cut off; raises if it is not to be sent again."""
        self._cuts += cut.begun
        if self.once is not None and self.once.begun:
            raise Unanswered(
                "the event loop that this cache ran on ended in the middle of this call: nobody "
                "knows whether it was carried out"
            ) from None
        if self._cuts >= MOST_CUTS or self._pauses >= PAUSES:
            raise WrongLoop(
                "the event loop that this cache runs on ended in the middle of this call, and so "
                "did the next ones"
            ) from None
        self._pauses += 1

    def stopped(self) -> None:
        """The loop that it would be sent to does not run."""
        self._stopped += 1
        if self._stopped > PAUSES_WHILE_STOPPED:
            raise stopped()


def waited(
    life: Lifecycle, work: Callable[[], Awaitable[T]], name: str, aio: str, *, once: bool = False
) -> T:
    """What `work` brings, run where the cache is at home, while this thread waits.

    `name` is what the caller called, `aio` its async form.
    """
    if asyncio._get_running_loop() is not None:
        raise WrongLoop(
            f"{name}() waits, and would stop the event loop that runs on this thread; "
            f"use its async form: await {aio}(...)"
        )
    attempts = Attempts(once=once)
    while True:
        loop = life.place() or bridge().loop()
        if loop.is_running():
            waiting = Waiting(attempts.once)
            try:
                return waiting.wait(_crossing(life, work, loop, waiting))
            except Cut as cut:
                attempts.cut(cut)
        else:
            attempts.stopped()
        time.sleep(PAUSE)


async def awaited(life: Lifecycle, work: Callable[[], Awaitable[T]], *, once: bool = False) -> T:
    """The same for a caller whose own event loop goes on meanwhile."""
    attempts = Attempts(once=once)
    while True:
        loop = life.place() or bridge().loop()
        if loop is asyncio.get_running_loop():
            return await work()
        if loop.is_running():
            caller = OtherLoop(attempts.once)
            try:
                return await caller.wait(_crossing(life, work, loop, caller))
            except Cut as cut:
                attempts.cut(cut)
        else:
            attempts.stopped()
        await asyncio.sleep(PAUSE)


async def relayed_from(life: Lifecycle, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
    """The items of a generator of the cache's, which has not begun, for a loop that is another one
    than the cache's."""
    caller, loop = OtherLoop(), await awaited(life, _here)

    def run(work: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        return caller.wait(Crossing(work, loop))

    async with aclosing(relayed(items, run)) as pieces:
        async for item in pieces:
            yield item


def waited_for_each(life: Lifecycle, items: AsyncGenerator[T], name: str, aio: str) -> Generator[T]:
    """The same for a thread that waits for each of them.

    It may be closed by whoever collects it, on a thread whose loop runs: nothing waits there.
    """
    caller, loop = Waiting(), waited(life, _here, name, aio)

    def run(work: Callable[[], Awaitable[Any]]) -> Any:
        crossing = Crossing(work, loop)
        if asyncio._get_running_loop() is None:
            return caller.wait(crossing)
        return crossing.send(copy_context(), lambda: None)

    yield from waited_for(items, run)


async def _here() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


class Elsewhere:
    """A store of data for who is not where the cache is at home; `found` gives the store itself."""

    def __init__(self, life: Lifecycle, found: Callable[[], Awaitable[Any]]) -> None:
        self._life = life
        self._found = found

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **named: Any) -> Any:
            return await getattr(await self._found(), name)(*args, **named)

        return lambda *args, **named: awaited(self._life, partial(call, *args, **named), once=True)


def _crossing(
    life: Lifecycle,
    work: Callable[[], Awaitable[T]],
    loop: asyncio.AbstractEventLoop,
    caller: Caller,
) -> Crossing[T]:
    def enter() -> None:
        task = asyncio.current_task()
        if task is not None:
            notes_of_tasks[task] = caller.notes

    return Crossing(work, loop, admits=life.admits, enter=enter)
