"""Rule 41 less one part at a time, in the workload that is made for it; see `mutants`.

Not here, because no run is likely to meet them, or because a checker of versions cannot tell: each
has a deterministic test.

- From the top down: `tests/scenarios/test_touch_lowest_first.py`.
- Told under the key's own name, which ends what was made of the value: `test_redis_pushes_it` in
  `tests/scenarios/test_touch.py`, and `tests/contracts/test_less_touch.py`.
- Replaced though another value is there by now: `tests/tiers/test_redis_touch.py`.
- The leases of loads are left, or those of sets are ended: `tests/contracts/test_less_touch.py`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from cascada.model.keys import Key
from cascada.tiers.contract import Found, Renewed, Touched
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite import writes as sqlite_rules
from cascada.tiers.sqlite.tier import SqliteTier
from cascada.tiers.sqlite.transaction import TenantState
from tests.chaos.mutants_redis import rewrite
from tests.chaos.mutations import mutant, swap


@mutant("touch in the database: it draws no number, and is told to nobody", workload="touches")
def touch_untold() -> None:
    def touch(original: Any) -> Any:
        def quiet(*what: Any, **how: Any) -> Any:
            drawn = [(name, getattr(TenantState, name)) for name in ("next", "bump")]
            swap(TenantState, "next", lambda original: lambda state: state.seq)
            swap(TenantState, "bump", lambda original: lambda *told, **when: 0)
            try:
                return original(*what, **how)
            finally:
                for name, method in drawn:
                    setattr(TenantState, name, method)

        return quiet

    swap(sqlite_rules, "touch", touch)


@mutant(
    "touch on redis: it draws no number, and is told to nobody", config="redis", workload="touches"
)
def touch_untold_on_redis() -> None:
    rewrite("TOUCH", "q = q + 1\n", "do return {1, q, string.sub(e, 1, 8)} end\n")


@mutant("touch in the database: what was read is stored, unlooked", workload="touches")
def touch_unlooked() -> None:
    swap(SqliteTier, "touch", unlooked)


@mutant("touch on redis: what was read is stored, unlooked", config="redis", workload="touches")
def touch_unlooked_on_redis() -> None:
    swap(RedisTier, "touch", unlooked)


def unlooked(original: Any) -> Any:
    """A touch that stores what it has read, under a lease from after it."""

    async def stored(self: Any, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        (found,) = await self.read([key])
        entry = renewed(found.entry, len(found.entry.data)) if isinstance(found, Found) else None
        if entry is None:
            return Touched(found.seq)
        await asyncio.sleep(0.002)
        (held,) = await self.lease([key], [None], force=True)
        (filled,) = await self.fill([held], [entry])
        return Touched(filled.seq, found.entry, entry)

    return stored
