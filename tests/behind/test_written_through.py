"""What cannot be written behind is written through, as ever."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from cascada import Limits
from cascada.engine import write_behind
from cascada.model.errors import TierUnavailable
from cascada.testing.inside import inside
from cascada.tiers.contract import Filled, Lease
from cascada.tiers.sqlite.tier import SqliteTier
from tests.behind.conftest import Held, Make
from tests.behind.looking import behind, got, is_written, journal, row
from tests.servers.redis import RedisServer


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


async def test_a_user_who_may_not_keep_a_journal_is_told_so_and_writes_through(
    server: RedisServer, make: Make, database: SqliteTier, caplog: pytest.LogCaptureFixture
) -> None:
    server.say("ACL", "SETUSER", "half", "on", ">secret", "+@all", "-hincrby", "~*", "&*")
    here = make(redis=server.url.replace("//", "//half:secret@"))
    for number in range(3):
        assert await here.tenant("acme").set("doc", str(number), number)
        assert await row(database, number) is not None
    said = [each.message for each in caplog.records if "WRITE_BEHIND is off" in each.message]
    assert len(said) == 1
    assert "HINCRBY" in said[0]


async def test_what_finds_no_room_in_redis(make: Make, held: Held, database: SqliteTier) -> None:
    """It is in the database when its set ends, and what waited before is written no more."""
    roomy, full = make(), make(limits=Limits(l2_bytes=1, op_timeout=10, invalidate_patience=0.1))
    await roomy.tenant("acme").set("doc", "1", "before")
    assert await full.tenant("acme").set("doc", "1", "new") is True
    assert await row(database) == b"\xa3new"
    assert await got(make()) == await got(full) == await got(roomy) == "new"
    held.is_so = False
    await is_written(roomy)
    assert await row(database) == b"\xa3new"
    assert await got(make()) == "new"


async def test_a_set_after_a_miss_that_cannot_be_compared_with_what_waits(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database does not know of the later set, and would take this one's row for the latest."""
    here, there = make(), make()
    assert await got(there) is None  # it reads the row, and is slow
    assert await here.tenant("acme").set("doc", "1", "new")
    upper = behind(there).upper

    async def away(*_: object, **__: object) -> list[Lease]:
        raise TierUnavailable("it did not answer in time")

    with monkeypatch.context() as now:
        now.setattr(upper.tier, "lease", away)
        assert await there.tenant("acme").set("doc", "1", "old") is False
    held.is_so = False
    await is_written(here)
    assert {await got(each) for each in (here, there, make())} <= {None, "new"}


async def test_what_the_database_has_never_told_a_number_for_is_not_said_to_be_stored(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any, **__: Any) -> None:
        raise TierUnavailable("locked")

    here = make()
    with monkeypatch.context() as patch:
        patch.setattr(SqliteTier, "lease", away)
        assert not await here.tenant("acme").set("doc", "1", "new")
    assert not (await behind(here).backlog()).changes


async def test_a_set_that_was_overtaken_when_its_put_is_not_answered(
    make: Make, held: Held, database: SqliteTier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database knows of neither, and would take the one that it is told of for the latest."""
    here, there = make(), make()

    async def overtaken(*_: object, **__: object) -> list[Filled]:
        assert await here.tenant("acme").set("doc", "1", "new")
        raise TierUnavailable("it did not answer in time")

    with monkeypatch.context() as now:
        now.setattr(journal(there), "put", overtaken)
        assert await there.tenant("acme").set("doc", "1", "old") is False
    held.is_so = False
    await is_written(here)
    assert {await got(each) for each in (here, there, make())} <= {None, "new"}
