"""Closing while everything goes on: nobody hangs, nothing is left, all who close wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from cascada import Cache, CacheClosed, CascadaError, Embeddings, LoadError, Tenant
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


async def test_a_loader_that_does_not_let_itself_be_cancelled_holds_up_no_closing(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cascada.engine.lifecycle.DRAIN_TIMEOUT", 0.01)
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
