"""Deleting the keys of a data type whose ids match: a walk through all of that type's keys.

For patterns that no name stands for; what has one (a tag, a type) goes in one step instead
(`writing/invalidate`). Each tier is gone through, since a value may be in one of them alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from cascada.engine.home.carrying import awaited
from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.stack import Stack
from cascada.engine.writing.invalidate import delete_all
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.breaker import Call
from cascada.tiers.guarded import PATIENCE
from cascada.tiers.walks import BEGINNING, STEP, Walks


async def delete_matching(
    stack: Stack,
    life: Lifecycle,
    tenant: str,
    data_type: str,
    matches: Callable[[str], bool],
    *,
    strict: bool,
) -> int:
    """Void those keys without context; how many values went. Up to STEP of them are one atomic
    step, all of them are not: what is stored meanwhile may stay.

    TierUnavailable if a tier does not tell its keys: what it has of them, others may go on reading.
    """

    async def there() -> int:
        gone = 0
        async for keys in _keys(stack, tenant, data_type):
            if matching := [each for each in keys if matches(each.resource_id)]:
                gone += sum(await delete_all(stack, matching, strict=strict))
        return gone

    return await (there() if await life.ready() else awaited(life, there))


async def _keys(stack: Stack, tenant: str, data_type: str) -> AsyncIterator[list[Key]]:
    partition = stack.memory.records.partition((tenant, data_type, None, None, None))
    ids = list(partition.records)
    for first in range(0, len(ids), STEP):
        yield [partition.key(each) for each in ids[first : first + STEP]]
        await asyncio.sleep(0)
    for guarded in stack.lower:
        tier = guarded.tier
        if not isinstance(tier, Walks):
            raise TierUnavailable(f"{guarded.name} does not tell which keys it has")
        place = BEGINNING
        while True:
            with Call(guarded.breaker, max(PATIENCE, guarded.timeout)):
                keys, place = await tier.keys_of(tenant, data_type, place)
            yield keys
            if place == BEGINNING:
                break
