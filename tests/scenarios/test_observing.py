"""Mode observe: what would have been hit, what that would have saved, and what of it was stale."""

import asyncio
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.engine.selfcheck import MOST
from cascada.model.entry import Miss
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.checking import all_checked, at_once
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, turns, until


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return at_once(make_cache(mode="observe", policies={"old": Policy(ttl=10, stale_for=60)}))


async def passes(cache: Cache, clock: ManualClock, seconds: float) -> None:
    """Let time pass, and memory hear that it has missed nothing."""
    clock.advance(seconds)
    if (feed := inside(cache).feed) is not None:
        await feed.poll()


async def test_a_report_says_by_type_what_would_have_been_hit_saved_and_stale(
    cache: Cache, clock: ManualClock
) -> None:
    acme = cache.tenant("acme")
    kept, forgotten = Row("right"), Row("old")

    async def slow() -> Any:
        await passes(cache, clock, 2)
        return await kept.read()

    await acme.load("kept", "1", slow)
    await acme.load("forgotten", "1", forgotten.read)
    await all_stored(acme)
    for _ in range(3):
        assert (await acme.load("kept", "1", slow)).value == "right"
    forgotten.value = "new"
    for _ in range(2):
        assert (await acme.load("forgotten", "1", forgotten.read)).value == "new", "the truth"
    await acme.load("never", "1", Row(None).read)
    await all_checked(cache)

    report = await cache.stats()
    assert report.mode == "observe"
    kept_, forgotten_ = report.types["kept"], report.types["forgotten"]
    assert (kept_.reads, kept_.hits, kept_.saved_seconds) == (4, 3, 6.0)
    assert (kept_.checked, kept_.differed, kept_.consistency) == (3, 0, 1.0)
    assert (forgotten_.hits, forgotten_.checked) == (2, 2)
    assert (forgotten_.differed, forgotten_.differed_1s, forgotten_.differed_10s) == (2, 2, 2)
    assert forgotten_.consistency == 0.0
    assert (report.types["never"].reads, report.types["never"].consistency) == (1, None)
    assert (report.total.reads, report.total.hits, report.total.differed_10s) == (8, 5, 2)
    assert "find what changes forgotten without invalidating it" in str(report)


async def test_what_is_invalidated_is_observed_to_be_right(cache: Cache) -> None:
    acme, row = cache.tenant("acme"), Row("old")
    for value in ("old", "new", "newer"):
        row.value = value
        await acme.invalidate("x", "1")
        for _ in range(2):
            await acme.load("x", "1", row.read)
            await all_stored(acme)
    await all_checked(cache)
    of = (await cache.stats()).types["x"]
    assert (of.hits, of.misses, of.checked, of.differed) == (3, 3, 3, 0)


async def test_what_says_that_it_is_stale_would_have_been_a_hit_and_promises_nothing(
    cache: Cache, clock: ManualClock
) -> None:
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("old", "1", row.read)
    await all_stored(acme)
    clock.advance(11)
    await acme.get("old", "any")
    row.value = "new"
    await acme.load("old", "1", row.read)
    await turns()
    of = (await cache.stats()).types["old"]
    assert (of.hits, of.checked) == (1, 0)


async def test_a_batch_is_saved_once_and_compared_one_by_one(
    cache: Cache, clock: ManualClock
) -> None:
    acme = cache.tenant("acme")
    rows = {"1": "a", "2": "b"}

    async def load(ids: list[str]) -> dict[str, str]:
        await passes(cache, clock, 3)
        return {each: rows[each] for each in ids}

    await acme.load_many("x", ["1", "2"], load)
    await all_stored(acme)
    rows["2"] = "changed"
    hits = await acme.load_many("x", ["1", "2"], load)
    assert [hit.value for hit in hits] == ["a", "changed"]
    await all_checked(cache)
    of = (await cache.stats()).types["x"]
    assert (of.hits, of.saved_seconds, of.checked, of.differed_10s) == (2, 3.0, 2, 1)


async def test_the_hand_written_pattern_is_worth_what_loads_of_its_type_take(
    cache: Cache, clock: ManualClock
) -> None:
    acme = cache.tenant("acme")

    async def slow() -> str:
        clock.advance(0.25)
        return "row"

    await acme.load("x", "1", slow)
    await all_stored(acme)
    for _ in range(3):
        assert isinstance(await acme.get("x", "1"), Miss)
    of = (await cache.stats()).types["x"]
    assert (of.hits, of.checked, of.saved_seconds) == (3, 0, 0.75)


async def test_what_a_generator_made_is_not_compared_and_made_once_for_each_read(
    cache: Cache,
) -> None:
    acme, nothing = cache.tenant("acme"), Row(None)
    made = iter(range(10))
    for _ in range(3):
        await acme.load("x", "1", nothing.read, lambda: next(made))
        await all_stored(acme)
    await all_checked(cache)
    assert next(made) == 3
    total = (await cache.stats()).total
    assert (total.hits, total.checked, total.unchecked) == (2, 0, 2)
    for _ in range(3):
        await acme.load("x", "2", nothing.read, lambda: "the same each time")
        await all_stored(acme)
    total = (await cache.stats()).total
    assert (total.hits, total.checked, total.unchecked) == (4, 0, 4), "it proves nothing"


async def test_another_caller_s_load_is_no_hit_and_saves_what_it_took(
    cache: Cache, clock: ManualClock
) -> None:
    acme, row = cache.tenant("acme"), Row("value")

    async def slow() -> Any:
        clock.advance(1)
        return await row.read()

    row.hold()
    reads = [asyncio.create_task(acme.load("x", "1", slow)) for _ in range(3)]
    await row.being_read()
    row.let_go()
    await asyncio.gather(*reads)
    of = (await cache.stats()).types["x"]
    assert (of.reads, of.hits, of.coalesced, of.checked) == (1, 0, 2, 0)
    assert of.saved_seconds == 3, "one took 1 s, and the other one saw that pass as well"


async def test_a_value_that_cannot_be_stored_is_the_caller_s_all_the_same(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: "plain")
    await all_stored(acme)
    strange = object()
    assert (await acme.load("x", "1", lambda: strange)).value is strange
    await all_checked(cache)
    assert (await cache.stats()).total.unchecked == 1


async def test_a_caller_may_change_what_it_got_while_it_is_compared(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.load("x", "1", lambda: {"n": 1})
    await all_stored(acme)
    (await acme.load("x", "1", lambda: {"n": 1})).value["n"] = "mine"
    await all_checked(cache)
    of = (await cache.stats()).types["x"]
    assert (of.checked, of.differed) == (1, 0)


async def test_many_differences_do_not_run_down_the_source(make_cache: MakeCache) -> None:
    cache = make_cache(mode="observe")
    acme, row = cache.tenant("acme"), Row("old")
    await acme.load("x", "1", row.read)
    await all_stored(acme)
    row.value = "new"
    reads = 1 + MOST + 20
    await asyncio.gather(*(acme.load("x", "1", row.read) for _ in range(reads - 1)))
    await until(lambda: inside(cache).counted.total.differed == MOST)
    await turns()
    assert (await cache.stats()).total.checked == MOST
    assert row.reads == reads + MOST, "each difference is confirmed once, then waits"
    async with asyncio.timeout(5):
        await cache.aclose()
