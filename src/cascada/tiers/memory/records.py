"""The records that memory keeps: bounded in bytes, and each counted in the cells that it bears.

They lie in partitions, one for each prefix of a key. A partition is there as long as it has a
record or somebody holds it, so that what tenants leave behind does not grow, and who holds one
always looks where records are stored.

`MemoryTier` owns the one `Records` of a cache. It asks first whether a record is still valid,
which is not known here. Nothing else may add or remove a record, or the bytes and the counts go
wrong.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import chain
from threading import RLock
from typing import Any, Final
from weakref import WeakValueDictionary

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.keys import Key, Prefix
from cascada.tiers.memory.bound import Bound
from cascada.tiers.memory.evictable import Order
from cascada.tiers.memory.expiring import Expiring
from cascada.tiers.memory.invalidations import InvalidationLog
from cascada.tiers.memory.record import MOMENT, Partition, Record
from cascada.tiers.memory.shares import Shares
from cascada.tiers.memory.weight import PARTITION, weight_of

MAX_VERSIONS: Final = 4096
"""Keys whose greatest version is remembered when their record has gone.

An invalidation ends the newest value, and eviction may; neither makes an older one the newest. (The
tiers below remember theirs for longer.)
"""

AT_ONCE: Final = 200
"""Records that go at most for one that comes: ADAPTIVE may have to look at 64 for each. A value in
whose place more have to go is kept when it is asked for again."""

LARGE: Final = 64
"""Who takes more than this part of memory is asked first whether the others can give so much."""


class Records:
    """`meanwhile` are those that were stored while the tier below was away, by key.

    `names`, `kind_of`, `kind_for` and `due_at` are the memory tier's.
    """

    def __init__(
        self,
        clock: Clock,
        capacity: int,
        names: InvalidationLog,
        kind_of: Callable[[Prefix], Any],
        kind_for: Callable[[Any, str, str], Any],
        due_at: Callable[[Any, Entry], float],
        make_order: Callable[[], Order[Record]],
    ) -> None:
        self._clock = clock
        self.capacity = capacity
        self._shares: Shares[Record] = Shares(make_order)
        self._bounds: dict[str, Bound[Record]] = {}
        self._expiring = Expiring()
        self._names = names
        self._kind_of = kind_of
        self._kind_for = kind_for
        self._due_at = due_at
        self._versions: OrderedDict[Key, int] = OrderedDict()
        self._partitions: WeakValueDictionary[Prefix, Partition] = WeakValueDictionary()
        # Who calls from another thread looks up his partitions there: of a prefix there is one.
        self._making = RLock()
        self._count = 0
        self.meanwhile: dict[Key, Record] = {}
        self.size = 0
        self.evictions = 0

    # --- finding ----------------------------------------------------------------------------

    def partition(self, prefix: Prefix) -> Partition:
        """Where the records of a prefix are and will be, for as long as it is held."""
        partition = self._partitions.get(prefix)
        if partition is None:
            with self._making:
                partition = self._partitions.get(prefix)
                if partition is None:
                    partition = self._partitions[prefix] = Partition(prefix, self._kind_of(prefix))
        return partition

    def _order_of(self, prefix: Prefix) -> Order[Record]:
        bound = self._bounds.get(prefix[1])
        if bound is None:
            return self._shares.of(prefix[0])
        order = self._shares.of(prefix[:2])
        order.bound = bound
        return order

    def get(self, key: Key) -> Record | None:
        partition = self._partitions.get(key[:5])
        return None if partition is None else partition.records.get(key[5])

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Record]:
        """All of them: nothing may be stored meanwhile."""
        return chain.from_iterable(partition.records.values() for partition in self._all())

    def size_of(self, data_type: str) -> int:
        """The bytes that the records of one type take, of all tenants."""
        partitions = [each for each in self._all() if each.prefix[1] == data_type]
        if data_type in self._bounds:  # its orders hold nothing else
            return sum(order.bytes for order in {each.order for each in partitions if each.records})
        return sum(
            each.weight for partition in partitions for each in list(partition.records.values())
        )

    def of_tenant(self, tenant: str) -> list[Partition]:
        """The partitions of a tenant."""
        return [each for each in self._all() if each.prefix[0] == tenant]

    @property
    def bounded(self) -> list[str]:
        """The types of which only so many records are kept."""
        return list(self._bounds)

    def _all(self) -> list[Partition]:
        with self._making:
            return list(self._partitions.values())

    # --- keeping ----------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Another thread of the parent's may have held the lock."""
        self._making = RLock()

    def bound(self, data_type: str, most: int) -> None:
        """Keep at most so many records of a type from now on. What is too much goes when the next
        one is stored; all that there is of the type, when this is first said of it."""
        if (known := self._bounds.get(data_type)) is not None:
            known.most = most
            return
        self._bounds[data_type] = Bound(most)
        # Who stores the first one of a partition finds the order that is good from now on.
        for partition in self._all():
            if partition.prefix[1] == data_type:
                for record in list(partition.records.values()):
                    self.drop(record)

    def clear(self) -> None:
        """Keep nothing, and know of no versions."""
        for record in list(self):
            self.drop(record)
        self._versions.clear()

    def outdated(self, partition: Partition, resource_id: str, version: int) -> bool:
        """Whether a newer version of the value is here already, or was."""
        held = partition.records.get(resource_id)
        if held is not None and held.version is not None and version < held.version:
            return True
        return version < self._versions.get(partition.key(resource_id), version)

    def store(
        self, partition: Partition, resource_id: str, entry: Entry, seq: int, now: float
    ) -> Record | None:
        """Keep `entry`, valid at `seq`, in the place of what is there; make room for it.

        None if there is no room for it.
        """
        partition = partition.whole or partition
        kind = self._kind_for(partition.kind, partition.prefix[0], resource_id)
        # The key itself needs no cell while its record is here: `apply` finds it by its key.
        cells = self._names.cells_of(partition, resource_id)
        shared = partition.cells
        order = partition.order if partition.records else self._order_of(partition.prefix)
        old = partition.records.get(resource_id)
        if old is not None:
            self.drop(old)
        if entry.names:
            cells += tuple(map(self._names.cell, entry.names))
        of_kind = partition if kind is partition.kind else partition.arm(kind)
        record = Record(of_kind, resource_id, entry, seq, cells, now)
        self._date(record, now)
        # Who is the first of a partition weighs what all of it share.
        if partition.records:
            weight = weight_of(resource_id, entry, cells[len(shared) :])
        else:
            weight = weight_of(resource_id, entry, cells) + PARTITION
        record.weight = weight
        if weight > self.capacity:
            return None
        for cell in cells:
            cell.live += 1
        if entry.names:
            for cell in record.made_of:
                cell.made += 1
        partition.records[resource_id] = record
        partition.order = of_kind.order = order
        partition.cells = shared  # they have gone with what was here alone
        self._count += 1
        self.size += weight
        self._shares.grow(order, weight)
        if old is not None:  # who asked for it asks for the new one
            record.hits = old.hits
        return self._placed(record, now)

    def _date(self, record: Record, now: float) -> None:
        """In monotonic seconds."""
        to_monotonic = now - self._clock.time()
        born = record.created + to_monotonic
        if abs(born - now) > MOMENT:  # else one float is enough, of which there may be millions
            record.born = born
        record.due = self._due_at(record.partition.kind, record) + to_monotonic

    def _placed(self, record: Record, now: float) -> Record | None:
        """It has a place in the order, after room was made, so that it is no victim itself."""
        order = record.partition.order
        if self.size > self.capacity and not self._has_room(record, order, now):
            self._remove(record)
            return None
        if order.bound is not None:
            self._make_place(order.bound, order)
            order.bound.move(order, 1)
        order.count += 1
        order.admit(record)
        self._expiring.admit(record, now)
        return record

    def _has_room(self, record: Record, order: Order[Record], now: float) -> bool:
        """Whether others could go for it. What has gone in vain has made room for the next time."""
        expiring, is_large = self._expiring, record.weight * LARGE > self.capacity
        for _ in range(AT_ONCE):
            over = expiring.expired(now) if now >= expiring.next else None
            if over is not None:
                self.drop(over)
            else:
                needed = self.size - self.capacity
                if is_large and not self._shares.can_give(order, record.weight, needed):
                    return False
                is_large = False
                victim = self._worth_least(record)
                if victim is record:
                    return False
                self._take_out(victim)
            self.evictions += 1
            if self.size <= self.capacity:
                return True
        return False

    def _make_place(self, bound: Bound[Record], newcomer: Order[Record]) -> None:
        for _ in range(AT_ONCE):  # there may be many more than that if less is the most now
            if bound.count < bound.most:
                return
            self._take_out(bound.giver(newcomer).victim())
            self.evictions += 1

    def _worth_least(self, newcomer: Record) -> Record:
        """Of whoever holds the most: the newcomer himself, if he has nothing else."""
        order = self._shares.giver()
        if not order.count:
            return newcomer
        return order.victim(newcomer if newcomer.partition.order is order else None)

    def drop(self, record: Record) -> None:
        """It is not kept any more."""
        record.partition.order.left(record)
        self._take_out(record)

    def _take_out(self, record: Record) -> None:
        """It has left its order."""
        order = record.partition.order
        if order.bound is not None:
            order.bound.move(order, -1)
        order.count -= 1
        self._expiring.left(record)
        self._remove(record)

    def _remove(self, record: Record) -> None:
        partition = record.partition
        del partition.records[record.resource_id]
        if not partition.records:
            (partition.whole or partition).cells = ()
        self._count -= 1
        if self.meanwhile:
            self.meanwhile.pop(record.key, None)
        if record.version is not None:
            known, key = self._versions, record.key
            known[key] = max(record.version, known.get(key, record.version))
            known.move_to_end(key)
            if len(known) > MAX_VERSIONS:
                known.popitem(last=False)
        self.size -= record.weight
        self._shares.grow(partition.order, -record.weight)
        seq = record.seq
        for cell in record.cells:
            # A cell that was invalidated after this record counts from zero again.
            if cell.seq <= seq and cell.live:
                cell.live -= 1
        if record.names:
            for cell in record.made_of:
                if cell.seq <= seq and cell.made:
                    cell.made -= 1
