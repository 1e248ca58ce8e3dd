"""`set` is True if its change is in the journal, and False if it is not: by a table."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cascada import Cache
from cascada.model.errors import BadInput
from cascada.testing.inside import inside
from tests.journal.conftest import Make
from tests.journal.noting import Noting
from tests.servers.disk import mount
from tests.servers.redis import RedisServer


@pytest.mark.parametrize(
    ("tiers", "redis_is_away", "said"),
    [
        ("memory", False, True),
        ("sqlite", False, True),
        ("both", False, True),
        ("both", True, True),
        ("redis", False, True),
        ("redis", True, False),
    ],
)
async def test_what_a_set_says(
    make: Make, request: pytest.FixtureRequest, tiers: str, redis_is_away: bool, said: bool
) -> None:
    here = make(tiers)
    if redis_is_away:
        server: RedisServer = request.getfixturevalue("own_redis")
        here = make(tiers, redis=server.url)
        assert await here.set("a", "old")
        server.kill()
    assert await here.set("a", "new") is said
    assert await here.get("a") == ("new" if said else None)
    if here.journals and said:
        assert await here.waiting("a") == [("a", "new")]


@pytest.mark.parametrize("tiers", ["memory", "sqlite", "redis", "both"])
async def test_what_cannot_be_stored_raises_and_nothing_changes(make: Make, tiers: str) -> None:
    here = make(tiers)
    assert await here.set("a", "old")
    with pytest.raises(BadInput):
        await here.set("a", object())
    assert await here.get("a") == "old"


@pytest.mark.parametrize("tiers", ["sqlite", "redis", "both"])
async def test_a_full_journal_takes_only_what_replaces(make: Make, tiers: str) -> None:
    here, there = make(tiers), make(tiers)
    here.journal.limit(2, 2**20)
    assert await here.set("a", 1)
    assert await here.set("b", 1)
    assert not await here.set("c", 1)
    assert await here.set("a", 2)
    assert await there.get("c") is None
    assert sorted(await here.waiting("a", "b", "c")) == [("a", 2), ("b", 1)]
    # Nor what follows a miss: it may be new. What was read where the changes go is none.
    assert not await here.set("c", "row")
    assert await here.set("c", "row", fetched=True)
    await here.journal.done(await here.journal.claim(1, 5))
    assert await here.set("d", 1)


@pytest.mark.parametrize("tiers", ["sqlite", "redis", "both"])
async def test_a_journal_is_full_by_its_bytes(make: Make, tiers: str) -> None:
    here = make(tiers)
    here.journal.limit(1000, 10_000)
    assert await here.set("a", os.urandom(9000))
    said = [await here.set(str(n), os.urandom(900)) for n in range(5)]
    # In Redis the last one may go over it.
    assert said == [tiers == "redis", False, False, False, False]
    assert await here.set("a", "small")
    assert await here.set("b", os.urandom(900))


@pytest.mark.parametrize("tiers", ["sqlite", "redis"])
async def test_what_was_set_aside_counts_until_it_is_written(make: Make, tiers: str) -> None:
    here = make(tiers)
    here.journal.limit(1, 2**20)
    assert await here.set("a", 1)
    (change,) = await here.journal.claim(1, 5)
    await here.journal.set_aside(change, "no such\ncolumn")
    assert not await here.set("b", 1)
    assert (await here.journal.backlog())[::2] == (0, 1, 0)
    ((shown, why),) = await here.journal.aside()
    assert (here.told(shown), why.split()) == (("a", 1), ["no", "such", "column"])
    assert await here.journal.retry([here.key("b")]) == 0
    assert await here.journal.retry() == 1
    (again,) = await here.journal.claim(1, 5)
    assert (again.number, here.told(again)) == (change.number, ("a", 1))
    await here.journal.done([again])
    assert await here.set("b", 1)


@pytest.mark.parametrize("tiers", ["sqlite", "redis"])
async def test_a_later_change_takes_the_place_of_what_was_set_aside(make: Make, tiers: str) -> None:
    here = make(tiers)
    assert await here.set("a", 1)
    await here.journal.set_aside((await here.journal.claim(1, 5))[0], "why")
    assert await here.set("a", 2)
    assert await here.journal.aside() == []
    assert (await here.journal.backlog()).set_aside == 0
    assert await here.waiting("a") == [("a", 2)]


async def test_a_redis_without_memory_says_false_and_can_be_emptied(
    make: Make, own_redis: RedisServer
) -> None:
    here = make("redis", redis=own_redis.url)
    assert await here.set("a", "old")
    own_redis.say("CONFIG", "SET", "maxmemory", "1")
    assert not await here.set("a", "new")
    assert not await here.set("b", "new")
    assert await here.get("a") == "old"
    claimed = await here.journal.claim(10, 5)
    assert [here.told(each) for each in claimed] == [("a", "old")]
    await here.journal.done(claimed)
    assert (await here.journal.backlog()).changes == 0


@pytest.mark.parametrize("tiers", ["sqlite", "redis"])
async def test_what_was_set_aside_is_not_lost_to_what_follows_a_miss(
    make: Make, tiers: str
) -> None:
    here = make(tiers)
    assert await here.set("a", 1)
    await here.journal.set_aside((await here.journal.claim(1, 5))[0], "why")
    await here.delete("a")
    assert await here.get("a") is None
    assert await here.set("a", "row")
    assert await here.waiting("a") == [("a", ("if missing", "row"))]
    assert await here.journal.retry() == 1
    assert await here.waiting("a") == [("a", 1)]
    await here.journal.done(await here.journal.claim(10, 5))
    assert (await here.journal.backlog())[:3] == (0, 0, 0)


@pytest.mark.parametrize("tiers", ["sqlite", "redis"])
async def test_a_large_value_is_journaled_whole_or_refused(make: Make, tiers: str) -> None:
    here, there = make(tiers), make(tiers)
    large = os.urandom(2**20)
    assert await here.set("a", large)
    assert await there.get("a") == large
    assert await there.waiting("a") == [("a", large)]
    larger = os.urandom(5 * 2**20)
    assert await here.set("a", larger) is (tiers == "sqlite")
    value = larger if tiers == "sqlite" else large
    assert await make(tiers).get("a") == value
    assert await here.waiting("a") == [("a", value)]


async def test_a_redis_that_may_evict_anything_takes_nothing(
    make: Make, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    here = make("redis", redis=own_redis.url)
    assert not await here.set("a", 1)
    assert not await here.set("b", 1)
    assert len([each for each in caplog.records if "allkeys-lru" in each.message]) == 1


async def test_on_a_full_disk_a_set_is_false_and_nothing_acknowledged_is_lost(
    make: Make, small_disk: Path
) -> None:
    here = make("sqlite", database=str(small_disk / "cache.db"))
    kept, refused = [], 0
    for number in range(60):
        if await here.set(str(number), os.urandom(100_000)):
            kept.append(str(number))
        else:
            refused += 1
            await asyncio.sleep(0.01)
    assert len(kept) >= 5
    assert refused
    await here.cache.aclose()
    again = make("sqlite", database=str(small_disk / "cache.db"))
    assert {name for name, _ in await again.waiting(*map(str, range(60)))} >= {*kept}
    mount(small_disk, "remount,size=40m")
    await _until_true(again)
    claimed = await again.journal.claim(1000, 60)
    assert len(claimed) > len(kept)
    await again.journal.done(claimed)


async def _until_true(here: Noting) -> None:
    for _ in range(200):
        if await here.set("small", 1):
            return
        await asyncio.sleep(0.05)
    pytest.fail("nothing is taken any more")


async def test_memory_alone_keeps_no_journal(make: Make) -> None:
    here = make("memory")
    assert here.engine.journal("default") is None
    assert isinstance(here.cache, Cache)
    assert inside(here.cache).stack.journals is None
