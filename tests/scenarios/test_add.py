"""`add`: stored if nothing is there, and one caller alone of all is told that he has."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from cascada import BadInput, Cache, Limits, Loaded, Policy, TierUnavailable
from cascada.model.errors import Unanswered
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.redis.tier import RedisTier
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.scenarios.row import until
from tests.servers.redis import RedisServer


async def test_of_all_who_add_one_has(cache: Cache) -> None:
    acme = cache.tenant("acme")
    added = await asyncio.gather(*(acme.add("job", "1", number) for number in range(20)))
    assert added.count(True) == 1
    assert (await acme.get("job", "1")).value == added.index(True)
    if inside(cache).lower:
        inside(cache).memory.flush()
    assert not await acme.add("job", "1", "late")
    await acme.invalidate("job", "1")
    assert await acme.add("job", "1", "next", ttl=60)
    assert 59 < (await acme.ttl("job", "1") or 0) <= 60


async def test_stale_is_there_and_an_absence_is_not(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_for=100, none_ttl=50))
    acme = cache.tenant("acme")
    await acme.set("x", "stale", "old")
    clock.advance(20)
    assert not await acme.add("x", "stale", "new")
    await acme.load("x", "nothing", lambda: None)
    assert (await acme.get("x", "nothing")).absent
    made = await acme.load("made", "1", lambda: Loaded("of nothing", sources=[("x", "nothing")]))
    assert made.value == "of nothing"
    assert await acme.add("x", "nothing", "something", tags=["news"])
    assert (await acme.get("x", "nothing")).value == "something"
    assert not await acme.get("made", "1"), "it was made of what was not there"
    await acme.invalidate(tag="news")
    assert not await acme.get("x", "nothing")


async def test_what_a_policy_before_has_stored_is_nothing(make_cache: MakeCache) -> None:
    before, after = make_cache(policy=Policy(version=1)), make_cache(policy=Policy(version=2))
    await before.tenant("acme").set("x", "1", "old shape")
    assert await after.tenant("acme").add("x", "1", "new shape")
    assert not await after.tenant("acme").add("x", "1", "late")


async def test_who_remembers_that_there_is_nothing_hears_of_it(nodes: MakeNodes) -> None:
    async with nodes(2, policies={"x": Policy(none_ttl=50)}) as group:
        here, there = (node.tenant("acme") for node in group)
        await there.load("x", "1", lambda: None)
        assert (await there.get("x", "1")).tier == "l1"
        assert await here.add("x", "1", "value")
        await group.hear()
        assert (await there.get("x", "1")).value == "value"
        assert not await there.add("x", "1", "other")


async def test_a_load_under_way_is_no_value_and_replaces_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    began, go = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        began.set()
        await go.wait()
        return "loaded"

    loading = asyncio.ensure_future(acme.load("x", "1", slow))
    await began.wait()
    assert await acme.add("x", "1", "added")
    go.set()
    assert (await loading).value == "loaded", "who has asked before gets what he has asked for"
    assert (await acme.get("x", "1")).value == "added"


async def test_who_has_a_loaded_value_adds_nothing(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert (await acme.load("x", "1", lambda: "loaded")).value == "loaded"
    assert not await acme.add("x", "1", "added"), "though it is being stored at this moment"


async def test_a_set_after_it_is_not_held_to_the_miss_before_it(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert not await acme.get("x", "1")
    assert await acme.add("x", "1", "added")
    assert await acme.set("x", "1", "set")
    assert (await acme.get("x", "1")).value == "set"


async def test_versions_and_sources_are_minded(cache: Cache) -> None:
    acme = cache.tenant("acme")
    await acme.set("x", "1", "new", version=5)
    await acme.invalidate("x", "1")
    assert not await acme.add("x", "1", "old", version=4)
    assert await acme.add("x", "1", "newer", version=6)
    await acme.set("source", "s", 1)
    read = await acme.get("source", "s")
    await acme.set("source", "s", 2)
    assert not await acme.add("x", "2", "of 1", sources=[read])
    assert await acme.add("x", "2", "of 2", sources=[await acme.get("source", "s")])
    await acme.invalidate("source", "s")
    assert not await acme.get("x", "2")


async def test_nothing_is_added_where_nothing_is_stored(make_cache: MakeCache) -> None:
    off = make_cache(mode="off").tenant("acme")
    assert not await off.add("x", "1", "value")
    cache = make_cache()
    with cache.bypass():
        assert not await cache.tenant("acme").add("x", "1", "value")
    assert await make_cache(mode="observe").tenant("acme").add("x", "1", "value")
    with pytest.raises(BadInput, match="value is None, which says that there is nothing"):
        await off.add("x", "1", None)


# --- when the tier that decides does not answer ------------------------------------------------


async def test_without_the_tier_that_decides_nothing_is_added(
    shaky: Cache, flaky: FlakyTier
) -> None:
    acme = shaky.tenant("acme")
    for call in ("read", "lease", "fill"):
        flaky.fail(call)  # type: ignore[arg-type]  # as just written
        with pytest.raises(TierUnavailable):
            await acme.add("x", call, "value")
        flaky.heal()
        assert not await acme.get("x", call)
        assert await acme.add("x", call, "value"), "the next one has the place"


async def test_who_gets_no_answer_is_told_that_nobody_knows(shaky: Cache, flaky: FlakyTier) -> None:
    acme = shaky.tenant("acme")
    flaky.lose("fill", times=1)
    with pytest.raises(Unanswered):
        await acme.add("x", "1", "value")
    assert not await acme.add("x", "1", "value")


async def test_a_caller_who_leaves_ends_nothing_that_others_have_added(
    shaky: Cache, flaky: FlakyTier
) -> None:
    acme = shaky.tenant("acme")
    for carried_out in (False, True):
        key = f"{carried_out}"
        with flaky.hang("fill", carried_out=carried_out) as held:
            leaving = asyncio.ensure_future(acme.add("x", key, "left"))
            await held.reached()
            leaving.cancel()
            await asyncio.wait([leaving])
        for _ in range(3):
            assert not await acme.add("x", key, "late")
        assert (await acme.get("x", key)).value == "left"


async def test_what_memory_has_forgotten_meanwhile_it_does_not_keep(
    shaky: Cache, flaky: FlakyTier
) -> None:
    memory = inside(shaky).memory
    acme = shaky.tenant("acme")
    with flaky.hang("fill", carried_out=True) as held:
        adding = asyncio.ensure_future(acme.add("x", "1", "value"))
        await held.reached()
        memory.flush()  # numbers may begin anew, far below that of this fill
    assert await adding
    assert memory.records.get(acme.key("x", "1")) is None
    assert (await acme.get("x", "1")).tier == "l3"


async def test_an_invalidation_that_comes_while_it_is_told_ends_it(
    shaky: Cache, flaky: FlakyTier
) -> None:
    acme = shaky.tenant("acme")
    with flaky.hang("fill", carried_out=True) as held:
        adding = asyncio.ensure_future(acme.add("x", "1", "value", tags=["news"]))
        await held.reached()
        await acme.invalidate(tag="news")
    assert await adding
    assert not await acme.get("x", "1")


async def test_redis_knows_what_it_has_stored_though_its_reply_was_lost(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis_server.flush()
    lost = 2
    fill = RedisTier.fill

    async def losing(self: RedisTier, *what: Any) -> Any:
        nonlocal lost
        filled = await fill(self, *what)
        if lost:
            lost -= 1
            raise Unanswered("the connection broke")
        return filled

    monkeypatch.setattr(RedisTier, "fill", losing)
    async with Cache(redis=redis_server.url) as cache:
        acme = cache.tenant("acme")
        assert await acme.add("x", "1", "value")
        assert not lost
        assert (await acme.get("x", "1")).value == "value"
        assert not await acme.add("x", "1", "value")


async def test_a_redis_that_pauses_is_waited_for(server: RedisServer) -> None:
    async with Cache(redis=server.url) as cache:
        acme = cache.tenant("acme")
        await acme.set("warm", "up", 1)
        server.signal(signal.SIGSTOP)
        asyncio.get_running_loop().call_later(0.6, server.signal, signal.SIGCONT)
        added = await asyncio.gather(*(acme.add("x", "1", number) for number in range(5)))
        assert added.count(True) == 1


async def test_a_redis_that_is_full_adds_nothing_and_says_so(server: RedisServer) -> None:
    async with Cache(redis=server.url) as cache:
        acme = cache.tenant("acme")
        await acme.set("warm", "up", 1)
        server.say("CONFIG", "SET", "maxmemory", "1")
        with pytest.raises(TierUnavailable):
            await acme.add("x", "1", "value")
        server.say("CONFIG", "SET", "maxmemory", "0")
        assert not await acme.get("x", "1")
        assert await acme.add("x", "1", "value")


async def test_a_tier_above_that_was_away_does_not_go_on_with_nothing(
    server: RedisServer, tmp_path: Path
) -> None:
    def cache() -> Cache:
        return Cache(
            redis=server.url,
            database=str(tmp_path / "cache.db"),
            policies={"x": Policy(none_ttl=50)},
            limits=Limits(op_timeout=0.1),
        )

    async with cache() as here, cache() as there:
        await there.tenant("acme").load("x", "1", lambda: None)
        inside(there).memory.flush()
        assert (await there.tenant("acme").get("x", "1")).tier == "l2", "the absence"
        await here.tenant("acme").get("x", "warm")
        server.signal(signal.SIGSTOP)
        assert await here.tenant("acme").add("x", "1", "value")
        server.signal(signal.SIGCONT)
        await until(lambda: not any(tier.deferred for tier in inside(here).lower))
        inside(there).memory.flush()
        assert (await there.tenant("acme").get("x", "1")).value == "value"
