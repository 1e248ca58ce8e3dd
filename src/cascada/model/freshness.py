"""Whether what this process has heard of invalidations is recent enough to trust its memory.

The memory tier asks on every hit; whoever hears of invalidations (the database's feed, later the
push connection) answers. `until` is a plain attribute, so that the usual answer costs one
comparison; only when it has passed is `extend` asked, which may look (never wait) for news.
"""

from __future__ import annotations

import math
from typing import Protocol


class Freshness(Protocol):
    """The right to answer from memory, as a deadline on the monotonic clock."""

    until: float

    @property
    def is_numbered(self) -> bool:
        """Whether the numbers by which memory is kept are known; all is forgotten once they are."""
        ...

    def extend(self, now: float) -> bool:
        """Look for news without waiting; True if memory may be trusted at `now`."""
        ...

    def distrusted(self, now: float) -> float:
        """Seconds since memory could last be trusted; 0 while it can."""
        ...


class AlwaysFresh:
    """Memory is the only tier: there is nobody else to hear from."""

    is_numbered = True

    def __init__(self) -> None:
        self.until = math.inf

    def extend(self, now: float) -> bool:
        return True

    def distrusted(self, now: float) -> float:
        return 0.0
