"""Between a load's value and its fill: who asks then, and what he may have."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cascada import Cache, Limits, Loaded
from cascada.api.tenant.handle import Tenant
from cascada.testing.flaky import FlakyTier
from tests.scenarios.conftest import TIMEOUT
from tests.scenarios.row import Row, all_stored, turns

Ask = Callable[[Tenant], Awaitable[Any]]

ASKS: dict[str, Ask] = {
    "get": lambda acme: acme.get("x", "1"),
    "typed": lambda acme: acme.get("x", "1", type=str),
    "in a context": lambda acme: acme.within(agent="a").get("x", "1"),
}


@pytest.mark.parametrize("ask", ASKS)
async def test_who_has_loaded_finds_the_value_at_once(cache: Cache, ask: str) -> None:
    acme = cache.tenant("acme")
    for number in range(20):
        await acme.load("x", "1", lambda number=number: f"{number}")
        assert (await ASKS[ask](acme)).value == f"{number}"
        await acme.invalidate("x", "1")


async def test_who_has_loaded_many_finds_them_at_once(cache: Cache) -> None:
    acme = cache.tenant("acme")
    ids = [f"{number}" for number in range(30)]
    await acme.load_many("x", ids, lambda missing: {each: each for each in missing})
    assert [hit.value for hit in await acme.get_many("x", ids)] == ids
    assert await acme.ttl("x", "7") is not None


async def test_who_has_loaded_is_told_that_he_deletes_something(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for number in range(10):
        await acme.load("x", number, lambda: "row")
        assert await acme.delete("x", number)
        assert not await acme.get("x", number)
        assert not await acme.delete("x", number)
        await acme.load("x", f"none {number}", lambda: None)
        assert not await acme.delete("x", f"none {number}")


async def test_what_is_invalidated_while_it_is_stored_is_not_found(
    flaky: FlakyTier, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.get("warm", "up")
        with flaky.hang("fill"):
            assert (await acme.load("x", "1", lambda: "old")).value == "old"
            asking = asyncio.create_task(acme.get("x", "1"))
            await turns()
            assert not asking.done(), "it waits for what is being stored"
            await acme.invalidate("x", "1")
        assert not await asking
        await all_stored(acme)


async def test_a_tier_that_does_not_take_it_is_not_waited_for_for_ever(
    flaky: FlakyTier, nothing_left_behind: None
) -> None:
    async with Cache(tiers=[flaky], limits=Limits(op_timeout=TIMEOUT)) as cache:
        acme = cache.tenant("acme")
        await acme.get("warm", "up")
        flaky.fail("fill", times=1)
        await acme.load("x", "1", lambda: "value")
        assert not await acme.get("x", "1")


@pytest.mark.parametrize("result", ["not stored", "nothing", "too short-lived"])
@pytest.mark.parametrize("gained", ["a tag", "a source", "a source that was loaded"])
async def test_who_asks_after_an_invalidation_gets_nothing_old_though_nothing_is_stored(
    cache: Cache, result: str, gained: str
) -> None:
    """The name that was invalidated is one that the load gains only while it runs."""
    acme = cache.tenant("acme")
    row = Row("old")
    row.hold()

    async def loader() -> Any:
        if gained == "a source that was loaded":
            await acme.load("source", "1", lambda: "source")
        value = await row.read()
        return Loaded(
            None if result == "nothing" and value == "old" else value,
            tags=["news"] if gained == "a tag" else (),
            sources=["source:1"] if gained == "a source" else (),
            store=result != "not stored",
            ttl=1e-9 if result == "too short-lived" else None,
        )

    before = asyncio.create_task(acme.load("x", "1", loader))
    await row.being_read()
    row.value = "new"
    if gained == "a tag":
        await acme.invalidate(tag="news")
    else:
        await acme.invalidate("source", "1")
    after = asyncio.create_task(acme.load("x", "1", loader))
    await turns()
    row.let_go()
    assert (await before).value == (None if result == "nothing" else "old")
    assert (await after).value == "new"
    assert row.reads == 2


@pytest.mark.parametrize("gained", ["a tag", "a source"])
async def test_who_comes_later_shares_what_is_not_stored_if_nothing_was_invalidated(
    cache: Cache, gained: str
) -> None:
    acme = cache.tenant("acme")
    row = Row("answer")
    row.hold()

    async def loader() -> Any:
        tags, sources = (["news"], ()) if gained == "a tag" else ((), ["source:1"])
        return Loaded(await row.read(), tags=tags, sources=sources, store=False)

    before = asyncio.create_task(acme.load("x", "1", loader))
    await row.being_read()
    await acme.invalidate(tag="other")
    after = asyncio.create_task(acme.load("x", "1", loader))
    await turns()
    row.let_go()
    assert [(await each).value for each in (before, after)] == ["answer"] * 2
    assert row.reads == 1
