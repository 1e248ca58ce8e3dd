"""Records by their score, the least of all on top; one that leaves is taken out at once.

`heapq` cannot take out what lies in the middle: what was invalidated would stay, with its payload,
until somebody sweeps, and a sweep of a million records stops the event loop. So each record knows
its place here. LRU and LFU keep their order so.
"""

from __future__ import annotations

from typing import Generic

from cascada.tiers.memory.evictable import R


class Heap(Generic[R]):
    """`place` of a record that is in it is where it stands."""

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: list[R] = []

    def __bool__(self) -> bool:
        return bool(self._records)

    @property
    def least(self) -> R:
        return self._records[0]

    def push(self, record: R) -> None:
        records = self._records
        records.append(record)
        self._rise(len(records) - 1, record)

    def remove(self, record: R) -> None:
        records, place = self._records, record.place
        record.place = None
        last = records.pop()
        if last is not record:
            self._sink(place, last)
            self._rise(last.place, last)

    def grown(self, record: R) -> None:
        """Its score is greater than it was."""
        self._sink(record.place, record)

    def _rise(self, place: int, record: R) -> None:
        records, score = self._records, record.score
        while place:
            above = (place - 1) >> 1
            other = records[above]
            if other.score <= score:
                break
            records[place] = other
            other.place = place
            place = above
        records[place] = record
        record.place = place

    def _sink(self, place: int, record: R) -> None:
        records, score = self._records, record.score
        end = len(records)
        while (below := 2 * place + 1) < end:
            other = records[below]
            if below + 1 < end and records[below + 1].score < other.score:
                below += 1
                other = records[below]
            if score <= other.score:
                break
            records[place] = other
            other.place = place
            place = below
        records[place] = record
        record.place = place
