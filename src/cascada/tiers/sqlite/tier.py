"""The database tier (L3) on SQLite: durable, and shared by all processes of one machine.

Every tenant has a counter. An invalidation takes the next value and leaves a tombstone of each
name with it; an entry's row holds the counter as it was before the source was read, and all names
that the entry bears. The row is valid while no tombstone of its names is higher. So a lease costs
nothing: it is the counter that a read has seen, and whatever was invalidated since is found when
the entry comes to be stored, in the same transaction.

What it does not cover: `version` is known as long as the row or its key's tombstone is there; once
both were evicted or swept, an older version is stored again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from cascada.model.clock import Clock
from cascada.model.door.secret import traced
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import tenant_of
from cascada.tiers.capabilities import Change, Ending, Fate, InvalidationSink, Posted, Stored
from cascada.tiers.contract import (
    Busy,
    EntryCount,
    Filled,
    Found,
    Invalidation,
    Lease,
    Missing,
    Renewed,
    Seen,
    Touched,
    Usage,
    with_keys,
)
from cascada.tiers.large_values import wait_for_told
from cascada.tiers.polled_feed import Changes, PolledFeed
from cascada.tiers.sqlite import outbox, writes
from cascada.tiers.sqlite.changes import Changed, apply
from cascada.tiers.sqlite.chunks import CHUNK, by_chunks
from cascada.tiers.sqlite.connection import Link
from cascada.tiers.sqlite.datastore import SqliteData
from cascada.tiers.sqlite.erasing import SqliteErasing
from cascada.tiers.sqlite.forks import abandoned, open_tiers
from cascada.tiers.sqlite.inspect import WalksKeys, count_entries, ended, holding
from cascada.tiers.sqlite.journal import SqliteJournal
from cascada.tiers.sqlite.load_turns import Turns, end_turns, renew_turns, take_turns
from cascada.tiers.sqlite.maintenance import Upkeep
from cascada.tiers.sqlite.reads import Feed, Notes, Reader
from cascada.tiers.sqlite.schema import renew, writing
from cascada.tiers.sqlite.sparing import spare, spared
from cascada.tiers.sqlite.transaction import Options
from cascada.tiers.sqlite.worker import GROUP, Inline, Worker, Writer
from cascada.tiers.sqlite.wrapped_keys import SqliteKeys
from cascada.tiers.sqlite.writes import Write

UPKEEP_EVERY: Final = 64
"""Groups of writes after which expired rows are looked for, though nothing is due."""

BREATH: Final = 0.002
"""Seconds between two steps of the upkeep: others look at the lock after one and three ms."""

INLINE_TIMEOUT: Final = 0.02
"""Seconds that an inline read may wait for a lock: it holds up the whole event loop."""

_log = logging.getLogger(__name__)


class SqliteTier(WalksKeys):
    """See the module's text. It opens at the first call; after `aclose` each call closes again.

    capacity_bytes: of all namespaces and tenants in the file (0: unbounded). inline_reads: on the
    event loop's own thread, twice as fast while the pages are in memory. busy_timeout: seconds that
    another process's transaction is waited for. max_tombstones: invalidated names that are
    remembered for a tenant before a sweep. turns: one process at a time loads a key, but for
    `somebody_above`: who holds a lease above and waits for a turn here could wait in a circle.
    """

    name: str = "l3"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str,
        clock: Clock,
        capacity_bytes: int = 2000 * 2**20,
        inline_reads: bool = False,
        busy_timeout: float = 1.0,
        max_tombstones: int = 20_000,
        turns: bool = False,
    ) -> None:
        if os.fspath(path) == ":memory:":
            raise BadInput("path is ':memory:', which no two connections share; pass a file")
        self._path = Path(path)
        self._inline = inline_reads
        self._busy_timeout = busy_timeout
        self._options = Options(namespace, clock, capacity_bytes, max_tombstones)
        self.data = SqliteData(namespace, clock, lambda: self._reader, lambda: self._writer)
        self.wrapped_keys = SqliteKeys(namespace, lambda: self._reader, lambda: self._writer)
        self.erasing = SqliteErasing(self._path, self._options, lambda: self._writer)
        self._turns = Turns(self._path, namespace, clock) if turns else None
        self.somebody_above: Callable[[], bool] = lambda: False
        self._more = self._looked = False
        self._connect()
        open_tiers.add(self)

    # --- the tier contract ------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """Of its file."""
        return self._path

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        answers = await by_chunks(self._read, keys)
        if len(keys) > CHUNK:
            numbers = {(key.tenant, answer.seq) for key, answer in zip(keys, answers, strict=True)}
            if len(numbers) > len({tenant for tenant, _ in numbers}):
                # Something was invalidated meanwhile. In one go it is of one moment, or half of
                # a cascade would be found.
                answers = await self._read(keys)
        if self._notes.pressing or not self._looked:
            self._looked = True  # at the file as it was found: it may be smaller from now on
            self._writer.nudge()
        return answers

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        """The seq that `seen` has reported is the lease; only an unread key costs a look."""
        counters: dict[str, int] = {}
        if None in seen:
            unread = {key.tenant for key, answer in zip(keys, seen, strict=True) if answer is None}
            counters = await self._reader.run(lambda c: self._questions.counters(c, unread))
        leases = []
        for key, answer in zip(keys, seen, strict=True):
            seq = counters[key.tenant] if answer is None else answer.seq
            leases.append(Lease(key, seq, forced=force, once=once, seen=answer))
        if force or once or self._turns is None or self.somebody_above():
            return [*leases]
        take = partial(take_turns, self._turns, self._questions)
        return await by_chunks(lambda some: self._reader.run(partial(take, leases=some)), leases)

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        """Also refused: what is older than the valid row, by its version or by its lease."""
        try:
            released, stored = [], []
            for lease, entry in zip(leases, entries, strict=True):
                if entry is None:
                    released.append(lease)
                else:
                    stored.append((lease, entry))
            if not released:
                return await by_chunks(self._fill, stored, GROUP)
            ask = self._questions.standing
            standing = await by_chunks(
                lambda some: self._reader.run(partial(ask, leases=some)), released
            )
            of_released = iter(standing)
            of_stored = iter(await by_chunks(self._fill, stored, GROUP))
            return [next(of_released if entry is None else of_stored) for entry in entries]
        finally:
            end_turns(leases)

    async def renew(self, leases: Sequence[Lease]) -> None:
        """A lease is a number and does not end; its turn does, where nobody renews it."""
        renew_turns(leases)

    async def invalidate(self, names: Sequence[str]) -> Invalidation:
        tenants = set(map(tenant_of, names))
        if len(tenants) != 1:
            raise BadInput(
                f"{len(names)} names of {len(tenants)} tenants were to be invalidated at once; "
                "pass at least one name, and those of each tenant by themselves"
            )
        (tenant,) = tenants
        return await self._writer.run(
            lambda c: writes.invalidate(c, self._options, tenant, names),
            rows=len(names),
            durable=True,
        )

    async def touch(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        # Looked for first, so that nothing is written where nothing is.
        seen = await self._reader.run(lambda c: self._questions.read(c, [key], brief=True))
        wait_for_told(seen)
        if isinstance(seen[0], Missing) and not below:
            return Touched(seen[0].seq)
        return await self._writer.run(
            lambda c: writes.touch(c, self._options, key, renewed, below=below), durable=True
        )

    async def count_entries(self, names: Sequence[str]) -> list[EntryCount]:
        tenant = tenant_of(names[0])
        found = await self.read([Key.parse(name[2:]) for name in names if name.startswith("k:")])
        counted = await self._reader.run(
            lambda c: count_entries(c, self._options.namespace, tenant, names)
        )
        return with_keys(names, counted, found)

    async def usage(self) -> Usage:
        """Rows that have expired or were invalidated count until they are removed."""
        return await self._reader.run(self._questions.usage)

    def begin(self) -> None:
        """Keep connections from one call to the next again, though `aclose` was called."""
        for part in (self._reader, self._writer, self._turns):
            if part is not None:
                part.begin()

    async def aclose(self) -> None:
        if self._turns is not None:
            self._turns.end()
        # Both begin to close before either is waited for: who is cancelled in between would leave
        # the other one open, for the garbage collector to find. The last connection to close takes
        # the -wal file away; of two that close at one moment neither is the last.
        reading = self._reader.end()
        for closing in (reading, self._writer.end(after=reading)):
            await asyncio.shield(asyncio.wrap_future(closing))

    # --- beside the contract ----------------------------------------------------------------

    async def changes(self, since: int | None) -> Changes:
        """What was invalidated in this namespace after `since` (of another process as well)."""
        answer = await self._reader.run(lambda c: self._feed.changes(c, since))
        if since is not None and since > answer.position:  # the database has gone back
            await self._writer.run(lambda c: self._restart(c, since), durable=True)
            answer = Changes((await self.changes(None)).position, (), lost=True)
        return answer

    def make_feed(
        self,
        sink: InvalidationSink,
        clock: Clock,
        *,
        timeout: float | None = None,
        on_error: Callable[[str], None] = lambda why: None,
    ) -> PolledFeed:
        """A feed that asks for the changes; SQLite cannot push."""
        return PolledFeed(self, sink, clock, timeout=timeout, on_error=on_error)

    async def post(self, names: Sequence[str]) -> None:
        """Keep what a tier above could not be told; it outlives this process and a power cut."""
        await self._writer.run(
            lambda c: outbox.post(c, self._options.namespace, names), durable=True
        )

    async def posted(self) -> Sequence[Posted]:
        """What waits in the outbox of this namespace."""
        return await self._reader.run(lambda c: outbox.posted(c, self._options.namespace))

    async def sent(self, posted: Sequence[Posted]) -> None:
        """Forget what was sent."""
        await self._writer.run(lambda c: outbox.sent(c, posted))

    async def apply(self, changes: Sequence[Change]) -> list[Fate]:
        """Write what comes from a journal; it outlives a power cut."""
        works = []
        for start in range(0, len(changes), CHUNK):
            await asyncio.sleep(0)
            part = [Changed.of(self._options.namespace, each) for each in changes[start:][:CHUNK]]
            rows = sum(1 + len(each.write.envelope) // writes.ROW for each in part)
            works.append((partial(apply, options=self._options, changes=part), rows))
        fates = await self._writer.run_together(works, durable=True)
        return [fate for part in fates for fate in part]

    def journal_of(self, name: str) -> SqliteJournal:
        """The changes of that name which are still to be written elsewhere."""
        return SqliteJournal(name, self._options, lambda: self._reader, lambda: self._writer)

    async def spare(self, types: frozenset[str]) -> frozenset[str]:
        """The types of which nothing is kept, those of this process among them."""
        known = await self._reader.run(lambda c: spared(c, self._options.namespace))
        if types <= known:
            return known
        return await self._writer.run(
            lambda c: spare(c, self._options.namespace, types), durable=True
        )

    async def holding(self, key: Key) -> Stored | None:
        """What is stored under a key, valid or not."""
        return await self._reader.run(lambda c: holding(c, self._options.namespace, key))

    async def ended(self, names: Sequence[str]) -> Ending | None:
        """The latest invalidation of one of the names."""
        namespace, tenant = self._options.namespace, tenant_of(names[0])
        now = self._options.clock.time()
        return await self._reader.run(lambda c: ended(c, namespace, tenant, names, now))

    async def upkeep(self) -> None:
        """Evict, sweep and note all that is due, in short transactions."""
        while await self._writer.run(self._upkeep.step):
            pass

    def forget(self) -> None:
        """Let go of connections and threads without closing them; the next call opens new ones.

        For a forked child. The threads stayed with the parent, and so did the file locks of the
        connections: to close them here would be to act on locks that are not ours.
        """
        if self._reader.link.is_open or self._writer.link.is_open:
            abandoned.append((self._reader, self._writer))
        if self._turns is not None:
            self._turns.close()
        self._connect()

    def hold(self) -> None:
        """Before a fork: close the connections (waiting for what runs) and open none."""
        self._reader.link.hold()
        self._writer.link.hold()

    def release(self) -> None:
        """After a fork, in the parent: connections may be opened again."""
        self._reader.link.release()
        self._writer.link.release()

    # --- the inside -------------------------------------------------------------------------

    def _connect(self) -> None:
        self._notes = Notes()
        self._upkeep = Upkeep(self._options, self._notes)
        self._questions = Reader(self._options, self._notes)
        self._feed = Feed(self._options)
        self._groups, self._said = 0, ""
        self._writer = Writer(
            Link(self._path, self._options.clock, self._busy_timeout), "l3-writer", self._keep_up
        )
        self._reader: Worker | Inline = (
            Inline(Link(self._path, self._options.clock, INLINE_TIMEOUT), self._writer)
            if self._inline
            else Worker(Link(self._path, self._options.clock, self._busy_timeout), "l3-reader")
        )

    async def _read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        answers = await self._reader.run(lambda c: self._questions.read(c, keys, brief=True))
        if wait_for_told(answers):
            answers = await self._reader.run(lambda c: self._questions.read(c, keys))
        return answers

    async def _fill(self, fills: Sequence[tuple[Lease, Entry]]) -> list[Filled]:
        """Up to a group of fills, packed and carried out in chunks that share a commit."""
        chunks = []
        durable = False
        for start in range(0, len(fills), CHUNK):
            if start:
                await asyncio.sleep(0)
            packed, rows = [], 0
            for lease, entry in fills[start : start + CHUNK]:
                write = Write.of(self._options.namespace, lease, entry)
                packed.append(write)
                rows += 1 + len(write.envelope) // writes.ROW
                durable |= lease.forced or bool(lease.adds)
            chunks.append((partial(writes.fill, options=self._options, writes=packed), rows))
        if len(chunks) == 1:
            return await self._writer.run(*chunks[0], durable)
        filled = await self._writer.run_together(chunks, durable)
        return [answer for answers in filled for answer in answers]

    def _restart(self, connection: sqlite3.Connection, since: int) -> None:
        # Asked again under the write lock: another process may have noticed it as well.
        ((seq,),) = connection.execute("SELECT q FROM meta").fetchall()
        if since > seq:
            renew(connection, self._options.clock)

    def _keep_up(self) -> None:
        """After a group of writes, on the writer's thread, with nobody waiting. If there is more to
        do than one step, the next comes behind the writes that wait by then."""
        self._groups += 1
        goes_on, self._more = self._more, False
        time.sleep(BREATH * goes_on)
        try:
            with self._writer.link as connection:
                if goes_on or self._groups % UPKEEP_EVERY == 0 or self._upkeep.is_due(connection):
                    with writing(connection):
                        self._more = self._upkeep.step(connection)
            if self._more:
                self._writer.nudge()
        except TierUnavailable:
            pass  # the next write says so to somebody who can do something about it
        except Exception as error:  # noqa: BLE001 - a bug must not end the thread others wait for
            if (why := traced(error)) != self._said:  # once: it is tried again after each write
                self._said = why
                _log.error("upkeep of the cache database %s failed: %s", self._path, why)
