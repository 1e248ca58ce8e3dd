"""`fill`: what was made after a miss is stored where no value is, and voids nothing."""

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from cascada import BadInput, Cache, Limits, Loaded, Miss, Policy, SerializationError
from cascada.model.entry import Hit
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from tests.scenarios.conftest import TIMEOUT, MakeCache, MakeNodes
from tests.scenarios.row import all_stored


async def test_what_was_made_after_a_miss_is_stored(cache: Cache) -> None:
    acme = cache.tenant("acme")
    miss = await acme.get("x", "1")
    assert isinstance(miss, Miss)
    assert await acme.fill(miss, {"made": (1, 2)}, ttl=60, tags=["news"])
    assert (await acme.get("x", "1")).value == {"made": (1, 2)}
    assert 59 < (await acme.ttl("x", "1") or 0) <= 60
    await acme.invalidate(tag="news")
    assert not await acme.get("x", "1")


async def test_of_several_the_first_stays_in_every_tier(cache: Cache) -> None:
    acme = cache.tenant("acme")
    misses = await asyncio.gather(*(acme.get("x", "1") for _ in range(8)))
    stored = await asyncio.gather(*(
        acme.fill(miss, number) for number, miss in enumerate(misses) if isinstance(miss, Miss)
    ))  # fmt: skip
    assert stored.count(True) == 1
    value = stored.index(True)
    assert (await acme.get("x", "1")).value == value
    inside(cache).memory.flush()
    assert (await acme.get("x", "1")).value in (value, None)


@pytest.mark.parametrize(
    "invalidation",
    [
        {"data_type": "x", "resource_id": "1"},
        {"data_type": "x", "resource_id": "*"},
        {"agent": "a"},
        {"tag": "news"},
        {},
    ],
    ids=["resource", "type", "agent", "tag", "tenant"],
)
async def test_what_was_made_before_an_invalidation_is_not_stored_after_it(
    cache: Cache, invalidation: dict[str, str]
) -> None:
    acme = cache.tenant("acme")
    mine = acme.within(agent="a")
    miss = await mine.get("x", "1")
    await acme.invalidate(**invalidation)
    assert not await mine.fill(miss, "old", tags=["news"])
    assert not await mine.get("x", "1")
    assert await mine.fill(await mine.get("x", "1"), "new", tags=["news"])


async def test_an_invalidation_of_something_else_does_not_refuse_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    miss = await acme.get("x", "1")
    await acme.invalidate("x", "2")
    await cache.tenant("other").invalidate()
    assert await acme.fill(miss, "value")


async def test_what_another_process_has_stored_or_invalidated_stands(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        missed = [await here.get("x", each) for each in "123"]
        assert await there.set("x", "1", "set")
        assert await there.fill(await there.get("x", "2"), "filled")
        await there.invalidate("x", "3")
        assert [await here.fill(miss, "late") for miss in missed] == [False] * 3
        await group.hear()
        for handle in (here, there):
            assert [(await handle.get("x", each)).value for each in "123"] == [
                "set", "filled", None,
            ]  # fmt: skip


async def test_it_works_across_tasks_timeouts_and_threads(cache: Cache) -> None:
    acme = cache.tenant("acme")
    miss = await asyncio.create_task(acme.get("x", "1"))
    assert await asyncio.wait_for(acme.fill(miss, 1), TIMEOUT)
    loop, answers = asyncio.get_running_loop(), []
    for_thread = await acme.get("x", "2")

    def in_a_thread() -> None:
        future = asyncio.run_coroutine_threadsafe(acme.fill(for_thread, 2), loop)
        answers.append(future.result(TIMEOUT))

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    await asyncio.to_thread(thread.join)
    assert answers == [True]
    assert [(await acme.get("x", each)).value for each in "12"] == [1, 2]


async def test_what_was_made_of_the_key_stays(cache: Cache) -> None:
    acme = cache.tenant("acme")
    miss = await acme.get("x", "source")
    await acme.load("y", "made", lambda: Loaded("made", sources=["x:source"]))
    await all_stored(acme)
    assert await acme.fill(miss, "source")
    assert (await acme.get("y", "made")).value == "made"


async def test_get_many_gives_misses_that_can_be_filled(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "2", "there")
    found = await acme.get_many("x", ["1", "2", "3"])
    await acme.invalidate("x", "3")
    filled = [await acme.fill(each, "made") for each in found if not each]
    assert filled == [True, False]


async def test_a_known_absence_is_falsy_and_gives_way(make_cache: MakeCache) -> None:
    cache = make_cache(policy=Policy(none_ttl=500))
    acme = cache.tenant("acme")
    early = await acme.get("x", "1")
    assert not await acme.load("x", "1", lambda: None)
    await all_stored(acme)
    for absent in (
        await acme.get("x", "1", default="nobody"),
        *await acme.get_many("x", ["1"]),
        await acme.load("x", "1", lambda: "never asked"),
    ):
        assert isinstance(absent, Hit)
        assert (bool(absent), absent.absent) == (False, True)
    assert (await acme.get("x", "1", default="nobody")).value == "nobody"
    assert await acme.fill(early, "there now")
    assert (await acme.get("x", "1")).value == "there now"
    await acme.invalidate("x", "1")
    await acme.load("x", "1", lambda: None)
    await all_stored(acme)
    absent = await acme.get("x", "1")
    assert isinstance(absent, Hit)
    assert await acme.fill(absent, "again"), "an absence is a miss to who can make the value"
    hit = await acme.get("x", "1")
    assert (hit.value, hit.absent, bool(hit)) == ("again", False, True)


async def test_what_follows_a_known_absence_is_fenced_too(make_cache: MakeCache) -> None:
    acme = make_cache(policy=Policy(none_ttl=500)).tenant("acme")
    await acme.load("x", "1", lambda: None)
    await all_stored(acme)
    assert not await acme.get("x", "1")
    await acme.invalidate("x", "1")
    assert not await acme.set("x", "1", "old row")


async def test_default_is_the_value_of_a_miss(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert (await acme.get("x", "1", default=5)).value == 5
    assert (await acme.get("x", "1")).value is None
    await acme.set("x", "1", 0)
    assert (await acme.get("x", "1", default=5)).value == 0


@pytest.mark.parametrize("mode", ["on", "observe", "off"])
async def test_every_read_takes_a_default(make_cache: MakeCache, mode: str) -> None:
    cache = make_cache(policy=Policy(none_ttl=500), mode=mode)
    acme = cache.tenant("acme")
    await acme.set("x", "1", 0)
    await acme.load("x", "2", lambda: None)
    await all_stored(acme)
    ids = ["1", "2", "3"]
    expected = [0, 5, 5] if mode == "on" else [5, 5, 5]
    assert [each.value for each in await acme.get_many("x", ids, default=5)] == expected
    one_by_one = [await cache.get(acme.key("x", each), default=5) for each in ids]
    assert [each.value for each in one_by_one] == expected
    typed = await acme.get_many("x", ids, type=int, default=5)
    assert [each.value for each in typed] == expected
    assert [each.value for each in await acme.get_many("x", ["3"])] == [None]
    assert (await cache.get(acme.key("x", "3"))).value is None


async def test_a_value_that_is_kept_for_need_alone_is_replaced(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_if_error=600))
    acme = cache.tenant("acme")
    await acme.set("x", "1", "ancient")
    clock.advance(20)
    first, second = await acme.get("x", "1"), await acme.get("x", "1")
    assert await acme.fill(first, "new")
    assert not await acme.fill(second, "late")
    assert (await acme.get("x", "1")).value == "new"


async def test_a_value_that_was_only_hidden_is_not_replaced(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "there")
    with cache.bypass():
        miss = await acme.get("x", "1")
        assert not await acme.fill(miss, "inside"), "inside, nothing is stored"
    assert not miss
    assert not await acme.fill(miss, "other")
    assert (await acme.get("x", "1")).value == "there"


async def test_what_hides_in_mode_observe_is_not_replaced(make_cache: MakeCache) -> None:
    acme = make_cache(mode="observe").tenant("acme")
    assert await acme.fill(await acme.get("x", "1"), "first")
    assert not await acme.fill(await acme.get("x", "1"), "second")


async def test_after_a_miss_that_could_not_be_read_nothing_is_stored(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        flaky.fail("read", times=1)
        miss = await acme.get("x", "1")
        assert not await acme.fill(miss, "old")
        miss = await acme.get("x", "1")
        flaky.fail("fill", times=1)
        assert not await acme.fill(miss, "value")
        assert not await acme.get("x", "1"), "nor above what did not take it"


async def test_after_a_flush_of_memory_an_older_miss_says_nothing(make_cache: MakeCache) -> None:
    cache = make_cache()
    acme = cache.tenant("acme")
    miss = await acme.get("x", "1")
    inside(cache).memory.flush()
    stored = await acme.fill(miss, "value")
    assert stored == bool(inside(cache).lower), "memory alone cannot tell any more"
    assert (await acme.get("x", "1")).value == ("value" if stored else None)


async def test_what_cannot_be_stored_says_so(cache: Cache) -> None:
    acme = cache.tenant("acme")
    miss = await acme.get("x", "1")
    with pytest.raises(SerializationError):
        await acme.fill(miss, object())
    with pytest.raises(BadInput, match="ttl"):
        await acme.fill(miss, 1, ttl=-1)
    assert await acme.fill(miss, 1)


@pytest.mark.parametrize("wrong", ["a hit", "of a load", "a str", None, 5])
async def test_only_what_get_has_missed_can_be_filled(cache: Cache, wrong: Any) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "value")
    given = {"a hit": await acme.get("x", "1"), "of a load": await acme.load("x", "2", _nothing)}
    with pytest.raises(BadInput, match="no miss of get"):
        await acme.fill(given.get(wrong, wrong), "value")


async def test_a_miss_of_another_tenant_or_cache_is_refused(make_cache: MakeCache) -> None:
    one, other = make_cache(), make_cache()
    acme = one.tenant("acme")
    fills: list[Callable[[Any], Any]] = [
        partial(one.tenant("beta").fill, value=1),
        partial(other.tenant("acme").fill, value=1),
    ]
    for fill in fills:
        with pytest.raises(BadInput, match="another tenant or another cache"):
            await fill(await acme.get("x", "1"))


def _nothing() -> None:
    return None
