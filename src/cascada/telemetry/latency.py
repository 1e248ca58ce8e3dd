"""How long answers took: a histogram that costs whoever adds to it one bisection.

Hits in memory are not in it, because reading the clock twice would take as long as the hit.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Any, Final

BOUNDS: Final = (
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3,
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Seconds; each bucket holds what took at most so long, and more than the one before."""


class Latency:
    """Counts by bucket, the last one for all above the bounds, and the sum of seconds.

    `cells`: where both are written, too, the seconds last (`engine/filing.py`)."""

    __slots__ = ("cells", "counts", "seconds")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew, written nowhere else."""
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
