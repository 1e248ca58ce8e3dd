"""WRITE_BEHIND: the database is told a little later, and nobody sees the difference."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits, Policy
from cascada.engine.writing import write_behind
from cascada.model.clock import SystemClock
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.testing.inside import inside
from cascada.tiers.capabilities import Change, Fate
from cascada.tiers.contract import Found
from cascada.tiers.redis.journal import RedisJournal
from cascada.tiers.redis.layout import Layout
from cascada.tiers.redis.tier import RedisTier
from cascada.tiers.sqlite.tier import SqliteTier
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

Make = Callable[..., Cache]


def key(number: object = 1) -> Key:
    return Key("acme", "doc", None, None, None, str(number))


@pytest.fixture
def database(tmp_path: Path) -> SqliteTier:
    """A look into the database, past everything else."""
    return SqliteTier(tmp_path / "cache.db", namespace="behind", clock=SystemClock())


@pytest.fixture
async def make(
    redis_server: RedisServer, tmp_path: Path, database: SqliteTier
) -> AsyncIterator[Make]:
    """Processes that share a Redis and a database, and write behind."""
    made: list[Cache] = []
    redis_server.flush()

    def one(**options: Any) -> Cache:
        options.setdefault("redis", redis_server.url)
        options.setdefault("database", str(tmp_path / "cache.db"))
        options.setdefault("limits", Limits(op_timeout=10, invalidate_patience=0.1))
        cache = Cache(write_strategy="WRITE_BEHIND", namespace="behind", **options)
        made.append(cache)
        return cache

    yield one
    for cache in made:
        await cache.aclose()
    await database.aclose()


class Held:
    """While it is, no process claims a change."""

    def __init__(self) -> None:
        self.is_so = True


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held, claim = Held(), RedisJournal.claim

    async def claimed(self: RedisJournal, most: int, seconds: float) -> list[Change]:
        return [] if held.is_so else await claim(self, most, seconds)

    monkeypatch.setattr(RedisJournal, "claim", claimed)
    monkeypatch.setattr(write_behind, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(write_behind, "DRAIN", 0.2)
    return held


def behind(cache: Cache) -> write_behind.WriteBehind:
    found = inside(cache).stack.behind
    assert found is not None
    return found


def journal(cache: Cache) -> RedisJournal:
    found = behind(cache).journal
    assert isinstance(found, RedisJournal)
    return found


def layout(cache: Cache) -> Layout:
    tier = inside(cache).tiers["l2"]
    assert isinstance(tier, RedisTier)
    return tier.layout


async def is_written(cache: Cache) -> None:
    for _ in range(1000):
        if not (await behind(cache).backlog()).changes:
            return
        await asyncio.sleep(0.01)
    pytest.fail("it is not written")


async def row(database: SqliteTier, number: object = 1) -> bytes | None:
    (found,) = await database.read([key(number)])
    return found.entry.data if isinstance(found, Found) else None


async def got(cache: Cache, number: object = 1) -> Any:
    hit = await cache.tenant("acme").get("doc", str(number))
    return hit.value if hit else None


# --- the trodden path -------------------------------------------------------------------------


async def test_a_set_is_done_before_the_database_has_it_and_then_it_has(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here, there = make(), make()
    assert await here.tenant("acme").set("doc", "1", "new")
    assert await row(database) is None
    assert await got(there) == "new"
    assert (await behind(here).backlog()).changes == 1
    held.is_so = False
    await is_written(here)
    assert await row(database) is not None
    assert await got(make(redis=None)) == "new"


async def test_many_sets_are_all_written(make: Make, database: SqliteTier) -> None:
    here = make()
    await here.tenant("acme").set_many("doc", {str(n): n for n in range(600)})
    await is_written(here)
    found = await database.read([key(n) for n in range(600)])
    assert all(isinstance(each, Found) for each in found)


async def test_an_entry_that_waits_is_pinned_and_has_a_life_again_when_it_is_written(
    make: Make, held: Held, redis_server: RedisServer
) -> None:
    here = make()
    await here.tenant("acme").set("doc", "1", "new", ttl=1000)
    place = layout(here).entry(key()).decode()
    assert redis_server.say("PTTL", place) == b":-1\r\n"
    held.is_so = False
    await is_written(here)
    assert 0 < int(redis_server.say("PTTL", place)[1:]) <= 1_000_000


async def test_closing_writes_what_waits(make: Make, database: SqliteTier) -> None:
    here = make()
    for number in range(20):
        await here.tenant("acme").set("doc", str(number), number)
    await here.aclose()
    assert [await row(database, n) is not None for n in range(20)] == [True] * 20


async def test_what_one_process_leaves_behind_another_writes(
    make: Make, held: Held, database: SqliteTier, caplog: pytest.LogCaptureFixture
) -> None:
    here = make()
    await here.tenant("acme").set("doc", "1", "new")
    await here.aclose()
    assert "may not all be in the database" in caplog.text
    assert await row(database) is None
    held.is_so = False
    there = make()
    await got(there, "other")
    await is_written(there)
    assert await row(database) is not None


# --- what waits, and what is invalidated ------------------------------------------------------


@pytest.mark.parametrize("ended", [{"tag": "new"}, {"type": "doc"}, {"id": "1"}])
async def test_what_was_there_before_is_not_read_again_when_what_waits_is_invalidated(
    make: Make, held: Held, ended: dict[str, str], database: SqliteTier
) -> None:
    held.is_so = False
    here = make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "old", tags=["old"])
    await is_written(here)
    assert await row(database) is not None
    held.is_so = True
    await tenant.set("doc", "1", "new", tags=["new"])
    await invalidate(here, ended)
    assert await got(here) is None
    assert await got(make()) is None
    held.is_so = False
    await is_written(here)
    assert await got(here) is None
    assert await got(make()) is None
    assert await row(database) is None


async def invalidate(cache: Cache, what: dict[str, str]) -> None:
    tenant = cache.tenant("acme")
    if "id" in what:
        await tenant.invalidate("doc", what["id"])
    elif "tag" in what:
        await tenant.invalidate(tag=what["tag"])
    else:
        await tenant.invalidate("doc", "*")


async def test_a_load_that_began_before_the_set_does_not_survive_it_in_the_database(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here, there = make(), make()
    reads, goes_on = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        reads.set()
        await goes_on.wait()
        return "old"

    loading = asyncio.create_task(there.tenant("acme").load("doc", "1", slow))
    await reads.wait()
    await here.tenant("acme").set("doc", "1", "new", tags=["t"])
    goes_on.set()
    await loading
    assert await got(there) == "new"
    await here.tenant("acme").invalidate(tag="t")
    assert await got(make()) is None
    held.is_so = False
    await is_written(here)
    assert await got(make()) is None


async def test_a_set_is_not_lost_that_began_before_the_change_before_it_was_written(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here = make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "first")
    first = await journal(here).of([key()])
    await tenant.set("doc", "1", "second")
    (second,) = await journal(here).of([key()])
    assert first[0].fence == second.fence
    assert await database.apply(first) == [Fate.STORED]
    await journal(here).done(first)
    assert (await behind(here).backlog()).changes == 1  # changed meanwhile: it is not forgotten
    assert await database.apply([second]) == [Fate.STORED]
    assert await database.apply(first) == [Fate.KNOWN]  # who was stopped, and wakes up late
    (found,) = await database.read([key()])
    assert isinstance(found, Found)
    assert found.entry.data == second.entry.data


async def test_an_invalidation_between_two_changes_ends_the_first_alone(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here = make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "first")
    first = await journal(here).of([key()])
    await tenant.invalidate("doc", "1")
    assert await database.apply(first) == [Fate.VOID]
    await tenant.set("doc", "1", "second")
    second = await journal(here).of([key()])
    assert await database.apply(second) == [Fate.STORED]
    assert await database.apply(first) == [Fate.KNOWN]


async def test_without_redis_nothing_older_is_read_from_the_database_and_sets_go_there(
    server: RedisServer, tmp_path: Path, make: Make, held: Held, database: SqliteTier
) -> None:
    held.is_so = False
    here = make(redis=server.url, limits=Limits(op_timeout=2, invalidate_patience=0.1))
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "old")
    await is_written(here)
    held.is_so = True
    await tenant.set("doc", "1", "new")
    server.kill()
    inside(here).stack.memory.flush()
    assert await got(here) is None
    assert await tenant.set("doc", "2", "through") is False
    assert await row(database, 2) is not None


# --- what is decided below --------------------------------------------------------------------


async def test_what_waits_is_there_for_who_adds_and_for_who_touches(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here = make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "new", ttl=1000)
    assert not await make().tenant("acme").add("doc", "1", "mine")
    assert await row(database) is not None
    await tenant.set("doc", "2", "new", ttl=1000)
    assert await tenant.touch("doc", "2", ttl=10)
    (found,) = await database.read([key(2)])
    assert isinstance(found, Found)
    assert found.entry.expires - found.entry.created < 20


# --- what is written through ------------------------------------------------------------------


async def test_what_the_journal_has_no_room_for_is_written_through(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "MOST", 2)
    here = make()
    tenant = here.tenant("acme")
    for number in range(4):
        assert await tenant.set("doc", str(number), number)
    assert [await row(database, n) is not None for n in range(4)] == [False, False, True, True]
    assert await tenant.set("doc", "0", "again")  # what waits may change
    assert (await behind(here).backlog()).changes == 2
    assert await got(make(), 0) == "again"


@pytest.mark.parametrize(
    ("value", "options"), [("x" * 300_000, {}), ("small", {"version": 5})], ids=["large", "version"]
)
async def test_what_is_large_or_has_a_version_is_written_through(
    make: Make, held: Held, database: SqliteTier, value: str, options: dict[str, Any]
) -> None:
    here = make(limits=Limits(op_timeout=10, compress_over=2**27))
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "waits")
    assert await tenant.set("doc", "1", value, **options)
    assert await row(database) is not None
    held.is_so = False
    await is_written(here)  # what waited is not written over it
    assert await got(make()) == value


async def test_a_server_that_may_evict_what_waits_is_refused_in_one_sentence(
    server: RedisServer, make: Make, database: SqliteTier, caplog: pytest.LogCaptureFixture
) -> None:
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    here = make(redis=server.url)
    for number in range(3):
        assert await here.tenant("acme").set("doc", str(number), number)
        assert await row(database, number) is not None
    said = [each.message for each in caplog.records if "WRITE_BEHIND is off" in each.message]
    assert len(said) == 1
    assert "allkeys-lru" in said[0]
    assert "volatile-lru" in said[0]


@pytest.mark.parametrize("without", ["redis", "database"])
async def test_without_both_tiers_it_is_write_through_and_says_so_once(
    make: Make, without: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    here = make(**{without: None})
    assert inside(here).stack.behind is None
    assert await here.tenant("acme").set("doc", "1", "new")
    assert len([each for each in caplog.records if "WRITE_BEHIND" in each.message]) == 1


# --- what goes wrong --------------------------------------------------------------------------


async def test_what_can_never_be_written_is_set_aside_and_holds_nobody_up(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply = SqliteTier.apply

    async def poisoned(self: SqliteTier, changes: Sequence[Change]) -> list[Fate]:
        if any(change.key == key(1) for change in changes):
            raise ValueError("not this one")
        return await apply(self, changes)

    monkeypatch.setattr(SqliteTier, "apply", poisoned)
    here = make()
    for number in range(3):
        await here.tenant("acme").set("doc", str(number), number)
    held.is_so = False
    await is_written(here)
    assert [await row(database, n) is not None for n in range(3)] == [True, False, True]
    assert (await behind(here).backlog()).set_aside == 1


async def test_a_damaged_record_is_set_aside(
    make: Make, held: Held, redis_server: RedisServer, database: SqliteTier
) -> None:
    here = make()
    for number in range(3):
        await here.tenant("acme").set("doc", str(number), number)
    records = layout(here).prefix.decode() + "jr"
    assert redis_server.say("HSET", records, "acme:doc:1", "nonsense") == b":0\r\n"
    held.is_so = False
    await is_written(here)
    assert [await row(database, n) is not None for n in range(3)] == [True, False, True]
    assert (await behind(here).backlog()).set_aside == 1


async def test_what_waited_when_redis_was_killed_is_written_when_it_is_back(
    tmp_path: Path, make: Make, held: Held, database: SqliteTier
) -> None:
    server = RedisServer(tmp_path, "--appendonly", "yes", "--appendfsync", "always")
    try:
        here = make(redis=server.url)
        for number in range(50):
            assert await here.tenant("acme").set("doc", str(number), number)
        await here.aclose()
        server.kill()
        server.start()
        held.is_so = False
        there = make(redis=server.url)
        await got(there, "warm")
        await until(lambda: inside(there).stack.lower[0].available)
        await is_written(there)
        assert [await got(there, n) for n in range(50)] == [*range(50)]
    finally:
        server.kill()


async def test_the_database_may_be_away_for_a_while(
    make: Make, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, apply = True, SqliteTier.apply

    async def shaky(self: SqliteTier, changes: Sequence[Change]) -> list[Fate]:
        if away:
            raise TierUnavailable("away")
        return await apply(self, changes)

    monkeypatch.setattr(SqliteTier, "apply", shaky)
    here = make()
    for number in range(5):
        assert await here.tenant("acme").set("doc", str(number), number)
    await asyncio.sleep(0.05)
    assert (await behind(here).backlog()).changes == 5
    away = False
    await is_written(here)
    assert [await row(database, n) is not None for n in range(5)] == [True] * 5


async def test_the_value_that_is_there_is_kept_if_an_equal_one_is_set(
    make: Make, held: Held
) -> None:
    here = make(policies={"doc": Policy(ttl=100)})
    tenant = here.tenant("acme")
    assert all(await asyncio.gather(*[tenant.set("doc", "1", "same") for _ in range(20)]))
    assert await got(make()) == "same"
