"""Document V's service of campaigns on a real PostgreSQL: its own log says what was written."""

from __future__ import annotations

import asyncio
import re
import runpy
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from cascada import Cache, CacheManager, CacheService, Limits, Mapping
from tests.documented import cache_service as document
from tests.servers.postgres import PostgresServer

NAME = "documented_example"

pytestmark = [
    pytest.mark.filterwarnings(r"ignore:\s*on_event is deprecated"),
    pytest.mark.filterwarnings("ignore:The `dict` method is deprecated"),
]


@dataclass
class Logged:
    """A database all of whose statements are in the server's log."""

    server: PostgresServer
    wanted: str = ""

    @property
    def url(self) -> str:
        return f"{self.server.url}/{NAME}"

    def ask(self, sql: str) -> list[list[str]]:
        return self.server.psql(sql, NAME)

    def statements(self) -> list[str]:
        lines = self.server.log().replace("\n\t", " ")
        found = re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", lines)
        return [" ".join(each.replace('"', "").split()) for each in found]

    def writes_of_campaigns(self) -> list[str]:
        write = r"(INSERT INTO|UPDATE|DELETE FROM|MERGE INTO|COPY|TRUNCATE) (public\.)?campaigns\b"
        return [each for each in self.statements() if re.match(write, each, re.I)]

    # --- the document's client of Supabase, which does not await ------------------------------

    def from_table(self, name: str) -> Logged:
        assert name == "campaigns"
        return self

    def select(self, columns: str) -> Logged:
        return self

    def eq(self, column: str, value: str) -> Logged:
        self.wanted = value
        return self

    def execute(self) -> document.Result:
        rows = self.ask(f"SELECT id, name, budget FROM campaigns WHERE id = '{self.wanted}'")
        names = "id", "name", "budget"
        return document.Result([dict(zip(names, row, strict=True)) for row in rows])


@pytest.fixture
def logged(postgres_process: PostgresServer) -> Iterator[Logged]:
    postgres_process.psql(f"CREATE DATABASE {NAME}")
    postgres_process.psql(f"ALTER DATABASE {NAME} SET log_statement = 'all'")
    made = Logged(postgres_process)
    made.ask("CREATE TABLE campaigns (id text PRIMARY KEY, name text, budget float8)")
    yield made
    postgres_process.psql(f"DROP DATABASE {NAME} WITH (FORCE)")


@pytest.fixture
async def cache(
    logged: Logged, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Cache]:
    """The default one, as the environment has it."""
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    monkeypatch.setenv("CASCADA_SYNC_DATABASE", logged.url)
    monkeypatch.setenv("CACHE_DATABASE_URL", f"sqlite:///{tmp_path / 'cache.db'}")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        CacheManager.configure(cache)
        yield cache
        CacheManager.configure(None)


async def test_the_example_writes_nothing_to_the_applications_table(
    logged: Logged, cache: Cache
) -> None:
    logged.ask("INSERT INTO campaigns SELECT n, 'name ' || n, n FROM generate_series(1, 8) n")
    where = logged.ask("SELECT id, ctid, xmin FROM campaigns ORDER BY id")
    before = len(logged.writes_of_campaigns())
    assert before == 1, "the log has what was written"
    example = runpy.run_path(document.__file__)
    app: FastAPI = example["with_events"](FastAPI())
    mapped = CacheService(
        name="mapped", mappings=[Mapping("campaign:", "campaigns", ["name", "budget"])]
    )
    async with app.router.lifespan_context(app):
        for service in (example["cache_service"], mapped):
            await service.start_sync()
            campaigns = example["CampaignService"](logged, service)
            for turn in range(2):
                for number in range(1, 9):
                    campaign = await campaigns.get_campaign(f"{number}")
                    assert campaign.name == f"name {number}"
                if not turn:
                    assert (await service.sync_now()).finished
    assert (await mapped.sync_now()).waiting == 0
    await mapped.stop_sync()
    said = logged.statements()
    assert any(each.startswith("INSERT INTO cascada.service_entries") for each in said)
    assert any("FROM campaigns" in each and "FOR UPDATE" in each for each in said), "it was looked"
    assert len(logged.writes_of_campaigns()) == before
    assert not [each for each in said if each.upper().startswith("UPDATE")]
    assert logged.ask("SELECT id, ctid, xmin FROM campaigns ORDER BY id") == where
    # What is changed is written, and the log says so.
    changed: dict[str, Any] = {"id": "7", "name": "changed", "budget": 7.0}
    assert await mapped.set("campaign:7", changed, fetched=False)
    assert (await mapped.sync_now()).written == 1
    assert len(logged.writes_of_campaigns()) == before + 1
    assert logged.ask("SELECT name FROM campaigns WHERE id = '7'") == [["changed"]]


PROGRAM = """
import asyncio
from tests.documented.cache_service import cache_service

async def main():
    await cache_service.start_sync()
    for number in range(10**9):
        if await cache_service.set(f"campaign:{number % 50}", {"name": number}):
            print(number % 50, number, flush=True)

asyncio.run(main())
"""


async def test_psql_shows_every_acknowledged_value_after_kill_9(
    logged: Logged, cache: Cache
) -> None:
    acknowledged: dict[str, int] = {}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    lines = [await process.stdout.readline() for _ in range(200)]
    process.kill()
    lines += (await process.stdout.read()).splitlines()
    await process.wait()
    for line in lines:
        key, number = line.decode().split()
        acknowledged[f"campaign:{key}"] = int(number)
    await CacheService().sync_now()
    shown = logged.ask("SELECT key, value->>'name' FROM cascada.service_entries")
    there = {key: int(name) for key, name in shown}
    assert there.keys() == acknowledged.keys()
    last = max(acknowledged.values())
    # One was in flight: it may be there, too.
    assert {key: min(name, acknowledged[key]) for key, name in there.items()} == acknowledged
    assert max(there.values()) <= last + 1
