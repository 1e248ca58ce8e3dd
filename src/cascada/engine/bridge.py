"""From threads into an event loop, and out of it: how code that waits uses a cache.

A cache lives on one event loop. A plain caller's work is sent to the loop that its cache runs on,
or, if it runs on none yet, to the PORTAL: one daemon thread of this process with a loop of its own,
started when first needed and closed at exit, after what is under way has been stored.

Plain loaders run in worker threads of their own, not in the loop's default pool. A cached function
that calls another one waits in its thread until the other has run in its; in a pool of a few
threads (six on two cores) a few such callers would wait for each other's threads for ever. So there
are as many as Python allows calls inside calls.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Final, TypeVar, cast
from weakref import WeakSet

from cascada.engine.lifecycle import Lifecycle
from cascada.engine.loading.loaders import call_in
from cascada.model.errors import WrongLoop
from cascada.model.secret import traced

T = TypeVar("T")

logger = logging.getLogger("cascada")

MAX_WORKERS: Final = 1000
CLOSING: Final = 15.0
"""Seconds that the exit of the process waits for the portal; storing takes at most 10 of them."""


class Portal:
    """The thread and its loop; at most one is open in a process."""

    def __init__(self) -> None:
        self.workers = ThreadPoolExecutor(MAX_WORKERS, thread_name_prefix="cascada-load")
        self._residents: WeakSet[Lifecycle] = WeakSet()
        self._starting = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: Thread | None = None

    def loop_for(self, life: Lifecycle) -> asyncio.AbstractEventLoop:
        """The portal's loop, running; what lives there is drained when it ends."""
        with self._starting:
            self._residents.add(life)
            if self._loop is None or self._loop.is_closed():
                started: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = Thread(
                    target=lambda: asyncio.run(self._live(started)),
                    name="cascada-portal",
                    daemon=True,
                )
                self._thread.start()
                self._loop = started.result()
            return self._loop

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        self._stop = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await self._stop.wait()
        for life in list(self._residents):
            try:
                await life.close(for_good=False)
            except Exception as error:  # noqa: BLE001 - the others have to be closed all the same
                logger.error(  # noqa: TRY400 - what an error says may be a secret
                    "closing a cache failed: %s", traced(error)
                )

    def close(self) -> None:
        """Store what is under way and end the thread."""
        with self._starting:
            if self._loop is not None and self._stop is not None and self._thread is not None:
                with suppress(RuntimeError):  # a loader has stopped the loop
                    self._loop.call_soon_threadsafe(self._stop.set)
                self._thread.join(CLOSING)
            self._loop = self._stop = self._thread = None


_portal = Portal()
_of_the_parent: list[Portal] = []


def run(life: Lifecycle, work: Callable[[], Coroutine[Any, Any, T]], name: str, aio: str) -> T:
    """Run `work` where the cache lives, in the caller's context, and wait for it on this thread."""
    if asyncio._get_running_loop() is not None:
        raise WrongLoop(
            f"{name}() waits, and would stop the event loop that runs on this thread; "
            f"use its async form: await {aio}(...)"
        )
    if (loop := life.loop) is None:
        life.bridge = loop = _portal.loop_for(life)
    if not loop.is_running():
        raise WrongLoop(
            f"{name}() needs the event loop that its cache was used on, which is open but not "
            f"running; use the async form, await {aio}(...), or end the first use with "
            "`await cache.reset()`"
        )
    future = asyncio.run_coroutine_threadsafe(_outcome(work), loop)
    try:
        result, ending = future.result()
    finally:
        future.cancel()  # does nothing, unless this thread was interrupted while it waited
    if ending is not None:
        raise ending
    return cast(T, result)


async def _outcome(
    work: Callable[[], Coroutine[Any, Any, T]],
) -> tuple[T | None, BaseException | None]:
    """What `work` returns, or what it raises to end the process (SystemExit).

    That is its caller's, on his own thread. Raised here it would end the loop, and with it what all
    other threads wait for.
    """
    try:
        return await work(), None
    except (KeyboardInterrupt, SystemExit) as ending:
        return None, ending


async def in_worker(function: Callable[[], Any], *given_up: Callable[[Future[Any]], None]) -> Any:
    """Run a plain function in a worker thread; what it returns may be awaitable."""
    return await call_in(_portal.workers, function, *given_up)


def _after_fork_in_child() -> None:
    # The thread is the parent's. Its loop is kept: collecting it would close what it shares.
    global _portal
    _of_the_parent.append(_portal)
    _portal = Portal()


# Before the pools of threads are shut down, which tiers store with; `atexit` comes after that.
getattr(threading, "_register_atexit", atexit.register)(lambda: _portal.close())
os.register_at_fork(after_in_child=_after_fork_in_child)
