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
from typing import Any, Final, Generic
from weakref import WeakValueDictionary

from cascada.tiers.memory.evictable import Order, R

COMPARED: Final = 16
"""Tenants that hold about as much as each other, of which the largest is looked for."""


class Share(Generic[R]):
    """What one tenant holds: `bytes` of `count` records, and the order in which they go.

    Of a data type whose number is bounded a tenant has a share apart; `bound` is then that.
    """

    __slots__ = ("__weakref__", "bound", "bytes", "count", "level", "order")

    def __init__(self, order: Order[R]) -> None:
        self.bytes = self.count = self.level = 0
        self.bound: Any = None
        self.order = order


class Shares(Generic[R]):
    """`make_order` makes the order of one tenant's records."""

    def __init__(self, make_order: Callable[[], Order[R]]) -> None:
        self._make_order = make_order
        self._shares: WeakValueDictionary[Hashable, Share[R]] = WeakValueDictionary()
        # By their size, four levels to each doubling, so that most of what is stored moves nobody.
        self._levels: dict[int, dict[Share[R], None]] = {}

    def of(self, whose: Hashable) -> Share[R]:
        """A tenant's, or a tenant's of one data type."""
        share = self._shares.get(whose)
        if share is None:
            share = self._shares[whose] = Share(self._make_order())
        return share

    def grow(self, share: Share[R], by: int) -> None:
        """`by` bytes more, or less: of a record that comes, or goes."""
        share.bytes = size = share.bytes + by
        bits = size.bit_length()
        level = bits << 2 | size >> max(bits - 3, 0) & 3
        if level == share.level:
            return
        levels = self._levels
        if share.level:
            among = levels[share.level]
            del among[share]
            if not among:
                del levels[share.level]
        share.level = level
        if level:
            levels.setdefault(level, {})[share] = None

    def giver(self) -> Share[R]:
        """Who holds the most; of many who hold about the same, one of the largest."""
        levels = self._levels
        among = levels[max(levels)]
        if len(among) == 1:
            return next(iter(among))
        return max(islice(among, COMPARED), key=lambda share: share.bytes)
