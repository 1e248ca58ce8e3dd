"""What a service tells of itself: numbers that say whether they are exact, and `CacheMetrics`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self


class Counted(int):
    """A number of entries. `exact`: it is that many; else at most that many."""

    exact: bool

    def __new__(cls, number: int, *, exact: bool = True) -> Self:
        counted = super().__new__(cls, number)
        counted.exact = exact
        return counted


@dataclass(frozen=True, slots=True)
class CacheMetrics:
    """A service's figures, as `CacheService.get_metrics` tells them.

    hit_count, miss_count: reads of this service's keys with and without an answer. hit_rate: hits
    over both, 0 before the first read. memory_usage_bytes: what its entries take in the memory of
    all workers on this host. keys_count: its entries, in all tiers (`exact` says whether it is that
    many, or at most). last_sync: when the last round of its sync ended well, in any process; None:
    none has.
    """

    hit_count: int
    miss_count: int
    hit_rate: float
    memory_usage_bytes: int
    keys_count: Counted
    last_sync: datetime | None
