"""What LangGraph asks of a cache of its own, awaited and waited for, on each tier.

Its package has no suite for that; these are the promises of its interface, one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from cascada import Cache
from cascada.integrations.langgraph import CascadaCache
from cascada.testing import ManualClock
from tests.options import grouped
from tests.servers.redis import RedisServer, free_port

Kept = CascadaCache[Any]
ONE, OTHER, DEEPER = (("graph", "a"), "k"), (("graph", "b"), "k"), (("graph", "a", "b"), "k")


class Awaited:
    """The calls of a cache, as one kind of caller makes them."""

    def __init__(self, kept: Kept) -> None:
        self.get, self.set, self.clear = kept.aget, kept.aset, kept.aclear


class WaitedFor:
    def __init__(self, kept: Kept) -> None:
        def in_a_thread(call: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **named: asyncio.to_thread(call, *args, **named)

        self.get, self.set, self.clear = map(in_a_thread, (kept.get, kept.set, kept.clear))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=["memory", "redis", "sqlite"])
async def cache(
    request: pytest.FixtureRequest, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[Cache]:
    tiers: dict[str, Any] = {}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        tiers = {"redis": server.url, "namespace": uuid4().hex}
    if request.param == "sqlite":
        tiers = {"database": str(tmp_path / "cache.db")}
    async with Cache(clock=clock, **tiers) as cache:
        yield cache


@pytest.fixture(params=[Awaited, WaitedFor], ids=["awaited", "waited for"])
def kept(request: pytest.FixtureRequest, cache: Cache) -> Any:
    return request.param(CascadaCache(cache, tenant="acme"))


async def test_what_was_stored_is_found_and_nothing_else(kept: Any) -> None:
    assert await kept.get([ONE]) == {}
    await kept.set({ONE: ({"result": 1}, None), OTHER: ({"result": 2}, 60)})
    assert await kept.get([ONE, OTHER, DEEPER]) == {ONE: {"result": 1}, OTHER: {"result": 2}}
    assert await kept.get([DEEPER]) == {}


async def test_pairs_may_be_named_and_there_may_be_none(kept: Any) -> None:
    await kept.set(pairs={ONE: (1, None)})
    await kept.set({})
    assert await kept.get([]) == {}
    assert await kept.get([ONE]) == {ONE: 1}


async def test_the_last_value_stays(kept: Any) -> None:
    for value in (1, 2, 2, 3):
        await kept.set({ONE: (value, None)})
        assert await kept.get([ONE]) == {ONE: value}


async def test_a_value_lives_for_its_seconds(kept: Any, clock: ManualClock) -> None:
    await kept.set({ONE: (1, 5), OTHER: (2, None)})
    clock.advance(4)
    assert await kept.get([ONE, OTHER]) == {ONE: 1, OTHER: 2}
    clock.advance(2)
    assert await kept.get([ONE, OTHER]) == {OTHER: 2}


async def test_namespaces_are_apart_and_cleared_apart(kept: Any) -> None:
    odd = [((), "k"), (("graph:a",), "k"), (("graph", "a:k"), ""), (("graph",), "a:k")]
    keys = [ONE, OTHER, DEEPER, *odd]
    await kept.set({key: (number, None) for number, key in enumerate(keys)})
    assert await kept.get(keys) == dict(zip(keys, range(len(keys)), strict=True))
    await kept.clear([ONE[0], ("nothing",)])
    assert (await kept.get(keys)).keys() == set(keys) - {ONE}
    await kept.clear([OTHER[0], ()])
    assert (await kept.get(keys)).keys() == set(keys) - {ONE, OTHER, ((), "k")}
    await kept.clear()
    assert await kept.get(keys) == {}
    await kept.set({ONE: (7, None)})
    assert await kept.get([ONE]) == {ONE: 7}


async def test_large_values_come_back(kept: Any) -> None:
    large = {"list": list(range(10_000)), "text": "x" * 500_000}
    await kept.set({ONE: (large, None)})
    assert await kept.get([ONE]) == {ONE: large}


@pytest.mark.parametrize("way", [Awaited, WaitedFor])
async def test_where_redis_was_never_there_nothing_is_raised(way: Any) -> None:
    options: dict[str, Any] = {"op_timeout": 0.1, "invalidate_patience": 0.0}
    async with Cache(redis=f"redis://127.0.0.1:{free_port()}/0", **grouped(options)) as cache:
        kept = way(CascadaCache(cache, tenant="acme"))
        assert await kept.get([ONE]) == {}
        await kept.set({ONE: (1, None)})
        assert await kept.get([ONE]) == {ONE: 1}, "kept in memory, as long as that lasts"
