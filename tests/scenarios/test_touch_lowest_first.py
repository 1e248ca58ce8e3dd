"""`touch` over two tiers below memory: which is told first, what crosses it, and who is away."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada import FOREVER, Hit, Limits
from cascada.api.cache import Cache
from cascada.engine.writing import redelivery
from cascada.model.policy import Policy
from cascada.testing.clock import ManualClock
from cascada.testing.flaky import FlakyTier
from cascada.testing.inside import inside
from cascada.tiers.contract import Found
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.conftest import TIMEOUT
from tests.scenarios.row import Row, all_stored, until
from tests.servers.redis import RedisServer

Two = tuple[FlakyTier, FlakyTier]


@pytest.fixture
def two(tmp_path: Path, clock: ManualClock) -> Two:
    """The upper and the lower one."""
    made = []
    for name in ("l2", "l3"):
        tier = SqliteTier(str(tmp_path / f"{name}.db"), namespace="test", clock=clock)
        made.append(FlakyTier(tier))
        made[-1].name = name
    return made[0], made[1]


@pytest.fixture
async def over_two(two: Two, clock: ManualClock, nothing_left_behind: None) -> AsyncIterator[Cache]:
    limits = Limits(op_timeout=TIMEOUT, invalidate_patience=0.1)
    async with Cache(tiers=[*two], clock=clock, limits=limits) as cache:
        yield cache
        for tier in two:
            tier.heal()


async def lives(tiers: Two, cache: Cache, clock: ManualClock) -> list[float | None]:
    """Seconds for which each tier has x:1."""
    key = cache.tenant("acme").key("x", "1")
    (upper,), (lower,) = [await tier.tier.read([key]) for tier in tiers]
    return [
        getattr(each, "entry", None) and each.entry.expires - clock.time()
        for each in (upper, lower)
    ]


async def test_the_lowest_is_told_first(over_two: Cache, two: Two) -> None:
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "value", ttl=100)
    with two[1].hang("touch") as held:
        touching = asyncio.ensure_future(acme.touch("x", "1", 5))
        await held.reached()
        assert two[0].made["touch"] == 0
    assert await touching
    assert two[0].made["touch"] == 1


async def test_what_is_set_between_two_tiers_is_touched_in_both(
    over_two: Cache, two: Two, clock: ManualClock
) -> None:
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "old", ttl=100)
    with two[0].hang("touch") as held:
        touching = asyncio.ensure_future(acme.touch("x", "1", 5))
        await held.reached()
        clock.advance(1)
        assert await acme.set("x", "1", "new", ttl=100)
    assert await touching
    assert (await acme.get("x", "1")).value == "new"
    assert len(set(await lives(two, over_two, clock))) == 1


@pytest.mark.parametrize("step", ["first look", "lease", "second look", "fill"])
async def test_what_is_promoted_while_it_is_touched_has_no_old_life(
    over_two: Cache, two: Two, clock: ManualClock, step: str
) -> None:
    """A `get` finds it in the lower tier alone, and the touch comes after one of its steps."""
    acme, (upper, lower) = over_two.tenant("acme"), two
    await acme.set("x", "1", "value", ttl=100)
    await upper.tier.invalidate([f"e:{acme.key('x', '1').text}"])
    inside(over_two).memory.flush()
    tier, call = {
        "first look": (lower, "read"), "lease": (upper, "lease"), "second look": (upper, "lease"),
        "fill": (upper, "fill"),
    }[step]  # fmt: skip
    with tier.hang(call, carried_out=step != "fill") as held:
        reading = asyncio.ensure_future(acme.get("x", "1"))
        await held.reached()
        if step == "second look":
            with lower.hang("read", carried_out=True) as second:
                held.release()
                await second.reached()
                assert await acme.touch("x", "1", 5)
        else:
            assert await acme.touch("x", "1", 5)
    assert (await reading).value == "value"
    await until(lambda: not inside(over_two).finishing)
    upper_life, lower_life = await lives(two, over_two, clock)
    assert (upper_life in (None, 5), lower_life) == (True, 5)
    assert (await acme.get("x", "1")).ttl == pytest.approx(5)


async def test_what_is_promoted_to_redis_has_the_life_of_now(
    redis_server: RedisServer, two: Two, clock: ManualClock, nothing_left_behind: None
) -> None:
    """Redis grants a lease of this moment, so only the second look can tell."""
    redis_server.flush()
    lower, limits = two[1], Limits(op_timeout=TIMEOUT)
    redis = RedisTier(redis_server.url, namespace="test", clock=clock)
    async with Cache(tiers=[redis, lower], clock=clock, limits=limits) as cache:
        acme = cache.tenant("acme")
        key = acme.key("x", "1")
        await acme.set("x", "1", "value", ttl=100)
        await redis.invalidate([f"e:{key.text}"])
        await until(lambda: acme.peek("x", "1") is None)
        with lower.hang("read", carried_out=True) as held:
            reading = asyncio.ensure_future(acme.get("x", "1"))
            await held.reached()
            assert await acme.touch("x", "1", 50)
        assert (await reading).value == "value"
        await until(lambda: not inside(cache).finishing)
        (found,) = await redis.read([key])
        assert isinstance(found, Found)
        assert found.entry.expires - clock.time() == pytest.approx(50)


async def test_an_invalidation_between_two_tiers_is_not_undone(
    over_two: Cache, two: Two, clock: ManualClock
) -> None:
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "value", ttl=100)
    with two[1].hang("touch", carried_out=True) as held:
        touching = asyncio.ensure_future(acme.touch("x", "1", FOREVER))
        await held.reached()
        await acme.invalidate("x", "1")
    await touching
    assert await lives(two, over_two, clock) == [None, None]
    assert not await acme.get("x", "1")


async def test_a_tier_that_is_away_is_owed_to_let_go_of_its_copy_alone(
    two: Two, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "PATIENCE", TIMEOUT)  # of a slow disk
    limits = Limits(op_timeout=TIMEOUT)
    async with Cache(tiers=[two[0], two[1].tier], clock=clock, limits=limits) as cache:
        acme, upper = cache.tenant("acme"), inside(cache).lower[0]
        await acme.set("x", "1", "value", ttl=100)
        await acme.load("answer", "1", lambda: "made", sources=[("x", "1")])
        await all_stored(acme)
        two[0].fail()
        assert await acme.touch("x", "1", 500)
        two[0].heal()
        assert await lives(two, cache, clock) == [100, 500]
        await until(lambda: not upper.deferred)
        two[0].fail()
        assert await acme.touch("x", "1", 5), "the lower one keeps for all what is owed"
        assert upper.deferred
        two[0].heal()
        await until(lambda: not upper.deferred)
        assert await lives(two, cache, clock) == [None, 5]
        assert (await acme.get("answer", "1")).value == "made"


async def test_a_longer_life_that_the_lowest_did_not_hear_of_ends_with_a_later_touch(
    over_two: Cache, two: Two, clock: ManualClock
) -> None:
    """For the lowest the second one lengthens, for the upper one it shortens."""
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "value", ttl=60)
    two[1].fail()
    assert await acme.touch("x", "1", 1000)
    two[1].heal()
    two[0].fail()
    assert not await acme.touch("x", "1", 100), "only this process remembers what is owed"
    two[0].heal()
    await until(lambda: not inside(over_two).lower[0].deferred)
    assert await lives(two, over_two, clock) == [None, 100]


async def test_where_the_lowest_is_away_it_is_touched_above(
    over_two: Cache, two: Two, clock: ManualClock
) -> None:
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "value", ttl=100)
    two[1].fail()
    assert await acme.touch("x", "1", 500)
    assert not await acme.touch("x", "1", 5), "only this process would remember what is owed"
    two[0].fail()
    assert not await acme.touch("x", "1", 500), "nobody answers"
    two[0].heal()
    two[1].heal()
    await until(lambda: not any(tier.deferred for tier in inside(over_two).lower))
    assert await lives(two, over_two, clock) == [None, None], "neither goes on for longer"


async def test_who_is_cancelled_leaves_no_half_of_it(
    over_two: Cache, two: Two, clock: ManualClock
) -> None:
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "value", ttl=100)
    with two[1].hang("touch", carried_out=True) as held:
        touching = asyncio.ensure_future(acme.touch("x", "1", 5))
        await held.reached()
        touching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await touching
    await until(lambda: two[0].made["touch"] == 1)
    await until(lambda: not inside(over_two).finishing)
    assert await lives(two, over_two, clock) == [5, 5]


async def test_a_load_that_stores_below_where_the_value_had_gone_is_refused(
    over_two: Cache, two: Two, clock: ManualClock
) -> None:
    """The upper tier alone has the value, and stale; its refresh would store the old life below."""
    over_two.set_policy("x", Policy(ttl=10, stale_for=100))
    acme = over_two.tenant("acme")
    await acme.set("x", "1", "old")
    await two[1].tier.invalidate([f"e:{acme.key('x', '1').text}"])
    clock.advance(11)
    row = Row("new")
    row.hold()
    assert (await acme.load("x", "1", row.read)).stale
    await row.being_read()
    assert await acme.touch("x", "1", 5)
    row.let_go()
    await all_stored(acme)
    assert await lives(two, over_two, clock) == [105, None]
    assert isinstance(await acme.get("x", "1"), Hit)
