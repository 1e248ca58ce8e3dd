"""How long a hit in memory takes, as far as it can be told afterwards.

No hit reads the clock twice, which would take as long as the hit. So whoever shows response times
(the metrics page, `get_cache_analytics`) makes a few look-ups of its own. They are no use of the
records, and nobody must call this on the way of a read.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final

from cascada.tiers.memory.tier import MemoryTier

PROBES: Final = 16
"""Look-ups in memory that stand for all hits since the last time."""


def times_of_hits(memory: MemoryTier, now: Callable[[], float]) -> list[float]:
    """Seconds that a few look-ups take; none if memory holds nothing that it may serve."""
    times: list[float] = []
    try:
        probes = list(islice(memory.records, PROBES))
    except RuntimeError:  # from another thread: memory has changed under the walk
        return times
    for record in probes:
        used, hits = record.used, record.hits
        started = now()
        found = memory.peek(record.key)
        spent = now() - started
        if found is not None:
            times.append(spent)
            found.used, found.hits = used, hits
    return times
