"""`CacheService.forget`: a tenant's rows go where the sync writes, and nothing older comes back."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from cascada import CacheService, Context, ForgetProgress, Mapping
from cascada.service.sync.entries import Entries
from cascada.service.sync.records import Known, Record, Written
from cascada.testing.inside import inside
from tests.forgetting.test_beside import around
from tests.sync.conftest import Database, Make

CAMPAIGNS = Mapping("campaign:", "campaigns", ["name", "budget"], "version")

MARKER = "mark-4711"


async def set_some(service: CacheService, tenant: str, count: int = 5) -> None:
    with Context(tenant_id=tenant):
        for n in range(count):
            assert await service.set(f"{MARKER}:{n}", f"{MARKER} of <{tenant}>", fetched=False)


def everything(folder: Path) -> bytes:
    """What the cache's files hold."""
    return b"".join([path.read_bytes() for path in sorted(folder.glob("cache.db*"))])


async def test_the_rows_of_a_tenant_go_and_those_of_others_stay(
    make: Make, database: Database, tmp_path: Path
) -> None:
    service = make()
    for tenant in ("acme", "acme:1", "b"):
        await set_some(service, tenant)
    assert (await service.sync_now()).written == 15
    await set_some(service, "acme", 3)  # these wait
    report = await service.forget("acme")
    assert (report.complete, report.rows) == (True, 5)
    assert sum(each.changes for each in report.removed) == 3
    assert {tenant for tenant, _ in await database.entries()} == {"acme:1", "b"}
    assert len(await database.entries()) == 10
    assert (await service.sync_now()).written == 0
    assert b"<acme>" not in (tmp_path / "cache.db").read_bytes()
    again = await service.forget("acme")
    assert (again.complete, again.rows) == (True, 0)
    await set_some(service, "acme", 2)  # he may come back
    assert (await service.sync_now()).written == 2
    assert len(await database.entries()) == 12


async def test_what_was_claimed_before_is_not_written_after(make: Make, database: Database) -> None:
    service = make()
    await set_some(service, "acme")
    await service.sync_now()
    late = database.target(namespace="cascada", service="default")
    old = int(inside(service.cache).stack.now() * 1e6)
    assert (await service.forget("acme")).rows == 5
    records = [
        Record(old, "acme", "new", MARKER),
        Record(old + 3_600_000_000, "acme", "newer", "kept"),
        Record(old, "b", "new", "kept"),
    ]
    assert await late.write(records) == [Known(), Written(), Written()]
    assert (await database.entries()).keys() == {("acme", "newer"), ("b", "new")}


async def test_a_transaction_that_was_begun_before_is_waited_for(
    make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()
    await set_some(service, "acme", 1)
    await service.sync_now()
    late = database.target(namespace="cascada", service="default")
    old = int(inside(service.cache).stack.now() * 1e6)
    written, goes_on, write = asyncio.Event(), asyncio.Event(), Entries.write

    async def slow(self: Entries, *given: Any) -> Any:
        answer = await write(self, *given)
        written.set()
        await goes_on.wait()
        return answer

    monkeypatch.setattr(Entries, "write", slow)
    writing = asyncio.create_task(late.write([Record(old, "acme", "late", MARKER)]))
    await written.wait()
    told: list[ForgetProgress] = []
    forgetting = asyncio.create_task(service.forget("acme", on_progress=told.append))
    while not any(each.tier == "database" for each in told):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    waited = not forgetting.done()
    goes_on.set()
    assert await writing == [Written()]
    await asyncio.wait([forgetting])
    assert waited
    report = await forgetting
    assert (report.complete, report.rows) == (True, 2)
    assert await database.entries() == {}


async def test_who_waits_for_what_is_being_written_is_told_and_may_be_cancelled(
    make: Make, database: Database
) -> None:
    service = make()
    await set_some(service, "acme", 1)
    await service.sync_now()
    late = database.target(namespace="cascada", service="default")
    waits: list[ForgetProgress] = []
    async with late.transaction():
        forgetting = asyncio.create_task(service.forget("acme", on_progress=waits.append))
        while not any(each.tier == "database" for each in waits):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        forgetting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await forgetting
    assert waits[-1][:3] == ("acme", "database", 0)
    assert (await service.forget("acme")).complete
    assert await database.entries() == {}


async def test_what_is_set_around_that_moment_goes_or_stays_as_a_whole(
    make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = make(), make()

    async def before() -> None:
        await set_some(there, "acme")
        assert (await there.sync_now()).written == 5

    async def after() -> None:
        with Context(tenant_id="acme"):
            assert await there.set("synced", 1, fetched=False)
            assert (await there.sync_now()).waiting == 0
            assert await there.set("waits", 2, fetched=False)

    around(monkeypatch, before, after)
    assert (await here.forget("acme")).complete
    assert (await there.sync_now()).written == 1
    assert (await database.entries()).keys() == {("acme", "synced"), ("acme", "waits")}
    with Context(tenant_id="acme"):
        assert [await here.get(key) for key in ("synced", "waits")] == [1, 2]


async def test_of_a_mapped_table_what_was_noted_goes_and_the_rows_stay(
    make: Make, database: Database
) -> None:
    await database.campaigns("1, 'one', 10, 3")
    service = make(CAMPAIGNS)
    assert await service.set("campaign:1", {"name": "mine", "budget": 1, "version": 3})
    assert (await service.sync_now()).written == 1
    report = await service.forget("acme")
    assert (report.complete, report.rows) == (True, 1)
    assert await database.rows() == [(1, "mine", 1, 4)]
    late = database.target(CAMPAIGNS, namespace="cascada", service="default")
    old = int(inside(service.cache).stack.now() * 1e6) - 60_000_000
    value = {"name": "old", "budget": 9, "version": 4}
    assert await late.write([Record(old, "acme", "campaign:1", value)]) == [Known()]
    assert await database.rows() == [(1, "mine", 1, 4)]


async def test_a_database_that_is_away_is_in_the_report(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()
    await set_some(service, "acme", 1)
    other = make(database=f"sqlite:///{tmp_path}/no/such/folder/app.db")
    report = await other.forget("acme")
    assert not report.complete
    assert [each.tier for each in report.removed if each.incomplete] == ["database"]
    assert "run it again" in report.removed[-1].incomplete


async def test_of_rows_in_the_cache_s_own_file_no_byte_is_left(make: Make, tmp_path: Path) -> None:
    service = make(database=None)
    await service.sync_now()  # from now on what is set is journaled
    await set_some(service, "acme", 200)
    await set_some(service, "b", 200)
    assert (await service.sync_now()).written == 400
    report = await service.forget("acme")
    assert (report.complete, report.rows) == (True, 200)
    assert b"<acme>" not in everything(tmp_path)
    with sqlite3.connect(tmp_path / "cache.db") as connection:
        found = connection.execute(
            "SELECT tenant, key <> '', count(*) FROM cascada_service_entries GROUP BY 1, 2"
        ).fetchall()
    connection.close()
    assert sorted(found) == [("acme", 0, 1), ("b", 1, 200)]


async def test_without_a_sync_it_is_the_cache_s(make: Make) -> None:
    service = CacheService(cache=make().cache, name="plain")
    await set_some(service, "acme", 2)
    report = await service.forget("acme")
    assert (report.complete, report.rows) == (True, 0)
    assert service.sync_task is None
