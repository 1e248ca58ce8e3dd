"""How long answers took: histograms that cost whoever adds to one a look-up and a bisection.

Hits in memory are not in them, because reading the clock twice would take as long as the hit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import add
from typing import Any, Final

BOUNDS: Final = (
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds; each bucket holds what took at most so long, and more than the one before."""

MAX_TYPES: Final = 200
"""Data types with histograms of their own; later ones share those of REST."""

REST: Final = "other"


class Latency:
    """Counts by bucket, the last one for all above the bounds, and the sum of seconds.

    `cells`: where both are written, too, the seconds last (`engine/filing.py`)."""

    __slots__ = ("cells", "counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0
        self.cells: Any = None

    def add(self, seconds: float, times: int = 1) -> None:
        """`times` answers took `seconds` each."""
        bucket = bisect_left(BOUNDS, seconds)
        self.counts[bucket] += times
        self.seconds += seconds * times
        if self.cells is not None:
            self.cells[bucket], self.cells[-1] = self.counts[bucket], self.seconds

    @property
    def times(self) -> Times:
        """As they are now."""
        return Times(tuple(self.counts), self.seconds)


class Latencies:
    """A histogram for each layer below memory (and the source) and data type, of all tenants.

    `on_new`: told of each when it is made (`engine/filing.py`).
    """

    __slots__ = ("_of", "_types", "names", "on_new")

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: of the layers."""
        self.names = tuple(names)
        self.clear()

    def clear(self) -> None:
        """Begin anew, told to nobody."""
        self._of: dict[tuple[str, str], Latency] = {}
        self._types: set[str] = set()
        self.on_new: Callable[[str, str, Latency], None] | None = None

    def add(self, layer: str, data_type: str, seconds: float, times: int) -> None:
        """`times` answers for values of a type took `seconds` each."""
        latency = self._of.get((layer, data_type))
        if latency is None:
            latency = self._made(layer, data_type)
        latency.add(seconds, times)

    def _made(self, layer: str, data_type: str) -> Latency:
        if data_type not in self._types and len(self._types) >= MAX_TYPES:
            data_type = REST
        self._types.add(data_type)
        key = layer, data_type
        if key not in self._of:
            self._of[key] = Latency()
            if self.on_new is not None:
                self.on_new(layer, data_type, self._of[key])
        return self._of[key]

    def all(self) -> list[tuple[tuple[str, str], Latency]]:
        """All of them, by layer and data type; from any thread."""
        return list(self._of.items())

    def by_layer(self) -> dict[str, Times]:
        """Of all data types together; of each layer, though it has not answered yet."""
        found = dict.fromkeys(self.names, NO_TIMES)
        for (layer, _), latency in self.all():
            found[layer] = found.get(layer, NO_TIMES) + latency.times
        return found


@dataclass(frozen=True, slots=True)
class Times:
    """How long answers took. counts: of each bucket of BOUNDS, the last one is above them all.
    seconds: their sum. Two can be added up."""

    counts: Sequence[int] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0

    def __add__(self, other: Times) -> Times:
        return Times(tuple(map(add, self.counts, other.counts)), self.seconds + other.seconds)

    @property
    def answers(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        """Seconds; None of no answers."""
        return self.seconds / self.answers if self.answers else None

    def quantile(self, share: float) -> float | None:
        """Seconds that this share of the answers (0 to 1) took at most, as exactly as the buckets
        say; of what took longer than the last bound, that bound. None of no answers."""
        wanted, below, least = share * self.answers, 0, 0.0
        for bound, count in zip(BOUNDS, self.counts, strict=False):
            if count and below + count >= wanted:
                return least + (bound - least) * (wanted - below) / count
            below, least = below + count, bound
        return least if self.answers else None


NO_TIMES: Final = Times()
