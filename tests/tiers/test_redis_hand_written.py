"""Get, miss, load, set by hand, and sets that cross, through two caches on one real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis

from cascada import Cache
from cascada.api.tenant.handle import Tenant
from cascada.testing.inside import inside
from tests.options import grouped
from tests.servers.redis import RedisServer

ROUNDS = 40


@pytest.fixture(params=["redis", "redis+database"])
async def pair(
    redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Tenant, Tenant]]:
    redis_server.flush()
    database = str(tmp_path / "cache.db") if "database" in request.param else None
    options = {"redis": redis_server.url, "database": database, "op_timeout": 5.0}
    async with Cache(**grouped(options)) as here, Cache(**grouped(options)) as there:
        yield here.tenant("acme"), there.tenant("acme")


@pytest.mark.parametrize("by", ["key", "type", "tenant", "set"])
async def test_what_was_read_before_an_invalidation_by_another_is_not_set_after_it(
    pair: tuple[Tenant, Tenant], by: str
) -> None:
    here, there = pair
    assert not await here.get("row", "1")
    row = "old"
    if by == "key":
        await there.invalidate("row", "1")
    elif by == "type":
        await there.invalidate("row", "*")
    elif by == "tenant":
        await there.invalidate()
    else:
        assert await there.set("row", "1", "new")
    assert not await here.set("row", "1", row)
    for cache in pair:
        assert (await cache.get("row", "1")).value != "old"
    assert await here.set("row", "1", "newer"), "the fence has served its one set"
    assert (await there.load("row", "1", lambda: "source")).value == "newer"


async def test_what_is_set_without_an_invalidation_in_between_is_kept(
    pair: tuple[Tenant, Tenant],
) -> None:
    here, there = pair
    assert not await here.get("row", "1")
    await there.invalidate("row", "2")
    assert await here.set("row", "1", "value")
    assert (await there.get("row", "1")).value == "value"


@pytest.mark.parametrize("lost", ["all", "the rings"])
async def test_what_is_only_filled_goes_on_after_the_server_has_lost(
    pair: tuple[Tenant, Tenant], redis_server: RedisServer, lost: str
) -> None:
    """A fill takes no lease, which would begin anew: it has to do so itself."""
    here, there = pair
    assert await here.fill(await here.get("row", "1"), "before")
    with redis.Redis.from_url(redis_server.url) as client:
        for key in client.scan_iter("*"):
            if lost == "all" or key.endswith((b":r", b":s")):
                client.delete(key)
    for _ in range(2):  # refused once at most
        if not (miss := await there.get("row", "2")):
            await there.fill(miss, "value")
    assert (await there.get("row", "2")).value == "value"


async def test_of_sets_that_cross_all_processes_keep_the_same(pair: tuple[Tenant, Tenant]) -> None:
    """Whichever wins: no two tiers, and no two memories, may hold different ones."""
    here, there = pair
    for number in range(ROUNDS):
        key = f"{number}"
        await asyncio.gather(
            here.set("row", key, "here"), there.set("row", key, "there"), here.get("row", key)
        )
        await here.invalidate("row", "unrelated")  # all that was pushed before has left the server
        await asyncio.sleep(0.01)
        seen = []
        for cache in pair:
            seen.append((await cache.get("row", key)).value)
            inside(cache).memory.flush()
            seen.append((await cache.get("row", key)).value)
        assert len(set(seen)) == 1, seen
