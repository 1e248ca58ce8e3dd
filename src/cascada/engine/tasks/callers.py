"""Who calls a cache from elsewhere: a thread that waits, or an event loop that is not the cache's.

What he brings along, a loader above all, belongs to where he is. A plain function may use what is
its thread's own (the connection of Django's ORM, a transaction that is open there): so it runs in
the thread that waits, which has nothing else to do. An async one may use what is its loop's own (a
pool of connections, a client): so it is awaited on the loop that it came from.

A thread runs such a function only while it waits and does nothing for its call already. In any
other moment one of our own threads does: what was queued behind something else in a thread could
be what that waits for.
"""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing
from contextvars import Context, ContextVar, copy_context
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from cascada.engine.tasks.crossing import LOOK, Crossing, Cut
from cascada.engine.tasks.relay import relayed
from cascada.model.errors import LoadError

T = TypeVar("T")

MAX_THREADS: Final = 1000
"""Plain functions that run at once. Each may wait for another one, and that one needs a thread,
too; there are as many as Python allows calls inside calls. How many loads run is bounded anyway."""


class Notes(dict[Any, Any]):
    """Kept until they have served, or others push them out. `held`: those of them whose caller
    still holds what they came with."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        super().__init__()
        self.held: WeakValueDictionary[Any, Any] = WeakValueDictionary()

    def take(self, what: object) -> Any:
        """A note, which is gone then; None if there is none."""
        held = self.held.pop(what, None)
        return self.pop(what, held)

    def push_out(self) -> None:
        """Do not keep the oldest."""
        oldest = next(iter(self))
        self.held[oldest] = self.pop(oldest)


notes_of_tasks: Final[WeakKeyDictionary[asyncio.Task[Any], Notes]] = WeakKeyDictionary()
"""What the reads of a task have left for its sets (`engine/reading/snapshots.py`). A task that
stands for a caller elsewhere has that caller's."""

_of_this_thread = threading.local()


class CallerLeft(LoadError):
    """The thread or the loop that a loader ran on has gone: others, who have their own, try it."""


@functools.cache
def threads() -> ThreadPoolExecutor:
    """Threads for plain functions alone: the loop's default pool has six on two cores, shared with
    everything else in the process."""
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="cascada-loader")


class _Job(NamedTuple):
    future: Future[Any]
    function: Callable[[], Any]


class Waiting:
    """One call of a thread that waits for it, and meanwhile runs what it has brought along (or one
    call after the other, in one context)."""

    __slots__ = ("_context", "_idle", "_inbox", "_lock", "notes", "once")

    def __init__(self, once: Once | None = None) -> None:
        self.once = once
        self._context = _context_of(self)
        self._lock = threading.Lock()
        self._inbox: SimpleQueue[_Job | None] = SimpleQueue()
        self._idle = False
        self.notes: Notes = _of_this_thread.__dict__.setdefault("notes", Notes())

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Run a function in the thread that waits; in another one if it does not, or is busy."""
        with self._lock:
            if self._idle:
                self._idle = False
                future: Future[T] = Future()
                self._inbox.put(_Job(future, partial(function, *args)))
                return future
        return threads().submit(function, *args)

    def wait(self, crossing: Crossing[T]) -> T:
        """What the call brings. Who is interrupted leaves; what he left to others goes on."""
        inbox = self._inbox
        self._idle = True
        try:
            crossing.send(self._context, partial(inbox.put, None))
            while not crossing.done:
                try:
                    job = inbox.get(timeout=LOOK)
                except Empty:
                    crossing.look()
                else:
                    if job is not None:
                        self._run(job)
        except BaseException:
            crossing.leave()
            raise
        finally:
            with self._lock:
                self._idle = False
            while not inbox.empty():
                if (job := inbox.get()) is not None:
                    threads().submit(_run_elsewhere, job)
        return crossing.outcome()

    def _run(self, job: _Job) -> None:
        future = job.future
        if not future.set_running_or_notify_cancel():
            self._free()
            return
        try:
            result = job.function()
        except Exception as error:  # noqa: BLE001 - the caller's own code may raise anything
            self._free()
            future.set_exception(error)
        except BaseException:
            # A key was pressed, or the thread is to end: its own matter, and nobody else's.
            future.set_exception(CallerLeft("the thread that ran this loader was interrupted"))
            raise
        else:
            self._free()
            future.set_result(result)

    def _free(self) -> None:
        # Before it is told that the function is over: what comes next (a generator, say) is to find
        # the thread at hand.
        with self._lock:
            self._idle = True


def _run_elsewhere(job: _Job) -> None:
    """What was handed to a thread that has just gone."""
    if job.future.set_running_or_notify_cancel():
        try:
            result = job.function()
        except BaseException as error:  # noqa: BLE001 - it is told to who waits
            job.future.set_exception(error)
        else:
            job.future.set_result(result)


class OtherLoop:
    """One call that came from another event loop, where what it has brought along is awaited."""

    __slots__ = ("_context", "_loop", "notes", "once")

    def __init__(self, once: Once | None = None) -> None:
        self.once = once
        self._context = _context_of(self)
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        self.notes = Notes() if task is None else notes_of_tasks.setdefault(task, Notes())

    @staticmethod
    def submit(function: Callable[..., T], /, *args: Any) -> Future[T]:
        return threads().submit(function, *args)

    async def wait(self, crossing: Crossing[T]) -> T:
        """What the call brings."""
        return await crossing.awaited(self._context)

    async def run(self, work: Callable[[], Awaitable[T]], context: Context | None = None) -> T:
        """Await on the loop of the caller what only that one can."""
        if self._loop is asyncio.get_running_loop():
            return await work()
        try:
            return await Crossing(work, self._loop).awaited(context or copy_context())
        except Cut as cut:
            raise CallerLeft("the event loop that this loader ran on has ended") from cut

    async def relayed(self, items: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """The items of a generator of the caller's."""
        context = copy_context()
        async with aclosing(relayed(items, partial(self.run, context=context))) as pieces:
            async for item in pieces:
                yield item


Caller = Waiting | OtherLoop

_caller: ContextVar[Caller | None] = ContextVar("cascada_caller", default=None)


def caller() -> Caller | None:
    """Who has called from elsewhere what this code runs for; None: it was called here."""
    return _caller.get()


class Once:
    """A call that may be carried out only once: whether it has begun."""

    __slots__ = ("begun",)

    def __init__(self) -> None:
        self.begun = False


_once: ContextVar[Once | None] = ContextVar("cascada_once", default=None)


def begins() -> None:
    """What this code does next must not be done again."""
    if (once := _once.get()) is not None:
        once.begun = True


def _context_of(caller: Caller) -> Context:
    context = copy_context()
    context.run(_caller.set, caller)
    context.run(_once.set, caller.once)
    return context


def _after_fork_in_child() -> None:
    # Threads do not live on in a forked child, and the executor would not notice.
    threads.cache_clear()


os.register_at_fork(after_in_child=_after_fork_in_child)
