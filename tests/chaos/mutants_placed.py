"""Rules 47 to 49 less one part at a time; see `mutants`.

Not here: holds that are taken only where a value is stored. What they let through needs two sets
that cross in a moment that no run is likely to meet; `tests/scenarios/test_placement.py` lets sets
of all priorities cross at every step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from cascada.engine import placement
from cascada.engine.writing.write import _Set
from cascada.model.entry import Entry
from cascada.tiers.contract import NOTHING, Invalidation, Tier
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite import transaction
from tests.chaos.mutations import mutant, swap

EVICTED = ("flushed",)


@mutant(
    "placed: a tier that a set passes over is told nothing",
    config="redis-sqlite",
    workload="placed",
    faults=EVICTED,
)
def passed_over_untold() -> None:
    def for_tier(original: Any) -> Any:
        def silent(each: _Set, tier: Tier) -> Entry | None:
            return each.entry if each.belongs_in(tier) else None

        return silent

    swap(_Set, "for_tier", for_tier)


@mutant(
    "placed: an invalidation does not reach the database, where this process may have nothing",
    config="redis-sqlite",
    workload="placed",
    faults=EVICTED,
)
def placed_by_another_untold() -> None:
    def invalidate(original: Any) -> Any:
        async def above(self: GuardedTier, names: Sequence[str], **how: Any) -> Invalidation:
            if self.name == "l3":
                return Invalidation(0, exact=True, seq=0, counts=(NOTHING,) * len(names))
            told: Invalidation = await original(self, names, **how)
            return told

        return above

    swap(GuardedTier, "invalidate", invalidate)


@mutant(
    "placed: what is made of a value that the database has not got is stored there",
    config="redis-sqlite",
    workload="placed",
    faults=EVICTED,
)
def made_below_of_what_is_above() -> None:
    def wanted(original: Any) -> Any:
        def lasting(*what: Any, **how: Any) -> Any:
            return original(*what, **{**how, "lasting": True})

        return lasting

    def invalidate(original: Any) -> Any:
        async def slow(self: RedisTier, *names: Any, **how: Any) -> Any:
            # What a slow way to Redis does to an invalidation; with the rule it changes nothing.
            await asyncio.sleep(0.03)
            return await original(self, *names, **how)

        return slow

    swap(placement, "_wanted", wanted)
    swap(RedisTier, "invalidate", invalidate)


@mutant(
    "spared: the database keeps what others do not tell it the end of",
    config="spared",
    workload="placed",
    faults=EVICTED,
)
def spared_and_kept() -> None:
    swap(transaction, "is_spared", lambda original: lambda names, types: False)
