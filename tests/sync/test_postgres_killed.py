"""A PostgreSQL that dies in the midst of a round, and comes back: nothing is lost or set aside.

`tests.chaos.synced --database-kills N` does so many times, with processes that are killed as well.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Limits, Mapping
from cascada.service.sync import loop
from cascada.service.sync.tables import Mapped
from tests.servers.postgres import PostgresServer, postgres_server

KEYS = 60


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with postgres_server() as own:
        yield own


@pytest.fixture
async def service(
    server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[CacheService]:
    monkeypatch.setenv("CASCADA_TENANT", "acme")
    monkeypatch.setattr(loop, "AT_ONCE", 10)
    server.psql("CREATE TABLE rows (id text PRIMARY KEY, value int, version int)")
    mapping = Mapping("row:", "rows", ["value"], "version")
    limits = Limits(op_timeout=20)
    async with Cache(database=str(tmp_path / "cache.db"), limits=limits) as cache:
        url = f"{server.url}/postgres"
        yield CacheService(60, cache=cache, database=url, mappings=[mapping])


async def test_a_postgres_that_is_killed_in_a_round_loses_nothing(
    server: PostgresServer, service: CacheService, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Mapped.write
    for turn, end in enumerate((server.kill, server.stop)):
        left = 3

        async def until_killed(*what: Any, end: Callable[[], None] = end) -> Any:
            nonlocal left
            answer = await write(*what)
            left -= 1
            if not left:  # what was written is not committed yet
                await asyncio.to_thread(end)
            return answer

        for number in range(KEYS):
            value = {"value": turn * KEYS + number}
            assert await service.set(f"{'row' if number % 2 else 'own'}:{number}", value)
        with monkeypatch.context() as patch:
            patch.setattr(Mapped, "write", until_killed)
            report = await service.sync_now()
        assert not report.finished
        assert (report.set_aside, {*report.errors} <= {"connection", "timeout"}) == (0, True)
        assert 0 < report.written < KEYS
        server.start()
        report = await service.sync_now()
        assert (report.finished, report.waiting, report.set_aside) == (True, 0, 0), report
        shown = server.psql("SELECT id, value, version FROM rows")
        assert {(int(id), int(value)) for id, value, _ in shown} == {
            (number, turn * KEYS + number) for number in range(1, KEYS, 2)
        }
        assert {version for _, _, version in shown} == {str(turn + 1)}, "each once"
