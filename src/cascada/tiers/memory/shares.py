"""Of whose records one goes: tenants share memory, and none empties another's.

Who holds the most gives. So each tenant is sure of an equal share (the capacity by the number of
tenants that hold anything): while he holds less, somebody holds more. What others do not use of
theirs is lent to whoever stores, and comes back as soon as they do.

That comes before priority: the CRITICAL value of who holds too much goes before the LOW one of who
does not.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from itertools import islice
from typing import Final, Generic

from cascada.tiers.memory.evictable import Order, R

COMPARED: Final = 16
"""Tenants that hold about as much as each other, of which the largest is looked for."""


class Shares(Generic[R]):
    """`make_order` makes the order of one tenant's records. It is here while he holds any."""

    def __init__(self, make_order: Callable[[], Order[R]]) -> None:
        self._make_order = make_order
        self._orders: dict[Hashable, Order[R]] = {}
        # By their size, four levels to each doubling, so that most of what is stored moves nobody.
        self._levels: dict[int, dict[Order[R], None]] = {}

    def of(self, whose: Hashable) -> Order[R]:
        """A tenant's, or a tenant's of one data type; a new one for who holds nothing."""
        order = self._orders.get(whose)
        if order is None:
            order = self._make_order()
            order.whose = whose
        return order

    def grow(self, order: Order[R], by: int) -> None:
        """`by` bytes more, or less: of a record that comes, or goes."""
        order.bytes = size = order.bytes + by
        if order.level <= size < order.above:
            return
        levels = self._levels
        if order.level:
            among = levels[order.level]
            del among[order]
            if not among:
                del levels[order.level]
        else:
            self._orders[order.whose] = order
        if size:
            step = 1 << max(size.bit_length() - 3, 0)
            order.level = level = size // step * step
            # A little more, or who holds a round number would move with each that comes and goes.
            order.above = level + step + (step >> 3)
            levels.setdefault(level, {})[order] = None
        else:
            order.level = order.above = 0
            del self._orders[order.whose]

    def giver(self) -> Order[R]:
        """Who holds the most; of many who hold about the same, one of the largest."""
        levels = self._levels
        among = levels[max(levels)]
        if len(among) == 1:
            return next(iter(among))
        return max(islice(among, COMPARED), key=lambda order: order.bytes)

    def can_give(self, order: Order[R], size: int, needed: int) -> bool:
        """Whether `needed` bytes would go before `order`, of which `size` are new, were the one who
        holds the most: else all would go in vain. Only a few may hold as much as `size`."""
        given = order.bytes - size
        for level, among in self._levels.items():
            if 2 * level > size:
                given += sum(max(0, each.bytes - size) for each in among if each is not order)
        return given >= needed
