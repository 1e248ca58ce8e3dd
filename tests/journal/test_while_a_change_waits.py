"""While a change waits, nothing older is read, unless somebody has deleted the key; and nothing
that happens to its entry takes the change away."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from cascada.model.names import key_name, static_names
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsideSqlite, inside
from cascada.tiers.capabilities import Put
from cascada.tiers.contract import Lease
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.journal.conftest import Evict, Make
from tests.journal.noting import until
from tests.servers.redis import RedisServer

EACH = pytest.mark.parametrize("tiers", ["sqlite", "redis", "both"])


@pytest.mark.parametrize("tiers", ["sqlite", "both"])
async def test_what_was_evicted_is_read_from_the_journal(
    make: Make, evict: Evict, tiers: str
) -> None:
    here, there = make(tiers), make(tiers)
    assert await here.set("a", "new")
    evict(here, "a")
    assert await there.in_tiers("a") is None
    assert await there.get("a") == "new"
    # No miss: what is set now is a change.
    assert await there.set("a", "newer")
    assert await here.waiting("a") == [("a", "newer")]
    evict(here, "a")
    await there.journal.done(await there.journal.claim(1, 5))
    assert await make(tiers).get("a") is None


async def test_redis_does_not_evict_what_waits(make: Make, redis_server: RedisServer) -> None:
    here = make("redis")
    assert await here.set("a", "new")
    tier = inside(here.cache).tiers["l2"]
    assert isinstance(tier, RedisTier)
    place = tier.layout.entry(here.key("a")).decode()
    assert redis_server.say("PTTL", place) == b":-1\r\n"
    await here.journal.done(await here.journal.claim(1, 5))
    assert 0 < int(redis_server.say("PTTL", place)[1:]) <= 1_000_000


@EACH
async def test_what_waits_does_not_expire(make: Make, tiers: str) -> None:
    clock = ManualClock()
    here = make(tiers, clock=clock)
    assert await here.set("a", "new", ttl=10)
    assert await here.get("b") is None
    assert await here.set("b", "row", ttl=10)
    clock.advance(11)
    assert await here.get("a") == "new"
    # What may have been read there is as old as it is; there may be a newer one.
    assert await here.get("b") is None
    assert await here.waiting("a", "b") == [("a", "new"), ("b", ("if missing", "row"))]


@EACH
@pytest.mark.parametrize("by", ["key", "type"])
async def test_what_is_deleted_is_not_read_again_and_waits(make: Make, tiers: str, by: str) -> None:
    await what_is_deleted_is_not_read_again(make, tiers, by)


async def what_is_deleted_is_not_read_again(make: Make, tiers: str, by: str = "key") -> None:
    here, there = make(tiers), make(tiers)
    assert await here.set("a", "new")
    key = here.key("a")
    name = key_name(key) if by == "key" else static_names(key)[2]
    await there.engine.invalidate([name], strict=False)
    assert await there.get("a") is None
    # Its caller has read the row that the change is to replace.
    assert not await there.set("a", "old row")
    assert not await there.set("a", "old row", fetched=True)
    assert await there.in_tiers("a") is None
    assert await here.waiting("a") == [("a", "new")]
    assert await there.set("a", "newer")
    assert await there.get("a") == "newer"


@EACH
async def test_a_removal_waits_and_nothing_that_was_read_before_comes_back(
    make: Make, evict: Evict, tiers: str
) -> None:
    here, there = make(tiers), make(tiers)
    assert await here.set("a", "old")
    await here.journal.done(await here.journal.claim(1, 5))
    assert await here.remove("a")
    await until(lambda: there.get("a"), None)
    evict(here, "a")
    assert await there.get("a") is None
    assert not await there.set("a", "old")
    assert await here.waiting("a") == [("a", "removed")]
    assert await make(tiers).get("a") is None
    assert await here.set("a", "anew")
    assert await here.waiting("a") == [("a", "anew")]
    assert await make(tiers).get("a") == "anew"


@EACH
async def test_a_load_that_began_before_the_change_does_not_survive_it(
    make: Make, tiers: str
) -> None:
    here, there = make(tiers), make(tiers)
    assert await there.get("a") is None
    assert await here.set("a", "new")
    (change,) = await here.journal.claim(1, 5)
    await here.journal.done([change])
    # It waits no more, but the row that there has read is from before.
    assert not await there.set("a", "old row")
    assert await here.waiting("a") == []
    assert await make(tiers).in_tiers("a") is None


@EACH
async def test_who_is_killed_before_the_tiers_above_are_told_leaves_nothing_old(
    make: Make, tiers: str
) -> None:
    here, there, killed = make(tiers), make(tiers), make(tiers)
    assert await here.set("a", "old")
    await here.journal.done(await here.journal.claim(1, 5))
    assert await there.get("a") == "old"
    request = killed.request("a")
    entry = killed.engine.to_be_set(request, "new")
    assert entry is not None
    journals = inside(killed.cache).stack.journals
    assert journals is not None
    await killed.get("b")
    await journals.of("default").put(
        [Lease(killed.key("a"), -1, forced=True)], [entry], [Put.CHANGE]
    )
    claimed = await there.journal.claim(1, 5)
    assert [there.told(change) for change in claimed] == [("a", "new")]
    await there.journal.done(claimed)
    await until(lambda: there.get("a"), "new")
    await until(lambda: here.get("a"), "new")


async def test_a_sweep_lifts_what_waits_and_revives_nothing(make: Make, evict: Evict) -> None:
    here = make("sqlite")
    for name in ("kept", "ended"):
        assert await here.set(name, name)
    await here.delete("ended")
    evict(here, "kept")
    with_tier = inside(here.cache).tiers["l3"]
    assert isinstance(with_tier, SqliteTier)
    tier = InsideSqlite(with_tier)

    def sweep(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE tenants SET sweep = q")

    await tier.writer.run(sweep)
    while await tier.upkeep_step():
        pass

    def left(connection: sqlite3.Connection) -> list[tuple[int, int]]:
        return connection.execute("SELECT floor = q, tombstones FROM tenants").fetchall()

    assert await tier.reader.run(left) == [(1, 0)]
    there = make("sqlite")
    assert await there.get("kept") == "kept"
    assert await there.get("ended") is None
    assert len(await here.waiting("kept", "ended")) == 2


async def test_pruning_and_forgetting_leave_what_waits(make: Make, tmp_path: Path) -> None:
    here = make("sqlite")
    for number in range(20):
        assert await here.set(str(number), number)
    tier = inside(here.cache).tiers["l3"]
    assert isinstance(tier, SqliteTier)
    await tier.upkeep()
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        connection.execute("DELETE FROM entries")
    connection.close()
    await tier.upkeep()
    assert [await make("sqlite").get(str(n)) for n in range(20)] == [*range(20)]
