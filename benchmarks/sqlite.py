"""The database tier on SQLite, of 1 KB: beside the least that asyncio and SQLite can be.

A get beside a hop to a thread in which one statement runs; a batch of 1000 beside one statement for
all of them, in a thread. Memory is too small to keep anything, so that every read goes below.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from _caches import cache_of
from _rows import Row, ns, script
from _timing import ALL_CPU, Case, in_turn

MANY: Final = 1000
SOME: Final = 100
VALUE: Final = b"x" * 1024
IDS: Final = [f"d{number}" for number in range(MANY)]

INLINE: Final = "sqlite3: one statement"
HOP: Final = "sqlite3 in a thread: one statement"
GET: Final = "cascada: get"
STATEMENT: Final = "sqlite3 in a thread: one statement for 1000"
BATCH: Final = "cascada: get_many of 1000"

ONE: Final = "SELECT value FROM rows WHERE id = ?"
ALL: Final = f"SELECT id, value FROM rows WHERE id IN ({','.join('?' * MANY)})"


def table_of(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE rows (id TEXT PRIMARY KEY, value BLOB)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO rows VALUES (?, ?)", [(each, VALUE) for each in IDS])
    connection.execute("COMMIT")
    return connection


def bare(connection: sqlite3.Connection, thread: ThreadPoolExecutor) -> list[Case]:
    """What nothing that reads in a thread can be below."""
    loop = asyncio.get_running_loop()

    def one(each: str) -> Any:
        return connection.execute(ONE, (each,)).fetchone()

    def all_of_them() -> Any:
        return dict(connection.execute(ALL, IDS))

    async def inline() -> None:
        for each in IDS[:SOME]:
            one(each)

    async def hop() -> None:
        for each in IDS[:SOME]:
            await loop.run_in_executor(thread, one, each)

    async def statement() -> None:
        await loop.run_in_executor(thread, all_of_them)

    return [Case(INLINE, SOME, inline), Case(HOP, SOME, hop), Case(STATEMENT, 1, statement)]


async def of_cascada(get: Callable[..., Any], get_many: Callable[..., Any]) -> list[Case]:
    hit = await get("document", IDS[0])
    assert (hit.value, hit.tier) == (VALUE, "l3"), "the reads are to come from the database"

    async def one_by_one() -> None:
        for each in IDS[:SOME]:
            await get("document", each)

    async def batch() -> None:
        await get_many("document", IDS)

    return [Case(GET, SOME, one_by_one), Case(BATCH, 1, batch)]


async def measure(quick: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as thread:
        folder = Path(name)
        connection = table_of(folder / "bare.db")
        async with cache_of(database=str(folder / "cache.db"), l1_bytes=1) as cache:
            acme = cache.tenant("acme")
            await asyncio.gather(*(acme.set("document", each, VALUE) for each in IDS))
            cases = [*bare(connection, thread), *await of_cascada(acme.get, acme.get_many)]
            timings = await in_turn(cases, 1 if quick else 40, clock=ALL_CPU)
        connection.close()
    get, hop, batch, statement = (timings[each] for each in (GET, HOP, BATCH, STATEMENT))
    return [
        *(Row(each, timing.over(timings[HOP]), "x", HOP, took=ns(timing.ns))
          for each, timing in timings.items()),
        Row("a get", get.over(hop), "x", "a hop to a thread with its statement", 1.2),
        Row("a batch of 1000", batch.over(statement), "x", "one statement for all", 1.5),
    ]  # fmt: skip


if __name__ == "__main__":
    script("A hit in SQLite, CPU of all threads", measure)
