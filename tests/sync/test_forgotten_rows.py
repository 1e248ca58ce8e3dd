"""What was removed leaves a row for its number, and that goes once nothing older can come."""

from __future__ import annotations

import pytest

from cascada import Mapping
from cascada.service.sync import loop, target
from cascada.service.sync.records import Known, SyncFailed, Written
from tests.sync.conftest import Database, Make
from tests.sync.test_target import campaign, change

DELETED = Mapping("campaign:", "campaigns", ["name"], "version", on_delete="delete")


def table_of(database: Database, name: str) -> str:
    return f"cascada.{name}" if database.kind == "postgresql" else f"cascada_{name}"


async def numbers(database: Database, name: str) -> list[int]:
    rows = await database.ask(f"SELECT number FROM {table_of(database, name)} ORDER BY number")
    return [number for (number,) in rows]


async def grow_old(database: Database, name: str, days: float = 1.1) -> None:
    """As if they had been written earlier."""
    seconds = round(days * 86_400)
    earlier = f"datetime('now', '-{seconds} seconds')"
    if database.kind == "postgresql":
        earlier = f"now() - interval '{seconds} seconds'"
    await database.ask(f"UPDATE {table_of(database, name)} SET written_at = {earlier}")


async def test_what_was_removed_a_day_ago_is_forgotten(database: Database) -> None:
    await database.campaigns("1, 'one', 10, 1", "2, 'two', 10, 1")
    writer = database.target(DELETED)
    await writer.write([change(1, "a", 1), change(3, "b", removed=True)])
    await writer.write([campaign(2, 2, "zwei", 1), campaign(4, 1, "", removed=True)])
    for days in (0.9, 1.1):
        for name in ("service_entries", "applied"):
            await grow_old(database, name, days)
        await writer.forget(3 if days > 1 else 100)
        assert await numbers(database, "service_entries") == [1, 3]
        assert await numbers(database, "applied") == [2, 4]
    await writer.forget(100)
    # Of what is there, the number stays, and the version that the sync has written.
    assert await numbers(database, "service_entries") == [1]
    assert await numbers(database, "applied") == [2]
    await database.target(DELETED, service="other").forget(100)


async def test_a_younger_row_of_it_keeps_what_is_older_out(database: Database) -> None:
    writer = database.target()
    await writer.write([change(3, "b", removed=True)])
    await writer.forget(100)
    assert await writer.write([change(2, "b", "old")]) == [Known()]


async def test_who_has_stood_still_for_longer_than_such_a_row_lives_writes_nothing(
    database: Database,
) -> None:
    await database.campaigns()
    writer = database.target(DELETED)
    await writer.look()
    claimed = writer.seen
    await writer.write([change(3, "b", removed=True), campaign(4, 1, "", removed=True)])
    for name in ("service_entries", "applied"):
        await grow_old(database, name)
    await writer.forget(100)
    older = [change(1, "b", "old"), campaign(2, 1, "old")]
    for failed in await writer.write(older, claimed - target.CLAIMED - 1):
        assert isinstance(failed, SyncFailed)
        assert failed.cause == "timeout"
    assert await numbers(database, "service_entries") == []
    assert await database.rows() == []
    assert await writer.write([change(5, "b", "new")], claimed) == [Written()]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_a_service_that_removes_all_the_time_leaves_no_more_than_of_a_day(
    make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "FORGET_EVERY", 0.0)
    monkeypatch.setattr(target, "FORGOTTEN", 10)
    service = make()
    for days in range(3):
        for number in range(15):
            await service.set(f"{days}-{number}", number)
        assert (await service.sync_now()).written == 15
        for number in range(15):
            assert await service.delete(f"{days}-{number}", row=True)
        assert (await service.sync_now()).written == 15
        assert len(await numbers(database, "service_entries")) == 15
        await grow_old(database, "service_entries")
    await service.set("last", 1)
    await service.sync_now()
    assert len(await numbers(database, "service_entries")) == 1


async def test_what_a_round_claimed_too_long_ago_comes_again(
    make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make()
    await service.set("a", 1)
    with monkeypatch.context() as patch:
        patch.setattr(target, "CLAIMED", -1.0)
        report = await service.sync_now()
    assert (report.errors, report.waiting) == ({"timeout": 1}, 1)
    assert (await service.sync_now()).written == 1
