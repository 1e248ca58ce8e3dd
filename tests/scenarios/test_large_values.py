"""What one tenant stores, however large, costs no other one his answers."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from cascada import Cache
from cascada.model.clock import SystemClock
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.testing.inside import inside, inside_redis
from cascada.tiers.base import Filled, Lease
from cascada.tiers.guarded import GuardedTier
from tests.servers.redis import RedisServer

LARGE = 15 * 2**20


async def test_a_large_value_is_not_sent_where_all_others_are(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    async with Cache(redis=redis_server.url, op_timeout=10, compress_over=LARGE * 2) as cache:
        link = inside_redis(inside(cache).tiers["l2"]).link
        acme, value = cache.tenant("acme"), os.urandom(LARGE)
        await acme.set("blob", "0", b"small")
        sent: list[int] = []
        send = link.send

        def record(*command: Any, **how: Any) -> Any:
            sent.append(sum(len(each) for each in command if isinstance(each, bytes)))
            return send(*command, **how)

        monkeypatch.setattr(link, "send", record)
        assert await acme.set("blob", "1", value)
        inside(cache).memory.flush()
        hit = await acme.get("blob", "1")
        assert (hit.value, hit.tier) == (value, "l2")
        assert sent
        assert max(sent) < 2**16


class Slow:
    """A tier behind a slow line: what it is given takes 0.3 s to arrive."""

    name = "l2"

    async def fill(self, leases: Any, entries: Any) -> list[Filled]:
        await asyncio.sleep(0.3)
        return [Filled(True, 1)]


async def test_the_time_that_a_large_value_takes_is_no_failure_of_the_tier() -> None:
    """Three in a row would open the breaker for all tenants."""
    tier: Any = Slow()
    guarded = GuardedTier(tier, SystemClock(), timeout=0.05)
    lease = Lease(Key("acme", "blob", None, None, None, "1"), 0, b"")
    for _ in range(3):
        large = Entry(bytes(LARGE), created=0, fresh_until=1, expires=1)
        assert await guarded.fill([lease], [large]) == [Filled(True, 1)]
    assert guarded.available
