"""Threads that work for the event loop, so that it never waits for the disk.

A `Worker` runs jobs on its link in the order of their coming, on whatever loop asks. A `Writer` is
a worker whose waiting jobs share one transaction and one commit. `Inline` has no thread.

A job that waits behind others is not late (`done` tells its caller's deadline that they go on).

What is promised about a caller that is cancelled: its job either runs whole or, if it only reads
and has not begun, not at all. A transaction belongs to the thread and never to a caller.

What is promised about closing: nothing stays open. Who was under way then may have a further step
to make, and nobody closes after him. So he is served, and what he opened is closed behind him.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final, TypeVar

from cascada.tiers.deadline import wait_in
from cascada.tiers.sqlite.connection import MISUSE, Link
from cascada.tiers.sqlite.schema import writing

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]

GROUP: Final = 1000
"""Rows that share one commit, and that one caller asks for at a time; more would keep other
processes waiting, and other callers."""


class Job:
    """Something to do, and who waits for the outcome."""

    __slots__ = ("durable", "error", "future", "result", "rows", "work")

    def __init__(self, work: Work[Any], rows: int, durable: bool) -> None:
        self.work = work
        self.rows = rows
        self.durable = durable
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.result: object = None
        self.error: Exception | None = None


class Worker:
    """One thread that runs jobs in turn; it starts with the first job.

    `after` runs behind each go, when nobody waits for it.
    """

    def __init__(self, link: Link, name: str, after: Callable[[], None] | None = None) -> None:
        self.link = link
        self.done = 0
        self._name = name
        self._jobs: deque[Job] = deque()
        self._lock = threading.Lock()
        self._running = False
        self._ended = False
        self._executor: ThreadPoolExecutor | None = None
        self._after = after

    def run(self, work: Work[T], rows: int = 1, durable: bool = False) -> asyncio.Future[T]:
        """What `work` returns, given the connection; `durable` outlives a power cut."""
        job = Job(work, rows, durable)
        self._start([job])
        return job.future

    def run_together(
        self, works: Sequence[tuple[Work[T], int]], durable: bool
    ) -> asyncio.Future[list[T]]:
        """What each returns, given its rows. They begin together, so that a writer commits them so;
        `done` grows with each."""
        jobs = [Job(work, rows, durable) for work, rows in works]
        self._start(jobs)
        return asyncio.gather(*[job.future for job in jobs])

    def begin(self) -> None:
        """Keep the connection and the thread from one job to the next, until `end`."""
        with self._lock:
            self._ended = False

    def end(self, after: Future[None] | None = None) -> Future[None]:
        """Run what waits, then close the connection on its thread and end the thread. It comes to
        its end whether anybody waits or not.

        `after`: another connection's end, which comes first.
        """
        with self._lock:
            self._ended = True
            executor, self._executor = self._executor, None
        if executor is None:
            return _closed(self.link)
        closing = executor.submit(self._close, after)
        executor.shutdown(wait=False)
        return closing

    def _close(self, after: Future[None] | None) -> None:
        if after is not None:
            wait((after,))
        self.link.close()

    def _start(self, jobs: list[Job]) -> None:
        wait_in(self)
        with self._lock:
            self._jobs += jobs
            if not self._running:
                self._running = True
                self._thread().submit(self._drain)

    def _thread(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, f"cascada-{self._name}")
        return self._executor

    def _drain(self) -> None:
        while jobs := self._take():
            self.done += 1
            self._perform(jobs)
            _deliver(jobs)
            if self._after is not None:
                self._after()
        self._clean_up()

    def _clean_up(self) -> None:
        """Close behind jobs that came after the end, and end their thread.

        Behind those that came before it, on the thread that is ending, `end` closes in its turn.
        """
        with self._lock:
            if not self._ended or self._running or self._executor is None:
                return
            executor, self._executor = self._executor, None
        self.link.close()
        executor.shutdown(wait=False)

    def _take(self) -> list[Job]:
        taken: list[Job] = []
        rows = 0
        with self._lock:
            while self._jobs and rows < GROUP:
                taken.append(self._jobs.popleft())
                rows += taken[-1].rows
            self._running = bool(taken)
        return taken

    def _perform(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.future.cancelled():
                continue
            try:
                with self.link as connection:
                    job.result = job.work(connection)
            except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it
                job.error = error
            self.done += 1


class Inline:
    """The same calls on the caller's own thread: faster, but a cold page blocks the loop.

    `opener`: its thread makes the file, or recognises it.
    """

    def __init__(self, link: Link, opener: Worker) -> None:
        self.link = link
        self._opener = opener
        self._ended = False

    async def run(self, work: Work[T]) -> T:
        if not self.link.is_open:
            await self._opener.run(lambda c: None)
        try:
            with self.link as connection:
                return work(connection)
        finally:
            if self._ended:
                self.link.close()

    def begin(self) -> None:
        self._ended = False

    def end(self) -> Future[None]:
        self._ended = True
        return _closed(self.link)


class Writer(Worker):
    """A worker whose waiting jobs share a commit."""

    _nudged = False

    def nudge(self) -> None:
        """Run `after` soon, though nobody writes."""
        with self._lock:
            if not self._nudged and not self._ended:
                self._nudged = True
                self._thread().submit(self._when_nudged)

    def _when_nudged(self) -> None:
        self._nudged = False
        if self._after is not None:
            self._after()

    def _perform(self, jobs: list[Job]) -> None:
        try:
            with self.link as connection:
                # Fills may be lost in a power cut, they are loaded again. A lost invalidation
                # would leave its entry valid for good, so its commit waits for the disk.
                full = any(job.durable for job in jobs)
                connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
                with writing(connection):
                    for job in jobs:
                        _attempt(connection, job)
                        self.done += 1
        except Exception as error:  # noqa: BLE001 - it is the callers', who wait for it
            # Nothing was committed, so what seemed to have succeeded has failed as well.
            for job in jobs:
                job.error = job.error or error


def _attempt(connection: sqlite3.Connection, job: Job) -> None:
    """Run one job of a group so that its failure undoes its own work and nobody else's."""
    connection.execute("SAVEPOINT job")
    try:
        job.result = job.work(connection)
    except MISUSE as error:
        connection.execute("ROLLBACK TO job")
        job.error = error
    except sqlite3.Error:
        raise  # the disk or the file, not this job: nobody's work can be committed
    except Exception as error:  # noqa: BLE001 - it is the caller's, who waits for it
        connection.execute("ROLLBACK TO job")
        job.error = error
    connection.execute("RELEASE job")


def _closed(link: Link) -> Future[None]:
    """Close a connection that no thread works on."""
    link.close()
    closing: Future[None] = Future()
    closing.set_result(None)
    return closing


def _deliver(jobs: list[Job]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Job]] = defaultdict(list)
    for job in jobs:
        by_loop[job.future.get_loop()].append(job)
    for loop, settled in by_loop.items():
        with suppress(RuntimeError):  # that loop was closed, nobody waits any more
            loop.call_soon_threadsafe(_settle, settled)


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():  # the caller was cancelled
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
