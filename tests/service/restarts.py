"""What the tests of a warm restart have in common: caches that have read what was noted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cascada import Cache
from cascada.testing.inside import inside
from tests.scenarios.row import until

BUSY: Final = 60.0
"""Seconds that a busy machine is given."""

MakeCache = Callable[..., Cache]


async def started(cache: Cache) -> Cache:
    """It has read what was noted."""
    await cache.tenant("acme").get("nothing", "0")
    await until(lambda: cache.warm_restart.finished, BUSY)
    return cache


async def hit(cache: Cache, tenant: str, *ids: str, data_type: str = "row") -> None:
    handle = (await started(cache)).tenant(tenant)
    await handle.set_many(data_type, {each: f"of {each}" for each in ids})
    for _ in range(2):
        assert all(await handle.get_many(data_type, ids))


async def in_memory(cache: Cache, tenant: str, *ids: str) -> list[str]:
    await cache.tenant(tenant).get("nothing", "0")  # memory is up to date
    return held(cache, tenant, *ids)


def held(cache: Cache, tenant: str, *ids: str) -> list[str]:
    """Those of which memory has a valid record, whether it is trusted at this moment or not."""
    records = list(inside(cache).engine.stack.memory.records)
    keys = [each.key for each in records if each.is_valid]
    there = {key.resource_id for key in keys if (key.tenant, key.data_type) == (tenant, "row")}
    return [each for each in ids if each in there]
