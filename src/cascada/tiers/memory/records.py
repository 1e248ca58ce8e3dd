"""The records that memory keeps: bounded in bytes, and each counted in the cells that it bears.

`MemoryTier` owns the one `Records` of a cache. It asks first whether a record is still valid,
which is not known here. Nothing else may add or remove a record, or the bytes and the counts go
wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.tiers.memory.eviction import Eviction
from cascada.tiers.memory.invalidations import InvalidationLog
from cascada.tiers.memory.record import Cell, Record, TenantSeq
from cascada.tiers.memory.versions import Versions
from cascada.tiers.memory.weight import weight_of


class Records:
    """`meanwhile` are the keys of what was stored while the tier below was away.

    `names`, `kind_of` and `due_at` are the memory tier's.
    """

    def __init__(
        self,
        clock: Clock,
        capacity: int,
        eviction: Eviction,
        names: InvalidationLog,
        kind_of: Callable[[Key], Any],
        due_at: Callable[[Any, Entry], float],
    ) -> None:
        self._clock = clock
        self.capacity = capacity
        self._eviction = eviction
        self._names = names
        self._kind_of = kind_of
        self._due_at = due_at
        self._versions = Versions()
        self.by_key: dict[Key, Record] = {}
        self.meanwhile: set[Key] = set()
        self.size = 0
        self.evictions = 0

    def clear(self) -> None:
        """Keep nothing, and know of no versions."""
        for record in list(self.by_key.values()):
            self.drop(record)
        self._versions.clear()

    def outdated(self, key: Key, entry: Entry) -> bool:
        """Whether a newer version of the value is here already, or was."""
        if entry.version is None:
            return False
        held = self.by_key.get(key)
        known = (self._versions.newest(key), None if held is None else held.version)
        return any(entry.version < version for version in known if version is not None)

    def store(
        self,
        key: Key,
        entry: Entry,
        q: int,
        cells: tuple[Cell, ...],
        clock: TenantSeq,
        now: float,
    ) -> None:
        """Keep `entry`, valid at `q`, in the place of what is there; make room for it."""
        old = self.by_key.get(key)
        if old is not None:
            self.drop(old)
        record = Record(key, self._kind_of(key), entry, q)
        # The key itself needs no cell while its record is here: `apply` finds it by its key.
        record.cells = cells
        if entry.names:
            record.cells += tuple(map(self._names.cell, entry.names))
        if len(record.cells) == 2:  # most bear their tenant's and type's names alone: one tuple
            pair = record.cells[1].pair
            if pair is None or pair[0] is not record.cells[0]:  # `void` may have renewed that one
                pair = record.cells[1].pair = record.cells
            record.cells = pair
        record.clock = clock
        record.used = now
        to_monotonic = now - self._clock.time()
        record.born = entry.created + to_monotonic
        record.due = self._due_at(record.kind, entry) + to_monotonic
        record.weight = weight_of(key, entry, [cell.name for cell in record.cells if not cell.live])
        if record.weight > self.capacity:
            return
        for cell in record.cells:
            cell.live += 1
        for cell in record.made_of:
            cell.made += 1
        self.by_key[key] = record
        self.size += record.weight
        self._eviction.admit(record)
        while self.size > self.capacity:
            victim = self._eviction.victim()
            assert isinstance(victim, Record)
            self._remove(victim)
            self.evictions += 1

    def drop(self, record: Record) -> None:
        """It is not kept any more."""
        self._remove(record)
        self._eviction.left(record)

    def _remove(self, record: Record) -> None:
        record.gone = True
        del self.by_key[record.key]
        self.meanwhile.discard(record.key)
        self._versions.went(record.key, record.version)
        self.size -= record.weight
        for cell in record.cells:
            # A cell that was invalidated after this record counts from zero again.
            if cell.q <= record.q and cell.live:
                cell.live -= 1
        for cell in record.made_of:
            if cell.q <= record.q and cell.made:
                cell.made -= 1
