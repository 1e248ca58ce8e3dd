"""How many changed keys a second the sync writes, beside what one would write by hand.

    python -m benchmarks.sync_rows [--keys 100000] [--database sqlite|postgresql]

Each value is a row of a campaign as a dict. The sync reads them from the journal in SQLite, writes
them to `service_entries`, and takes them from the journal. By hand: the same values from a list, as
JSON, in batches of 500, a transaction each, by `executemany` of an upsert; in PostgreSQL also by
COPY into a table that is then upserted from. Beside the rows a second it says how long the event
loop was held up at the longest, and how much memory the process took on while it synced.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg

from cascada import Cache, CacheService, Limits
from tests.servers.postgres import postgres_server

BATCH: Final = 500
TABLE: Final = (
    "CREATE TABLE by_hand (tenant text, key text, value {json}, PRIMARY KEY (tenant, key))"
)
UPSERT: Final = (
    "INSERT INTO by_hand (tenant, key, value) VALUES ({marks}) "
    "ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value"
)


@dataclass
class Figures:
    """Seconds; the longest time that nobody else had a turn; bytes that memory grew by."""

    seconds: float = 0.0
    blocked: float = 0.0
    grown: int = 0


def value_of(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"campaign {number}",
        "status": "running" if number % 3 else "paused",
        "budget": number * 1.5,
        "tags": ["spring", "mail"],
        "version": 1,
    }


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def measured() -> AsyncIterator[Figures]:
    """What the block took; a task that wants a turn every millisecond says how long it waited."""
    figures, before = Figures(), resident()

    async def watch() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            figures.blocked = max(figures.blocked, time.perf_counter() - began - 0.001)
            figures.grown = max(figures.grown, resident() - before)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.01)
    figures.blocked = 0.0
    began = time.perf_counter()
    yield figures
    figures.seconds = time.perf_counter() - began
    watching.cancel()


async def by_sync(keys: int, url: str, folder: Path) -> Figures:
    """The sync of one service, of a journal with so many changes."""
    async with Cache(database=str(folder / "cache.db"), limits=Limits(op_timeout=30)) as cache:
        service = CacheService(cache=cache, database=url)
        for start in range(0, keys, BATCH):
            numbers = range(start, min(start + BATCH, keys))
            kept = await asyncio.gather(
                *[service.set(f"campaign:{n}", value_of(n)) for n in numbers]
            )
            assert all(kept)
        await service._sync.loop()._target.begin()
        async with measured() as figures:
            report = await service.sync_now()
        assert report.written == keys, report
        assert report.finished
    return figures


def batches(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def sqlite_by_hand(keys: int, folder: Path) -> float:
    connection = sqlite3.connect(folder / "hand.db")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(TABLE.format(json="text"))
    began = time.perf_counter()
    for numbers in batches(range(keys)):
        rows = [("acme", f"campaign:{n}", json.dumps(value_of(n))) for n in numbers]
        with connection:
            connection.executemany(UPSERT.format(marks="?, ?, ?"), rows)
    seconds = time.perf_counter() - began
    connection.close()
    return seconds


async def postgres_by_hand(keys: int, server: str) -> tuple[float, float]:
    """By `executemany`, and by COPY."""
    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute(TABLE.format(json="jsonb"))
    began = time.perf_counter()
    for numbers in batches(range(keys)):
        rows = [("acme", f"campaign:{n}", json.dumps(value_of(n))) for n in numbers]
        async with connection.transaction():
            await connection.executemany(UPSERT.format(marks="$1, $2, $3"), rows)
    upsert = time.perf_counter() - began
    await connection.execute("TRUNCATE by_hand")
    await connection.execute("CREATE TEMP TABLE arrived (tenant text, key text, value text)")
    began = time.perf_counter()
    for numbers in batches(range(keys)):
        rows = [("acme", f"campaign:{n}", json.dumps(value_of(n))) for n in numbers]
        async with connection.transaction():
            await connection.copy_records_to_table("arrived", records=rows)
            await connection.execute(
                "INSERT INTO by_hand SELECT tenant, key, value::jsonb FROM arrived "
                "ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value"
            )
            await connection.execute("TRUNCATE arrived")
    copy = time.perf_counter() - began
    await connection.close()
    return upsert, copy


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def say(name: str, keys: int, seconds: float, note: str = "") -> None:
    print(f"{name:34} {keys / seconds:>10,.0f} rows/s {note}")


def told(name: str, keys: int, figures: Figures, by_hand: float) -> None:
    note = f"{by_hand / figures.seconds:.2f} of the upsert by hand, loop held up at most "
    note += f"{figures.blocked * 1e3:.1f} ms, memory +{figures.grown / 2**20:.1f} MB"
    say(name, keys, figures.seconds, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--database", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    os.environ.setdefault("CASCADA_TENANT", "acme")
    if given.database != "postgresql":
        with folder() as path:
            by_hand = sqlite_by_hand(given.keys, path)
            say("SQLite: upsert by hand", given.keys, by_hand)
            url = f"sqlite:///{path / 'app.db'}"
            figures = asyncio.run(by_sync(given.keys, url, path))
            told("SQLite: sync", given.keys, figures, by_hand)
    if given.database != "sqlite":
        with folder() as path, postgres_server() as server:
            by_hand, copy = asyncio.run(postgres_by_hand(given.keys, server))
            say("PostgreSQL: upsert by hand", given.keys, by_hand)
            say("PostgreSQL: COPY by hand", given.keys, copy)
            figures = asyncio.run(by_sync(given.keys, f"{server}/postgres", path))
            told("PostgreSQL: sync", given.keys, figures, by_hand)


if __name__ == "__main__":
    main()
