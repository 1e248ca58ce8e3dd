"""The sync of one service: rounds that write what its journal holds to the application's database.

A round claims the oldest changes, lets `target` write them, and takes from the journal what is
there; it ends with what was journaled when it began. Several processes may do so on one journal:
a claim keeps them apart, and where one ended too early, the numbers that the target compares.
What cannot be written is set aside, and what could not be written now waits for the next round.

`CacheService` has one of each cache. It must never take a change from the journal before the
database has it, or a cache that must not answer with its value has let go of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from cascada.engine.engine import Engine
from cascada.engine.home.ready import when_ready
from cascada.engine.journal import KeptJournal
from cascada.model.door.arguments import MOST
from cascada.model.errors import TierUnavailable
from cascada.model.names import key_name
from cascada.service.one_task import ended
from cascada.service.sync.batch import Batch
from cascada.service.sync.reading import records_of
from cascada.service.sync.records import (
    ENDS,
    Poison,
    Record,
    SyncFailed,
    is_unread,
)
from cascada.service.sync.report import (
    SyncProgress,
    SyncReport,
    Tally,
    Unwritable,
    count,
    log,
)
from cascada.service.sync.target import Target
from cascada.tiers.capabilities import Backlog, Change

AT_ONCE: Final = 1000
"""Changes that are claimed and written together."""

CLAIM: Final = 30.0
"""Seconds after which others may write what somebody has claimed: longer than a batch takes."""

FIRST_PAUSE: Final = 10.0
LONGEST_PAUSE: Final = 60.0
"""Seconds before a round that failed is tried again, which grow."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at how long changes have waited."""

FORGET_EVERY: Final = 3600.0
"""Seconds between two looks for what the tables have only for its number."""

DRAIN: Final = 10.0
"""Seconds that stopping waits for what is in the journal; the rest is for whoever comes next."""

_AWAY: Final = ("connection", "timeout")
"""Of failures, those that concern all tables."""

logger = logging.getLogger("cascada")

T = TypeVar("T")


class SyncLoop:
    """See the module's text. `interval`: seconds between two rounds, asked anew for each.
    `on_progress` is told after each batch, `on_end` the time when a round has ended well."""

    def __init__(
        self,
        service: str,
        engine: Engine,
        journal: KeptJournal,
        target: Target,
        *,
        interval: Callable[[], float],
        on_progress: Callable[[SyncProgress], None] | None = None,
        on_end: Callable[[float], None] = lambda now: None,
    ) -> None:
        self.life = engine.life
        self.task: asyncio.Task[None] | None = None
        self.last: SyncReport | None = None
        self.last_sync: datetime | None = None
        """When the last round ended in which nothing failed."""
        self.service = service
        self.database = target.database
        self._engine = engine
        self._clock = engine.clock
        self._journal = journal
        self._target = target
        self._interval = interval
        self._on_progress = on_progress
        self._on_end = on_end
        self._backlog: Backlog | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._next_forget = 0.0
        self._ended = 0.0
        """When the last round did, by the monotonic clock."""

    def _begin(self) -> None:
        """What belongs to an event loop, anew on another one."""
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._loop = loop
            self._turn = asyncio.Lock()
            self._stopping = asyncio.Event()
            self._next: asyncio.Task[SyncReport] | None = None
            self.task = None

    @property
    def lag_seconds(self) -> float:
        """How long the oldest change that waits has waited, by the last look; 0: none does."""
        oldest = 0 if self._backlog is None else self._backlog.oldest
        # A journal's numbers are microseconds of the clock.
        return max(0.0, self._clock.time() - oldest / 1e6) if oldest else 0.0

    @property
    def waiting(self) -> int:
        """Changes that wait, by the last look."""
        return 0 if self._backlog is None else self._backlog.changes

    @property
    def set_aside(self) -> int:
        """Changes that were, by the last look."""
        return 0 if self._backlog is None else self._backlog.set_aside

    # --- its life -----------------------------------------------------------------------------

    @when_ready
    async def start(self) -> None:
        """Begin with a round at once. Nothing if it runs already."""
        self._begin()
        if self.task is not None and not self.task.done():
            return
        self._stopping.clear()
        self.task = self._engine.stack.background.run_aside(self._run(), "sync")
        logger.info("sync of %s begun, every %g seconds", self.service, self._interval())

    @when_ready
    async def stop(self) -> None:
        """End it, with a last round for what waits. Nothing if it does not run."""
        self._begin()
        task, self.task = self.task, None
        if task is None or task.done():
            return
        self._stopping.set()
        try:
            async with asyncio.timeout(DRAIN):
                await asyncio.shield(self._joined())
        except (TimeoutError, TierUnavailable):
            pass
        await ended(task)
        if self.waiting:
            logger.warning(
                "sync of %s stopped with %d changes in the journal, for whoever syncs next",
                self.service,
                self.waiting,
            )
        logger.info("sync of %s stopped", self.service)

    @when_ready
    async def sync_now(self) -> SyncReport:
        """One round, after the one that may be under way; who comes meanwhile shares it."""
        self._begin()
        # Once begun it is carried out, whoever is cancelled.
        return await asyncio.shield(self._joined())

    def _joined(self) -> asyncio.Task[SyncReport]:
        if self._next is None or self._next.done():
            self._next = self._engine.stack.background.answer(self._take_turn(), "sync round")
        return self._next

    async def _take_turn(self) -> SyncReport:
        async with self._turn:
            self._next = None
            try:
                return await self._round()
            finally:
                # None is left open: the next round may be long in coming, or never come.
                await self._target.aclose()

    async def _run(self) -> None:
        pause, looked = 0.0, False
        while not self._stopping.is_set():
            try:
                finished = (await asyncio.shield(self._joined())).finished
                if finished and not looked:
                    looked = True
                    async with self._turn:
                        await self._target.look_at_tables()
            except Exception:
                logger.exception("a round of the sync of %s broke off", self.service)
                finished, self._ended = False, self._clock.monotonic()
            pause = 0.0 if finished else min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
            if not finished:
                logger.error("sync of %s: next try in %g seconds", self.service, pause)
            # From the round's end on: to look at tables takes a while, too.
            await self._rest(self._ended + (pause or self._interval()))

    async def _rest(self, until: float) -> None:
        """Wait, and look now and then how much waits in the journal."""
        while (left := until - self._clock.monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, LOOK_EVERY)):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return
            await self.look()

    @when_ready
    async def look(self) -> None:
        """Ask the journal how much waits; where it does not answer, the last answer stands."""
        with suppress(TierUnavailable):
            self._backlog = await self._journal.backlog()

    # --- what was set aside -------------------------------------------------------------------

    async def aside(self, most: int) -> list[Unwritable]:
        """What was set aside, the oldest first."""
        return [_unwritable(each.change, each.why) for each in await self._journal.aside(most)]

    async def retry(self, keys: Sequence[Any] | None) -> int:
        """Let what was set aside wait once more; how many do."""
        return await self._journal.retry(keys)

    # --- a round ------------------------------------------------------------------------------

    async def _round(self) -> SyncReport:
        began, tally, held = self._clock.monotonic(), Tally(), dict[int, Change]()
        try:
            await self._write_all(tally, held, began)
        except TierUnavailable as error:
            tally.failed(SyncFailed("connection", f"the journal does not answer: {error}"))
        except Exception:
            await self._release(held)
            raise
        # Held so far: else they would have been the oldest again, and kept all others waiting.
        await self._release(held)
        await self.look()
        self._ended = self._clock.monotonic()
        seconds = self._ended - began
        report = tally.report(self.service, seconds, self.waiting, self.lag_seconds)
        if report.finished and tally.done:
            await self._forget()
        count(self._engine.trace, report)
        self.last = report
        if report.finished:
            now = self._clock.time()
            self.last_sync = datetime.fromtimestamp(now, UTC)
            self._on_end(now)
        log(report)
        return report

    async def _release(self, held: dict[int, Change]) -> None:
        with suppress(TierUnavailable):
            await self._journal.release([*held.values()])

    async def _write_all(self, tally: Tally, held: dict[int, Change], began: float) -> None:
        """While a batch is written, the next is claimed, and the one before it goes from the
        journal. `held`: what was claimed, and is in the journal still."""
        # Kept, so that the lag is seen while the database does not answer.
        self._backlog = await self._journal.backlog()
        # A record that is damaged has no number; then all that has one counts.
        newest = self._backlog.newest or self._backlog.last
        if not self._backlog.changes:
            return
        try:
            await self._target.look()
        except SyncFailed as failure:
            tally.failed(failure)
            return
        batch, written, ahead = await self._claimed(held), Batch(), True
        while batch.changes:
            more, since = batch.changes[-1].number < newest, self._clock.monotonic()
            # To the end, all of them: what one raises leaves none behind that nobody waits for.
            answers, following, settled = await asyncio.gather(
                self._target.write(batch.rows, batch.since),
                # Before the next: it is read while the journal's thread ends the last one.
                self._claimed(held) if more and ahead else _nothing(),
                self._settle(written, tally, held, began),
                return_exceptions=True,
            )
            written = batch.answered(_sound(answers))
            _sound(settled)
            if any(each.cause in _AWAY for each in written.failures):
                break
            batch = _sound(following)
            if more and not ahead:
                await self._settle(written, tally, held, began)
                batch, written = await self._claimed(held), Batch()
            # Where it is slow, the claim of a batch that waits would end: all of it came again.
            ahead = self._clock.monotonic() - since < CLAIM / 3
        await self._settle(written, tally, held, began)

    async def _forget(self) -> None:
        """Now and then, what the tables have that nobody can need any more."""
        if (now := self._clock.monotonic()) < self._next_forget:
            return
        self._next_forget = now + FORGET_EVERY
        try:
            await self._target.forget((await self._journal.backlog()).oldest or MOST)
        except (SyncFailed, TierUnavailable) as failure:
            logger.warning("sync of %s: removed rows were not forgotten: %s", self.service, failure)

    async def _claimed(self, held: dict[int, Change]) -> Batch:
        since, changes = self._target.seen, await self._journal.claim(AT_ONCE, CLAIM)
        # Not by their numbers: a record that is damaged has none.
        held.update((id(change), change) for change in changes)
        said = await records_of(self._engine.stack, changes)
        # Here, while others are written: the database would have nothing to do meanwhile.
        rows = await self._target.rows_of([each for each in said if isinstance(each, Record)])
        return Batch(changes, said, since, rows)

    async def _settle(
        self, batch: Batch, tally: Tally, held: dict[int, Change], began: float
    ) -> None:
        """Take from the journal what was written, and set aside what can never be."""
        if not batch.changes:
            return
        done, others = batch.parted()
        tally.written += len(done)
        ended = [(change, said) for change, said in others if isinstance(said, ENDS)]
        for change, outcome in ended:
            tally.count(outcome)
            done.append(change)
        await self.let_go([change for change, outcome in ended if is_unread(outcome)])
        if done:
            await self._journal.done(done)
        for change in done:
            del held[id(change)]
        for change, said in others:
            if isinstance(said, Poison):
                await self._put_aside(change, said, tally)
                del held[id(change)]
        for failure in batch.failures:
            tally.failed(failure)
        if self._on_progress is not None:
            await self._progress(tally, began)

    async def _put_aside(self, change: Change, poison: Poison, tally: Tally) -> None:
        why = f"{poison.cause}: {poison.sentence}"
        await self._journal.set_aside(change, why)
        tally.put_aside(_unwritable(change, why))

    async def _progress(self, tally: Tally, began: float) -> None:
        await self.look()
        seconds = self._clock.monotonic() - began
        progress = SyncProgress(self.service, tally.done, self.waiting, seconds)
        try:
            assert self._on_progress is not None
            self._on_progress(progress)
        except Exception:
            logger.exception("on_progress of the sync of %s failed", self.service)

    async def let_go(self, changes: Sequence[Change]) -> None:
        """Let the cache forget what is not what the database has, in all processes."""
        by_tenant: dict[str, list[str]] = {}
        for change in changes:
            by_tenant.setdefault(change.key.tenant, []).append(key_name(change.key))
        for names in by_tenant.values():
            await self._engine.invalidate(names, strict=False)


async def _nothing() -> Batch:
    return Batch()


def _sound(ended: T | BaseException) -> T:
    """What a step has returned; what it has raised is raised here."""
    if isinstance(ended, BaseException):
        raise ended
    return ended


def _unwritable(change: Change, why: str) -> Unwritable:
    cause, _, reason = why.partition(": ")
    return Unwritable(change.key.tenant, change.key.resource_id, change.number, cause, reason)
