"""With REFRESH_AHEAD what is hot is refreshed before it expires; what is not, when it is missed."""

import asyncio

import pytest

from cascada import Policy
from cascada.api.tenant.handle import Tenant
from cascada.engine.kinds import REFRESHED_AHEAD
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsidePush, inside
from cascada.tiers.redis.feed import PushFeed
from tests.scenarios.conftest import MakeCache
from tests.scenarios.row import Row, all_stored, turns, until

TTL = 100
LATE = 85
"""Seconds after which a value of this ttl is in its last fifth."""
HOT = 3


async def read(tenant: Tenant, row: Row, times: int) -> list[str]:
    tiers = []
    for _ in range(times):
        tiers.append((await tenant.load("x", "1", row.read)).tier)
        await all_stored(tenant)
    return tiers


async def later(tenant: Tenant, clock: ManualClock, seconds: float) -> None:
    """And memory has heard the news since."""
    clock.advance(seconds)
    if (feed := inside(tenant).feed) is not None:
        await feed.poll()
        now = clock.monotonic()
        await until(lambda: now < feed.until or feed.extend(now))


async def opened(make_cache: MakeCache, **policy: object) -> Tenant:
    """A cache that has met its servers: nothing empties its memory any more."""
    said = Policy(ttl=TTL, **policy)  # type: ignore[arg-type]
    cache = make_cache(policy=said, read_strategy="REFRESH_AHEAD")
    await cache.tenant("acme").set("warm", "up", 1)
    feed = inside(cache).feed
    if isinstance(feed, PushFeed):
        await until(lambda: InsidePush(feed).nonce != b"")
    return cache.tenant("acme")


async def test_what_is_hot_is_refreshed_before_it_expires_and_nobody_waits(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme, row = await opened(make_cache), Row("old")
    await read(acme, row, 1 + HOT)
    assert row.reads == 1
    await later(acme, clock, LATE)
    row.value = "new"
    row.hold()
    hits = [await acme.load("x", "1", row.read) for _ in range(3)]
    assert {(hit.value, hit.stale) for hit in hits} == {("old", False)}
    row.let_go()
    await all_stored(acme)
    assert row.reads == 2
    await later(acme, clock, TTL - LATE)
    assert (await acme.get("x", "1")).value == "new", "by now the old one has expired"


@pytest.mark.parametrize("tiers", ["memory", "redis"])
async def test_what_is_read_now_and_then_is_not(make_cache: MakeCache, clock: ManualClock) -> None:
    acme, row = await opened(make_cache), Row("old")
    await read(acme, row, 1)
    await later(acme, clock, LATE)
    assert await read(acme, row, HOT - 1) == ["l1"] * (HOT - 1)
    assert row.reads == 1
    await later(acme, clock, TTL)
    await read(acme, row, 1)
    assert row.reads == 2


@pytest.mark.parametrize("tiers", ["memory"])
async def test_a_policy_that_says_when_is_kept_to(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme, row = await opened(make_cache, refresh_at=0.1), Row()
    await read(acme, row, 1)
    clock.advance(20)
    await read(acme, row, 1)
    assert row.reads == 2, "any hit will do, as always"
    never = await opened(make_cache, refresh_at=None)
    row = Row()
    await read(never, row, 1 + HOT)
    clock.advance(LATE)
    await read(never, row, HOT)
    assert row.reads == 1


@pytest.mark.parametrize("tiers", ["memory"])
async def test_without_the_strategy_nothing_is_refreshed_ahead(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme, row = make_cache(policy=Policy(ttl=TTL)).tenant("acme"), Row()
    await read(acme, row, 10)
    clock.advance(LATE)
    await read(acme, row, 10)
    assert row.reads == 1


@pytest.mark.parametrize("tiers", ["sqlite", "redis"])
async def test_two_processes_refresh_it_once(make_cache: MakeCache, clock: ManualClock) -> None:
    row = Row("old")
    both = [await opened(make_cache) for _ in range(2)]
    for acme in both:
        await read(acme, row, 2 + HOT)
    assert row.reads == 1
    clock.advance(LATE)
    for acme in both:
        await later(acme, clock, 0)
    row.value = "new"
    row.hold()
    hits = await asyncio.gather(*(acme.load("x", "1", row.read) for acme in both for _ in range(9)))
    assert {hit.value for hit in hits} == {"old"}
    await row.being_read(2)
    await turns(50)
    row.let_go()
    for acme in both:
        await all_stored(acme)
    assert row.reads == 2
    await later(both[0], clock, TTL - LATE)
    await later(both[1], clock, 0)
    assert [(await acme.get("x", "1")).value for acme in both] == ["new", "new"]


async def test_a_refresh_that_an_invalidation_overtakes_is_not_kept(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    acme, row = await opened(make_cache), Row("old")
    await read(acme, row, 1 + HOT)
    await later(acme, clock, LATE)
    row.hold()
    await acme.load("x", "1", row.read)
    await row.being_read(2)
    row.value = "new"
    await acme.invalidate("x", "1")
    row.let_go()
    await all_stored(acme)
    assert not await acme.get("x", "1")


def test_the_documented_types_are_refreshed_ahead_as_well(make_cache: MakeCache) -> None:
    cache = make_cache(read_strategy="REFRESH_AHEAD")
    for data_type in ("agent_config", "made up"):
        policy = inside(cache).kinds.policy(data_type)
        assert (policy.refresh_at, policy.refresh_hits) == (*REFRESHED_AHEAD.values(),)
    cache.set_policy("made up", Policy(ttl=5))
    assert inside(cache).kinds.policy("made up").refresh_at == 0.8
    cache.set_policy("made up", Policy(refresh_hits=9))
    policy = inside(cache).kinds.policy("made up")
    assert (policy.refresh_at, policy.refresh_hits) == (0.8, 9), "what it says itself stays"
