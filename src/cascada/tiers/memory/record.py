"""What the memory tier keeps: records by prefix and id, and the marks that tell if they are valid.

A `Partition` holds the records of one prefix (tenant, type and context), so that who knows the
prefix finds a record by its id alone: a handle keeps the partition of each type that it has met.
"""

from __future__ import annotations

import sys
from typing import Any, Final

from cascada.model.bills.bill import worth_of
from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.keys import Key, Prefix
from cascada.model.names import is_own
from cascada.tiers.capabilities import NameState
from cascada.tiers.memory.evictable import Order

VOID: Final = sys.maxsize
"""The seq of a cell that nothing is valid under any more."""

STEP: Final = 0.01
"""Seconds by which the wall clock has been set; less is how clocks go."""

MOMENT: Final = 0.001
"""Seconds that are one moment where nobody compares them."""

_key: Final = tuple.__new__
"""A Key without its constructor, which is a Python function: thrice as fast."""


class Cell:
    """The latest invalidation of one name.

    `live` records bear it, `made` of them because they were made from what it names. `changes` is
    of a tenant's own name, which all its records bear: how often one of their cells has risen.
    """

    __slots__ = ("__weakref__", "changes", "live", "made", "name", "seq")

    def __init__(self, name: str, seq: int) -> None:
        self.name = name
        self.seq = seq
        self.live = self.made = self.changes = 0


class Partition:
    """What the records of one prefix share. It stays the same while anybody holds it.

    `records` are they, by id. `kind` is the engine's, for all of them. `cells` are those of the
    names that all of them bear, the tenant's first, while there are any; `order` is then the one in
    which those of their tenant go.

    Where the kind of a record depends on its id (a policy is on trial), the record has a partition
    of that kind, an arm of the `whole` one. It has the same records; its cells are the whole's.
    """

    __slots__ = ("__weakref__", "arms", "cells", "kind", "order", "prefix", "records", "whole")
    order: Order[Record]

    def __init__(self, prefix: Prefix, kind: Any) -> None:
        self.prefix = prefix
        self.kind = kind
        self.records: dict[str, Record] = {}
        self.cells: tuple[Cell, ...] = ()
        self.whole: Partition | None = None
        self.arms: dict[int, Partition] | None = None

    def arm(self, kind: Any) -> Partition:
        """The partition of those records of this one that are of another kind."""
        if self.arms is None:
            self.arms = {}
        arm = self.arms.get(id(kind))
        if arm is None:
            arm = self.arms[id(kind)] = Partition(self.prefix, kind)
            arm.records, arm.whole = self.records, self
        return arm

    def key(self, resource_id: str) -> Key:
        return _key(Key, (*self.prefix, resource_id))


class Record(Entry):
    """An entry as memory holds it; monotonic seconds.

    `born` is when it was loaded, `due` when a hit on it needs a decision. `seq` is the number that
    it was read at. `checked` are the changes of its tenant's cell when its cells were last looked
    at: until there is another one, they vouch for it. What is left is for eviction
    (`evictable.py`, `expiring.py`), to which it is told who has hit it: `used` and `hits`.
    """

    __slots__ = (
        "after", "born", "cells", "checked", "due", "hits", "later", "partition", "place",
        "resource_id", "score", "seen", "seq", "sooner", "tenant", "used", "weight",
    )  # fmt: skip

    def __init__(
        self,
        partition: Partition,
        resource_id: str,
        entry: Entry,
        seq: int,
        cells: tuple[Cell, ...],
        now: float,
    ) -> None:
        self.data = entry.data
        self.codec = entry.codec
        self.flags = entry.flags
        self.created = entry.created
        self.fresh_until = entry.fresh_until
        self.expires = entry.expires
        self.names = entry.names
        self.version = entry.version
        self.value = entry.value
        self.cost = entry.cost
        self.partition = partition
        self.resource_id = resource_id
        self.seq = seq
        self.cells = cells
        self.tenant = tenant = cells[0]  # a hit looks at it: to find it by `cells` takes 4 % of one
        self.checked = tenant.changes
        self.used = self.born = self.due = now
        self.score: Any = 0.0
        self.weight = self.hits = self.seen = 0
        self.place: Any = None
        self.after: Any = None
        self.sooner: Any = None
        self.later: Any = None

    @property
    def key(self) -> Key:
        return self.partition.key(self.resource_id)

    @property
    def marks(self) -> tuple[NameState, ...]:
        """Its names, for people: the number that it was read at, and the latest of each name."""
        told = {VOID: "invalidated without a number", 0: "never"}
        return tuple(
            NameState(
                cell.name,
                f"read at {self.seq}",
                told.get(cell.seq, f"last invalidated at {cell.seq}"),
                cell.seq <= self.seq,
            )
            for cell in self.cells
        )

    @property
    def made_of(self) -> list[Cell]:
        """The cells of what it was made from."""
        if not self.names:
            return []
        key = self.key
        made = {name for name in self.names if not is_own(key, name)}
        return [cell for cell in self.cells if cell.name in made]

    @property
    def is_valid(self) -> bool:
        """Whether nothing that it bears was invalidated since it was read, as far as is known."""
        seq = self.seq
        for cell in self.cells:  # noqa: SIM110 - a generator takes longer than all of this
            if cell.seq > seq:
                return False
        return True

    def is_over(self, clock: Clock) -> bool:
        """Whether its life has ended. When the wall clock is set, its times move along."""
        now = clock.time()
        step = now - clock.monotonic() - (self.created - self.born)
        if abs(step) > STEP:
            self.created += step
            self.fresh_until += step
            self.expires += step
        return now >= self.expires

    # --- what eviction asks ---------------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether memory does not keep it any more."""
        return self.place is None

    @property
    def ends(self) -> float:
        """When its life ends, in monotonic seconds: setting the wall clock moves nothing."""
        return self.born + (self.expires - self.created)

    @property
    def rank(self) -> int:
        """Its priority, without an enum's member to be made."""
        return (self.flags >> 6 & 3) + 1 & 3

    @property
    def worth(self) -> float:
        return worth_of(self.cost)

    @property
    def mark(self) -> int:
        return hash(self.resource_id) ^ hash(self.partition.prefix)
