"""What a `CacheService` writes to a database by its sync: of each kind, and over a real journal."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, Mapping, Misuse, SyncProgress
from cascada.integrations.prometheus import exposition
from cascada.service.sync import loop
from tests.sync.conftest import Database, Make

CAMPAIGNS = Mapping("campaign:", "campaigns", ["name", "budget"], "version")

TRIES = 300
"""Looks, a hundredth of a second apart, whether a process has heard of something."""


async def forgets(service: CacheService, key: str) -> bool:
    """Whether it does so in the time that another process takes to hear of it."""
    for _ in range(TRIES):
        if await service.get(key) is None:
            return True
        await asyncio.sleep(0.01)
    return False


async def test_what_was_set_is_written_once(make: Make, database: Database) -> None:
    service = make()
    assert await service.set("a", {"x": 1})
    with Context(tenant_id="other"):
        assert await service.set("a", 2)
    await service.set("gone", 3)
    assert (await service.sync_now()).written == 3
    assert (await service.sync_now()).written == 0
    assert await service.delete("gone", row=True)
    assert await service.set("a", {"x": 4})
    assert (await service.sync_now()).written == 2
    assert (await database.entries()).keys() == {("acme", "a"), ("other", "a")}
    assert (await service.get("a"), service.sync_lag) == ({"x": 4}, 0)
    assert (await service.get_metrics()).last_sync is not None
    # Rows are deleted by that alone.
    await service.delete("a")
    await service.clear()
    await service.sync_now()
    assert ("acme", "a") in await database.entries()


async def test_what_was_read_and_set_is_not_written(make: Make, database: Database) -> None:
    """The document's pattern: get, a miss, read the row, set it."""
    await database.campaigns("1, 'one', 10, 3", "2, 'two', 10, 3")
    service = make(CAMPAIGNS)
    for id, name in ((1, "one"), (2, "two")):
        assert await service.get(f"campaign:{id}") is None
        row = {"id": id, "name": name, "budget": 10, "version": 3}
        assert await service.set(f"campaign:{id}", row)
    await database.ask("UPDATE campaigns SET name = 'new', version = 4 WHERE id = 2")
    report = await service.sync_now()
    assert (report.written, report.fills, report.stale_fills) == (0, 1, 1)
    assert await database.rows() == [(1, "one", 10, 3), (2, "new", 10, 4)]
    assert await service.get("campaign:1") is not None
    assert await service.get("campaign:2") is None, "what is older than its row is not served"


async def test_a_change_after_a_miss_is_written_if_it_is_said_to_be_one(
    make: Make, database: Database
) -> None:
    """get, a miss, read the row, change what was read, set it: nobody but the caller knows that."""
    await database.campaigns("1, 'one', 10, 3", "2, 'two', 10, 3")
    service = make(CAMPAIGNS)
    for id, fetched in ((1, False), (2, None)):
        assert await service.get(f"campaign:{id}") is None
        changed = {
            "id": id,
            "name": "changed" if id == 1 else "other",
            "budget": 10 + id,
            "version": 3,
        }
        assert await service.set(f"campaign:{id}", changed, fetched=fetched)
    report = await service.sync_now()
    assert (report.written, report.fills, report.stale_fills) == (1, 0, 1)
    assert await database.rows() == [(1, "changed", 11, 4), (2, "two", 10, 3)]
    assert await service.get("campaign:2") is None


async def test_the_cache_forgets_what_has_lost_to_the_row(make: Make, database: Database) -> None:
    await database.campaigns("1, 'theirs', 10, 4")
    one, two = make(CAMPAIGNS), make(CAMPAIGNS)
    await one.set("campaign:1", {"name": "mine", "version": 3})
    assert await two.get("campaign:1") is not None
    assert (await one.sync_now()).conflicts == {"database_wins": 1}
    assert await one.get("campaign:1") is None
    assert await forgets(two, "campaign:1")


async def test_who_died_before_the_cache_forgot_is_made_up_for(
    make: Make, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.campaigns("1, 'theirs', 10, 4")
    one, two = make(CAMPAIGNS), make(CAMPAIGNS)
    await one.set("campaign:1", {"name": "mine", "version": 3})

    async def dies(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CLAIM", 0.0)
        patch.setattr(loop.SyncLoop, "let_go", dies)
        with pytest.raises(ZeroDivisionError):
            await one.sync_now()
    assert (await two.sync_now()).known == 1
    assert await forgets(one, "campaign:1")


async def test_what_cannot_be_written_is_set_aside_and_retried_on_demand(
    make: Make, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    await database.campaigns("1, 'taken', 10, 3")
    service = make(CAMPAIGNS)
    for id, name in ((2, "sound"), (3, "taken"), (4, "also sound")):
        await service.set(f"campaign:{id}", {"name": name})
    report = await service.sync_now()
    assert (report.written, report.set_aside, report.waiting) == (2, 1, 0)
    (bad,) = await service.sync_set_aside()
    assert (bad.tenant, bad.key, bad.cause) == ("acme", "campaign:3", "constraint")
    assert report.unwritable == (bad,)
    assert "campaign:3 is set aside" in caplog.text
    await database.ask("DELETE FROM campaigns WHERE id = 1")
    assert await service.sync_retry(["campaign:3"]) == 1
    assert (await service.sync_now()).written == 1
    assert await service.sync_set_aside() == []


async def test_metrics_tell_of_it(make: Make, database: Database) -> None:
    await database.campaigns("1, 'theirs', 10, 4", "2, 'taken', 10, 4")
    service = make(CAMPAIGNS, Mapping("x:", "nowhere", ["name"]))
    values = {"campaign:1": {"name": "mine", "version": 3}, "campaign:3": {"name": "taken"}}
    for key, value in (values | {"x:1": {"name": "x"}, "y": 1}).items():
        await service.set(key, value)
    await service.sync_now()
    said = (await exposition(make.caches[-1])).decode()
    for line in (
        'cache_sync_rows_total{service="default"} 1.0',
        'cache_sync_conflicts_total{service="default",strategy="database_wins"} 1.0',
        'cache_sync_errors_total{cause="schema",service="default"} 1.0',
        'cache_sync_set_aside{service="default"} 1.0',
        'cache_sync_round_seconds_count{service="default"} 1.0',
    ):
        assert line in said
    (lag,) = re.findall(r'cache_sync_lag_seconds{service="default"} (\S+)', said)
    assert 0 < float(lag) < 60


async def test_two_that_share_a_journal_write_each_row_once(make: Make, database: Database) -> None:
    services = [make(name="shared") for _ in range(2)]
    for number in range(40):
        await services[number % 2].set(f"k:{number}", number)
    reports = await asyncio.gather(*[each.sync_now() for each in services for _ in range(2)])
    assert len({id(each) for each in reports}) == 2, "who asks meanwhile shares a round"
    assert sum(each.written for each in {id(each): each for each in reports}.values()) == 40
    assert len(await database.entries()) == 40


async def test_its_life(make: Make, database: Database, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told: list[SyncProgress] = []
    service = make(on_sync_progress=told.append)
    await service.stop_sync()
    assert service.sync_task is None
    await service.set("a", 1)
    await service.start_sync()
    task = service.sync_task
    await service.start_sync()
    assert service.sync_task is task, "it is started once"
    for _ in range(3000):
        if service.last_sync is not None:  # the first round runs at once
            break
        await asyncio.sleep(0.01)
    await service.set("b", 2)
    await service.stop_sync()
    await service.stop_sync()
    assert (service.sync_task, task.done()) == (None, True)
    assert len(await database.entries()) == 2, "stopping writes what is left"
    assert [each.done for each in told] == [1, 1]
    said = [each.message for each in caplog.records if each.message.startswith("sync of")]
    assert said[0] == "sync of default begun, every 60 seconds"
    assert said[1].startswith("sync of default: 1 rows in ")
    assert said[-1] == "sync of default stopped"
    await service.start_sync()
    assert service.sync_task is not None


async def test_a_database_that_is_away_loses_nothing(make: Make, database: Database) -> None:
    if database.kind == "postgresql":
        away = make(database="postgresql://nobody@127.0.0.1:1/none")
    else:
        away = make(database="sqlite:////nowhere/at/all.db")
    assert await away.set("a", 1)
    report = await away.sync_now()
    assert (report.finished, report.waiting) == (False, 1)
    assert report.errors.keys() <= {"connection", "permission"}
    assert report.lag_seconds > 0
    assert (await make().sync_now()).written == 1


async def test_a_table_that_is_not_there_holds_up_no_other(make: Make, database: Database) -> None:
    service = make(Mapping("x:", "nowhere", ["name"]))
    await service.set("x:1", {"name": "x"})
    await service.set("y", 1)
    report = await service.sync_now()
    assert (report.written, report.errors, report.waiting) == (1, {"schema": 1}, 1)


@pytest.mark.parametrize(
    ("other", "warned"),
    [({}, 1), ({"mappings": [Mapping("x:", "a", ["name"])]}, 0), ({"name": "other"}, 0)],
)
async def test_services_of_one_name_that_write_to_different_tables_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: dict[str, Any], warned: int
) -> None:
    async with Cache(database=str(tmp_path / "cache.db"), namespace="test") as cache:
        url = f"sqlite:///{tmp_path / 'app.db'}"
        mapped = Mapping("x:", "a", ["name"])
        first = CacheService(cache=cache, database=url, mappings=[mapped])
        second = CacheService(cache=cache, database=url, **other)
        with Context(tenant_id="acme"):
            for service in (first, second, first, second):
                await service.set("y", 1)
    said = [each for each in caplog.messages if "give each a name= of its own" in each]
    assert len(said) == warned


async def test_in_memory_alone_nothing_is_promised() -> None:
    async with Cache() as cache:
        service = CacheService(cache=cache)
        assert await service.set("a", 1)
        with pytest.raises(Misuse, match="in memory alone"):
            await service.start_sync()
        assert await service.sync_set_aside() == []
        assert not await service.delete("a", row=True)
        assert await service.get("a") is None
