"""Accesses by the hour: which hours are peaks. Counts and judges, and knows of no cache.

An hour of a day is known by its beginning, in seconds since the epoch, so that processes in several
time zones mean the same one, and the hour that comes twice when the clock is set back is two.
What is kept is bounded: eight days, and of the keys of an hour a sketch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from hashlib import blake2b
from typing import Final, NamedTuple, TypedDict

DAYS: Final = timedelta(days=7)
LONGEST: Final = 9 * 86400
QUARTER: Final = 900.0
OFFICE: Final = range(9, 19)
"""The hours that are peaks as long as nothing is known."""

SKETCH: Final = 128
"""Hashes of keys that an hour remembers: its number of distinct keys is right to about 9 %."""

_WHOLE: Final = 2.0**64


class Hour(NamedTuple):
    """When it began, in seconds since the epoch, and what clock and calendar on the wall say."""

    began: int
    hour: int
    date: date


class DistinctKeys:
    """How many different keys there were, by the smallest of their hashes (k minimum values:
    Bar-Yossef et al., Counting Distinct Elements in a Data Stream, 2002).

    `len()` of it is the number: exact below SKETCH, an estimate beyond.
    """

    __slots__ = ("smallest",)

    def __init__(self) -> None:
        self.smallest: list[int] = []

    def add(self, key: str) -> int | None:
        """Its hash, if it is news."""
        hashed = int.from_bytes(blake2b(key.encode(), digest_size=8).digest())
        return hashed if self.take(hashed) else None

    def take(self, hashed: int) -> bool:
        """Remember a hash, here or from another process; whether it was news."""
        smallest = self.smallest
        place = bisect_left(smallest, hashed)
        if place >= SKETCH or (place < len(smallest) and smallest[place] == hashed):
            return False
        smallest.insert(place, hashed)
        del smallest[SKETCH:]
        return True

    def __len__(self) -> int:
        if len(self.smallest) < SKETCH:
            return len(self.smallest)
        return round((SKETCH - 1) * _WHOLE / (self.smallest[-1] + 1))

    def __repr__(self) -> str:
        return f"DistinctKeys({len(self)})"


class Counts:
    """Of one hour: the accesses that are known of, and the keys."""

    __slots__ = ("count", "keys")

    def __init__(self) -> None:
        self.count = 0
        self.keys = DistinctKeys()


class HourlyAccess(TypedDict):
    """One hour of one day, as the document's statistics have it. `keys`: ask for its `len()`."""

    hour: int
    count: int
    keys: DistinctKeys
    date: date


class Hours:
    """`now` is the wall clock; `zone` None is the time zone of this process."""

    def __init__(self, now: Callable[[], float], zone: tzinfo | None = None) -> None:
        self._now = now
        self.zone = zone
        # Each hour in that of the day, so that a judgement looks at eight of them.
        self._known: dict[int, dict[Hour, Counts]] = {hour: {} for hour in range(24)}
        self._latest: Hour | None = None
        self._since = 0.0

    def current(self) -> Hour:
        """The hour that it is; with each new one, what is too old goes."""
        moment = self._now()
        if self._latest is not None and self._since <= moment < self._since + QUARTER:
            return self._latest
        # Clocks on walls are changed, and their hours begin, where a quarter of UTC's does.
        self._since = moment // QUARTER * QUARTER
        now = self._at(moment)
        if now != self._latest:
            self._latest = now
            oldest = now.date - DAYS
            for of_day in self._known.values():
                for each in [each for each in of_day if each.date < oldest]:
                    del of_day[each]
        return now

    def record(self, key: str) -> tuple[Hour, int | None]:
        """Count an access; the hour that it belongs to, and the key's hash if that is news."""
        hour = self.current()
        counts = self.of(hour)
        counts.count += 1
        return hour, counts.keys.add(key)

    def of(self, hour: Hour) -> Counts:
        """What is known of an hour that is not too old."""
        of_day = self._known[hour.hour]
        if hour not in of_day:
            of_day[hour] = Counts()
        return of_day[hour]

    def is_peak(self, hour: int, threshold: float) -> bool:
        """Whether the mean of that hour, over the days of the last seven that have any, is over the
        threshold; office hours, as long as there are no statistics at all."""
        self.current()
        counted = [each.count for each in self._known[hour].values() if each.count]
        if counted:
            return sum(counted) / len(counted) > threshold
        return hour in OFFICE and not self

    def __bool__(self) -> bool:
        """Whether there are statistics at all."""
        return any(each.count for of_day in self._known.values() for each in of_day.values())

    def statistics(self) -> list[HourlyAccess]:
        """All hours that have any, the oldest first."""
        self.current()
        known = [pair for of_day in self._known.values() for pair in of_day.items()]
        return [
            {"hour": when.hour, "count": each.count, "keys": each.keys, "date": when.date}
            for when, each in sorted(known, key=lambda pair: pair[0].began)
            if each.count
        ]

    def is_remembered(self, began: int) -> bool:
        """Whether an hour that began then is of the days that count."""
        now = self.current()
        if not now.began - LONGEST <= began <= now.began:
            return False  # or a number that is no time at all
        return self.at(began).date >= now.date - DAYS

    def at(self, began: int) -> Hour:
        """The hour that began then, perhaps in a process of another time zone."""
        return self._at(began)._replace(began=began)

    def _at(self, moment: float) -> Hour:
        local = datetime.fromtimestamp(moment, UTC).astimezone(self.zone)
        began = int(moment // 1) - local.minute * 60 - local.second
        return Hour(began, local.hour, local.date())
