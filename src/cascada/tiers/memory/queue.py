"""Records in a row, linked to each other, so that any of them leaves at once."""

from __future__ import annotations

from typing import Any, Generic

from cascada.tiers.memory.evictable import R


class Queue(Generic[R]):
    """First in, first out. `place` of a record that is in it is who stands before it."""

    __slots__ = ("after", "place")

    def __init__(self) -> None:
        # The queue closes the ring itself, so that no end needs a case of its own.
        self.place: Any = self
        self.after: Any = self

    def __bool__(self) -> bool:
        return self.after is not self

    @property
    def first(self) -> R:
        """Of one that is not empty."""
        record: R = self.after
        return record

    def append(self, record: R) -> None:
        last = self.place
        last.after = self.place = record
        record.place, record.after = last, self


def unlink(record: Any) -> None:
    """It leaves its queue."""
    before, after = record.place, record.after
    before.after, after.place = after, before
    # A hit that its caller keeps would else keep its neighbours alive.
    record.place = record.after = None
