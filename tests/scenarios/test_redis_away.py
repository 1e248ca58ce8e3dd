"""Redis is away, or was never there, and nothing else is below memory: what it keeps meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from cascada import Cache, InvalidationPending, Policy
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import type_name
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from cascada.tiers.contract import Found, Missing
from cascada.tiers.memory.tier import MemoryTier
from tests.options import grouped
from tests.scenarios.row import Row, all_stored, until
from tests.servers.redis import RedisServer, free_port

LONGEST = 30.0


def away(clock: ManualClock, **options: Any) -> Cache:
    """A cache whose Redis nobody has started."""
    options = {"invalidate_patience": 0.0, "op_timeout": 0.1, **options}
    return Cache(redis=f"redis://127.0.0.1:{free_port()}/0", clock=clock, **grouped(options))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


async def test_twenty_loads_are_one_call_of_the_source(clock: ManualClock) -> None:
    async with away(clock) as cache:
        acme, row = cache.tenant("acme"), Row("value")
        for at in range(20):
            hit = await acme.load("doc", "1", row.read)
            await all_stored(acme)
            assert (hit.value, hit.stale) == ("value", at > 0)
        assert row.reads == 1
        assert not await cache.tenant("globex").get("doc", "1")


async def test_what_was_set_is_found_and_what_was_invalidated_here_is_not(
    clock: ManualClock,
) -> None:
    async with away(clock) as cache:
        acme = cache.tenant("acme")
        for value in ("old", "new"):
            assert not await acme.set("doc", "1", value), "no other process can see it"
            hit = await acme.get("doc", "1")
            assert hit
            assert (hit.value, hit.tier, hit.stale) == (value, "l1", True)
        await acme.set("doc", "2", "tagged", tags=["news"])
        for change in (acme.invalidate("doc", "1"), acme.invalidate(tag="news")):
            with pytest.raises(InvalidationPending):
                await change
        assert not await acme.get("doc", "1")
        assert not await acme.get("doc", "2")


async def test_the_hand_written_pattern_asks_its_source_once(clock: ManualClock) -> None:
    async with away(clock) as cache:
        acme, row = cache.tenant("acme"), Row("value")
        for _ in range(20):
            if not await acme.get("doc", "1"):
                await acme.set("doc", "1", await row.read())
        assert row.reads == 1


async def test_a_set_after_a_miss_keeps_nothing_if_the_key_was_invalidated_in_between(
    clock: ManualClock,
) -> None:
    async with away(clock, on_pending="warn") as cache:
        acme = cache.tenant("acme")
        assert not await acme.get("doc", "1")
        await asyncio.create_task(_invalidate(cache))
        await acme.set("doc", "1", "old")
        assert not await acme.get("doc", "1")


async def _invalidate(cache: Cache) -> None:
    await cache.tenant("acme").invalidate("doc", "1")


async def test_a_load_that_read_before_an_invalidation_is_not_kept(clock: ManualClock) -> None:
    async with away(clock, on_pending="warn") as cache:
        acme, row = cache.tenant("acme"), Row("old")
        row.hold()
        loading = asyncio.create_task(acme.load("doc", "1", row.read))
        await row.being_read()
        row.value = "new"
        await _invalidate(cache)
        row.let_go()
        assert (await loading).value == "old"
        await all_stored(acme)
        assert (await acme.load("doc", "1", row.read)).value == "new"


async def test_what_was_made_after_a_miss_is_found_unless_it_was_invalidated_here_since(
    clock: ManualClock,
) -> None:
    async with away(clock) as cache:
        acme = cache.tenant("acme")
        miss = await acme.get("doc", "1")
        assert not await acme.fill(miss, "made"), "no other process can see it"
        hit = await acme.get("doc", "1")
        assert hit
        assert (hit.value, hit.tier, hit.stale) == ("made", "l1", True)
        for number, void in enumerate((("doc", "2"), ("doc", "*"), ())):
            miss = await acme.get("doc", f"2{number}" if number else "2")
            with pytest.raises(InvalidationPending):
                await acme.invalidate(*void)
            await acme.fill(miss, "old")
            assert not await acme.get("doc", f"2{number}" if number else "2")
        miss = await acme.get("doc", "3")
        with pytest.raises(InvalidationPending):
            await acme.invalidate(tag="news")
        await acme.fill(miss, "old", tags=["news"])
        assert not await acme.get("doc", "3")


async def test_each_value_stays_for_so_long_at_most(clock: ManualClock) -> None:
    async with away(clock, degraded_l1_ttl=LONGEST) as cache:
        acme, row = cache.tenant("acme"), Row("value")
        await acme.load("doc", "1", row.read, ttl=3600)
        await acme.load("doc", "2", row.read, ttl=5)
        await all_stored(acme)
        clock.advance(6)
        assert await acme.get("doc", "1")
        assert not await acme.get("doc", "2"), "its own ttl is shorter"
        clock.advance(LONGEST - 5)
        assert not await acme.get("doc", "1")


@pytest.mark.parametrize(
    "options", [{"degraded_l1_ttl": 0.0}, {"policies": {"doc": Policy(strict=True)}}]
)
async def test_not_where_it_is_switched_off_and_not_for_strict_types(
    clock: ManualClock, options: dict[str, Any]
) -> None:
    async with away(clock, **options) as cache:
        acme, row = cache.tenant("acme"), Row("value")
        for _ in range(3):
            await acme.load("doc", "1", row.read)
            await acme.set("doc", "2", "value")
            await acme.fill(await acme.get("doc", "3"), "value")
            await all_stored(acme)
        assert row.reads == 3
        assert not await acme.get("doc", "2")
        assert not await acme.get("doc", "3")


async def test_it_goes_when_redis_is_there_and_not_before_it_was_asked(
    server: RedisServer, clock: ManualClock
) -> None:
    """Another process invalidates what this one keeps; this one has heard of nothing."""
    server.kill()
    options: dict[str, Any] = {"op_timeout": 1.0, "clock": clock, "invalidate_patience": 0.0}
    async with Cache(redis=server.url, **grouped({**options, "degraded_l1_ttl": 3600})) as cache:
        acme, row = cache.tenant("acme"), Row("old")
        for name in ("1", "2"):
            await acme.load("doc", name, row.read)
        await acme.set("doc", "3", "old")
        await acme.fill(await acme.get("doc", "4"), "old")
        await all_stored(acme)
        assert len(inside(cache).memory.meanwhile) == 4
        row.value = "new"
        server.start()
        async with Cache(redis=server.url, **grouped(options)) as other:
            await until_told(other, clock)
            await other.tenant("acme").invalidate("doc", "*")
        await until_told(cache, clock)
        assert not inside(cache).memory.meanwhile
        for name in ("1", "2", "3", "4"):
            hit = await acme.load("doc", name, row.read)
            assert (hit.value, hit.stale) == ("new", False)


async def until_told(cache: Cache, clock: ManualClock) -> None:
    """Until Redis answers, and has been told what it was owed."""
    probe = cache.tenant("probe")
    for number in range(1000):
        clock.advance(0.1)  # a tier that has failed is left alone for a second
        if await probe.set("probe", str(number), "value"):
            return
        await asyncio.sleep(0.01)
    pytest.fail("Redis was not used again")


async def test_it_is_said_once(
    server: RedisServer, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="cascada"):
        options: dict[str, Any] = {"op_timeout": 1.0, "clock": clock, "invalidate_patience": 0.0}
        async with Cache(redis=server.url, **grouped(options)) as cache:
            acme = cache.tenant("acme")
            await until_told(cache, clock)
            server.kill()
            for number in range(20):
                await acme.set("doc", str(number), "value")
            await until(lambda: "serving from memory" in caplog.text)
            server.start()
            await until_told(cache, clock)
    said = [record.getMessage() for record in caplog.records]
    assert len([each for each in said if each.startswith("Redis unavailable, serving from")]) == 1
    assert len([each for each in said if each.startswith("Redis is available again")]) == 1


async def test_no_read_finds_it_that_redis_could_answer(clock: ManualClock) -> None:
    memory, key = MemoryTier(clock), Key("acme", "doc", None, None, None, "1")
    await memory.fill([memory.lease_meanwhile(key, None, LONGEST)], [Entry(b"\xa1a")])
    (answer,) = await memory.read([key])
    assert isinstance(answer, Missing)
    assert memory.peek(key) is None
    assert memory.last_known(key, 0.0) is not None
    memory.end_meanwhile()
    assert memory.last_known(key, LONGEST) is None


async def test_what_is_kept_after_a_type_was_voided_is_found(clock: ManualClock) -> None:
    memory = MemoryTier(clock)
    first, second = (Key("acme", "doc", None, None, None, name) for name in "12")
    await memory.fill([memory.grant(first)], [Entry(b"\xa1a")])
    memory.void([type_name("acme", "doc")])
    await memory.fill([memory.grant(second)], [Entry(b"\xa1a")])
    gone, there = await memory.read([first, second])
    assert isinstance(gone, Missing)
    assert isinstance(there, Found)


async def test_what_is_made_over_a_flush_is_not_kept_either(clock: ManualClock) -> None:
    memory, key = MemoryTier(clock), Key("acme", "doc", None, None, None, "1")
    lease = memory.lease_meanwhile(key, None, LONGEST)
    memory.flush()
    (filled,) = await memory.fill([lease], [Entry(b"\xa1a")])
    assert not filled.accepted
