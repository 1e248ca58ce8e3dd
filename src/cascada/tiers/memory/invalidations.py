"""What memory has heard of names: which was invalidated last at which number.

Names that records or leases bear have a cell; above the cells stands one clock per tenant. Names
that no cell stands for are in a ring of the latest ones. What has left the ring raises its
tenant's low-water mark: below that, nobody can tell any more. As many tenants have a mark of their
own as names have a place; the one that was raised longest ago becomes a mark for all tenants. So a
tenant of whom much is invalidated does not void the long loads of the others, and what is
remembered does not grow with the number of tenants.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakValueDictionary

from cascada.model.keys import NO_SCOPE, Key, quote
from cascada.model.names import key_name, static_names, tenant_of
from cascada.tiers.capabilities import Ending
from cascada.tiers.memory.record import VOID, Cell, TenantSeq

RING: Final = 4096
"""Latest invalidated names that are remembered, for leases that are older than their cells."""

MAX_SHARED: Final = 1024
"""Tenants and types whose cells are kept at hand, though no record bears them."""

Standing = tuple[str, tuple[Cell, ...], TenantSeq]
"""What a record stands under: its tenant (quoted), its cells but its own, its clock."""


class InvalidationLog:
    """See the module's text. `ring_size`: names in the ring. `highest`: the number heard of."""

    def __init__(self, ring_size: int) -> None:
        self.ring_size = ring_size
        self.clear()

    def clear(self) -> None:
        """Begin anew, with other cells and clocks: who holds an old one holds nothing."""
        self.highest = 0
        self.cells: WeakValueDictionary[str, Cell] = WeakValueDictionary()
        self._clocks: WeakValueDictionary[str, TenantSeq] = WeakValueDictionary()
        self._ring: OrderedDict[str, int] = OrderedDict()
        self._when: dict[str, float] = {}
        self._low: OrderedDict[str, int] = OrderedDict()
        self._lowest = 0
        self._shared: dict[Any, Standing] = {}

    def cell(self, name: str) -> Cell:
        cell = self.cells.get(name)
        if cell is None:
            self.cells[name] = cell = Cell(name, self._ring.get(name, 0))
        return cell

    def clock_of(self, tenant: str) -> TenantSeq:
        clock = self._clocks.get(tenant)
        if clock is None:
            # Nobody held it, so no record of the tenant is left that it could vouch for wrongly.
            self._clocks[tenant] = clock = TenantSeq(0)
        return clock

    def cells_of(self, key: Key) -> Standing:
        """What a record of this key stands under."""
        found = self._shared.get(key[:5])
        if found is None:
            tenant = quote(key.tenant)
            found = tenant, tuple(map(self.cell, static_names(key)[1:])), self.clock_of(tenant)
            if key.scope == NO_SCOPE:  # else there are names of the id among them
                if len(self._shared) >= MAX_SHARED:
                    self._shared.clear()
                self._shared[key[:5]] = found
        return found

    def none_since(self, q: int, key: Key, names: Sequence[str]) -> bool:
        """Whether neither the key's own names nor these were invalidated after `q`."""
        tenant, cells, _ = self.cells_of(key)
        return (
            self.low(tenant) <= q
            and self.latest(key_name(key)) <= q
            and all(cell.q <= q for cell in cells)
            and all(self.latest(name) <= q for name in names)
        )

    def latest(self, name: str) -> int:
        """When a name was invalidated last, as far as the ring goes back."""
        return self._ring.get(name, 0)

    def low(self, tenant: str) -> int:
        """The number from which on the ring knows all names of a tenant (quoted)."""
        return max(self._low.get(tenant, 0), self._lowest)

    def told(self, names: Sequence[str], q: int, now: float | None = None) -> int:
        """These names of one tenant were invalidated at `q`; how many live records bore them.

        `now`: for people who ask when that was. A `set` gives none.
        """
        if not names:
            return 0
        ended = 0
        ring, cells = self._ring, self.cells
        for name in names:
            if ring.get(name, 0) < q:
                ring[name] = q
                ring.move_to_end(name)
                self._when.pop(name, None)
                if now is not None:
                    self._when[name] = now
            cell = cells.get(name)
            if cell is not None and cell.q < q:
                ended += cell.live
                cell.q, cell.live, cell.made = q, 0, 0
        while len(ring) > self.ring_size:
            oldest, gone = ring.popitem(last=False)
            self._when.pop(oldest, None)
            self._raise_low(tenant_of(oldest), gone)
        self.highest = max(self.highest, q)
        clock = self._clocks.get(tenant_of(names[0]))
        if clock is not None and clock.q < q:
            clock.q = q
        return ended

    def ended(self, names: Sequence[str], now: float) -> Ending | None:
        """Which of the names was invalidated last, as far as the ring goes back."""
        name = max(names, key=self.latest)
        when = self._when.get(name)
        return None if when is None else Ending(name, now - when)

    def _raise_low(self, tenant: str, q: int) -> None:
        low = self._low
        low[tenant] = max(low.get(tenant, 0), q)
        low.move_to_end(tenant)
        if len(low) > self.ring_size:
            _, mark = low.popitem(last=False)
            self._lowest = max(self._lowest, mark)

    def void(self, name: str) -> None:
        """A name was invalidated, and nobody knows at which number.

        What bears it goes on holding its cell and its tenant's clock, which are void from now on;
        who comes later gets new ones.
        """
        self._shared.clear()
        if (cell := self.cells.pop(name, None)) is not None:
            cell.q, cell.live, cell.made = VOID, 0, 0
        if (clock := self._clocks.pop(tenant_of(name), None)) is not None:
            clock.q = VOID
