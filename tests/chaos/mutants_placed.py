"""Rules 47 to 49 less one part at a time; see `mutants`.

Not here: holds that are taken only where a value is stored. What they let through needs two sets
that cross in a moment that no run is likely to meet; `tests/scenarios/test_placement.py` lets sets
of all priorities cross at every step. Nor is what is made of a value above and stored below, whose
moment is between the two tiers' being told: that test looks where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.engine.writing.write import OneSet
from cascada.model.entry import Entry
from cascada.tiers.contract import NOTHING, Invalidation, Tier
from cascada.tiers.guarded import GuardedTier
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
        def silent(each: OneSet, tier: Tier) -> Entry | None:
            return each.entry if each.belongs_in(tier) else None

        return silent

    swap(OneSet, "for_tier", for_tier)


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
    "spared: the database keeps what others do not tell it the end of",
    config="spared",
    workload="placed",
    faults=EVICTED,
)
def spared_and_kept() -> None:
    swap(transaction, "is_spared", lambda original: lambda names, types: False)
