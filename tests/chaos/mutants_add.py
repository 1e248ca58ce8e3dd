"""The protocol of `add` less one rule at a time; see `mutants`."""

from __future__ import annotations

import os
from typing import Any

from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.writing import add
from cascada.model.entry import Entry
from cascada.model.names import key_name
from cascada.tiers.contract import Filled, Lease, Tier
from tests.chaos.mutations import mutant, swap


@mutant("add: nobody is told of what was added", workload="claims", faults=())
def added_untold() -> None:
    def lease(original: Any) -> Any:
        async def silent(*asked: Any) -> Lease:
            granted: Lease = await original(*asked)
            granted.adds = b""
            return granted

        return silent

    swap(add, "once_lease", lease)


@mutant("add: it takes over, as a set does", workload="claims", faults=())
def added_by_force() -> None:
    async def forced(tier: Tier, request: Request, seen: add.Answers) -> Lease:
        digests = [os.urandom(16)]
        (lease,) = await tier.lease([request.key], [None], force=True, digests=digests)
        assert isinstance(lease, Lease)
        return lease

    swap(add, "once_lease", lambda original: forced)


@mutant(
    "add: the tier below memory decides, not the lowest",
    config="redis-sqlite",
    workload="claims",
    faults=("flushed",),
)
def added_by_the_upper_tier() -> None:
    def adding(original: Any) -> Any:
        async def upper(stack: Stack, request: Request, entry: Entry, *sources: Any) -> bool:
            above = stack.lower[0]
            (seen,) = await above.read([request.key])
            if add.is_value(request, seen):
                return False
            filled: Filled = await above.fill_for_certain(
                await add.once_lease(above, request, {above: seen}), entry
            )
            if filled.accepted:
                (lease,) = await stack.lower[-1].lease([request.key], [None], force=True)
                assert isinstance(lease, Lease)
                await stack.lower[-1].fill([lease], [entry])
                stack.memory.apply(filled.seq, [key_name(request.key)])
            return filled.accepted

        return upper

    swap(add, "carry_out", adding)
