"""Records by the end of their life: what has expired goes before anything that has not.

A queue for each length of life: who was stored first ends first. Lengths are told apart by a
sixteenth at most, so that a record may wait behind one that ends a little later than itself; of
one ttl none does. `Records` asks before any policy is asked, and tells of each that goes.
"""

from __future__ import annotations

import math
from typing import Final

from cascada.tiers.memory.record import Record

NEVER: Final = math.inf


class _Line:
    """Records of one length of life, linked to each other."""

    __slots__ = ("later", "sooner")

    def __init__(self) -> None:
        self.sooner: _Line | Record = self
        self.later: _Line | Record = self


class Expiring:
    """Monotonic seconds: setting the wall clock moves no end of a life."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self.next = NEVER  # none ends before it

    def admit(self, record: Record, now: float) -> None:
        ends = record.ends
        if ends == NEVER:
            return
        share, power = math.frexp(max(ends - now, 0.001))
        length = power << 4 | int(share * 32) & 15
        line = self._lines.get(length)
        if line is None:
            line = self._lines[length] = _Line()
        last = line.sooner
        last.later = line.sooner = record
        record.sooner, record.later = last, line
        self.next = min(self.next, ends)

    def left(self, record: Record) -> None:
        sooner, later = record.sooner, record.later
        if sooner is not None and later is not None:
            sooner.later, later.sooner = later, sooner
            record.sooner = record.later = None

    def expired(self, now: float) -> Record | None:
        """One whose life has ended."""
        if now < self.next:
            return None
        least = NEVER
        for length, line in list(self._lines.items()):
            first = line.later
            if isinstance(first, _Line):
                del self._lines[length]
            elif first.ends <= now:
                return first
            else:
                least = min(least, first.ends)
        self.next = least
        return None
