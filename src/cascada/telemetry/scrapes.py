"""What a scrape of the metrics leaves for the next one, which another worker may serve.

Only so are figures that are worked out at a scrape the same whoever is asked, and never fall.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from itertools import islice

import msgspec

from cascada.telemetry.latency import BOUNDS

Label = tuple[str, ...]
"""The values of a sample's labels."""


class Scrapes(msgspec.Struct):
    """timed: hits in memory that the `counts` (by bucket) and `seconds` stand for. types, tenants,
    tracked: names that have a label of their own.
    """

    timed: int = 0
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    seconds: float = 0.0
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

    def add(self, seconds: float, times: int) -> None:
        """`times` hits in memory took `seconds` each, as one that was timed."""
        self.counts[bisect_left(BOUNDS, seconds)] += times
        self.seconds += seconds * times


def first(count: int, known: list[str], names: Iterable[str]) -> dict[str, str]:
    """The first `count` different names, each for itself; `known`, which grows, go first."""
    known[:] = islice(dict.fromkeys([*known, *names]), count)
    return {name: name for name in known}
