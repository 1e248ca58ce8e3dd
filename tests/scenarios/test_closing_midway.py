"""Closing while everything goes on: nobody hangs, nothing is left, all who close wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from cascada import Cache, CacheClosed, CascadaError, Embeddings, LoadError, Tenant
from cascada.model.errors import TierUnavailable
from cascada.testing.flaky import FlakyTier
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, turns, until


@pytest.mark.parametrize("closing", ["aclose", "reset"])
async def test_nobody_hangs_on_what_closing_meets_at_whatever_step(
    make_cache: MakeCache, closing: str
) -> None:
    async def provider(texts: list[str]) -> list[list[float]]:
        return [[1.0]] * len(texts)

    async def pieces() -> AsyncIterator[int]:
        yield 1

    async def follow(tenant: Tenant) -> list[int]:
        return [piece async for piece in tenant.stream("s", "1", pieces)]

    for steps in (0, 1, 2, 4, 9, 20):
        cache = make_cache()
        acme, embeddings = cache.tenant("acme"), Embeddings(provider, "model")
        for warm in (False, True):
            if warm and closing == "reset":
                await acme.get("x", "warm")
            calls = [
                asyncio.create_task(call)
                for call in (
                    acme.load("x", "1", Row("value").read),
                    acme.load_many("x", ["2", "3"], lambda ids: ids),
                    acme.set("x", "4", "value"),
                    acme.invalidate("x", "5"),
                    embeddings.of(acme, ["text"]),
                    follow(acme),
                )
            ]
            await turns(steps)
            async with asyncio.timeout(10):
                await asyncio.gather(*(getattr(cache, closing)() for _ in range(2)))
                told = await asyncio.gather(*calls, return_exceptions=True)
            errors = [each for each in told if isinstance(each, BaseException)]
            assert not [each for each in errors if not isinstance(each, CascadaError)], steps
        await cache.aclose()
        assert not background_tasks(), steps


async def test_a_closing_that_is_cancelled_leaves_nothing_running(cache: Cache) -> None:
    acme, row = cache.tenant("acme"), Row()
    row.hold()
    caller = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    closing = asyncio.create_task(cache.aclose())
    await turns()
    closing.cancel()
    await asyncio.wait([closing])
    assert not background_tasks()
    with pytest.raises(LoadError, match="closing"):
        await caller
    with pytest.raises(CacheClosed):
        await acme.get("x", "1")


async def test_who_closes_at_the_same_time_waits_as_long(cache: Cache) -> None:
    acme, row = cache.tenant("acme"), Row("value")
    row.hold()
    caller = asyncio.create_task(acme.load("x", "1", row.read))
    await row.being_read()
    closings = [asyncio.create_task(cache.aclose()) for _ in range(3)]
    await turns()
    assert not [each for each in closings if each.done()]
    with pytest.raises(CacheClosed):
        await acme.load("x", "2", row.read)
    row.let_go()
    await asyncio.gather(*closings)
    assert (await caller).value == "value"


@pytest.mark.parametrize("call", ["invalidate", "fill"])
async def test_closing_waits_for_who_tells_the_tiers(
    shaky: Cache, flaky: FlakyTier, call: str
) -> None:
    acme = shaky.tenant("acme")
    await acme.set("x", "1", "old")
    with flaky.hang(call) as held:
        telling = asyncio.create_task(
            acme.set("x", "1", "new") if call == "fill" else acme.invalidate("x", "1")
        )
        await held.reached()
        closing = asyncio.create_task(shaky.aclose())
        await turns(20)
        assert not closing.done()
    assert await telling
    await closing


async def test_an_invalidation_that_outlasts_the_closing_says_that_nobody_goes_on_with_it(
    shaky: Cache, flaky: FlakyTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.home.lifecycle.DRAIN_TIMEOUT", 0.01)
    acme = shaky.tenant("acme")
    sent, closed = asyncio.Event(), asyncio.Event()

    async def cut_off(names: list[str]) -> None:
        sent.set()
        await closed.wait()
        raise TierUnavailable("its connection was closed")

    monkeypatch.setattr(flaky, "invalidate", cut_off)
    telling = asyncio.create_task(acme.invalidate("x", "1"))
    await sent.wait()
    await shaky.aclose()
    closed.set()
    with pytest.raises(CacheClosed, match="say it once more"):
        await telling


async def test_a_load_that_closing_ends_in_the_middle_of_an_invalidation_leaves_nothing_running(
    shaky: Cache, flaky: FlakyTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.home.lifecycle.DRAIN_TIMEOUT", 0.01)
    acme = shaky.tenant("acme")

    async def telling() -> str:
        await acme.invalidate("x", "2")
        return "value"

    with flaky.hang("invalidate") as held:
        caller = asyncio.create_task(acme.load("x", "1", telling))
        await held.reached()
        await shaky.aclose()
        with pytest.raises(LoadError, match="closing"):
            await caller
    await turns(20)
    assert not background_tasks()


async def test_a_loader_that_does_not_let_itself_be_cancelled_holds_up_no_closing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.home.lifecycle.DRAIN_TIMEOUT", 0.01)
    monkeypatch.setattr("cascada.engine.tasks.background.STUBBORN", 0.01)
    let_go = asyncio.Event()

    async def stubborn() -> str:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()
        return "value"

    caller = asyncio.create_task(cache.tenant("acme").load("x", "1", stubborn))
    await turns(40)
    async with asyncio.timeout(5):
        await cache.aclose()
    let_go.set()
    await asyncio.wait([caller])
    await until(lambda: not background_tasks())


def background_tasks() -> list[str]:
    return [name for task in asyncio.all_tasks() if "cascada:" in (name := task.get_name())]
