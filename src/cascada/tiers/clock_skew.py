"""Entries that another host has dated after this process's present.

Clocks of hosts differ, and clocks are set. Nobody can tell how old such an entry is. So its life
counts from the moment when this process met it first, in whichever tier, by the monotonic clock,
which nobody sets. Its age is never negative, and it is kept for no longer than it was to live.

Redis' and the database's reads pass every entry through `dated`. It changes the times of the entry
that was read, never those that are stored.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.keys import Key

SLACK: Final = 0.002
"""Seconds that are no matter: times are stored in whole milliseconds."""

MAX_MET: Final = 4096
"""Entries whose first meeting is remembered; of the others, the next one counts."""


class Ahead:
    """What the tiers of one clock have met, and when, by key and date."""

    def __init__(self, clock: Clock) -> None:
        self._passed = clock.monotonic
        self.met: dict[tuple[Key, float], float] = {}

    def dated(self, key: Key, entry: Entry, now: float) -> Entry:
        """The entry, just read, with times of this process's clock, which says `now`."""
        if entry.created <= now + SLACK and not self.met:  # as a rule
            return entry
        where = key, entry.created
        if entry.created <= now + SLACK and where not in self.met:
            return entry
        passed = self._passed()
        met = self.met.setdefault(where, passed)
        while len(self.met) > MAX_MET:
            self.met.pop(next(iter(self.met)), None)
        shift = now - (passed - met) - entry.created
        entry.created += shift
        entry.fresh_until += shift
        entry.expires += shift
        return entry


_of_clocks: WeakKeyDictionary[Clock, Ahead] = WeakKeyDictionary()


def ahead_of(clock: Clock) -> Ahead:
    """The one that all tiers of a clock share."""
    found = _of_clocks.get(clock)
    if found is None:
        found = _of_clocks[clock] = Ahead(clock)
    return found
