"""How many records of one data type memory keeps, beside the bound in bytes.

Who holds the most of them gives, as with the bytes (`shares.py`): no tenant empties another's.
`Records` counts, and takes out what has to go; nothing here knows of a record.
"""

from __future__ import annotations

from typing import Generic

from cascada.tiers.memory.evictable import R
from cascada.tiers.memory.shares import Share


class Bound(Generic[R]):
    """At most `most` records of a type, which `count` says how many there are of."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        # Shares by how many they hold: those who hold the most are found among a few numbers.
        self._holding: dict[int, dict[Share[R], None]] = {}

    def move(self, share: Share[R], by: int) -> None:
        """So many more, or less, of a share, whose own count is still what it was."""
        self.count += by
        if share.count:
            among = self._holding[share.count]
            del among[share]
            if not among:
                del self._holding[share.count]
        if share.count + by:
            self._holding.setdefault(share.count + by, {})[share] = None

    def giver(self, newcomer: Share[R]) -> Share[R]:
        """Who holds the most: of equals the newcomer's, who is about to hold more."""
        among = self._holding[max(self._holding)]
        return newcomer if newcomer in among else next(iter(among))
