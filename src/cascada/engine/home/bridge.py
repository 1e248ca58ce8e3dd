"""The bridge: one thread of this process with an event loop of its own, for caches without one.

A cache runs on the loop that uses it first. Where code that waits comes first, or where several
loops come and go, that is the bridge's. It starts when it is first needed and ends with the last
cache that lives on it; at exit, after what is under way has been stored.

`engine/home/carrying.py` sends calls there; who lives there, `engine/home/lifecycle.py` decides.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, Final, Protocol

from cascada.model.door.secret import traced
from cascada.model.errors import CacheClosed

logger = logging.getLogger("cascada")

CLOSING: Final = 15.0
"""Seconds that the exit of the process waits for the bridge; storing takes at most 10 of them."""


class Resident(Protocol):
    """What lives on the bridge: an engine's life."""

    async def close(self, *, for_good: bool) -> None: ...


class Bridge:
    """The thread and its loop; at most one is open in a process."""

    def __init__(self) -> None:
        self._residents: set[Resident] = set()
        self._starting = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: Thread | None = None
        self._exiting = False

    def loop(self) -> asyncio.AbstractEventLoop:
        """Its loop, running."""
        with self._starting:
            if self._loop is None or self._loop.is_closed() or self._is_stopping:
                if self._exiting:
                    raise CacheClosed(
                        "the main thread has ended, and with it what this cache ran on; "
                        "let it wait for the other threads (Thread.join)"
                    )
                started: Future[asyncio.AbstractEventLoop] = Future()
                self._thread = Thread(
                    target=lambda: asyncio.run(self._live(started)),
                    name="cascada-bridge",
                    daemon=True,
                )
                self._thread.start()
                self._loop = started.result()
            return self._loop

    def holds(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """Whether that loop is the bridge's."""
        return loop is not None and loop is self._loop

    def admits(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether a call may begin on that loop, as far as the bridge knows."""
        return loop is not self._loop or not self._is_stopping

    def settle(self, resident: Resident) -> None:
        """It lives on the bridge from now on."""
        self._residents.add(resident)

    def leave(self, resident: Resident) -> None:
        """It does not any more, or has only been closed there. The last one ends the thread."""
        if resident in self._residents or self.holds(asyncio._get_running_loop()):
            self._residents.discard(resident)
            if not self._residents and self._stop is not None:
                self._stop.set()

    @property
    def _is_stopping(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    async def _live(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        stop = self._stop = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await stop.wait()
        for resident in list(self._residents):
            try:
                await resident.close(for_good=False)
            except Exception as error:  # noqa: BLE001 - the others have to be closed all the same
                logger.error(  # noqa: TRY400 - what an error says may be a secret
                    "closing a cache failed: %s", traced(error)
                )
        # What loaders did by `asyncio.to_thread`. The loop would start a thread to wait for it,
        # which is not possible any more when Python is ending.
        loop: Any = asyncio.get_running_loop()
        if (executor := getattr(loop, "_default_executor", None)) is not None:
            loop._default_executor = None
            executor.shutdown(wait=False)

    def join(self) -> None:
        """Wait for a thread that is ending: who has closed the last cache leaves nothing behind."""
        thread = self._thread
        if thread is not None and self._is_stopping and thread is not threading.current_thread():
            thread.join(CLOSING)

    def close(self, *, for_good: bool = False) -> None:
        """Store what is under way and end the thread."""
        with self._starting:
            self._exiting = for_good
            if self._loop is not None and self._stop is not None and self._thread is not None:
                with suppress(RuntimeError):  # a loader has stopped the loop
                    self._loop.call_soon_threadsafe(self._stop.set)
                self._thread.join(CLOSING)
            self._loop = self._stop = self._thread = None


_bridge = Bridge()
_of_the_parent: list[Bridge] = []


def bridge() -> Bridge:
    """The one of this process."""
    return _bridge


def _after_fork_in_child() -> None:
    # The thread is the parent's. Its loop is kept: collecting it would close what it shares.
    global _bridge
    _of_the_parent.append(_bridge)
    _bridge = Bridge()


# Before the pools of threads are shut down, which tiers store with; `atexit` comes after that.
getattr(threading, "_register_atexit", atexit.register)(lambda: _bridge.close(for_good=True))
os.register_at_fork(after_in_child=_after_fork_in_child)
