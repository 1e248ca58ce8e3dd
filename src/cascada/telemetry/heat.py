"""How often keys were answered by a tier below memory: what a better place would save.

Only reads that have gone below memory are counted, on a way that takes a hundred times as long. The
counts are bounded: when there are too many keys, all counts are halved, and those that are nothing
then go. So what is rare, and what was hot long ago, is forgotten first.
"""

from __future__ import annotations

from heapq import nlargest
from operator import itemgetter
from typing import Final

from cascada.model.keys import Key

MAX_KEYS: Final = 4096
"""Keys that are counted at once: some 300 bytes each."""


class Heat:
    """The counts of one cache. `noted` is their sum, halved along with them."""

    __slots__ = ("_counts", "noted")

    def __init__(self) -> None:
        self._counts: dict[Key, int] = {}
        self.noted = 0

    def note(self, key: Key) -> None:
        """A tier below memory has answered for it."""
        counts = self._counts
        counts[key] = counts.get(key, 0) + 1
        self.noted += 1
        if len(counts) > MAX_KEYS:
            # Those of one read go first of all; of none at all there is nothing to be halved.
            self._counts = {each: count // 2 for each, count in counts.items() if count > 1}
            self.noted //= 2

    def count(self, key: Key) -> int:
        """How often that was."""
        return self._counts.get(key, 0)

    def hottest(self, most: int) -> list[tuple[Key, int]]:
        """What was read there more than once, with the counts, the hottest first."""
        again = ((key, count) for key, count in self._counts.items() if count > 1)
        return nlargest(most, again, key=itemgetter(1))

    def clear(self) -> None:
        self._counts = {}
        self.noted = 0
