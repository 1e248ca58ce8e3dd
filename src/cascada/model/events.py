"""What the engine tells an observer.

`origin` and `stale` say which branch answered; `seconds` is how long the step took. Key text is
given only where one key is meant, values never.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

EventKind = Literal[
    "hit",  # answered from a tier
    "miss",  # no tier had it
    "coalesced",  # answered by another caller's load
    "load",  # a loader ran and ended well
    "load_failed",
    "fill",  # a tier took the value
    "refused",  # a tier refused it, because it was invalidated meanwhile
    "refresh_failed",
    "invalidate",
    "corrupt",  # stored bytes that did not decode: a miss
    "unstored",  # a loaded value that must not be stored; `detail` says why
    "bulky",  # larger than its type should be, so that it is kept for less long
    "inconsistent",  # still other than its source says, 10 s after a self-check found it so
    "tracked",  # a measurement of the application's own; `detail` is its name and value
    "tier_down",
    "tier_up",
    "tier_error",
]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened, or `count` of them: of many hits in memory, most are told together
    every tenth of a second, by type and without their keys."""

    kind: EventKind
    tier: str | None = None
    tenant: str | None = None
    data_type: str | None = None
    key: str | None = None
    stale: bool = False
    seconds: float = 0.0
    count: int = 0
    detail: str | None = None


Observer = Callable[[Event], None]
"""Called from the event loop, synchronously: it must return at once. What it raises is logged."""
