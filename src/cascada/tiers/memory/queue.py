"""Records in a row, linked to each other, so that any of them leaves at once."""

from __future__ import annotations

from typing import Any, Generic

from cascada.tiers.memory.evictable import R


class Queue(Generic[R]):
    """First in, first out. `place` of a record that is in it is the queue itself."""

    __slots__ = ("after", "before", "bytes", "count")

    def __init__(self) -> None:
        # The queue closes the ring itself, so that no end needs a case of its own.
        self.before: Any = self
        self.after: Any = self
        self.bytes = self.count = 0

    def __bool__(self) -> bool:
        return self.count > 0

    @property
    def first(self) -> R:
        """Of one that is not empty."""
        record: R = self.after
        return record

    def append(self, record: R) -> None:
        last = self.before
        last.after = self.before = record
        record.before, record.after, record.place = last, self, self
        self.bytes += record.weight
        self.count += 1

    def remove(self, record: R) -> None:
        before, after = record.before, record.after
        before.after, after.before = after, before
        # A hit that its caller keeps would else keep its neighbours alive.
        record.before = record.after = record.place = None
        self.bytes -= record.weight
        self.count -= 1
