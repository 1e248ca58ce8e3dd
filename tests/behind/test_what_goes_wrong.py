"""Records that are damaged, a Redis that dies, a database that is away: nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from cascada import Policy
from cascada.model.errors import TierUnavailable
from cascada.testing.inside import inside
from cascada.tiers.capabilities import Change, Fate
from cascada.tiers.sqlite.tier import SqliteTier
from tests.behind.conftest import Held, Make
from tests.behind.looking import behind, got, is_written, key, layout, row
from tests.scenarios.row import until
from tests.servers.redis import RedisServer


async def test_what_can_never_be_written_is_set_aside_and_holds_nobody_up(
    make: Make,
    held: Held,
    database: SqliteTier,
    monkeypatch: pytest.MonkeyPatch,
    redis_server: RedisServer,
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
    life = redis_server.say("PTTL", layout(here).entry(key()).decode())
    assert int(life[1:]) > 0  # nobody else would ever remove it


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


async def test_an_equal_set_after_an_old_miss_leaves_what_waits(make: Make, held: Held) -> None:
    here = make()
    tenant = here.tenant("acme")
    assert not await tenant.get("doc", "1")  # the miss, which the deletion makes void
    await asyncio.create_task(tenant.delete("doc", "1"))
    assert await asyncio.create_task(tenant.set("doc", "1", "same"))
    assert await tenant.set("doc", "1", "same")
    assert await got(make()) == "same"
