"""What waits may be void by the time it is written; what was there before stays unread."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from msgspec import structs

from cascada import Cache, Limits
from cascada.testing.inside import inside
from cascada.tiers.capabilities import Fate
from cascada.tiers.contract import Found, Lease
from cascada.tiers.sqlite.tier import SqliteTier
from tests.behind.conftest import Held, Make
from tests.behind.looking import behind, got, is_written, journal, key, layout, row
from tests.scenarios.row import until
from tests.servers.redis import RedisServer


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


async def test_what_was_made_of_a_value_goes_from_the_database_when_that_is_set(
    make: Make, held: Held, redis_server: RedisServer
) -> None:
    held.is_so = False
    here, there = make(), make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "old", tags=["old"])
    source = await tenant.get("doc", "1")
    await tenant.set("doc", "made", "of old", sources=[source])
    await is_written(here)
    held.is_so = True
    await tenant.set("doc", "1", "new", tags=["new"])
    redis_server.say("DEL", layout(here).entry(key("made")).decode())  # as an eviction does
    assert await got(there, "made") is None
    held.is_so = False
    await is_written(here)
    assert await got(make(), "made") is None


async def test_what_was_made_of_a_value_does_not_come_back_when_the_change_is_void(
    make: Make, held: Held, tmp_path: Path
) -> None:
    held.is_so = False
    here = make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "old", tags=["old"])
    source = await tenant.get("doc", "1")
    await tenant.set("doc", "made", "of old", sources=[source])
    await is_written(here)
    held.is_so = True
    await tenant.set("doc", "1", "new", tags=["new"])
    await tenant.invalidate(tag="new")
    with sqlite3.connect(tmp_path / "cache.db") as connection:  # as an eviction does
        connection.execute("DELETE FROM entries WHERE key = 'acme:doc:1'")
    connection.close()
    held.is_so = False
    await is_written(here)
    assert await got(make(), "made") is None


async def test_an_invalidation_is_not_forgotten_under_a_change_that_it_has_ended(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here = make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "first")
    (first,) = await journal(here).of([key()])
    told = await database.invalidate(["k:acme:doc:1"])
    between = structs.replace(first, number=first.number + 1)  # its HOLD was before, too
    after = structs.replace(first, number=first.number + 2, fence=told.seq)
    assert await database.apply([first]) == [Fate.VOID]
    assert await database.apply([between]) == [Fate.VOID]
    assert await database.apply([after]) == [Fate.STORED]
    assert await database.apply([between]) == [Fate.KNOWN]


async def test_what_was_loaded_before_a_set_goes_though_the_invalidation_came_before_it(
    make: Make, held: Held, database: SqliteTier
) -> None:
    here = make()
    await here.tenant("acme").set("doc", "1", "set")
    (change,) = await journal(here).of([key()])
    await database.invalidate(["k:acme:doc:1"])  # not yet told to Redis
    (seen,) = await database.read([key()])
    (lease,) = await database.lease([key()], [seen])
    assert isinstance(lease, Lease)
    (filled,) = await database.fill([lease], [change.entry])
    assert filled.accepted
    assert await database.apply([change]) == [Fate.VOID]
    assert await row(database) is None


async def test_what_was_added_is_not_loaded_over_by_who_may_not_read_it_without_redis(
    server: RedisServer, make: Make, held: Held, database: SqliteTier
) -> None:
    limits = Limits(op_timeout=1, invalidate_patience=0.1)
    here, there = make(redis=server.url, limits=limits), make(redis=server.url, limits=limits)
    await got(there)
    assert await here.tenant("acme").add("doc", "1", "added")
    server.kill()

    async def loader() -> str:
        return "what the source does not know yet"

    assert await there.tenant("acme").load("doc", "1", loader)
    await until(lambda: not inside(there).finishing)
    assert await row(database) == b"\xa5added"
