"""One piece of work on its way to another event loop, and what comes of it.

A caller sends it (`home/carrying.py`), from a thread or from a loop of his own, in his context.
Loops end, and nobody is told: so who waits looks now and then whether the other loop is still
there. `Cut` says that it is not, and whether the work had begun. A caller who leaves ends the work
on the other side, as cancelling would.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, Generic, TypeVar

from cascada.engine.tasks.background import visit
from cascada.model.errors import WrongLoop

T = TypeVar("T")

logger = logging.getLogger("cascada")

LOOK: Final = 0.1
"""Seconds between two looks of who waits."""

STOPPED: Final = 10
"""Looks at a loop that is open and does not run, after which nobody expects it to go on."""

UNHEARD: Final = 100
"""Looks after which a loop that runs and has not begun the work is said to be blocked."""


class Cut(Exception):
    """The loop has ended before the work did. `begun`: the work was under way."""

    def __init__(self, *, begun: bool) -> None:
        super().__init__(begun)
        self.begun = begun


class Crossing(Generic[T]):
    """`work` on `loop`. `admits` is asked there whether what begins now will come to its end.

    `enter` is called by the task that does the work, before it.
    """

    __slots__ = (
        "_admits", "_begun", "_context", "_cut", "_enter", "_error", "_left", "_looks", "_loop",
        "_pid", "_result", "_stopped", "_task", "_tell", "_work", "done",
    )  # fmt: skip

    def __init__(
        self,
        work: Callable[[], Awaitable[T]],
        loop: asyncio.AbstractEventLoop,
        *,
        admits: Callable[[], bool] = lambda: True,
        enter: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._loop = loop
        self._admits = admits
        self._enter = enter
        self._begun = self._cut = self._left = self.done = False
        self._looks = self._stopped = 0
        self._pid = os.getpid()
        self._task: asyncio.Task[None] | None = None
        self._error: BaseException | None = None
        self._result: Any = None

    # --- where the caller is --------------------------------------------------------------------

    def send(self, context: Context, tell: Callable[[], Any]) -> None:
        """Send it; `tell` is called from anywhere when it is done."""
        self._tell, self._context = tell, context
        try:
            self._loop.call_soon_threadsafe(self._begin)
        except RuntimeError:  # that loop is closed
            self._cut = self.done = True

    async def awaited(self, context: Context) -> T:
        """Send it and await what it brings, on another loop."""
        here = asyncio.get_running_loop()
        turn = here.create_future()

        def tell() -> None:
            with suppress(RuntimeError):  # the caller's loop is closed: nobody waits
                here.call_soon_threadsafe(_wake, turn)

        try:
            self.send(context, tell)
            while not self.done:
                await asyncio.wait([turn], timeout=LOOK)
                if not self.done:
                    self.look()
        except BaseException:
            self.leave()
            raise
        return self.outcome()

    def look(self) -> None:
        """Whether it may still come to its end; WrongLoop if nobody can tell when."""
        if os.getpid() != self._pid:
            raise WrongLoop(
                "this process was forked in the middle of a call, which is its parent's"
            )
        self._looks += 1
        if self._loop.is_closed():
            self._cut = self.done = True
        elif not self._loop.is_running():
            self._stopped += 1
            if self._stopped >= STOPPED:
                raise stopped()
        elif self._looks == UNHEARD and not self._begun:
            logger.warning(
                "the event loop that a cache runs on has not heard of a call for %.0f s: "
                "something blocks it, perhaps by waiting for the thread that calls",
                UNHEARD * LOOK,
            )

    def leave(self) -> None:
        """The caller does not wait any more."""
        self._left = True
        if not self.done:
            with suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._end)

    def outcome(self) -> T:
        """What was brought, or raised; Cut if the loop has ended before."""
        if self._cut:
            raise Cut(begun=self._begun)
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # it holds this frame
        result: T = self._result
        return result

    # --- on the other loop ----------------------------------------------------------------------

    def _begin(self) -> None:
        if self._left:
            return
        if not self._admits():
            self._cut = True
            self._over()
            return
        self._begun = True
        self._task = visit(self._run(), self._context)

    async def _run(self) -> None:
        self._enter()
        try:
            self._result = await self._work()
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            # At its end a loop cancels all that is under way.
            self._cut = task is not None and bool(task.cancelling()) and not self._left
            self._error = error
        except BaseException as error:  # noqa: BLE001 - what ends a thread is the caller's own
            self._error = error
        self._over()

    def _over(self) -> None:
        self.done = True
        self._tell()

    def _end(self) -> None:
        if self._task is not None:
            self._task.cancel()


def stopped() -> WrongLoop:
    return WrongLoop(
        "this cache runs on an event loop that is open and does not run. Close that loop, or end "
        "its use there with `await cache.reset()`"
    )


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
