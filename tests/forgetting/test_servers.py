"""`Cache.forget` on a Redis that has a file, or lets its user do little; and what clocks say."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascada import Cache, CacheService, Context, Limits
from cascada.testing import ManualClock
from tests.forgetting.conftest import MARKER, fill, is_whole, set_in_service
from tests.servers.redis import RedisServer


@pytest.fixture
def appending(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that appends all that is written to a file."""
    folder = tmp_path / "appending"
    folder.mkdir()
    server = RedisServer(folder, "--appendonly", "yes", "--aof-use-rdb-preamble", "no")
    yield server
    server.kill()


def appended(server: RedisServer) -> int:
    """How often the marker is in its files."""
    files = [path for path in server.folder.rglob("*") if path.is_file()]
    return sum(path.read_bytes().count(MARKER.encode()) for path in files)


async def test_what_a_redis_has_appended_goes_when_its_operator_says_so(
    appending: RedisServer,
) -> None:
    async with Cache(redis=appending.url, limits=Limits(op_timeout=10)) as cache:
        await fill(cache, "a", MARKER, 20)
        await fill(cache, "b", "kept", 3)
        report = await cache.forget("a")
        assert report.complete
        assert any("BGREWRITEAOF" in each for each in report.remains)
        assert appended(appending) > 0
        assert appending.say("BGREWRITEAOF").startswith(b"+")
        for _ in range(500):
            said = appending.say("INFO", "persistence")
            if b"aof_rewrite_in_progress:0" in said and b"aof_rewrite_scheduled:0" in said:
                break
            await asyncio.sleep(0.02)
        assert appended(appending) == 0
        assert await is_whole(cache, "b", "kept", 3)


async def test_the_user_that_is_told_of_in_the_documents_may_forget(server: RedisServer) -> None:
    rights = "on >pw +@all -@dangerous +info resetkeys ~cascada.0:{b0}:* resetchannels"
    words = [*rights.split(), "&cascada.0:{b0}:*"]
    assert server.say("ACL", "SETUSER", "cascada", *words) == b"+OK\r\n"
    url = server.url.replace("redis://", "redis://cascada:pw@")
    async with Cache(redis=url, limits=Limits(op_timeout=10)) as cache:
        await fill(cache, "a", MARKER, 20)
        report = await cache.forget("a")
    assert report.complete, report
    assert report.removed[-1].entries >= 20
    assert MARKER.encode() not in server.say("SCAN", "0", "COUNT", "1000")


async def test_a_user_that_may_not_look_for_keys_is_told_so(server: RedisServer) -> None:
    words = ["on", ">pw", "+@all", "-@dangerous", "+info", "-scan", "~*", "&*"]
    assert server.say("ACL", "SETUSER", "few", *words) == b"+OK\r\n"
    url = server.url.replace("redis://", "redis://few:pw@")
    async with Cache(redis=url, limits=Limits(op_timeout=10)) as cache:
        await cache.tenant("a").set("doc", "1", MARKER)
        report = await cache.forget("a")
        assert not report.complete
        assert "scan" in report.removed[-1].incomplete.lower()
        assert not await cache.tenant("a").get("doc", "1"), "void all the same"


async def test_what_a_clock_says_is_not_what_was_journaled_before(tmp_path: Path) -> None:
    """A journal counts on where a clock stands still, or was set back."""
    clock = ManualClock()
    options = {"database": str(tmp_path / "cache.db"), "clock": clock}
    async with Cache(limits=Limits(op_timeout=10), **options) as cache:  # type: ignore[arg-type]
        url = f"sqlite:///{tmp_path / 'app.db'}"
        service = CacheService(name="notes", cache=cache, database=url)
        await set_in_service(service, "a", MARKER, 20)
        clock.step_wall(-3600)
        await set_in_service(service, "a", MARKER, 20, start=20)
        report = await cache.forget("a")
        assert (report.complete, sum(each.changes for each in report.removed)) == (True, 40)


@pytest.mark.parametrize("ahead", [60.0, -60.0])
async def test_what_others_set_right_after_is_written_whatever_the_clock_says_here(
    server: RedisServer, tmp_path: Path, ahead: float
) -> None:
    """The journal's numbers are of the server's clock, and not of who forgets."""
    app, clock = tmp_path / "app.db", ManualClock(time.time() + ahead)
    limits = Limits(op_timeout=10)
    async with (
        Cache(redis=server.url, limits=limits, clock=clock) as cache,
        Cache(redis=server.url, limits=limits) as other,
    ):
        service, late = [
            CacheService(name="notes", cache=each, database=f"sqlite:///{app}")
            for each in (cache, other)
        ]
        with Context(tenant_id="a"):
            assert await late.set("old", 1, fetched=False)
            assert (await late.sync_now()).written == 1
            report = await service.forget("a")
            assert (report.complete, report.rows) == (True, 1)
            assert await late.set("new", 2, fetched=False)
            assert (await late.sync_now()).written == 1
    with sqlite3.connect(app) as connection:
        found = connection.execute("SELECT key FROM cascada_service_entries WHERE key <> ''")
        assert found.fetchall() == [("new",)]
    connection.close()
