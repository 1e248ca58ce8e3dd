"""Every task of the engine has its owner here, and ends with it.

A task that nobody holds can be garbage-collected in the middle, and one that nobody awaits loses
its exception. So this module alone creates tasks (ruff holds the others to that): it keeps them,
logs what they raise, and on closing lets the ones that store something finish. What goes on for
ever is begun again if it fails, whatever it was: a cache without its connection, its feed or its
redelivery would look sound and be worth nothing until the next start.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar, cast

from cascada.model.door.secret import traced

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0
"""Seconds before what has failed begins again; what has failed anew pauses twice as long."""

SOUND: Final = 10.0
"""Seconds after which a failure is a first one again."""

STUBBORN: Final = 5.0
"""Seconds for work that was cancelled, such as a loader that catches it, to end."""

logger = logging.getLogger("cascada")

T = TypeVar("T")


class Background:
    """The tasks of one engine on one event loop.

    `on_failure` is told the name of what goes on for ever, each time that it failed. `closed`: it
    has been drained.
    """

    def __init__(self, on_failure: Callable[[str], None] = lambda name: None) -> None:
        self._on_failure = on_failure
        self.closed = False
        self._finishing: set[asyncio.Task[Any]] = set()
        self._unfinished: set[asyncio.Future[None]] = set()
        self._aside: set[asyncio.Task[Any]] = set()
        self._at_last: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}
        self._doorkeeper: asyncio.Task[None] | None = None

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work that ends by itself, and that `drain` waits for."""
        return _start(self._finishing, work, name)

    def answer(
        self, work: Coroutine[Any, Any, T], name: str, context: Context | None = None
    ) -> asyncio.Task[T]:
        """Start work that somebody waits for, as `run` does: what it raises is told to him."""
        task = asyncio.create_task(work, name=f"cascada:{name}", context=context)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task

    def run_aside(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work that ends by itself, and that closing ends at once."""
        return _start(self._aside, work, name)

    def keep_running(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str
    ) -> asyncio.Task[None]:
        """Start work that goes on until the engine closes; what fails is begun again."""
        return _start(self._aside, self._again_and_again(work, name), name)

    def at_last(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """On closing run this, once, while all that it needs is still there."""
        self._at_last[name] = work

    @property
    def goes_on(self) -> bool:
        """Whether what is started now would be run to its end.

        At the end of `asyncio.run` all tasks are cancelled together: who begins something then
        leaves it behind, half begun, on a loop that nobody runs any more. What goes on for ever
        tells that it is so, since nobody else cancels it.
        """
        return not self.closed and any(not task.cancelling() for task in self._aside)

    def admits(self) -> bool:
        """Whether a call that comes from elsewhere would be run to its end here.

        At its end a loop cancels all tasks there are, this one too, and who begins something then
        would be left on a loop that nobody runs any more. While this is closed by itself, they come
        in and wait for that.
        """
        if self._doorkeeper is None and not self.closed:
            keeper: Any = self.run_aside(_for_ever(), "doorkeeper")
            keeper._log_destroy_pending = False
            self._doorkeeper = keeper
        keeper = self._doorkeeper
        return self.closed or not (keeper.done() or keeper.cancelling())

    async def drain(self, seconds: float) -> None:
        """Let the work under way finish for at most so many seconds, then end everything.

        That is ended also if this is cancelled: nobody will do it later.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        for name, work in self._at_last.items():
            self.run(work(), name)
        try:
            # Again and again: what finishes may begin more.
            while busy := self._finishing | self._unfinished:
                if (rest := until - loop.time()) <= 0:
                    break
                await asyncio.wait(busy, timeout=rest)
        finally:
            self.closed = True
            left = self._finishing | self._aside
            for task in left:
                end(task)
            if left and (await asyncio.wait(left, timeout=STUBBORN))[1]:
                logger.error("what was under way does not end, and is left behind")

    async def _again_and_again(
        self, work: Callable[[], Coroutine[Any, Any, None]], name: str
    ) -> None:
        now = asyncio.get_running_loop().time
        pause, level = FIRST_PAUSE, logging.ERROR
        while True:
            began = now()
            try:
                await work()
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                failure: BaseException = error  # of something that it waited for
            except Exception as error:  # noqa: BLE001 - whatever it is, others depend on this work
                failure = error
            else:
                return
            self._on_failure(name)
            if now() - began > SOUND:
                pause, level = FIRST_PAUSE, logging.ERROR
            logger.log(level, "%s failed, and begins again: %s", name, traced(failure))
            await asyncio.sleep(pause)
            pause, level = min(2 * pause, LONGEST_PAUSE), logging.DEBUG


class Unfinished:
    """`with` it, a caller does by himself what must not be left half done.

    Closing waits for it. If he is cancelled in the middle, `again` is run in the background, by
    that name: it does all of it once more.
    """

    def __init__(
        self,
        background: Background,
        again: Callable[[], Coroutine[Any, Any, None]],
        name: str = "invalidate",
    ) -> None:
        self._background = background
        self._again = again
        self._name = name

    def __enter__(self) -> None:
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._background._unfinished.add(self._over)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._background._unfinished.discard(self._over)
        self._over.set_result(None)
        if isinstance(error, asyncio.CancelledError) and self._background.goes_on:
            self._background.run(self._again(), self._name)


_visiting: Final[set[asyncio.Task[Any]]] = set()


def visit(work: Coroutine[Any, Any, None], context: Context) -> asyncio.Task[None]:
    """Start the call of somebody elsewhere, on whose behalf it ends, too.

    It belongs to no engine: closing one must not wait for a call that waits for that. A loop that
    is closed without ending its tasks says nothing of it: its caller sees that it has gone.
    """
    task: Any = asyncio.create_task(work, name="cascada:call", context=context)
    task._log_destroy_pending = False
    _visiting.add(task)
    task.add_done_callback(_visiting.discard)
    return cast("asyncio.Task[None]", task)


def _start(
    owned: set[asyncio.Task[Any]], work: Coroutine[Any, Any, None], name: str
) -> asyncio.Task[None]:
    """Start work that nobody waits for, so that what it raises is logged."""
    task = asyncio.create_task(work, name=f"cascada:{name}")
    owned.add(task)
    task.add_done_callback(partial(_over, owned))
    return task


def end(task: asyncio.Task[Any], unless: Callable[[], bool] = lambda: False) -> None:
    """Cancel it once it has begun: who waits for what it does is told by itself alone.

    And once only: it may be giving back its leases by then. Not if by then `unless` is true.
    """
    task.get_loop().call_soon(_cancel, task, unless)


def _cancel(task: asyncio.Task[Any], unless: Callable[[], bool], pause: float = 0.001) -> None:
    if task.done() or unless():
        return
    if not task.cancelling():
        task.cancel()
        return
    # Perhaps by a timeout of its own that ends in this turn of the loop. It takes that back, and
    # the task goes on as if nobody had ended it: so it is looked at again, ever more rarely.
    again = min(2 * pause, LONGEST_PAUSE)
    task.get_loop().call_later(pause, _cancel, task, unless, again)


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def _over(owned: set[asyncio.Task[Any]], task: asyncio.Task[Any]) -> None:
    owned.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed: %s", task.get_name(), traced(error))
