"""How often keys were asked for: of a cache, where a tier below memory has answered (what a better
place would save); of a `CacheService`, all of them.

The counts are bounded: when there are too many keys, all counts are halved, and those that are
nothing then go. So what is rare, and what was hot long ago, is forgotten first.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from heapq import nlargest
from operator import itemgetter
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)

MAX_KEYS: Final = 4096
"""Keys that are counted at once: some 300 bytes each."""


class Heat(Generic[K]):
    """The counts of one cache or service. `noted` is their sum, halved along with them."""

    __slots__ = ("_counts", "noted")

    def __init__(self) -> None:
        self._counts: dict[K, int] = {}
        self.noted = 0

    def note(self, key: K) -> None:
        """It was asked for."""
        counts = self._counts
        counts[key] = counts.get(key, 0) + 1
        self.noted += 1
        if len(counts) > MAX_KEYS:
            # Those of one read go first of all; of none at all there is nothing to be halved.
            self._counts = {each: count // 2 for each, count in counts.items() if count > 1}
            self.noted //= 2

    def count(self, key: K) -> int:
        """How often that was."""
        return self._counts.get(key, 0)

    def hottest(
        self, most: int, wanted: Callable[[K], bool] = lambda _: True
    ) -> list[tuple[K, int]]:
        """What was asked for more than once, with the counts, the hottest first."""
        counts = self._counts.items()
        again = ((key, count) for key, count in counts if count > 1 and wanted(key))
        return nlargest(most, again, key=itemgetter(1))

    def drop(self, unwanted: Callable[[K], bool]) -> None:
        """Forget that these were asked for."""
        self._counts = {each: count for each, count in self._counts.items() if not unwanted(each)}

    def clear(self) -> None:
        self._counts = {}
        self.noted = 0
