"""The memory tier (L1): this process's own copy, bounded in bytes, valid against what it hears.

A record remembers its seq, the number of the latest invalidation that its read had seen. What can
be invalidated has a cell, shared by the records that bear the name; an invalidation writes its seq
into the cells of its names, and a record is valid while none of its cells holds a higher one. The
cell of the tenant's own name counts how often a cell of the tenant has risen: a record whose cells
were looked at since is valid without another look, which is the usual hit.

A lease remembers a seq as well. Names that no cell stands for are in a ring of the latest ones,
because a lease may be as old as a read that came before it, and because tags and sources are only
known at the fill. What has left the ring raises the tenant's low-water mark: a lease older than
that is void.

While the only tier below is away, memory keeps what is loaded and set MEANWHILE, too. No read finds
it that the tier below could answer (`last_known` alone gives it), and it goes as soon as that tier
answers again: others may have invalidated it where this process could not hear of it.

A hit does not pass here: who knows its partition takes the record from there, and `engine/hits`
decides whether it is good, in one place for all who ask.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from cascada.model.clock import Clock
from cascada.model.entry import MEMORY, Entry
from cascada.model.freshness import AlwaysFresh, Freshness
from cascada.model.keys import Key, Prefix
from cascada.model.limits import COUNTED, Eviction
from cascada.model.names import entry_name, key_name, key_named, static_names
from cascada.tiers.capabilities import Ending, Stored
from cascada.tiers.contract import (
    NOTHING,
    Busy,
    EntryCount,
    Filled,
    Found,
    Invalidation,
    Lease,
    Missing,
    Outcome,
    Renewed,
    Seen,
    Touched,
    Usage,
    Why,
)
from cascada.tiers.fill_rules import decided
from cascada.tiers.memory.adaptive import orders
from cascada.tiers.memory.invalidations import RING, InvalidationLog
from cascada.tiers.memory.record import Partition, Record
from cascada.tiers.memory.records import Records
from cascada.tiers.memory.weight import RECORD


class MemoryTier:
    """See the module's text. `capacity_bytes` bounds the weight of all records, `ring` the names.

    `eviction` says what goes when it is full (`counted`: up to where it wants hits counted),
    `freshness` until when invalidations have been heard of. `kind_of` is asked once per prefix for
    what the engine wants to find on a hit, `kind_for` once per record whether that is another one
    for this id, and `due_at` for the moment from which a hit needs a decision (expiry, refresh
    ahead); all come from the engine.
    """

    name: str = MEMORY

    def __init__(
        self,
        clock: Clock,
        *,
        capacity_bytes: int = 50 * 2**20,
        eviction: Eviction = "adaptive",
        ring: int = RING,
        freshness: Freshness | None = None,
        kind_of: Callable[[Prefix], Any] = lambda prefix: None,
        kind_for: Callable[[Any, str, str], Any] = lambda kind, tenant, resource_id: kind,
        due_at: Callable[[Any, Entry], float] = lambda kind, entry: entry.fresh_until,
    ) -> None:
        self.freshness = freshness or AlwaysFresh()
        self._clock = clock
        self._now = clock.monotonic
        self.capacity = capacity_bytes
        self.counted = sys.maxsize if eviction == "lfu" else COUNTED
        self.names = InvalidationLog(ring)
        make_order = orders(eviction, capacity_bytes)
        self.records = Records(
            clock, capacity_bytes, self.names, kind_of, kind_for, due_at, make_order
        )
        self.meanwhile = self.records.meanwhile
        self._seq = 0
        # How often what is under way was barred, and at which number last.
        self._flushes = self._flushed_at = 0

    def peek(self, key: Key) -> Record | None:
        """The record if it is fresh and valid at this moment, for who wants to know. No hit."""
        record = self.records.get(key)
        if record is None or self._now() >= record.due:
            return None
        return record if isinstance(self.look(key), Found) else None

    # --- the tier contract ------------------------------------------------------------------

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        return [self.look(key) for key in keys]

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        return [self.grant(*each, force=force, once=once) for each in zip(keys, seen, strict=True)]

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        return [self.fill_one(lease, entry) for lease, entry in zip(leases, entries, strict=True)]

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Memory leases last as long as they are held."""

    async def invalidate(self, names: Sequence[str]) -> Invalidation:
        return self.invalidate_now(names)

    def invalidate_now(self, names: Sequence[str]) -> Invalidation:
        """`invalidate`: nobody is waited for here."""
        self._seq = seq = self._seq + 1
        counts, exact = [], True
        own = list(map(self._named, names))
        for name, record in zip(names, own, strict=True):
            count = self._count(name, record)
            counts.append(count)
            # Of a group it is not known how many have expired, nor of two how much they overlap;
            # and what was made of a key bears its name as well: a key may have a group too.
            exact = exact and name.startswith("k:") and not count.made
        keys = self._end(seq, names, own, self._now())
        return Invalidation(keys, exact=exact, seq=seq, counts=tuple(counts))

    async def touch(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        return self.touch_now(key, renewed, below=below)

    def touch_now(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        """`touch`: nobody is waited for here."""
        record = None if key in self.meanwhile else self._there(key)
        entry = None if record is None else renewed(record, len(record.data))
        if entry is None and not below:
            return Touched(self._seq)
        self._seq = seq = self._seq + 1
        self.names.record([entry_name(key)], seq)
        if record is None or entry is None:
            return Touched(seq)
        # At the number that it was read at: it is no newer than it was.
        now = self._now()
        self.records.store(record.partition, record.resource_id, entry, record.seq, now)
        return Touched(seq, record, entry)

    async def count_entries(self, names: Sequence[str]) -> list[EntryCount]:
        return [self._count(name, self._named(name)) for name in names]

    def _named(self, name: str) -> Record | None:
        """The record whose own name this is, or that it alone bears."""
        return None if (key := key_named(name)) is None else self.records.get(key)

    def _count(self, name: str, own: Record | None) -> EntryCount:
        cell = self.names.cells.get(name)
        if not name.startswith("k:"):
            return NOTHING if cell is None else EntryCount(cell.live - cell.made, cell.made)
        there = own is not None and self._serves(own)
        return EntryCount(there, 0 if cell is None else cell.live)

    async def holding(self, key: Key) -> Stored | None:
        record = self.records.get(key)
        return None if record is None else Stored(record, record.marks)

    async def ended(self, names: Sequence[str]) -> Ending | None:
        return self.names.ended(names, self._now())

    async def usage(self) -> Usage:
        return Usage(len(self.records), self.records.size, self.capacity, self.records.evictions)

    async def aclose(self) -> None:
        self.flush()

    # --- what was read below, without a lease -----------------------------------------------

    def moment(self) -> int:
        """Now, for `keep`: what is read below after it may be kept, unless all is flushed."""
        return self._flushes

    def keep(self, found: Sequence[tuple[Key, Entry, int]], since: int) -> list[bool]:
        """Store what was read below, each at the number that its read saw, after `since`.

        As a lease from before the read would.
        """
        if since != self._flushes:
            return [False] * len(found)
        names, records, now = self.names, self.records, self._now()
        kept = []
        partition: Partition | None = None
        for key, entry, seq in found:
            prefix = key[:5]
            if partition is None or partition.prefix != prefix:  # mostly all are of one
                partition = records.partition(prefix)
            resource_id = key[5]
            valid = names.none_since(seq, key, entry.names)
            if RECORD + len(entry.data) > self.capacity and resource_id not in partition.records:
                pass  # there is no room for it, whatever goes
            elif valid := valid and (
                entry.version is None or not records.outdated(partition, resource_id, entry.version)
            ):
                records.store(partition, resource_id, entry, seq, now)
            kept.append(valid)
        return kept

    # --- what is heard from below -----------------------------------------------------------

    def apply(self, seq: int, names: Sequence[str], *, dated: bool = False) -> int:
        """Take an invalidation that was made below (or in another process) into account.

        Returns how many live records it ended; where names overlap, at most that many. `dated`:
        `ended` is to tell of it.
        """
        self._seq = max(self._seq, seq)
        if self.names.know(names, seq):  # mostly: the feed tells this process's own as well
            return 0
        return self._end(seq, names, map(self._named, names), self._now() if dated else None)

    def _end(
        self, seq: int, names: Sequence[str], own: Iterable[Record | None], now: float | None
    ) -> int:
        """`own` are the records of those names that are a key's."""
        # Keys after groups: what goes by a group's name is not counted by its key again.
        ended = self.names.record(names, seq, now)
        for record in own:
            # A record that its own `set` has just stored bears that set's seq: it stays.
            if record is not None and record.seq < seq and not record.gone:
                ended += self._serves(record)
                self.records.drop(record)
        return ended

    def void(self, names: Sequence[str]) -> None:
        """Drop what bears one of the names, though no tier has numbered the invalidation yet.

        Without a number nothing tells what was read before this from what comes after, so reads
        in flight are not kept either.
        """
        self._bar_what_is_under_way()
        for name in names:
            if (record := self._named(name)) is not None:
                self.records.drop(record)
            self.names.void(name)

    def lease_meanwhile(self, key: Key, seen: Seen, longest: float) -> Lease:
        """Permission to keep what is made while the tier below is away, for `longest` seconds.

        Only this process's own invalidations are heard of by then, and void it.
        """
        lease = self.grant(key, seen)
        lease.meanwhile = longest
        flushes, _ = lease.token
        if flushes >= 0:
            lease.token = flushes, tuple(map(self.names.cell, static_names(key)))
        return lease

    def end_meanwhile(self) -> None:
        """The tier below answers again: what was kept without it goes."""
        while self.meanwhile:
            self.records.drop(next(iter(self.meanwhile.values())))

    def last_known(self, key: Key, longest: float) -> Record | None:
        """A record that memory may no longer vouch for, because it hears nothing any more.

        For `longest` seconds at most after it last could, or was stored meanwhile; None if it is
        known to be void.
        """
        if key in self.meanwhile:
            return self._there(key)
        return self._there(key) if self.freshness.distrusted(self._now()) < longest else None

    def flush(self) -> None:
        """Forget everything; reads that began before are not kept either.

        The numbering below may begin anew after this (a restored database, another server), so
        cells are new ones too: an old high number in a cell that somebody still holds
        would refuse everything read under the new numbers.
        """
        self._bar_what_is_under_way()
        self.records.clear()
        self.names.clear()

    def after_fork(self) -> None:
        """Forget what is the parent's: it may be older than what only the parent has heard of."""
        self.records.after_fork()
        self.flush()

    def _bar_what_is_under_way(self) -> None:
        self._flushes += 1
        self._flushed_at = self._seq = self._seq + 1

    # --- one key ----------------------------------------------------------------------------

    def look(self, key: Key) -> Found | Missing:
        """`read` of one key, without a coroutine around it."""
        record = self.records.get(key)
        seq = self._seq
        if record is None or key in self.meanwhile:
            return Missing(seq)
        now = self._now()
        if now >= self.freshness.until and not self.freshness.extend(now):
            return Missing(seq, Why.UNAVAILABLE)
        if not record.is_valid:
            by = next((cell.name for cell in record.cells if cell.seq > record.seq), None)
            self.records.drop(record)
            return Missing(seq, Why.INVALIDATED, by)
        if record.is_over(self._clock):
            self.records.drop(record)
            return Missing(seq, Why.EXPIRED)
        record.used = now
        record.hits = min(record.hits + 1, self.counted)
        # Valid at this moment, so at every number heard of: a lease from here need not be older.
        return Found(record, seq)

    def grant(
        self, key: Key, seen: Seen = None, *, force: bool = False, once: bool = False
    ) -> Lease:
        """`lease` of one key: nobody is waited for here."""
        seq = self._seq if seen is None else seen.seq
        # An answer from before a flush vouches for nothing: what was named since is forgotten.
        flushes = self._flushes if seq >= self._flushed_at else -1
        return Lease(key, seq, (flushes, ()), forced=force, once=once, seen=seen)

    def fill_one(self, lease: Lease, entry: Entry | None) -> Filled:
        """`fill` of one lease."""
        key, seq = lease.key, lease.seq
        resource_id = key.resource_id
        partition = self.records.partition(key[:5])
        names = lease.names if entry is None else entry.names
        flushes, cells = lease.token
        # While the tier below is away, no invalidation has a number, and each voids the cells of
        # what it names. So who bears static names alone, whose cells the lease holds, need not care
        # for the others.
        valid = flushes == self._flushes or (
            bool(cells) and not names and max([cell.seq for cell in cells]) <= seq
        )
        # A set, whose value is a new one, and who is not to be stored are not held to touches.
        touched = entry is not None and not lease.forced
        valid = valid and self.names.none_since(seq, key, names, touched=touched)
        if entry is None:
            return Filled(valid, seq)
        version = entry.version
        if version is not None and self.records.outdated(partition, resource_id, version):
            # Who brings an older version has learned nothing new: what is here stays.
            return Filled(accepted=False, seq=seq, outcome=Outcome.OLDER)
        stored: Entry | None = entry
        outcome = Outcome.PLAIN
        if lease.once or not valid:
            # What is there decides about what is stored once, and about a set that is void.
            there = self._there(key) if lease.once or lease.forced else None
            stored, outcome = decided(lease, entry, there, stands=valid, now=self._clock.time())
        if lease.forced or (lease.adds and stored is not None):
            # Whatever becomes of a set, all other leases and older values of its key are void.
            self._seq = seq = self._seq + 1
            self.names.record([key_name(key)], seq)
            if stored is None and (old := self.records.get(key)) is not None:
                self.records.drop(old)
        if stored is not None:
            if lease.meanwhile is not None:
                stored = stored.ending(self._clock.time() + lease.meanwhile)
            record = self.records.store(partition, resource_id, stored, seq, self._now())
            if lease.meanwhile is not None and record is not None:
                record.due = -math.inf  # it is no hit
                self.meanwhile[key] = record
        return Filled(stored is not None, seq, outcome)

    def _there(self, key: Key) -> Record | None:
        """The valid record of a key, if there is one."""
        record = self.records.get(key)
        return record if record is not None and self._serves(record) else None

    def _serves(self, record: Record) -> bool:
        """Whether it is valid, and its life has not ended."""
        return record.is_valid and not record.is_over(self._clock)

    def still_valid(self, record: Record) -> bool:
        """The slower half of a hit's check; what passes it needs none until a cell has risen again.

        It keeps the number of its read: this process's own invalidations are applied at once, and
        one with a lower number that another process has made may still be on its way.
        """
        if not record.is_valid:
            return False
        record.checked = record.tenant.changes
        return True
