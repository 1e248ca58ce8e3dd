"""Two caches on one real Redis, as two processes are: the first slice of coherence on Redis."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada import Cache, Limits
from cascada.model.clock import SystemClock
from cascada.testing.inside import inside
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.options import nearest
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

CALLERS = 125


@pytest.fixture
async def pair(
    redis_server: RedisServer, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Cache, Cache]]:
    redis_server.flush()

    def cache() -> Cache:
        clock = SystemClock()
        l2 = RedisTier(redis_server.url, namespace="test", clock=clock)
        l3 = SqliteTier(tmp_path / "cache.db", namespace="test", clock=clock)
        return Cache(
            tiers=[l2, l3] if request.param == "redis+sqlite" else [l2],
            limits=Limits(op_timeout=5.0),
            default_policy=nearest(),
        )

    async with cache() as here, cache() as there:
        yield here, there


both = pytest.mark.parametrize("pair", ["redis", "redis+sqlite"], indirect=True)


@both
async def test_callers_of_both_cause_one_load(pair: tuple[Cache, Cache]) -> None:
    loads = 0

    async def load() -> dict[str, int]:
        nonlocal loads
        loads += 1
        await asyncio.sleep(0.05)
        return {"load": loads}

    handles = [cache.tenant("acme") for cache in pair]
    found = await asyncio.gather(
        *(handle.load("doc", "1", load) for handle in handles for _ in range(CALLERS))
    )
    assert loads == 1
    assert all(hit.value == {"load": 1} for hit in found)


@both
async def test_what_one_invalidates_the_other_does_not_serve(pair: tuple[Cache, Cache]) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    await here.set("doc", "1", "old", tags=["news"])
    for _ in range(2):
        assert (await there.get("doc", "1")).value == "old"
    await here.invalidate(tag="news")
    await asyncio.sleep(0.05)  # the push
    assert not await there.get("doc", "1")
    assert not await here.get("doc", "1")


@both
async def test_an_invalidation_during_a_load_elsewhere_voids_it(pair: tuple[Cache, Cache]) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    reading, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        reading.set()
        await go_on.wait()
        return "old"

    load = asyncio.create_task(here.load("doc", "1", slow))
    await reading.wait()
    await there.invalidate("doc", "1")
    go_on.set()
    await load
    assert not await there.get("doc", "1")
    assert (await here.load("doc", "1", lambda: "new")).value == "new"


@both
async def test_a_get_that_finds_nothing_keeps_nobody_from_loading(
    pair: tuple[Cache, Cache],
) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    assert not await here.get("doc", "1")
    async with asyncio.timeout(1):
        assert (await there.load("doc", "1", lambda: "new")).tier == "source"


@pytest.mark.parametrize("pair", ["redis+sqlite"], indirect=True)
@pytest.mark.parametrize("invalidated", [False, True])
async def test_what_a_get_finds_in_the_database_is_stored_in_redis(
    pair: tuple[Cache, Cache], redis_server: RedisServer, invalidated: bool
) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    await here.set("doc", "1", "value")
    for cache in pair:
        inside(cache).memory.flush()
    redis_server.flush()
    assert (await here.get("doc", "1")).tier == "l3"
    if invalidated:
        await here.invalidate("doc", "1")
    await until(lambda: "cascada:backfill" not in {task.get_name() for task in asyncio.all_tasks()})
    hit = await there.get("doc", "1")
    assert not hit if invalidated else (hit.value, hit.tier) == ("value", "l2")


@both
async def test_crossing_batches_do_not_wait_for_each_other_in_a_circle(
    pair: tuple[Cache, Cache],
) -> None:
    """Each has leases that the other waits for."""
    asked: list[str] = []

    async def load(ids: list[str]) -> list[str]:
        asked.extend(ids)
        await asyncio.sleep(0.05)
        return [f"value {each}" for each in ids]

    batches = [[f"{number}" for number in range(first, first + 40)] for first in range(0, 100, 10)]
    async with asyncio.timeout(2):
        found = await asyncio.gather(
            *(
                pair[index % 2].tenant("acme").load_many("doc", batch[:: 1 - 2 * (index % 2)], load)
                for index, batch in enumerate(batches)
            )
        )
    assert len(asked) == len(set(asked)) == 130, "each was loaded once"
    for index, (batch, hits) in enumerate(zip(batches, found, strict=True)):
        order = batch[:: 1 - 2 * (index % 2)]
        assert [hit.value for hit in hits] == [f"value {each}" for each in order]


def commands_of(server: RedisServer) -> Counter[str]:
    """How often the server has carried out each command, those inside scripts included."""
    said = server.say("INFO", "commandstats").decode()
    return Counter({name: int(n) for name, n in re.findall(r"cmdstat_(\S+?):calls=(\d+)", said)})


@pytest.mark.parametrize("pair", ["redis"], indirect=True)
async def test_all_candidates_are_one_round_trip(
    pair: tuple[Cache, Cache], redis_server: RedisServer
) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    await here.set("doc", "1", "for all")
    deep = there.within(agent="a", conversation="c", collection="k")
    findings = (await deep.explain("doc", "1")).findings
    assert len([each for each in findings if each.tier == "l2"]) == 6
    before = commands_of(redis_server)
    hit = await deep.get("doc", "1")
    assert (hit.value, hit.tier) == ("for all", "l2")
    asked = commands_of(redis_server) - before
    assert (asked["mget"], asked["get"], asked["evalsha"], asked["eval"]) == (1, 0, 0, 0)


@pytest.mark.parametrize("pair", ["redis"], indirect=True)
async def test_an_invalidation_costs_the_same_however_much_is_cached(
    pair: tuple[Cache, Cache], redis_server: RedisServer
) -> None:
    acme = pair[0].tenant("acme")
    await acme.invalidate("doc", "*")  # the script is known from now on
    at_first = commands_of(redis_server)

    async def cost(count: int) -> Counter[str]:
        for number in range(count):
            await acme.set("doc", number, number, tags=["news"])
        before = commands_of(redis_server)
        assert (await acme.invalidate("doc", "*", tag="news")).keys >= count
        return commands_of(redis_server) - before - Counter({"ping": 9, "info": 9})

    # What the processes ask in the background may fall into one of two.
    costs = [await cost(count) & await cost(count) for count in (10, 300)]
    assert costs[0] == costs[1]
    assert costs[0]["evalsha"] == 1
    asked = commands_of(redis_server) - at_first
    assert not {name for name in asked if name in ("keys", "scan")}


@pytest.mark.parametrize("pair", ["redis+sqlite"], indirect=True)
@pytest.mark.parametrize("before", ["read", "run"])
async def test_a_load_that_is_left_on_its_way_down_keeps_nobody_waiting(
    pair: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    """It has its lease of Redis by then."""
    here, there = (cache.tenant("acme") for cache in pair)
    await here.load("doc", "known", lambda: "the scripts are known from now on")
    lower = inside(pair[0]).lower[1].tier
    reached = asyncio.Event()

    async def hang(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    if before == "read":
        monkeypatch.setattr(lower, "read", hang)
    leaving = asyncio.create_task(here.load("doc", "1", hang))
    await reached.wait()
    leaving.cancel()
    async with asyncio.timeout(2):
        assert (await there.load("doc", "1", lambda: "value")).value == "value"


@both
@pytest.mark.parametrize("tier", [0, -1])
async def test_a_set_that_is_left_on_its_way_leaves_nothing_old(
    pair: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch, tier: int
) -> None:
    """Its row is written by then. Of the tiers one might have the new value, another the old."""
    here, there = (cache.tenant("acme") for cache in pair)
    assert await here.set("doc", "1", "old")
    assert (await there.get("doc", "1")).value == "old"
    reached = asyncio.Event()

    async def hang(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as hanging:
        hanging.setattr(inside(pair[0]).lower[tier].tier, "fill", hang)
        leaving = asyncio.create_task(here.set("doc", "1", "new"))
        await reached.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    await until(lambda: not inside(pair[0]).finishing)
    await asyncio.sleep(0.02)  # until the other memory has heard of it
    for handle in (here, there):
        found = await handle.load("doc", "1", lambda: "new")
        assert found.value == "new"
