"""Which record goes when memory is full.

A hit does one attribute write (`record.used = now`); order is worked out only when room is needed,
by a lazy heap: records wait in it under the score they had when they were last looked at. Since a
score only ever grows (a use makes a record worth more), the record on top whose score is still true
is the least of all; one whose score has grown is put back under its new one. So LRU is exact, not
sampled, and a hit stays O(1).

What was invalidated or replaced waits in the heap too, and keeps its payload alive there. It is no
longer counted by the store, so the heap is swept before it holds an eighth more than the store.
"""

from __future__ import annotations

from heapq import heappop, heapreplace
from operator import attrgetter
from typing import Final

from cascada.tiers.memory.record import Record

SLACK: Final = 256 * 1024
"""Bytes of departed records that are never worth a sweep."""


class LeastRecentlyUsed:
    """Gives up what was not used for the longest time."""

    def __init__(self) -> None:
        self._heap: list[Record] = []
        self._held = 0
        self._departed = 0

    def admit(self, record: Record) -> None:
        """A record was stored."""
        # It is used last of all, so that the end of the heap is its place.
        self._heap.append(record)
        self._held += record.weight

    def left(self, record: Record) -> None:
        """A record went for another reason (`gone` is set): it must never be a victim."""
        self._departed += record.weight
        if self._departed > SLACK and self._departed > self._held // 8:
            # What is sorted is a heap, too, and to sort calls no method of a record.
            self._heap = [kept for kept in self._heap if not kept.gone]
            self._heap.sort(key=attrgetter("score"))
            self._held -= self._departed
            self._departed = 0

    def victim(self) -> Record:
        """The record to give up next, taken out of the order: there must be one."""
        heap = self._heap
        while True:
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
