"""Several event loops in a row on one Redis, the last of them ended in the middle of everything."""

from __future__ import annotations

import asyncio

import pytest

from cascada import Cache
from cascada.testing.inside import inside
from tests.scenarios.row import all_stored, turns
from tests.servers.redis import RedisServer


@pytest.mark.parametrize("abruptly", [False, True])
def test_one_cache_serves_three_event_loops_in_a_row(
    redis_server: RedisServer, abruptly: bool
) -> None:
    redis_server.flush()
    cache = Cache(redis=redis_server.url)

    async def use(number: int) -> str | None:
        acme = cache.tenant("acme")
        await acme.load("doc", f"{number}", lambda: "value")
        await all_stored(acme)
        inside(cache).memory.flush()
        hit = await acme.get("doc", f"{number}")
        assert (hit.value, hit.tier) == ("value", "l2")
        await acme.invalidate("doc", f"{number}")
        if abruptly:
            # Left under way: reads that are gathered, an invalidation that settles, a load.
            left = [
                asyncio.create_task(work)
                for each in range(20)
                for work in (
                    acme.get("doc", f"other {each}"),
                    acme.invalidate("doc", f"other {each}"),
                    acme.load("doc", f"slow {each}", lambda: asyncio.sleep(9)),
                )
            ]
            await turns(number * 3)
            assert not all(task.done() for task in left)
        return hit.tier

    assert [asyncio.run(use(number)) for number in range(3)] == ["l2", "l2", "l2"]
    asyncio.run(cache.aclose())
