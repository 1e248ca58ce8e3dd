"""How many changed keys a second the sync writes, beside what one would write by hand.

    python benchmarks/sync_rows.py [--keys 100000] [--rounds 10] [--database sqlite|postgresql]

Each value is a row of a campaign as a dict. The sync reads them from its journal, writes them to
`service_entries`, and takes them from the journal. By hand: the same values from a list, as JSON,
in batches of 500, a transaction each, by `executemany` of an upsert; in PostgreSQL also by COPY
into a table that is then upserted from. So many keys are written in so many rounds, by turns; with
one round all of them wait in the journal at once. Each SQLite file is in WAL mode.

A block of the event loop is told in CPU time of its thread: that is what the sync itself keeps
others waiting for, whatever else the machine does. What memory grew by is told from a tenth of each
round to its end, so that what a process takes on once is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
from _caches import cache_of
from _rows import Row, script
from _servers import redis_server

from cascada import CacheService
from cascada.testing.inside import inside
from cascada.tiers.sqlite.tier import SqliteTier
from tests.servers.postgres import postgres_server

BATCH: Final = 500
KEYS: Final = 100_000
ROUNDS: Final = 10
REACHES: Final = {"SQLite": 4.0, "PostgreSQL": 2.0}
"""Times as long as the upsert by hand."""

BLOCK_MS: Final = 20.0
GROWN_MB: Final = 8.0
LOOK_EVERY: Final = 0.01

TABLE: Final = (
    "CREATE TABLE by_hand (tenant text, key text, value {json}, PRIMARY KEY (tenant, key))"
)
UPSERT: Final = (
    "INSERT INTO by_hand (tenant, key, value) VALUES ({marks}) "
    "ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value"
)
FROM_COPY: Final = (
    "INSERT INTO by_hand SELECT tenant, key, value::jsonb FROM arrived "
    "ON CONFLICT (tenant, key) DO UPDATE SET value = excluded.value"
)

Write = Callable[[range], Awaitable[None]]
"""Of values with these numbers."""


def value_of(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"campaign {number}",
        "status": "running" if number % 3 else "paused",
        "budget": number * 1.5,
        "tags": ["spring", "mail"],
        "version": 1,
    }


def batches(numbers: range) -> Iterator[list[tuple[str, str, str]]]:
    for start in range(numbers.start, numbers.stop, BATCH):
        part = range(start, min(start + BATCH, numbers.stop))
        yield [("acme", f"campaign:{n}", json.dumps(value_of(n))) for n in part]


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@dataclass
class Watch:
    """Of the syncs: the longest block of the loop, in seconds, and what memory grew by."""

    blocked: float = 0.0
    grown: list[int] = field(default_factory=list)

    @contextmanager
    def blocks(self) -> Iterator[None]:
        """What a callback takes of its thread's CPU time."""
        plain = asyncio.Handle._run

        def run(handle: asyncio.Handle) -> None:
            began = time.thread_time()
            plain(handle)
            self.blocked = max(self.blocked, time.thread_time() - began)

        asyncio.Handle._run = run  # type: ignore[method-assign]
        try:
            yield
        finally:
            asyncio.Handle._run = plain  # type: ignore[method-assign]

    @asynccontextmanager
    async def memory(self) -> AsyncIterator[None]:
        sizes: list[int] = []

        async def look() -> None:
            while True:
                sizes.append(resident())
                await asyncio.sleep(LOOK_EVERY)

        looking = asyncio.create_task(look())
        yield
        looking.cancel()
        self.grown.append(resident() - sizes[len(sizes) // 10])


# --- the ways to write ----------------------------------------------------------------------------


class Syncing:
    """The sync of a service whose journal lies in SQLite, or in the Redis with this URL."""

    def __init__(self, url: str, folder: Path, redis: str | None) -> None:
        self.watch = Watch()
        where = {"database": str(folder / "cache.db")} if redis is None else {"redis": redis}
        self.cache = cache_of(**where)
        # A name each: their rows are not the same ones.
        name = "redis" if redis else "sqlite"
        self._service = CacheService(name=name, cache=self.cache, database=url)

    async def set(self, numbers: range) -> None:
        for start in range(numbers.start, numbers.stop, BATCH):
            part = range(start, min(start + BATCH, numbers.stop))
            sets = [self._service.set(f"campaign:{n}", value_of(n)) for n in part]
            assert all(await asyncio.gather(*sets))
        # What sets leave behind for later, tombstones to be swept, is no work of the sync's.
        for each in inside(self.cache).lower:
            if isinstance(each.tier, SqliteTier):
                await each.tier.upkeep()

    async def begin(self) -> None:
        """Load what a first round loads, and make the tables."""
        assert await self._service.set("first", 1)
        assert (await self._service.sync_now()).written == 1

    async def write(self, numbers: range) -> None:
        async with self.watch.memory():
            with self.watch.blocks():
                report = await self._service.sync_now()
        assert report.written == len(numbers), report
        assert report.finished


def sqlite_by_hand(path: Path) -> Write:
    connection = sqlite3.connect(path)
    connection.execute(TABLE.format(json="text"))

    async def write(numbers: range) -> None:
        for rows in batches(numbers):
            with connection:
                connection.executemany(UPSERT.format(marks="?, ?, ?"), rows)

    return write


async def postgres_by_hand(connection: asyncpg.Connection) -> tuple[Write, Write]:
    """By `executemany`, and by COPY."""
    await connection.execute(TABLE.format(json="jsonb"))
    await connection.execute("CREATE TEMP TABLE arrived (tenant text, key text, value text)")

    async def upsert(numbers: range) -> None:
        for rows in batches(numbers):
            async with connection.transaction():
                await connection.executemany(UPSERT.format(marks="$1, $2, $3"), rows)

    async def copy(numbers: range) -> None:
        for rows in batches(numbers):
            async with connection.transaction():
                await connection.copy_records_to_table("arrived", records=rows)
                await connection.execute(FROM_COPY)
                await connection.execute("TRUNCATE arrived")

    return upsert, copy


# --- by turns -------------------------------------------------------------------------------------


async def timed(write: Write, numbers: range) -> float:
    gc.collect()
    # What was there before is no matter of the sync's.
    gc.freeze()
    began = time.perf_counter()
    await write(numbers)
    return time.perf_counter() - began


async def rows_of(
    database: str, by_hand: dict[str, Write], syncs: dict[str, Syncing], keys: int, rounds: int
) -> list[Row]:
    """What each took of the time of the first, in the same round."""
    ways = by_hand | {name: each.write for name, each in syncs.items()}
    seen: dict[str, list[float]] = {name: [] for name in ways}
    for each in syncs.values():
        await each.begin()
    for nth in range(rounds):
        numbers = range(nth * keys // rounds, (nth + 1) * keys // rounds)
        for each in syncs.values():
            await each.set(numbers)
        for name, write in ways.items():
            seen[name].append(await timed(write, numbers) / len(numbers))
    first = next(iter(ways))
    rows = []
    for name, times in seen.items():
        ratio = statistics.median(mine / its for mine, its in zip(times, seen[first], strict=True))
        took = f"{1 / statistics.median(times):,.0f} rows/s"
        reach = REACHES[database] if name == SYNC else None
        rows.append(Row(f"{database}: {name}", ratio, "x", first, reach, took))
    for name, each in syncs.items():
        blocked, grown = 1000 * each.watch.blocked, sum(each.watch.grown) / 2**20
        rows.append(Row(f"{database}: {name}: block", blocked, "ms", reach=BLOCK_MS))
        rows.append(Row(f"{database}: {name}: memory grown", grown, "MB", reach=GROWN_MB))
    return rows


SYNC: Final = "the sync, its journal in SQLite"
FROM_REDIS: Final = "the sync, its journal in Redis"
BY_HAND: Final = "upsert by hand"


async def measure(keys: int, rounds: int, only: str | None, quick: bool) -> list[Row]:
    if quick:
        keys, rounds = 2000, 1
    os.environ["CASCADA_TENANT"] = "acme"
    rows = []
    with redis_server() as redis, tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        async def compared(database: str, url: str, by_hand: dict[str, Write]) -> None:
            here = folder / database
            here.mkdir()
            syncs = {SYNC: Syncing(url, here, None), FROM_REDIS: Syncing(url, here, redis.url)}
            async with syncs[SYNC].cache, syncs[FROM_REDIS].cache:
                rows.extend(await rows_of(database, by_hand, syncs, keys, rounds))
            redis.flush()

        if only != "postgresql":
            file = folder / "application.db"
            sqlite3.connect(file).execute("PRAGMA journal_mode = WAL")
            by_hand = {BY_HAND: sqlite_by_hand(file)}
            await compared("SQLite", f"sqlite:///{file}", by_hand)
        if only != "sqlite":
            with postgres_server() as server:
                url = f"{server.url}/postgres"
                connection = await asyncpg.connect(url)
                upsert, copy = await postgres_by_hand(connection)
                by_hand = {BY_HAND: upsert, "COPY by hand": copy}
                await compared("PostgreSQL", url, by_hand)
                await connection.close()
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--keys", type=int, default=KEYS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--database", choices=["sqlite", "postgresql"])
    given, sys.argv[1:] = parser.parse_known_args()
    script(
        "Changed rows that a sync writes, beside an upsert by hand",
        partial(measure, given.keys, given.rounds, given.database),
    )
