"""Another life for a value of which a change waits: the change has it as well, and is not lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from cascada import Limits
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.capabilities import Change, Fate
from cascada.tiers.contract import Found, Renewed, Touched
from cascada.tiers.sqlite.tier import SqliteTier
from tests.behind.conftest import Held, Make
from tests.behind.looking import got, is_written, journal, key, layout, row
from tests.servers.redis import RedisServer

Patch = pytest.MonkeyPatch


@pytest.fixture
def is_away(monkeypatch: Patch) -> Callable[[bool], None]:
    """Whether the database takes no changes."""
    away, apply = False, SqliteTier.apply

    async def shaky(self: SqliteTier, changes: Sequence[Change]) -> list[Fate]:
        if away:
            raise TierUnavailable("locked")
        return await apply(self, changes)

    def say(is_so: bool) -> None:
        nonlocal away
        away = is_so

    monkeypatch.setattr(SqliteTier, "apply", shaky)
    return say


async def life(database: SqliteTier) -> float | None:
    """Seconds for which the database has it."""
    (found,) = await database.read([key()])
    return found.entry.expires - time.time() if isinstance(found, Found) else None


@pytest.mark.parametrize("ttl", [5, 1000])
async def test_it_is_written_with_its_new_life_if_the_database_is_away_meanwhile(
    make: Make,
    held: Held,
    database: SqliteTier,
    is_away: Callable[[bool], None],
    redis_server: RedisServer,
    ttl: int,
) -> None:
    here = make()
    tenant = here.tenant("acme")
    held.is_so = False
    await tenant.set("doc", "1", "old", ttl=100)
    await is_written(here)
    held.is_so = True
    await tenant.set("doc", "1", "new", ttl=100)
    (before,) = await journal(here).of([key()])
    is_away(True)
    assert await tenant.touch("doc", "1", ttl)
    is_away(False)
    await journal(here).done([before])  # by who has written it with the old life meanwhile
    assert redis_server.say("PTTL", layout(here).entry(key()).decode()) == b":-1\r\n"
    held.is_so = False
    await is_written(here)
    assert await got(here) == await got(make()) == "new"
    assert await life(database) == pytest.approx(ttl, abs=2)


async def test_what_is_set_and_written_between_two_tiers_is_touched_in_both(
    make: Make, held: Held, database: SqliteTier, monkeypatch: Patch
) -> None:
    held.is_so = False
    here, there = make(), make()
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "old", ttl=100)
    await is_written(here)
    touch, first = SqliteTier.touch, True

    async def crossed(
        self: SqliteTier, what: Key, renewed: Renewed, *, below: bool = False
    ) -> Touched:
        nonlocal first
        touched = await touch(self, what, renewed, below=below)
        if first:
            first = False
            await there.tenant("acme").set("doc", "1", "new", ttl=100)
            await is_written(there)
        return touched

    monkeypatch.setattr(SqliteTier, "touch", crossed)
    assert await tenant.touch("doc", "1", 5)
    assert await got(here) == await got(make()) == "new"
    assert await life(database) == pytest.approx(5, abs=2)


async def test_the_shorter_life_of_an_equal_set_is_written_if_the_database_is_away(
    make: Make, held: Held, database: SqliteTier, is_away: Callable[[bool], None]
) -> None:
    here = make()
    tenant = here.tenant("acme")
    assert not await tenant.get("doc", "1")  # the miss, which the set below makes void
    await make().tenant("acme").set("doc", "1", "same", ttl=100)
    is_away(True)
    assert await tenant.set("doc", "1", "same", ttl=5)
    is_away(False)
    held.is_so = False
    await is_written(here)
    assert await life(database) == pytest.approx(5, abs=2)


async def test_nothing_is_touched_if_nobody_can_tell_what_waits(
    make: Make, held: Held, server: RedisServer, database: SqliteTier
) -> None:
    held.is_so = False
    here = make(redis=server.url, limits=Limits(op_timeout=0.3, invalidate_patience=0.1))
    tenant = here.tenant("acme")
    await tenant.set("doc", "1", "old", ttl=100)
    await is_written(here)
    server.kill()
    assert not await tenant.touch("doc", "1", 1000)
    assert await row(database) is not None
    assert await life(database) == pytest.approx(100, abs=5)


async def test_what_is_pinned_stays_so(make: Make, held: Held, redis_server: RedisServer) -> None:
    """Whichever journal it waits in."""
    here, place = make(), layout(make()).entry(key()).decode()
    held.is_so = False
    await here.tenant("acme").set("doc", "1", "value", ttl=100)
    await is_written(here)
    redis_server.say("PERSIST", place)
    assert await here.tenant("acme").touch("doc", "1", 1000)
    assert redis_server.say("PTTL", place) == b":-1\r\n"
