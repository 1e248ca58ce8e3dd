"""How many records of one data type memory keeps, beside the bound in bytes.

Who holds the most of them gives, as with the bytes (`shares.py`): no tenant empties another's.
`Records` counts, and takes out what has to go; nothing here knows of a record.
"""

from __future__ import annotations

from typing import Generic

from cascada.tiers.memory.evictable import Order, R


class Bound(Generic[R]):
    """At most `most` records of a type, which `count` says how many there are of."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        # Orders by how many they hold: those who hold the most are found among a few numbers.
        self._holding: dict[int, dict[Order[R], None]] = {}

    def move(self, order: Order[R], by: int) -> None:
        """So many more, or less, of an order, whose own count is still what it was."""
        self.count += by
        if order.count:
            among = self._holding[order.count]
            del among[order]
            if not among:
                del self._holding[order.count]
        if order.count + by:
            self._holding.setdefault(order.count + by, {})[order] = None

    def giver(self, newcomer: Order[R]) -> Order[R]:
        """Who holds the most: of equals the newcomer's, who is about to hold more."""
        among = self._holding[max(self._holding)]
        return newcomer if newcomer in among else next(iter(among))
