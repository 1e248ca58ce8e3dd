"""The database is told a little later, and nobody sees the difference."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cascada import Policy
from cascada.engine import write_behind
from cascada.model.entry import Entry
from cascada.tiers.contract import Filled, Found, Lease
from cascada.tiers.sqlite.tier import SqliteTier
from tests.behind.conftest import Held, Make
from tests.behind.looking import behind, got, is_written, key, layout, row
from tests.servers.redis import RedisServer


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
    await here.tenant("acme").set_many("doc", {str(n): n for n in range(300)})
    await is_written(here)
    found = await database.read([key(n) for n in range(300)])
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


async def test_a_set_that_crosses_an_add_is_not_lost_to_it(
    make: Make, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make(), make()
    fill, sets = SqliteTier.fill, list[bool]()

    async def crossed(
        self: SqliteTier, leases: Sequence[Lease], entries: Sequence[Entry | None]
    ) -> list[Filled]:
        if leases[0].adds and not sets:
            sets.append(await there.tenant("acme").set("doc", "1", "set"))
        return await fill(self, leases, entries)

    monkeypatch.setattr(SqliteTier, "fill", crossed)
    assert not await here.tenant("acme").add("doc", "1", "added")
    assert sets == [True]
    assert await got(here) == await got(make()) == "set"
    await there.tenant("acme").set("doc", "1", "later")
    assert (await behind(here).backlog()).changes == 1  # they are written behind again


async def test_whatever_its_tenant_context_and_id_are_called(make: Make, held: Held) -> None:
    here = make(policies={"doc": Policy(varies_by=("agent",))})
    names = ["a:b", "50%", "é ñ", "x" * 300, "{b0}", "1 2\t3"]
    for name in names:
        await here.tenant(name).within(agent=name).set("doc", name, [name, None, 2**60])
    assert (await behind(here).backlog()).changes == len(names)
    held.is_so = False
    await is_written(here)
    assert (await behind(here).backlog()).set_aside == 0
    alone = make(redis=None, policies={"doc": Policy(varies_by=("agent",))})
    for name in names:
        hit = await alone.tenant(name).within(agent=name).get("doc", name)
        assert hit.value == [name, None, 2**60]


async def test_of_a_batch_that_finds_too_little_room_the_rest_is_written_through(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_behind, "MOST", 100)
    here = make()
    kept = await here.tenant("acme").set_many("doc", {str(n): n for n in range(250)})
    assert all(kept)
    assert (await behind(here).backlog()).changes == 100
    there = [await row(database, n) is not None for n in range(250)]
    assert there.count(True) == 150
    held.is_so = False
    await is_written(here)
    found = await database.read([key(n) for n in range(250)])
    assert all(isinstance(each, Found) for each in found)
