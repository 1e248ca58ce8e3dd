"""After `invalidate` has returned nobody who asks gets the old value, whatever was under way."""

import asyncio
from typing import Any

import pytest

from cascada import Limits
from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.model.loaded import Loaded
from cascada.model.policy import CachePriority, Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from tests.scenarios.conftest import TIMEOUT, MakeCache
from tests.scenarios.row import Row, kept, turns


def ask(acme: Tenant, row: Row, callers: int = 1) -> list[asyncio.Task[Any]]:
    return [asyncio.create_task(acme.load("x", "1", row.read)) for _ in range(callers)]


async def values(callers: list[asyncio.Task[Any]]) -> set[Any]:
    return {answer.value for answer in await asyncio.gather(*callers)}


async def test_500_callers_with_an_invalidation_in_the_middle_cause_two_loads_and_no_old_answer(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    row = Row("old", seconds=0.05)
    row.hold()
    before = ask(acme, row, 250)
    await row.being_read()
    await turns()
    row.value = "new"
    await acme.invalidate("x", "1")
    after = ask(acme, row, 250)
    await turns()
    row.let_go()
    assert await values(after) == {"new"}
    assert await values(before) <= {"old", "new"}
    assert row.reads == 2
    assert await kept(acme) == "new"


@pytest.mark.parametrize("after_which_turn", range(12))
async def test_wherever_the_invalidation_falls_who_asks_after_it_gets_the_new_value(
    cache: Cache, after_which_turn: int
) -> None:
    acme = cache.tenant("acme")
    row = Row("old")
    loading = ask(acme, row, 3)
    await turns(after_which_turn)
    row.value = "new"
    await acme.invalidate("x", "1")
    assert (await acme.load("x", "1", row.read)).value == "new"
    assert await kept(acme) == "new"
    await asyncio.gather(*loading)
    assert await kept(acme) == "new"


@pytest.mark.parametrize(
    "invalidation",
    [
        {"data_type": "x", "resource_id": "1", "agent": "a"},
        {"data_type": "x", "resource_id": "1"},
        {"data_type": "x", "resource_id": "*"},
        {"data_type": "x", "resource_id": "*", "agent": "a"},
        {"agent": "a"},
        {"tag": "news"},
        {"data_type": "doc", "resource_id": "7"},
        {},
    ],
    ids=["key", "resource", "type", "type at agent", "agent", "tag", "source", "tenant"],
)
async def test_a_load_under_way_is_not_kept_if_anything_that_names_it_was_invalidated(
    cache: Cache, invalidation: dict[str, str]
) -> None:
    acme = cache.tenant("acme")
    mine = acme.within(agent="a")
    row = Row("old")
    row.hold()

    async def fetch() -> Loaded[str]:
        return Loaded(await row.read(), tags=["news"], sources=["doc:7"])

    first = asyncio.create_task(mine.load("x", "1", fetch))
    await row.being_read()
    row.value = "new"
    await acme.invalidate(**invalidation)
    second = asyncio.create_task(mine.load("x", "1", fetch))
    await turns()
    row.let_go()
    assert (await first).value == "old"  # it had asked before
    assert (await second).value == "new"
    assert await kept(mine) == "new"


@pytest.mark.parametrize(
    "policy",
    [Policy(durable=False), *(Policy(priority=each) for each in CachePriority)],
    ids=["durable=False", *(each.name for each in CachePriority)],
)
async def test_nobody_joins_an_old_load_whose_value_has_no_place_in_the_tier_that_proves_it(
    make_cache: MakeCache, policy: Policy
) -> None:
    """Only the value bears the tag, and that tier is sent no value."""
    acme = make_cache(policies={"x": policy}).tenant("acme")
    row = Row("old")
    row.hold()

    async def fetch() -> Loaded[str]:
        return Loaded(await row.read(), tags=["news"])

    first = asyncio.create_task(acme.load("x", "1", fetch))
    await row.being_read()
    row.value = "new"
    await acme.invalidate(tag="news")
    second = asyncio.create_task(acme.load("x", "1", fetch))
    await turns()
    row.let_go()
    assert (await first).value == "old"  # it had asked before
    assert (await second).value == "new"


async def test_an_invalidation_of_something_else_costs_nobody_a_second_load(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("old")
    row.hold()
    callers = ask(acme, row, 10)
    await row.being_read()
    await acme.invalidate("x", "2")
    await acme.invalidate(tag="other")
    await cache.tenant("other").invalidate()
    callers += ask(acme, row, 10)
    await turns()
    row.let_go()
    assert await values(callers) == {"old"}
    assert row.reads == 1
    assert await kept(acme) == "old"


async def test_set_during_a_load_stands_against_what_the_load_brings(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("old")
    row.hold()
    (loading,) = ask(acme, row)
    await row.being_read()
    assert await acme.set("x", "1", "set")
    row.let_go()
    await loading
    assert await kept(acme) == "set"
    assert (await acme.load("x", "1", row.read)).value == "set"


async def test_who_asks_during_a_load_after_a_set_gets_what_was_set(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("old")
    row.hold()
    (first,) = ask(acme, row)
    await row.being_read()
    await acme.set("x", "1", "set")
    second = ask(acme, row)
    await turns()
    row.let_go()
    await first
    assert await values(second) == {"set"}
    assert row.reads == 1


async def test_an_invalidation_while_the_value_is_stored_is_heard_by_who_asks_after_it(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    """The fill was carried out and accepted, its answer is still on the way: who asks now cannot
    take that for a proof that nothing has named the key since."""
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        row = Row("old")
        with flaky.hang("fill", carried_out=True) as held:
            first = ask(acme, row)
            await held.reached()
            row.value = "new"
            await acme.invalidate("x", "1")
            second = ask(acme, row)
            await turns()
        assert await values(first) == {"old"}
        assert await values(second) == {"new"}
        assert await kept(acme) == "new"


async def test_a_read_of_the_shared_tier_that_an_invalidation_overtakes_is_not_kept_in_memory(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "old", tags=["news"])
        for invalidation in ({"tag": "news"}, {"data_type": "x", "resource_id": "1"}):
            await acme.set("x", "1", "old", tags=["news"])
            inside(cache).memory.flush()
            with flaky.hang("read", carried_out=True) as held:
                reading = asyncio.create_task(acme.get("x", "1"))
                await held.reached()
                await acme.invalidate(**invalidation)
            assert (await reading).value == "old"
            assert await kept(acme) is None


async def test_a_read_under_way_when_memory_is_emptied_is_not_kept(
    flaky: FlakyTier, clock: ManualClock, nothing_left_behind: None
) -> None:
    """Memory is emptied when messages were lost: what a read brought from before may be old."""
    async with Cache(tiers=[flaky], clock=clock, limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "old")
        inside(cache).memory.flush()
        with flaky.hang("read", carried_out=True) as held:
            reading = asyncio.create_task(acme.get("x", "1"))
            await held.reached()
            inside(cache).memory.flush()
        assert (await reading).tier == "l3"
        assert (await acme.get("x", "1")).tier == "l3"
        assert (await acme.get("x", "1")).tier == "l1"


async def test_more_invalidations_than_are_remembered_void_the_loads_they_might_have_named(
    cache: Cache,
) -> None:
    """A load learns its tags at its end. Had the ring of names lost the one it needs, and nobody
    raised the low-water mark, the value would stay although its tag was invalidated."""
    inside(cache).memory.names.ring_size = 8
    acme = cache.tenant("acme")
    row = Row("old")
    row.hold()

    async def fetch() -> Loaded[str]:
        return Loaded(await row.read(), tags=["news"])

    loading = asyncio.create_task(acme.load("x", "1", fetch))
    await row.being_read()
    await acme.invalidate(tag="news")
    for number in range(10):
        await acme.invalidate(tag=f"other {number}")
    row.value = "new"
    row.let_go()
    await loading
    assert (await acme.load("x", "1", fetch)).value == "new"


@pytest.mark.parametrize("stale_if_error", [None, 100])
async def test_a_failing_source_does_not_bring_an_invalidated_value_back(
    make_cache: MakeCache, clock: ManualClock, stale_if_error: int | None
) -> None:
    policy = Policy(ttl=10, stale_for=100, stale_if_error=stale_if_error)
    acme = make_cache(policy=policy).tenant("acme")
    await acme.set("x", "1", "old")
    await acme.invalidate("x", "1")
    clock.advance(20)
    with pytest.raises(OSError, match="down"):
        await acme.load("x", "1", Row(OSError("down")).read)
    assert await kept(acme) is None


@pytest.mark.parametrize(
    "invalidation",
    [
        {"data_type": "x", "resource_id": "1"},
        {"tag": "news"},
        {"data_type": "y", "resource_id": "7"},
    ],
    ids=["resource", "tag", "source"],
)
async def test_an_old_value_that_is_invalidated_while_its_source_fails_is_not_served(
    make_cache: MakeCache, clock: ManualClock, invalidation: dict[str, str]
) -> None:
    acme = make_cache(policy=Policy(ttl=10, stale_if_error=100)).tenant("acme")
    await acme.set("x", "1", "old", tags=["news"], sources=["y:7"])
    clock.advance(20)
    row = Row(OSError("down"))
    row.hold()
    loading = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    await acme.invalidate(**invalidation)
    later = asyncio.create_task(acme.load("x", "1", row.read))
    await turns()
    row.let_go()
    for caller in (loading, later):
        with pytest.raises(OSError, match="down"):
            await caller
