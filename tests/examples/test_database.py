"""The service's database: tables for all workers, and a count of what it is asked."""

import asyncio

from sqlalchemy import text

from examples.agent_service.database import Database
from examples.agent_service.settings import Settings


async def test_workers_that_start_together_make_the_tables_once(database_url: str) -> None:
    url = Settings.from_env({"DATABASE_URL": database_url}).database_url
    workers = [Database(url) for _ in range(6)]
    await asyncio.gather(*(worker.create_tables() for worker in workers))
    for worker in workers:
        (row,) = await worker.fetch(text("SELECT count(*) FROM agents"))
        assert row[0] == 0
        await worker.aclose()


async def test_every_statement_is_counted(database_url: str) -> None:
    database = Database(Settings.from_env({"DATABASE_URL": database_url}).database_url)
    await database.create_tables()
    before = database.queries
    await asyncio.gather(*(database.fetch(text("SELECT 1")) for _ in range(7)))
    assert database.queries == before + 7
    await database.aclose()
