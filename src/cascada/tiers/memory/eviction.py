"""LRU and LFU, exactly: which record goes when memory is full.

A record stands in a heap under the score that it had when it was last looked at. A score only ever
grows by being used, so if that of the least is still true, it is the least of all; if it has grown,
the record moves to where it belongs. So a hit has nothing to do with the order.

Priority goes before all: of a lower one goes first.
"""

from __future__ import annotations

from typing import Any, Final

from cascada.tiers.memory.evictable import Order, R
from cascada.tiers.memory.heap import Heap

LOOKS: Final = 1000
"""Records that one call moves to where they belong: a few milliseconds. Beyond it (memory has just
become full, and all in it was used since) the order is by what was known before."""


class _Scored(Order[R]):
    __slots__ = ("_heaps",)

    @staticmethod
    def score(record: Any) -> Any:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self._heaps: dict[int, Heap[R]] = {}

    def admit(self, record: R) -> None:
        record.score = self.score(record)
        rank = record.rank
        heap = self._heaps.get(rank)
        if heap is None:
            heap = self._heaps[rank] = Heap()
        heap.push(record)

    def left(self, record: R) -> None:
        self._heaps[record.rank].remove(record)

    def victim(self, newcomer: R | None = None) -> R:
        heap = self._heaps[min(each for each, heap in self._heaps.items() if heap)]
        score = self.score
        for _ in range(LOOKS):
            record = heap.least
            now = score(record)
            if now == record.score:
                break
            record.score = now
            heap.grown(record)
        record = heap.least
        heap.remove(record)
        return record


class LeastRecentlyUsed(_Scored[R]):
    """What was not used for the longest time goes."""

    __slots__ = ()

    @staticmethod
    def score(record: Any) -> Any:
        return record.used


class LeastFrequentlyUsed(_Scored[R]):
    """What was used least often goes; of those, what was not used for the longest time."""

    @staticmethod
    def score(record: Any) -> Any:
        return record.hits, record.used
