"""Document V, the sync of its `CacheService`: how it begins, goes on, fails and ends."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Limits, Mapping
from cascada.service.sync import loop
from cascada.testing.clock import ManualClock
from tests.documented.sections import without_a_test

SECTIONS = [
    "funcionalidades_sincronizacion",
    "sincronizacion_start_sync",
    "sincronizacion_stop_sync",
    "sincronizacion_sync_loop",
    "sincronizacion_sync_to_supabase",
]
CAMPAIGNS = Mapping("campaign:", "campaigns", ["name", "budget"], "version")


def test_every_section_has_its_test() -> None:
    assert without_a_test("v", SECTIONS, globals()) == []


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    monkeypatch.setattr(loop, "LOOK_EVERY", 0.01)  # so that it sees the clock that is set by hand


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


class Supabase:
    """The application's database, which the document has in Supabase."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"sqlite:///{path}"

    def ask(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self._path)) as connection, connection:
            return connection.execute(sql).fetchall()

    def entries(self) -> dict[str, Any]:
        """What the table of cascada holds, once there is one."""
        if not self.ask("SELECT 1 FROM sqlite_master WHERE name = 'cascada_service_entries'"):
            return {}
        return dict(self.ask("SELECT key, value FROM cascada_service_entries"))

    def campaigns(self) -> None:
        self.ask("CREATE TABLE campaigns (id text PRIMARY KEY, name text, budget int, version int)")


@pytest.fixture
def supabase(tmp_path: Path) -> Supabase:
    return Supabase(tmp_path / "supabase.db")


Make = Callable[..., CacheService]


@pytest.fixture
async def make(tmp_path: Path, clock: ManualClock, supabase: Supabase) -> AsyncIterator[Make]:
    services = []
    limits = Limits(op_timeout=10)
    async with Cache(database=str(tmp_path / "cache.db"), clock=clock, limits=limits) as cache:

        def made(interval: int = 300, **options: Any) -> CacheService:
            services.append(CacheService(interval, cache=cache, database=supabase.url, **options))
            return services[-1]

        yield made
        for each in services:
            await each.stop_sync()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():  # noqa: ASYNC110 - it waits for a database
            await asyncio.sleep(0.01)


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    said = [each for each in caplog.records if each.message.startswith("sync of")]
    return [(each.levelname, each.message) for each in said]


@pytest.mark.parametrize(
    ("conflicts", "stays"),
    [
        ("database_wins", "theirs"),
        ("last_write_wins", "ours"),
        ("cache_wins", "ours"),
        (lambda ours, theirs: {"name": f"{ours['name']}, {theirs['name']}"}, "ours, theirs"),
    ],
)
async def test_v_funcionalidades_sincronizacion(
    make: Make, supabase: Supabase, clock: ManualClock, conflicts: Any, stays: str
) -> None:
    """At an interval, on demand; and a row that others have changed meanwhile."""
    supabase.campaigns()
    service = make(300, mappings=[CAMPAIGNS], conflicts=conflicts)
    await service.start_sync()
    await until(lambda: service.last_sync is not None)
    await service.set("campaign:1", {"name": "first", "budget": 1})
    clock.advance(299)
    await asyncio.sleep(0.05)
    assert supabase.ask("SELECT * FROM campaigns") == []
    clock.advance(2)
    await until(lambda: supabase.ask("SELECT name, version FROM campaigns") == [("first", 1)])
    await service.stop_sync()
    supabase.ask("UPDATE campaigns SET name = 'theirs', version = 2")
    await service.set("campaign:1", {"name": "ours", "budget": 1, "version": 1})
    report = await service.sync_now()
    name = conflicts if isinstance(conflicts, str) else "merge"
    assert report.conflicts == {name: 1}
    assert supabase.ask("SELECT name FROM campaigns") == [(stays,)]


async def test_v_sincronizacion_start_sync(
    make: Make, supabase: Supabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cascada")
    service = make(300)
    await service.set("k", {"n": 1})
    assert service.sync_task is None
    await service.start_sync()
    task = service.sync_task
    assert isinstance(task, asyncio.Task)
    await service.start_sync()
    assert service.sync_task is task, "it is started once"
    await until(lambda: supabase.entries() == {"k": '{"n":1}'})  # the first round runs at once
    begun = [each for each in told(caplog) if "begun" in each[1]]
    assert begun == [("INFO", "sync of default begun, every 300 seconds")]


async def test_v_sincronizacion_stop_sync(
    make: Make, supabase: Supabase, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cascada")
    service = make(300)
    await service.stop_sync()
    assert told(caplog) == [], "it did not run"
    await service.start_sync()
    await until(lambda: service.last_sync is not None)
    task = service.sync_task
    await service.set("k", {"n": 1})
    await service.stop_sync()
    await service.stop_sync()
    assert (service.sync_task, task.done()) == (None, True)
    assert supabase.entries() == {"k": '{"n":1}'}, "what is left is written, and not lost"
    assert told(caplog)[-1] == ("INFO", "sync of default stopped")
    await service.start_sync()
    assert not service.sync_task.done()


async def test_v_sincronizacion_sync_loop(
    make: Make, supabase: Supabase, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What fails is logged, and tried again after 10 seconds, then ever later."""
    service = make(300, mappings=[CAMPAIGNS])
    await service.set("campaign:1", {"name": "first", "budget": 1})
    await service.start_sync()

    def pauses() -> list[str]:
        return [line[1].rpartition("next try in ")[2] for line in told(caplog) if "next" in line[1]]

    await until(lambda: pauses() == ["10 seconds"])
    failed = [line for line in told(caplog) if "failed" in line[1]]
    assert failed[0][0] == "ERROR"
    assert "schema: " in failed[0][1]
    assert "there is no such table" in failed[0][1]
    clock.advance(9)
    await asyncio.sleep(0.05)
    assert len(pauses()) == 1
    clock.advance(2)
    await until(lambda: pauses() == ["10 seconds", "20 seconds"])
    supabase.campaigns()
    clock.advance(21)
    await until(lambda: supabase.ask("SELECT name FROM campaigns") == [("first",)])
    await until(lambda: service.sync_lag == 0)
    assert len(pauses()) == 2


async def test_v_sincronizacion_sync_to_supabase(
    make: Make, supabase: Supabase, caplog: pytest.LogCaptureFixture
) -> None:
    """What has changed is written, once; how many rows and how long, each round says."""
    caplog.set_level(logging.DEBUG, "cascada")
    service = make()
    for number in range(3):
        await service.set(f"k:{number}", {"number": number})
    await service.set("k:0", {"number": 10})
    assert (await service.sync_now()).written == 3
    assert (await service.sync_now()).written == 0
    assert supabase.entries() == {
        "k:0": '{"number":10}',
        "k:1": '{"number":1}',
        "k:2": '{"number":2}',
    }
    (level, some), (quiet, none) = told(caplog)
    assert (level, quiet) == ("INFO", "DEBUG")
    assert some.startswith("sync of default: 3 rows in 0.")
    assert none.startswith("sync of default: 0 rows in 0.")
