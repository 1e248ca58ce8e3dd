"""get, a miss, read the row, set: the pattern of the documents, made safe by a fence."""

import asyncio

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from tests.scenarios.conftest import TIMEOUT, MakeCache, MakeNodes


async def test_after_a_miss_a_set_is_stored(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    assert await acme.set("x", "1", "row")
    assert (await acme.get("x", "1")).value == "row"


@pytest.mark.parametrize(
    "invalidation",
    [
        {"data_type": "x", "resource_id": "1"},
        {"data_type": "x", "resource_id": "1", "agent": "a"},
        {"data_type": "x", "resource_id": "*"},
        {"agent": "a"},
        {"tag": "news"},
        {},
    ],
    ids=["resource", "key", "type", "agent", "tag", "tenant"],
)
async def test_what_was_read_before_an_invalidation_is_not_set_after_it(
    cache: Cache, invalidation: dict[str, str]
) -> None:
    acme = cache.tenant("acme")
    mine = acme.within(agent="a")
    assert not await mine.get("x", "1")
    await asyncio.create_task(acme.invalidate(**invalidation))
    assert not await mine.set("x", "1", "old row", tags=["news"])
    assert not await mine.get("x", "1")


async def test_who_asks_for_the_ttl_in_between_is_held_to_the_miss_all_the_same(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await asyncio.create_task(acme.invalidate("x", "1"))
    assert await acme.ttl("x", "1") is None
    assert not await acme.set("x", "1", "old row")
    assert not await acme.get("x", "1")


async def test_what_another_process_has_invalidated_is_not_set_either(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        assert not await here.get("x", "1")
        await there.invalidate("x", "1")
        assert not await here.set("x", "1", "old row")
        assert not await here.get("x", "1")
        assert not await there.get("x", "1")


async def test_what_another_has_set_in_between_stands(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        assert not await here.get("x", "1")
        await there.set("x", "1", "new row")
        assert not await here.set("x", "1", "old row")
        await group.hear()
        for handle in (here, there):
            found = await handle.get("x", "1")
            assert not found or found.value == "new row"


async def test_an_invalidation_of_something_else_does_not_refuse_the_set(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await acme.invalidate("x", "2")
    await acme.invalidate("y", "*")
    await cache.tenant("other").invalidate()
    assert await acme.set("x", "1", "row")


async def test_a_fence_serves_one_set(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await acme.invalidate("x", "1")
    assert not await acme.set("x", "1", "read before")
    assert await acme.set("x", "1", "read after")
    assert (await acme.get("x", "1")).value == "read after"


async def test_a_newer_miss_takes_the_place_of_an_older_one(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await acme.invalidate("x", "1")
    assert not await acme.get("x", "1")
    assert await acme.set("x", "1", "read after the second miss")


async def test_fences_of_several_keys_do_not_disturb_each_other(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.get_many("x", ["1", "2", "3"])
    await acme.invalidate("x", "2")
    assert [await acme.set("x", name, "row") for name in "123"] == [True, False, True]


async def test_a_task_is_not_held_to_the_misses_of_another(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await acme.invalidate("x", "1")
    assert await asyncio.create_task(acme.set("x", "1", "knows better"))
    assert (await acme.get("x", "1")).value == "knows better"


async def test_a_value_kept_for_need_alone_is_a_miss_and_leaves_a_fence(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_if_error=600)).tenant("acme")
    await acme.set("x", "1", "ancient")
    clock.advance(20)
    assert not await acme.get("x", "1")
    await acme.invalidate("x", "1")
    assert not await acme.set("x", "1", "old row")
    assert not await acme.get("x", "1")


async def test_after_a_miss_that_could_not_be_read_nothing_is_set(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    """Nobody knows what was invalidated since."""
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        flaky.fail("read", times=1)
        assert not await acme.get("x", "1")
        await acme.invalidate("x", "1")
        assert not await acme.set("x", "1", "old row")
        assert not await acme.get("x", "1")


async def test_a_task_remembers_only_so_many_misses(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.get_many("x", range(300))
    await acme.invalidate("x", "*")
    assert await acme.set("x", 0, "forgotten, so as good as not asked")
    assert not await acme.set("x", 299, "remembered")
