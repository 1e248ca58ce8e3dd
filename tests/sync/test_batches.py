"""Batches that are claimed ahead: each change is written once, also where that takes long."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import create_async_engine

from cascada import Cache, CacheService, Context, Limits, Mapping
from cascada.service.sync import loop
from cascada.service.sync.entries import Entries
from cascada.service.sync.records import Rows
from cascada.service.sync.tables import Mapped
from cascada.service.sync.target import Target
from cascada.testing import ManualClock
from tests.servers.redis import RedisServer

LIMITS = Limits(op_timeout=10)


async def set_some(service: CacheService, count: int) -> None:
    for n in range(count):
        assert await service.set(f"k{n:02}", n, fetched=False)


async def test_a_database_that_is_slower_than_a_claim_gets_each_change_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "AT_ONCE", 10)
    clock, write = ManualClock(time.time()), Target.write
    begins: list[str] = []

    async def slow(self: Target, rows: Rows, *rest: Any) -> Any:
        begins.append(rows.records[0].key)
        answers = await write(self, rows, *rest)
        clock.advance(loop.CLAIM + 1)
        return answers

    monkeypatch.setattr(Target, "write", slow)
    url = f"sqlite:///{tmp_path / 'app.db'}"
    database = str(tmp_path / "cache.db")
    async with Cache(database=database, limits=LIMITS, clock=clock) as cache:
        service = CacheService(cache=cache, database=url)
        await set_some(service, 50)
        report = await service.sync_now()
    # The second was claimed before it was known how slow it is.
    assert begins == ["k00", "k10", "k20", "k30", "k40"]
    assert (report.written, report.known, report.waiting) == (50, 0, 0)


async def test_a_newest_change_that_is_damaged_keeps_no_other_back(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "AT_ONCE", 10)
    redis_server.flush()
    url = f"sqlite:///{tmp_path / 'app.db'}"
    async with Cache(redis=redis_server.url, limits=LIMITS) as cache:
        service = CacheService(cache=cache, database=url)
        with Context(tenant_id="acme"):
            await set_some(service, 35)
        (records,) = [key for key in redis_server.say("KEYS", "*jr:*").split() if b"jr:" in key]
        (newest,) = [
            key
            for key in redis_server.say("HKEYS", records.decode()).split()
            if key.endswith(b"k34")
        ]
        assert redis_server.say("HSET", records.decode(), newest.decode(), "?") == b":0\r\n"
        report = await service.sync_now()
    assert (report.written, report.set_aside, report.waiting) == (34, 1, 0)


async def test_what_a_round_that_broke_off_has_claimed_is_free_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "AT_ONCE", 5)

    async def broken(self: Target, *rest: Any) -> Any:
        raise RuntimeError("broken")

    async with Cache(database=str(tmp_path / "cache.db"), limits=LIMITS) as cache:
        service = CacheService(cache=cache, database=f"sqlite:///{tmp_path / 'app.db'}")
        await set_some(service, 20)
        with monkeypatch.context() as patch:
            patch.setattr(Target, "write", broken)
            with pytest.raises(RuntimeError, match="broken"):
                await service.sync_now()
        assert (await service.sync_now()).written == 20


async def test_a_table_that_is_met_in_a_later_batch_breaks_into_no_other_s_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database has one connection for all: who gives it back ends what is not committed."""
    monkeypatch.setattr(loop, "AT_ONCE", 10)
    write, others = Entries.write, 0

    async def slow(self: Entries, *given: Any) -> Any:
        nonlocal others
        others += 1
        answers = await write(self, *given)
        await asyncio.sleep(0.05)  # the next batch is read meanwhile
        others -= 1
        return answers

    find = Mapped.find

    async def alone(self: Mapped, connection: Any) -> None:
        assert not others
        await find(self, connection)

    monkeypatch.setattr(Entries, "write", slow)
    monkeypatch.setattr(Mapped, "find", alone)
    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.begin() as connection:
        await connection.exec_driver_sql("CREATE TABLE t (id text PRIMARY KEY, n int)")
    async with Cache(database=str(tmp_path / "cache.db"), limits=LIMITS) as cache:
        service = CacheService(cache=cache, database=engine, mappings=[Mapping("m:", "t", ["n"])])
        await set_some(service, 25)
        for n in range(15):
            assert await service.set(f"m:{n}", {"n": n}, fetched=False)
        assert (await service.sync_now()).written == 40
    async with engine.connect() as connection:
        for table, count in (("cascada_service_entries", 25), ("t", 15)):
            answer = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")
            assert answer.scalar() == count
    await engine.dispose()
