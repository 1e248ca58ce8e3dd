"""Hand-written sets of equal values: they do not undo each other, and starve nobody."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from cascada import Cache, CacheManager, Limits, Loaded
from cascada.testing.flaky import FlakyTier
from tests.scenarios.conftest import TIMEOUT, MakeNodes
from tests.scenarios.row import Row, all_stored

WORKERS = 20
REQUESTS = 10
AT_MOST = 25

Request = Callable[[Any, Callable[[], Awaitable[int]]], Awaitable[None]]


async def by_set(cache: Cache, source: Callable[[], Awaitable[int]]) -> None:
    acme = cache.tenant("acme")
    if not await acme.get("row", "1"):
        await source()
        await acme.set("row", "1", {"row": "always this"})


async def by_manager(cache: Cache, source: Callable[[], Awaitable[int]]) -> None:
    if await CacheManager.get("row", "1", "acme") is None:
        await source()
        await CacheManager.set("row", "1", {"row": "always this"}, "acme")


async def by_fill(cache: Cache, source: Callable[[], Awaitable[int]]) -> None:
    acme = cache.tenant("acme")
    if not (miss := await acme.get("row", "1")):
        await acme.fill(miss, await source())


async def by_embedding(cache: Cache, source: Callable[[], Awaitable[int]]) -> None:
    if await CacheManager.get_embedding("text", "model", "acme") is None:
        await CacheManager.set_embedding("text", [float(await source())], "model", "acme")


async def by_query_result(cache: Cache, source: Callable[[], Awaitable[int]]) -> None:
    if await CacheManager.get_query_result("query", "k1", "acme") is None:
        await CacheManager.set_query_result("query", await source(), "k1", "acme")


@pytest.mark.parametrize("request_", [by_set, by_manager, by_fill, by_embedding, by_query_result])
async def test_the_source_is_asked_about_once_by_each_who_missed(
    cache: Cache, request_: Request
) -> None:
    """All workers miss, and read a row or make something different each; some are slower."""
    CacheManager.configure(cache)
    made = count()

    async def source() -> int:
        number = next(made)
        await asyncio.sleep(0.005 + 0.002 * (number % 3))
        return number

    async def worker() -> None:
        for _ in range(REQUESTS):
            await request_(cache, source)

    try:
        await asyncio.gather(*(asyncio.create_task(worker()) for _ in range(WORKERS)))
    finally:
        CacheManager.configure(None)
    assert next(made) <= AT_MOST


async def test_of_equal_sets_at_once_one_is_always_there(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for number in range(50):
        stored = await asyncio.gather(*(acme.set("x", f"{number}", "same") for _ in range(4)))
        assert all(stored)
        assert (await acme.get("x", f"{number}")).value == "same"


async def test_of_equal_sets_in_processes_one_is_always_there(nodes: MakeNodes) -> None:
    async with nodes(3) as group:
        handles = [node.tenant("acme") for node in group]
        for number in range(20):
            sets = (each.set("x", f"{number}", "same", tags=["t"]) for each in handles * 2)
            assert all(await asyncio.gather(*sets))
            await group.hear()
            assert [(await each.get("x", f"{number}")).value for each in handles] == ["same"] * 3


async def test_an_equal_value_that_was_set_in_between_stays(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        assert not await here.get("x", "1")
        await there.set("x", "1", {"row": 1}, ttl=50, tags=["b", "a"])
        assert await here.set("x", "1", {"row": 1}, ttl=500, tags=["a", "b"])
        await group.hear()
        for handle in (here, there):
            assert (await handle.get("x", "1")).value == {"row": 1}
            assert (await handle.ttl("x", "1") or 99) <= 50, "the shorter life stays"


@pytest.mark.parametrize(
    "different",
    [{"value": {"row": 2}}, {"tags": ["a"]}, {"version": 9}],
    ids=["value", "tags", "version"],
)
async def test_a_different_value_that_was_set_in_between_goes(
    cache: Cache, different: dict[str, Any]
) -> None:
    """Either may be the newer: who missed may have WRITTEN the row before it was set."""
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await asyncio.create_task(acme.set("x", "1", {"row": 1}))
    assert not await acme.set("x", "1", **{"value": {"row": 1}, **different})
    assert not await acme.get("x", "1")


async def test_what_was_made_of_the_row_before_goes_although_the_value_stays(cache: Cache) -> None:
    """Missed, WROTE the row, set: an equal value may have been loaded from it meanwhile."""
    acme = cache.tenant("acme")
    await acme.load("y", "made", lambda: Loaded("of the old row", sources=["x:1"]))
    await all_stored(acme)
    assert not await acme.get("x", "1")
    await asyncio.create_task(acme.load("x", "1", lambda: "new row"))
    await all_stored(acme)
    await asyncio.create_task(acme.set("x", "1", "new row"))
    assert await acme.set("x", "1", "new row")
    assert (await acme.get("x", "1")).value == "new row"
    assert not await acme.get("y", "made")


async def test_a_load_that_began_before_an_equal_set_does_not_replace_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    await asyncio.create_task(acme.set("x", "1", "new row"))
    row = Row("old row")
    row.hold()
    await asyncio.create_task(acme.delete("x", "1"))
    loading = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    await asyncio.create_task(acme.set("x", "1", "new row"))
    assert await acme.set("x", "1", "new row")
    row.let_go()
    await loading
    await all_stored(acme)
    assert (await acme.get("x", "1")).value == "new row"


async def test_an_older_version_leaves_the_newer_one_in_all_tiers(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert await acme.set("x", "1", "two", version=2)
    assert not await acme.set("x", "1", "one", version=1)
    assert (await acme.get("x", "1")).value == "two"
    row = Row("never asked")
    assert (await acme.load("x", "1", row.read)).value == "two", "nobody waits for its lease"


async def test_a_set_whose_tier_fails_owes_as_before(
    flaky: FlakyTier, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "old")
        flaky.fail("fill", times=1)
        assert not await acme.set("x", "1", "new")
        # Until the tier has been told, memory alone has the new value, and vouches for nothing.
        hit = await acme.get("x", "1")
        assert hit.value in ("new", None)
        assert hit.value is None or hit.stale
