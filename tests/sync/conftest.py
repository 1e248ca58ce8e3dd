"""An empty database of each kind, what a test asks of it, and services that sync."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cascada import Cache, CacheService, Limits
from cascada.service.sync.conflicts import strategy
from cascada.service.sync.databases import opened
from cascada.service.sync.mapping import Mapping, mappings
from cascada.service.sync.target import Target
from tests.servers.disk import small_disk as small_disk


@dataclass
class Database:
    """`url` for a target; `ask` for the test itself."""

    url: str
    engine: AsyncEngine
    targets: list[Target] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return self.engine.dialect.name

    async def ask(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.engine.begin() as connection:
            answer = await connection.exec_driver_sql(sql)
            return [tuple(row) for row in answer.fetchall()] if answer.returns_rows else []

    async def entries(self) -> dict[tuple[str, str], Any]:
        """What the table of cascada holds, by tenant and key, less what was removed."""
        name = "cascada.service_entries" if self.kind == "postgresql" else "cascada_service_entries"
        rows = await self.ask(f"SELECT tenant, key, value, removed FROM {name}")
        return {(tenant, key): value for tenant, key, value, removed in rows if not removed}

    def target(self, *mapped: Mapping, conflicts: Any = "database_wins", **options: Any) -> Target:
        given = {"namespace": "test", "service": "campaigns", "tenant": "acme"} | options
        target = Target(
            self.url, mappings=mappings([*mapped]), strategy=strategy(conflicts), **given
        )
        self.targets.append(target)
        return target

    async def campaigns(self, *rows: str) -> None:
        """The application's table, with these rows."""
        await self.ask(
            "CREATE TABLE campaigns (id integer PRIMARY KEY, name varchar(20) NOT NULL UNIQUE, "
            "budget integer CHECK (budget >= 0), version integer, deleted_at timestamp)"
        )
        for row in rows:
            await self.ask(f"INSERT INTO campaigns (id, name, budget, version) VALUES ({row})")

    async def rows(self) -> list[tuple[Any, ...]]:
        return await self.ask("SELECT id, name, budget, version FROM campaigns ORDER BY id")


EMPTIED = (
    "DROP SCHEMA IF EXISTS cascada CASCADE",
    "DROP SCHEMA public CASCADE",
    "CREATE SCHEMA public",
)


@pytest.fixture(params=["sqlite", "postgresql"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """An empty database, of each kind in turn."""
    if request.param == "postgresql":
        # The server's own database: to make one for each test would take most of their time.
        url = f"{request.getfixturevalue('postgres')}/postgres"
    else:
        url = f"sqlite:///{tmp_path / 'app.db'}"
    made = Database(url, opened(url))
    if request.param == "postgresql":
        for sql in EMPTIED:
            await made.ask(sql)
    yield made
    for target in made.targets:
        await target.aclose()
    await made.engine.dispose()


@dataclass
class Make:
    """Makes services, each as in a process of its own, on one journal."""

    folder: Path
    url: str
    caches: list[Cache] = field(default_factory=list)
    services: list[CacheService] = field(default_factory=list)

    def __call__(self, *mappings: Mapping, **options: Any) -> CacheService:
        more = {
            "encryption_keys": options.pop("keys", None),
            "encrypt": options.pop("encrypt", None),
        }
        said: Any = {name: value for name, value in more.items() if value is not None}
        limits = Limits(op_timeout=10)
        self.caches.append(Cache(database=str(self.folder / "cache.db"), limits=limits, **said))
        options = {"sync_interval": 60, "database": self.url} | options
        self.services.append(CacheService(cache=self.caches[-1], mappings=mappings, **options))
        return self.services[-1]


@pytest.fixture(autouse=True)
def tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASCADA_TENANT", "acme")


@pytest.fixture
async def make(database: Database, tmp_path: Path) -> AsyncIterator[Make]:
    made = Make(tmp_path, database.url)
    yield made
    for service in made.services:
        await service.stop_sync()
    for cache in made.caches:
        await cache.aclose()
