"""A Redis without room for more: what callers see, who goes on with memory, or a database below."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from cascada import Cache, Limits
from cascada.model.errors import TierUnavailable
from cascada.model.policy import CachePriority
from cascada.testing.inside import inside
from cascada.testing.nodes import hear
from tests.scenarios.row import Row, all_stored
from tests.servers.redis import RedisServer
from tests.tiers.test_redis_rights import sentences

MB = 2**20
VALUE = b"x" * 1000
ENTRY = 1500  # no more than an entry with that value takes


@pytest.fixture(autouse=True)
def flushed(redis_server: RedisServer) -> None:
    redis_server.flush()


async def test_low_values_find_none_first_then_normal_ones_then_all(
    redis_server: RedisServer,
) -> None:
    capacity = MB // 8
    limits = Limits(l2_bytes=capacity, op_timeout=30)
    shares: dict[CachePriority, float] = {}
    async with Cache(redis=redis_server.url, limits=limits) as cache:
        acme, number = cache.tenant("acme"), 0
        for priority in CachePriority:
            while await acme.set("x", f"{number}", b"x" * 200, priority=priority):
                number += 1
            shares[priority] = (await cache.stats()).tiers["l2"].size_bytes / capacity
        assert not await acme.set("x", "low", b"x" * 200, priority=CachePriority.LOW)
    near = pytest.approx
    assert shares[CachePriority.LOW] == near(7 / 8, abs=0.01)
    assert shares[CachePriority.NORMAL] == near(15 / 16, abs=0.01)
    assert shares[CachePriority.HIGH] == near(1, abs=0.01)
    assert shares[CachePriority.CRITICAL] == shares[CachePriority.HIGH]


async def test_a_cache_goes_on_in_memory_and_says_so_once(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(l2_bytes=MB // 8, op_timeout=30)
    here, there = (Cache(redis=redis_server.url, limits=limits) for _ in range(2))
    with caplog.at_level(logging.WARNING, "cascada"):
        async with here, there:
            mine, theirs = here.tenant("acme"), there.tenant("acme")
            number = 0
            while await mine.set("x", f"{number}", VALUE):
                number += 1
            assert number * ENTRY > MB // 16
            assert (await mine.get("x", f"{number}")).tier == "l1"
            assert not await theirs.get("x", f"{number}")
            row = Row(VALUE)
            for _ in range(3):
                assert (await mine.load("x", "row", row.read)).value == VALUE
                await all_stored(mine)
            assert row.reads == 1, "memory has it"
            assert (await theirs.get("x", "0")).value == VALUE
            assert not await mine.set("x", "0", VALUE * 3)
            await hear(there)
            assert not await theirs.get("x", "0"), "the old value is void"
            assert (await mine.get("x", "0")).value == VALUE * 3
            miss = await theirs.get("x", "0")
            assert not await theirs.fill(miss, VALUE * 3)
            with pytest.raises(TierUnavailable, match="no room"):
                await theirs.add("x", "new", VALUE * 3)
            assert inside(here).counted.total.no_room == 3
            assert inside(there).counted.total.no_room == 2
            stats = (await here.stats()).tiers["l2"]
            assert stats.capacity_bytes == MB // 8
            assert 0.9 * MB / 8 < stats.size_bytes <= MB / 8
            assert stats.entries == number - 1
    assert [each for each in sentences(caplog) if "no room" in each] == sentences(caplog)
    assert len(sentences(caplog)) == 2, "each process once a minute"


async def test_with_a_database_below_a_set_is_kept(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    limits = Limits(l2_bytes=1, op_timeout=30)
    where = {"redis": redis_server.url, "database": f"{tmp_path / 'cache.db'}"}
    here, there = (Cache(**where, limits=limits) for _ in range(2))
    async with here, there:
        mine, theirs = here.tenant("acme"), there.tenant("acme")
        assert await mine.set("x", "1", "value")
        assert (await mine.get("x", "1")).tier == "l1"
        assert (await theirs.get("x", "1")).tier == "l3"
        assert await mine.add("x", "2", "value")
        assert not await theirs.add("x", "2", "other")
        assert (await theirs.get("x", "2")).value == "value"
