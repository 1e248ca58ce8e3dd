"""Whether the machine has time for what is measured on it.

A latency says something of the service only where nothing else takes the processor away. That is
told by work that only computes: it takes as long by the clock on the wall as it takes on the
processor, unless it has to wait for its turn.
"""

from __future__ import annotations

import time
from typing import Final

STILL: Final = 1.25
"""Times as long by the wall as on the processor, at most, where the machine holds still."""

_PROBE: Final = 0.03
"""Seconds on the processor that one look takes: longer than the turns that a scheduler gives."""


class Baseline:
    """Looks at the machine between measurements, and keeps what they gave."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def look(self) -> None:
        wall, processor = time.perf_counter(), time.thread_time()
        while (spent := time.thread_time() - processor) < _PROBE:
            sum(range(1000))
        self.waits.append((time.perf_counter() - wall) / spent)

    @property
    def wait(self) -> float:
        """How many times as long as it computes work takes here, on average."""
        return sum(self.waits) / len(self.waits) if self.waits else 1.0

    @property
    def is_still(self) -> bool:
        return self.wait <= STILL
