"""What a scrape of the metrics leaves for the next one, which another worker may serve.

Only so are figures that are worked out at a scrape the same whoever is asked, and never fall.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import islice

import msgspec

from cascada.telemetry.latency import BOUNDS

Label = tuple[str, ...]
"""The values of a sample's labels."""


class Timed(msgspec.Struct):
    """timed: hits in memory that the `counts` (by bucket) and `seconds` stand for."""

    timed: int = 0
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0

    def let_stand(self, times: Sequence[float], hits: int) -> None:
        """Let the times of a few look-ups stand for all the hits that came since, of `hits`."""
        if not times:
            return  # they wait for a scrape that finds something to look up
        count = hits - self.timed
        for index, seconds in enumerate(times):
            share = count * (index + 1) // len(times) - count * index // len(times)
            self.counts[bisect_left(BOUNDS, seconds)] += share
            self.seconds += seconds * share
        self.timed = hits


class Scrapes(Timed):
    """Of all hits together; of_types: of each data type, where that is shown. types, tenants,
    tracked: names that have a label of their own.
    """

    of_types: dict[str, Timed] = {}
    types: list[str] = []
    tenants: list[str] = []
    tracked: list[str] = []

    @classmethod
    def of(cls, left: bytes | None) -> Scrapes:
        """What the scrape before has `left`."""
        try:
            return cls() if left is None else msgspec.msgpack.decode(left, type=cls)
        except msgspec.MsgspecError:  # another version did
            return cls()

    def left(self) -> bytes:
        return msgspec.msgpack.encode(self)


def first(count: int, known: list[str], names: Iterable[str]) -> dict[str, str]:
    """The first `count` different names, each for itself; `known`, which grows, go first."""
    known[:] = islice(dict.fromkeys([*known, *names]), count)
    return {name: name for name in known}
