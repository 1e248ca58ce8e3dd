"""What memory has heard of names: which was invalidated last at which number.

Names that records bear have a cell. A tenant's own one counts, too, how often a cell of the tenant
has risen. Names that no cell stands for are in a ring of the latest ones. What has left the ring
raises its tenant's low-water mark: below that, nobody can tell any more. As many tenants have a
mark of their own as names have a place; the one that was raised longest ago becomes a mark for all
tenants. So a tenant of whom much is invalidated does not void the long loads of the others, and
what is remembered does not grow with the number of tenants.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final
from weakref import WeakValueDictionary

from cascada.model.keys import Key, quote
from cascada.model.names import (
    entry_name,
    resource_names_of,
    shared_names,
    static_names,
    tenant_of,
    whole_tenant_of,
)
from cascada.tiers.capabilities import Ending
from cascada.tiers.memory.record import VOID, Cell, Partition

RING: Final = 4096
"""Latest invalidated names that are remembered, for leases that are older than their cells."""


class InvalidationLog:
    """See the module's text. `ring_size`: names in the ring. `highest`: the number heard of.

    `numbering`: another one since all was forgotten. `on_forgotten` is told of a name that says so
    (`model/forgotten`).
    """

    on_forgotten: Callable[[str], None] = staticmethod(lambda name: None)

    def __init__(self, ring_size: int) -> None:
        self.ring_size = ring_size
        self.cells: WeakValueDictionary[str, Cell] = WeakValueDictionary()
        self.clear()

    def clear(self) -> None:
        """Begin anew, with other cells: who holds an old one holds nothing."""
        for cell in self.cells.values():
            cell.seq = VOID
        self.highest = 0
        self.numbering = object()
        self.cells.clear()
        self._ring: OrderedDict[str, int] = OrderedDict()
        self._when: dict[str, float] = {}
        self._low: OrderedDict[str, int] = OrderedDict()
        self._lowest = 0

    # --- cells ------------------------------------------------------------------------------

    def cell(self, name: str) -> Cell:
        cell = self.cells.get(name)
        if cell is None:
            self.cells[name] = cell = Cell(name, self._ring.get(name, 0))
        return cell

    def cells_of(self, partition: Partition, resource_id: str) -> tuple[Cell, ...]:
        """What a record of this key stands under, its own name left out; the tenant's is first."""
        cells = partition.cells
        for cell in cells:
            if cell.seq == VOID:  # there is another one by now
                cells = ()
                break
        if not cells:
            partition.cells = cells = tuple(map(self.cell, shared_names(*partition.prefix)))
        if len(cells) == 2:  # a key without a context bears no other names
            return cells
        return *cells, *map(self.cell, resource_names_of(partition.key(resource_id)))

    # --- invalidations ----------------------------------------------------------------------

    def record(self, names: Sequence[str], seq: int, now: float | None = None) -> int:
        """These names of one tenant were invalidated at `seq`; how many live records bore them.

        `now`: for people who ask when that was. A `set` gives none.
        """
        if not names:
            return 0
        ended, risen = 0, False
        ring, cells = self._ring, self.cells
        for name in names:
            if ring.get(name, 0) < seq:
                ring[name] = seq
                ring.move_to_end(name)
                if now is not None:
                    self._when[name] = now
                elif self._when:
                    self._when.pop(name, None)
            cell = cells.get(name)
            if cell is not None and cell.seq < seq:
                ended += cell.live
                cell.seq, cell.live, cell.made = seq, 0, 0
                risen = True
        while len(ring) > self.ring_size:
            oldest, gone = ring.popitem(last=False)
            self._when.pop(oldest, None)
            self._raise_low(tenant_of(oldest), gone)
        self.highest = max(self.highest, seq)
        if names[-1][0] == "f":
            self.on_forgotten(names[-1])
        # A name that no record bears ends none, and lets the next hits be as short as before.
        if risen and (tenant := cells.get(whole_tenant_of(names[0]))) is not None:
            tenant.changes += 1
        return ended

    def void(self, name: str) -> None:
        """A name was invalidated, and nobody knows at which number.

        What bears it goes on holding its cell, which is void from now on; who comes later gets
        another one.
        """
        if name[0] == "f":
            self.on_forgotten(name)
        if (cell := self.cells.get(name)) is None:
            return
        cell.seq, cell.live, cell.made = VOID, 0, 0
        if (tenant := self.cells.get(whole_tenant_of(name))) is not None:
            tenant.changes += 1
        del self.cells[name]

    # --- questions --------------------------------------------------------------------------

    def none_since(self, seq: int, key: Key, names: Sequence[str], *, touched: bool = True) -> bool:
        """Whether neither the key's own names nor these were invalidated after `seq`.

        `touched`: nor its entry given another life.
        """
        if self.highest <= seq:
            return True
        if self.low(quote(key.tenant)) > seq:
            return False
        ring = self._ring
        if touched and ring.get(entry_name(key), 0) > seq:
            return False
        for name in (*static_names(key), *names):  # noqa: SIM110 - a generator takes twice as long
            if ring.get(name, 0) > seq:
                return False
        return True

    def know(self, names: Sequence[str], seq: int) -> bool:
        """Whether all of these were recorded at this number, or a higher one."""
        ring = self._ring
        return all([ring.get(name, 0) >= seq for name in names])

    def latest(self, name: str) -> int:
        """When a name was invalidated last, as far as the ring goes back."""
        return self._ring.get(name, 0)

    def low(self, tenant: str) -> int:
        """The number from which on the ring knows all names of a tenant (quoted)."""
        return max(self._low.get(tenant, 0), self._lowest)

    def ended(self, names: Sequence[str], now: float) -> Ending | None:
        """Which of the names was invalidated last, as far as the ring goes back."""
        name = max(names, key=self.latest)
        when = self._when.get(name)
        return None if when is None else Ending(name, now - when)

    def _raise_low(self, tenant: str, seq: int) -> None:
        low = self._low
        low[tenant] = max(low.get(tenant, 0), seq)
        low.move_to_end(tenant)
        if len(low) > self.ring_size:
            _, mark = low.popitem(last=False)
            self._lowest = max(self._lowest, mark)
