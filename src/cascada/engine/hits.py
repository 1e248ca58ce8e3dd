"""What memory answers at once: the usual read, and so the shortest way.

Every face that reads asks here first, with a record that lies in the partition of its prefix; None
sends it to the slow path, which decides all that is no matter of course. The two bodies here are
all that there is of a hit: what a hit does more one day (count for eviction, say), it does here.
Nothing here may wait, or look at more than the record: a hit takes half a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any

from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.loading import dependencies as sources
from cascada.engine.stack import Stack
from cascada.model.entry import MEMORY, UNSET, Hit
from cascada.model.errors import CorruptEntry
from cascada.tiers.memory.record import Partition, Record


class Hits:
    """The hits of one engine. `passing_by`: whether this call goes straight to its source."""

    __slots__ = ("_counted", "_decode", "_life", "_memory", "_now", "_passing_by", "_stack")

    def __init__(self, stack: Stack, life: Lifecycle, passing_by: Callable[[], bool]) -> None:
        self._stack = stack
        self._memory = stack.memory
        self._counted = stack.memory.counted
        self._life = life
        self._now = stack.timer
        self._decode = stack.codec.decode
        self._passing_by = passing_by

    def one(self, record: Record, want: Any = None) -> Hit[Any] | None:
        """A record as the answer, decoded to `want`, else to what the policy says."""
        clock, memory = self._now, self._memory  # what a slot holds is called faster from a local
        now = clock()
        if (
            now >= record.due
            # Memory has no locks.
            or get_ident() != self._life.home._thread_id
            or (now >= memory.freshness.until and not memory.freshness.extend(now))
            or (record.checked != record.tenant.changes and not memory.still_valid(record))
        ):
            elsewhere = get_ident() != self._life.home._thread_id
            return self.elsewhere(record, want) if elsewhere else None
        value = record.value
        if value is UNSET or want is not None:
            decode = self._decode
            wanted = record.partition.kind.policy.type if want is None else want
            try:
                value = decode(record.data, record.codec, record.flags, type=wanted)
            except CorruptEntry:
                return None  # the slow path counts it and replaces it
        if self._stack.watchers and not self._is_seen(record, now):
            return None
        record.used = now
        if record.hits < self._counted:
            record.hits += 1
        kind = record.partition.kind
        kind.cells[0] = kind.in_memory = kind.in_memory + record.cost
        return Hit(value, MEMORY, now - record.born, False, False, record)

    def elsewhere(self, record: Record, want: Any = None) -> Hit[Any] | None:
        """`one` for another thread than the loop's (`docs/protocol.md` rule 42).

        It looks, and leaves all as it is. Every value that it goes by is set whole, by one store
        of the loop's thread, and who invalidates goes on only after `changes` has risen or the
        record has been taken out: who finds the record after that finds it void, or not at all. To
        look at its cells, or to bring memory up to date, is the loop's: what is written there
        after a look that another invalidation has overtaken would vouch for an old value for good.
        """
        stack, now = self._stack, self._now()
        if (
            now >= record.due
            or now >= self._memory.freshness.until
            or record.checked != record.tenant.changes
            or stack.watchers
            or stack.bypasses
            or stack.trace.observers
            or self._life.home._thread_id is None  # it has ended: memory may have to catch up first
        ):
            return None
        value, kind = record.value, record.partition.kind
        if value is UNSET or want is not None:
            try:
                wanted = kind.policy.type if want is None else want
                value = self._decode(record.data, record.codec, record.flags, type=wanted)
            except CorruptEntry:
                return None
        record.used = now
        if record.hits < self._counted:
            record.hits += 1
        with stack.kinds.lock:
            kind.elsewhere += 1
            kind.saved_elsewhere += record.cost
        return Hit(value, MEMORY, now - record.born, False, False, record)

    def many(self, partition: Partition, ids: Sequence[str]) -> list[Hit[Any] | None]:
        """`one` for each id, at one moment.

        It is written out: for each of a thousand, a call takes a fifth of all that is done here.
        """
        now, memory = self._now(), self._memory
        found: list[Hit[Any] | None] = []
        add, one = found.append, self.one
        if (
            self._stack.watchers
            or get_ident() != self._life.home._thread_id
            or (now >= memory.freshness.until and not memory.freshness.extend(now))
            or partition.kind.arms is not None
        ):
            now = float("inf")  # each by itself
        saved, counted = 0, self._counted
        for record in map(partition.records.get, ids):
            if record is None:
                add(None)
            elif (
                now < record.due
                and record.checked == record.tenant.changes
                and (value := record.value) is not UNSET
            ):
                record.used = now
                if record.hits < counted:
                    record.hits += 1
                saved += record.cost
                add(Hit(value, MEMORY, now - record.born, False, False, record))
            else:
                add(one(record))
        if saved:  # another thread's are counted elsewhere
            kind = partition.kind
            kind.cells[0] = kind.in_memory = kind.in_memory + saved
        return found

    def _is_seen(self, record: Record, began: float) -> bool:
        """Whether it may be given to this caller, though somebody watches: who does is told."""
        stack = self._stack
        if self._passing_by() or sources.must_ask_below(stack):
            return False
        if sources.current(stack) is not None:
            sources.note_key(stack, record.key, record)
        if stack.trace.observers and not stack.hits_are_told_together:
            stack.tell_hit(record.partition.kind, record.key, self._now() - began)
        return True
