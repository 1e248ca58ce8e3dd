"""One request on its way through the tiers: `Lookup` holds a batch of them, `backfill` fills.

It remembers, and decides nothing.
"""

from __future__ import annotations

from typing import Final

from cascada.engine.request import Answer, Request
from cascada.engine.tasks.singleflight import Flight
from cascada.model.entry import Entry, Flag
from cascada.tiers.contract import Busy, Found, Lease, Missing, Tier

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond


class Item:
    """What was found so far for one request, and which tiers wait to be filled.

    `answer` ends its lookup. `servable` is due or stale: it may be served at once, but a load goes
    on. `fallback` may be served only if the source fails. `busy`: another process is loading, so
    ask again when that is over. `leases` are of the tiers that were passed. `seen` keeps what each
    tier answered, by its name. `places`: the tiers that its value goes to (None: all of those); the
    others let go of what they have. `above`: what a tier above the lowest has answered to a load's
    own read. `flight`, of a load: whose callers wait for this item.
    """

    __slots__ = (
        "above", "answer", "busy", "fallback", "flight", "leases", "places", "request", "seen",
        "servable",
    )  # fmt: skip

    flight: Flight

    def __init__(self, request: Request) -> None:
        self.request = request
        self.answer: Answer | None = None
        self.servable: Answer | None = None
        self.fallback: Answer | None = None
        self.busy: Busy | None = None
        self.places: frozenset[Tier] | None = None
        self.above: tuple[Tier | None, list[Found | Missing]] = None, []
        self.leases: dict[Tier, Lease] = {}
        self.seen: dict[str, list[Found | Missing]] = {}

    def for_tier(self, tier: Tier, entry: Entry | None) -> Entry | None:
        """What becomes of this entry in a tier: where it has no place, and something was seen that
        may yet be served in need, that goes; else no more than the lease is given back."""
        if entry is None or self.places is None or tier in self.places:
            return entry
        return entry.nothing() if isinstance(self.seen[tier.name][0], Found) else None


def is_absence(answer: Answer) -> bool:
    """Whether it is known that there is nothing."""
    return bool(answer.entry.flags & _ABSENT)
