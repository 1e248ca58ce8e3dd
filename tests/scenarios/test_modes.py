"""On, off and observe, and the block that goes past the tiers."""

import asyncio
from typing import Any

import pytest

from cascada.api.cache import Cache
from cascada.model.entry import Miss
from cascada.model.errors import BadInput
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored


async def test_inside_bypass_reads_go_to_their_sources_and_store_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "cached")
    row = Row("from the source")
    with cache.bypass():
        for reads in (1, 2):
            answer = await acme.load("x", "1", row.read)
            assert (answer.value, answer.tier) == ("from the source", "source")
            assert row.reads == reads
        assert isinstance(await acme.get("x", "1"), Miss)
        (nothing,) = await acme.get_many("x", ["1"])
        assert isinstance(nothing, Miss)
        many = await acme.load_many("x", ["1", "2"], lambda ids: [each * 2 for each in ids])
        assert [hit.value for hit in many] == ["11", "22"]
    assert (await acme.get("x", "1")).value == "cached"
    assert not await acme.get("x", "2")


async def test_a_set_inside_bypass_is_not_stored_and_leaves_no_old_value(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    with cache.bypass():
        assert not await acme.set("x", "1", "new")
    assert not await acme.get("x", "1")


async def test_an_invalidation_inside_bypass_is_carried_out(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    with cache.bypass():
        await acme.invalidate("x", "1")
    assert not await acme.get("x", "1")


async def test_bypass_holds_for_the_tasks_that_are_started_inside_and_for_no_others(
    cache: Cache,
) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "cached")
    entered, leave = asyncio.Event(), asyncio.Event()

    async def bypassing() -> Any:
        with cache.bypass():
            entered.set()
            await leave.wait()
            return await asyncio.create_task(acme.load("x", "1", Row("source").read))

    inside = asyncio.create_task(bypassing())
    await entered.wait()
    assert (await acme.load("x", "1", Row("not asked").read)).value == "cached"
    leave.set()
    assert (await inside).value == "source"
    assert (await acme.get("x", "1")).value == "cached"


async def test_bypass_of_one_cache_is_not_that_of_another(make_cache: MakeCache) -> None:
    one, other = make_cache(), make_cache(observers=[lambda event: None])
    await other.tenant("acme").set("x", "1", "cached")
    with one.bypass():
        assert (await other.tenant("acme").get("x", "1")).value == "cached"
        assert await other.tenant("acme").set("x", "1", "new")
    with other.bypass(), one.bypass():
        assert not await other.tenant("acme").get("x", "1")


async def test_blocks_may_lie_in_each_other(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "cached")
    with cache.bypass():
        with cache.bypass():
            assert not await acme.get("x", "1")
        assert not await acme.get("x", "1")
    assert await acme.get("x", "1")


async def test_a_cache_that_is_off_stores_nothing_and_still_invalidates(
    make_cache: MakeCache,
) -> None:
    on, off = make_cache(), make_cache(mode="off")
    row = Row("source")
    acme = off.tenant("acme")
    for reads in (1, 2):
        assert (await acme.load("x", "1", row.read)).value == "source"
        assert row.reads == reads
    assert not await acme.set("x", "1", "value")
    assert isinstance(await acme.get("x", "1"), Miss)
    assert (await off.stats()).total.hits == 0

    await on.tenant("acme").set("x", "1", "old")
    await acme.invalidate("x", "1")
    if on.options == off.options or inside(on).feed is not None:
        inside(on).memory.flush()
        assert not await on.tenant("acme").get("x", "1")


async def test_a_cache_that_observes_serves_the_source_and_counts_what_would_have_been_hit(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(mode="observe")
    acme = cache.tenant("acme")
    row = Row("first")
    assert (await acme.load("x", "1", row.read)).value == "first"
    await all_stored(acme)
    row.value = "second"
    answer = await acme.load("x", "1", row.read)
    assert (answer.value, answer.tier) == ("second", "source")
    assert row.reads == 2
    total = (await cache.stats()).total
    assert (total.hits, total.misses) == (1, 1)


async def test_a_cache_that_observes_counts_the_hand_written_pattern_as_well(
    make_cache: MakeCache,
) -> None:
    cache = make_cache(mode="observe")
    acme = cache.tenant("acme")
    for _ in range(3):
        assert isinstance(await acme.get("x", "1"), Miss), "the caller gets what its source says"
        assert await acme.set("x", "1", "row")
    (nothing,) = await acme.get_many("x", ["1"])
    assert isinstance(nothing, Miss)
    total = (await cache.stats()).total
    assert (total.hits, total.misses) == (3, 1)


async def test_what_is_set_while_observing_is_fenced_though_a_tier_had_the_key(
    make_cache: MakeCache,
) -> None:
    """The caller was told of a miss, and may have read the old row."""
    cache = make_cache(mode="observe")
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old")
    assert isinstance(await acme.get("x", "1"), Miss)
    await asyncio.create_task(acme.invalidate("x", "1"))
    assert not await acme.set("x", "1", "old row")
    assert await acme.ttl("x", "1") is None


async def test_observing_serves_every_follower_from_the_source(make_cache: MakeCache) -> None:
    cache = make_cache(mode="observe")
    acme = cache.tenant("acme")
    row = Row("value", seconds=0.01)
    answers = await asyncio.gather(*(acme.load("x", "1", row.read) for _ in range(5)))
    assert {answer.tier for answer in answers} == {"source"}
    assert row.reads == 5


async def test_a_mode_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="on, observe, off"):
        Cache(mode="maybe")  # type: ignore[arg-type]
