"""`touch`: another life for a value, in all tiers and processes, and nothing else."""

import asyncio
import os
from datetime import timedelta

import pytest

from cascada import FOREVER, InvalidTTL
from cascada.api.cache import Cache
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import MakeCache, MakeNodes
from tests.scenarios.row import Row, all_stored, until
from tests.servers.redis import RedisServer


async def test_a_value_lives_longer_or_shorter(cache: Cache, clock: ManualClock) -> None:
    acme = cache.tenant("acme")
    for rid, ttl, left in (
        ("longer", 1000, 1000), ("shorter", 5, 5), ("ever", FOREVER, FOREVER),
        ("a length", timedelta(minutes=1), 60), ("a moment", 0.001, 0.001),
    ):  # fmt: skip
        await acme.set("x", rid, {"is": rid}, ttl=100, tags=["t"], version=7)
        assert await acme.touch("x", rid, ttl)
        assert await acme.ttl("x", rid) == pytest.approx(left, abs=0.001), rid
        hit = await acme.get("x", rid)
        assert (hit.value, hit.ttl) == ({"is": rid}, pytest.approx(left, abs=0.001))
    clock.advance(50)
    found = [(await acme.get("x", rid)).value for rid in ("longer", "shorter", "a length")]
    assert found == [{"is": "longer"}, None, {"is": "a length"}]
    assert (await acme.get("x", "longer")).age == pytest.approx(50, abs=0.01), (
        "it is as old as it is"
    )
    assert not await acme.set("x", "longer", "older", version=6)
    assert (await acme.invalidate(tag="t")).keys
    assert not await acme.get("x", "longer")


async def test_what_is_no_value_is_not_touched(make_cache: MakeCache, clock: ManualClock) -> None:
    cache = make_cache(policy=Policy(ttl=10, stale_for=5, stale_if_error=100, none_ttl=60))
    acme = cache.tenant("acme")
    assert not await acme.touch("x", "never there", 60)
    await acme.load("x", "absent", lambda: None)
    assert not await acme.touch("x", "absent", 1000), "a known absence"
    assert (await acme.get("x", "absent")).absent
    for rid in ("gone", "stale", "spare", "over"):
        await acme.set("x", rid, rid)
    await acme.invalidate("x", "gone")
    assert not await acme.touch("x", "gone", 60)
    clock.advance(12)
    assert (await acme.get("x", "stale")).stale
    assert await acme.touch("x", "stale", 20), "what `get` gives is a value"
    assert not (await acme.get("x", "stale")).stale
    clock.advance(4)
    assert not await acme.touch("x", "spare", 20), "what `get` gives no more"
    assert not await acme.get("x", "spare")
    clock.advance(100)
    assert not await acme.touch("x", "over", 20)
    assert not await acme.get("x", "over")


async def test_the_policy_bounds_it_as_it_bounds_a_set(make_cache: MakeCache) -> None:
    policies = {"most": Policy(max_ttl=30), "bulky": Policy(bulky_bytes=100, bulky_ttl=20)}
    acme = make_cache(policies=policies).tenant("acme")
    for data_type, value in (("most", "x"), ("bulky", "x" * 500), ("bulky", os.urandom(400_000))):
        await acme.set(data_type, "1", value, ttl=5)
        assert await acme.touch(data_type, "1", FOREVER)
        assert await acme.ttl(data_type, "1") == pytest.approx(30 if value == "x" else 20, abs=0.01)
        assert (await acme.get(data_type, "1")).value == value
    for ttl in (0, -1, None, "60", True, 1e18):
        with pytest.raises(InvalidTTL):
            await acme.touch("most", "1", ttl)  # type: ignore[arg-type]


async def test_another_version_of_its_policy_is_no_value(make_cache: MakeCache) -> None:
    cache = make_cache()
    acme = cache.tenant("acme")
    await acme.set("x", "1", "old form")
    cache.set_policy("x", Policy(version=2))
    assert not await acme.touch("x", "1", 60)


async def test_what_was_made_of_it_stays_in_the_memory_of_all(nodes: MakeNodes) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        await here.set("x", "1", "value", ttl=100)

        async def make() -> str:
            return f"made of {(await there.get('x', '1')).value}"

        for handle in (there, here):
            await handle.load("answer", "1", make)
            await all_stored(handle)
        await there.get("x", "1")
        for ttl in (500, 50):
            assert await here.touch("x", "1", ttl)
            await group.hear()
            for handle in (here, there):
                made = await handle.get("answer", "1")
                assert (made.value, made.tier) == ("made of value", "l1")
        await here.invalidate("x", "1")
        await group.hear()
        assert not await there.get("answer", "1")


async def test_no_memory_goes_on_with_the_old_life(nodes: MakeNodes, clock: ManualClock) -> None:
    async with nodes(2) as group:
        here, there = (node.tenant("acme") for node in group)
        for rid, ttl in (("shorter", 5), ("longer", 500)):
            await here.set("x", rid, rid, ttl=100)
            assert (await there.get("x", rid)).ttl == pytest.approx(100)
            assert (await there.get("x", rid)).tier == "l1"
            await here.touch("x", rid, ttl)
            again = await here.get("x", rid)
            assert (again.ttl, again.tier) == (pytest.approx(ttl), "l1")
            await group.hear()
            assert (await here.get("x", rid)).tier == "l1", "its own news does not end it"
            assert (await there.get("x", rid)).ttl == pytest.approx(ttl)
        clock.advance(6)
        await group.hear()
        assert not await there.get("x", "shorter")
        clock.advance(200)
        await group.hear()
        assert await there.get("x", "longer")


async def test_redis_pushes_it(make_cache: MakeCache, tiers: str) -> None:
    if "redis" not in tiers:
        return
    here, there = make_cache(), make_cache()
    await there.tenant("acme").set("warm", "up", 1)
    await here.tenant("acme").set("x", "1", "value", ttl=100)
    acme = there.tenant("acme")
    await acme.load("answer", "1", lambda: "made", sources=[await acme.get("x", "1")])
    await all_stored(acme)
    await until(lambda: acme.peek("x", "1") is not None and acme.peek("answer", "1") is not None)
    assert await here.tenant("acme").touch("x", "1", 5)
    await until(lambda: acme.peek("x", "1") is None)
    assert (await acme.get("x", "1")).ttl == pytest.approx(5)
    assert acme.peek("answer", "1") is not None, "and nothing else goes"


async def test_what_redis_has_evicted_goes_on_in_no_memory(
    make_cache: MakeCache, tiers: str, request: pytest.FixtureRequest
) -> None:
    if tiers != "redis":
        return
    here, there = make_cache(), make_cache()
    acme, other = here.tenant("acme"), there.tenant("acme")
    await other.set("warm", "up", 1)
    await acme.set("x", "1", "value", ttl=100)
    assert await other.get("x", "1")
    server: RedisServer = request.getfixturevalue("redis_server")
    (entry,) = [each for each in server.say("KEYS", "*v:acme:x:1").split() if b"v:" in each]
    assert server.say("DEL", entry.decode()) == b":1\r\n"
    assert acme.peek("x", "1") is not None
    assert not await acme.touch("x", "1", 5)
    assert not await acme.get("x", "1")
    await until(lambda: other.peek("x", "1") is None)


async def test_a_general_answer_shares_the_life_of_its_entry(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    """Memory keeps it for the context that was asked, for up to five seconds."""
    acme = make_cache().tenant("acme")
    inner = acme.within(agent="a1")
    await acme.set("x", "1", "general", ttl=100)
    hit = await inner.get("x", "1")
    assert hit.value == "general"
    if inside(acme).lower:
        hit = await inner.get("x", "1")
        assert hit.tier == "l1", "it is kept there"
    await acme.load("answer", "1", lambda: "made", sources=[hit])
    await all_stored(acme)
    assert not await inner.touch("x", "1", 0.1), "it is of no context: exactly that key"
    assert await acme.touch("x", "1", 0.1)
    clock.advance(0.2)  # memory may still be trusted
    assert not await inner.get("x", "1")
    assert (await acme.get("answer", "1")).value == "made"


async def test_what_was_just_loaded_is_touched(cache: Cache) -> None:
    acme = cache.tenant("acme")
    row = Row("loaded")
    await acme.load("x", "1", row.read, ttl=100)
    assert await acme.touch("x", "1", 5), "though it is being stored at this moment"
    await all_stored(acme)
    assert await acme.ttl("x", "1") == pytest.approx(5, abs=0.1)


async def test_a_load_under_way_does_not_bring_the_old_life_back(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    """It began when the value was stale; another process touches the value, if there is one."""
    policy = Policy(ttl=10, stale_for=100)
    loads = make_cache(policy=policy).tenant("acme")
    toucher = make_cache(policy=policy).tenant("acme") if inside(loads).lower else loads
    await loads.set("x", "1", "old")
    clock.advance(11)
    row = Row("new")
    row.hold()
    assert (await loads.load("x", "1", row.read)).stale
    await row.being_read()
    assert await toucher.touch("x", "1", 20)
    row.let_go()
    await all_stored(loads)
    assert ((await toucher.get("x", "1")).value, await toucher.ttl("x", "1")) == ("old", 20)
    clock.advance(21)
    assert (await toucher.get("x", "1")).stale, "so nobody has stored it for longer"


async def test_a_set_that_crosses_is_not_refused(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for number in range(20):
        await acme.set("x", "1", "before", ttl=100)
        stored, _ = await asyncio.gather(
            acme.set("x", "1", number, ttl=100), acme.touch("x", "1", 50)
        )
        assert stored
        assert (await acme.get("x", "1")).value == number


async def test_neither_off_nor_bypassed_it_does_anything(make_cache: MakeCache) -> None:
    cache = make_cache()
    acme = cache.tenant("acme")
    await acme.set("x", "1", "value", ttl=100)
    with cache.bypass():
        assert not await acme.touch("x", "1", 5)
    if inside(cache).lower:
        assert not await make_cache(mode="off").tenant("acme").touch("x", "1", 5)
        assert await acme.ttl("x", "1") == pytest.approx(100)
        assert await make_cache(mode="observe").tenant("acme").touch("x", "1", 50)
        await until(lambda: acme.peek("x", "1") is None)
        assert await acme.ttl("x", "1") == pytest.approx(50)
    else:
        assert await acme.ttl("x", "1") == pytest.approx(100)
