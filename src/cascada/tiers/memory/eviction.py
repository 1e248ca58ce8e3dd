"""Which record goes when memory is full.

A hit does one attribute write (`record.used = now`); order is worked out only when room is needed.
All policies share one mechanism, the lazy heap: records wait in a heap under the score they had
when they were last looked at. Since a score only ever grows (a use makes a record worth more), the
record on top whose score is still true is the least of all; one whose score has grown is put back
under its new one. So LRU is exact, not sampled, and a hit stays O(1). A later cost-aware policy
(GDSF: Cherkasova, HPL-98-69) differs in `score` alone.

What was invalidated or replaced waits in the heap too, and keeps its payload alive there. It is no
longer counted by the store, so the heap is swept before it holds an eighth more than the store.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, heapreplace
from typing import Any, Final, Protocol

SLACK: Final = 256 * 1024
"""Bytes of departed records that are never worth a sweep."""


class Evictable(Protocol):
    """What a policy sees of a record."""

    used: float
    score: float
    weight: int
    gone: bool

    def __lt__(self, other: Any, /) -> bool: ...


class Eviction(Protocol):
    """Narrow on purpose, so that the store can be exchanged with its policy."""

    def admit(self, record: Evictable) -> None:
        """A record was stored."""
        ...

    def left(self, record: Evictable) -> None:
        """A record went for another reason (`gone` is set): it must never be a victim."""
        ...

    def victim(self) -> Evictable | None:
        """The record to give up next, taken out of the order; None if there is none."""
        ...


class LeastRecentlyUsed:
    """Gives up what was not used for the longest time."""

    def __init__(self) -> None:
        self._heap: list[Evictable] = []
        self._held = 0
        self._departed = 0

    def admit(self, record: Evictable) -> None:
        record.score = record.used
        heappush(self._heap, record)
        self._held += record.weight

    def left(self, record: Evictable) -> None:
        self._departed += record.weight
        if self._departed > SLACK and self._departed > self._held // 8:
            self._heap = [kept for kept in self._heap if not kept.gone]
            heapify(self._heap)
            self._held -= self._departed
            self._departed = 0

    def victim(self) -> Evictable | None:
        heap = self._heap
        while heap:
            record = heap[0]
            if not record.gone and record.score != record.used:
                record.score = record.used
                heapreplace(heap, record)
                continue
            heappop(heap)
            self._held -= record.weight
            if not record.gone:
                return record
            self._departed -= record.weight
        return None
