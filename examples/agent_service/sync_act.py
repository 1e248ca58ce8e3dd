"""The demo's act of a sync: campaigns are updated, their table follows, and its database is away.

The database is SQLite's file, which is locked for a while, so that nobody can write to it. What is
in the table is read there, and not asked of the service.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from examples.agent_service import terminal
from examples.agent_service.drive import Column
from examples.agent_service.workload import WORKERS, Read
from examples.agent_service.world import TENANTS, Request

SYNC_INTERVAL: Final = "1"
"""Seconds between two rounds, as REDIS_SYNC_INTERVAL has them."""

AWAY: Final = 1.5
"""Seconds that the database is locked."""

_LONGEST: Final = 4.0  # where that is too short for a lag to be seen
_CAMPAIGNS: Final = 50
_OTHERS: Final = "campaign-0"  # which somebody else changes, too
_UPDATES: Final = 4  # of each campaign
_AT_ONCE: Final = 16
_PATIENCE: Final = 30.0


@dataclass(frozen=True, slots=True)
class Synced:
    """Updates that were acknowledged, those that the table lacks, and how late the last ones were
    there: seconds after they were acknowledged, or after the database was back."""

    updates: int
    missing: int
    seconds: float
    seconds_after_outage: float


class SyncAct:
    """On the column of cascada; `database`: the file that its workers share."""

    def __init__(self, column: Column, database: Path) -> None:
        self._column = column
        self._database = database

    async def play(self) -> Synced:
        await self._column.create(
            Request(TENANTS[0], "POST", "/campaigns", {"id": each, "name": each, "budget": 0})
            for each in _ids()
        )
        began = time.perf_counter()
        for number in range(1, _UPDATES + 1):
            await self._update(number)
        acknowledged = time.perf_counter() - began
        later, missing = await self._until_written(_UPDATES)
        written = sum(version - 1 for _, version in self._rows())
        updates = _CAMPAIGNS * _UPDATES
        terminal.say(
            f"{updates} updates of {_CAMPAIGNS} campaigns by {WORKERS} workers: all acknowledged "
            f"in {acknowledged * 1000:.0f} ms, in the table {later:.1f} s after that, by {written} "
            "writes of rows"
        )
        with self._locked():
            locked = time.perf_counter()
            await self._update(_UPDATES + 1)
            said = time.perf_counter() - locked
            lag = 0.0
            while (away := time.perf_counter() - locked) < AWAY or (not lag and away < _LONGEST):
                lag = max(lag, await self._lag())
                await asyncio.sleep(0.05)
            unwritten = self._missing(_UPDATES + 1)
        back, lost = await self._until_written(_UPDATES + 1)
        terminal.say(
            f"The database is locked for {away:.1f} s: {_CAMPAIGNS} updates more are acknowledged "
            f"in {said * 1000:.0f} ms, {unwritten} of them wait, and the lag grows to {lag:.1f} s"
        )
        lag = await self._lag()
        terminal.say(f"... and back: all are in the table after {back:.1f} s, lag {lag:.1f} s")
        terminal.say(await self._in_conflict())
        return Synced(updates + _CAMPAIGNS, missing + lost, later, back)

    async def _in_conflict(self) -> str:
        """A row is changed by somebody else, whose version the cache has not seen."""
        changed = Request(TENANTS[0], "PUT", f"/campaigns/{_OTHERS}", {"name": "mine", "budget": 9})
        with closing(sqlite3.connect(self._database)) as connection, connection:
            connection.execute(
                "UPDATE campaigns SET name = 'by SQL', version = version + 1 WHERE id = ?",
                [_OTHERS],
            )
        await self._column.send(changed, worker=0)
        read = Request(TENANTS[0], "GET", f"/campaigns/{_OTHERS}")
        began = time.perf_counter()
        while (waited := time.perf_counter() - began) < _PATIENCE:
            answers = [await self._column.ask(Read(read, each, False)) for each in range(WORKERS)]
            if all('"by SQL"' in each.text for each in answers):
                return (
                    "A row that somebody else has changed by SQL stays (database_wins): "
                    f"{waited:.1f} s after an update of it, all workers read what the row says"
                )
            await asyncio.sleep(0.05)
        return "A row that somebody else has changed by SQL is not read"

    async def _update(self, number: int) -> None:
        """Every campaign once, by the workers in turn; each is told which update it is."""
        waiting = enumerate(_ids())

        async def work() -> None:
            for place, each in waiting:
                body = {"name": each, "budget": number}
                request = Request(TENANTS[0], "PUT", f"/campaigns/{each}", body)
                await self._column.send(request, worker=(place + number) % WORKERS)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(work())

    async def _until_written(self, number: int) -> tuple[float, int]:
        """Seconds from now until the table has this update of all, and the workers know it; how
        many it lacks if it never has."""
        began = time.perf_counter()
        while (waited := time.perf_counter() - began) < _PATIENCE:
            if not self._missing(number) and not await self._lag():
                return waited, 0
            await asyncio.sleep(0.02)
        return waited, self._missing(number)

    async def _lag(self) -> float:
        """By the account of the worker that sees the greatest."""
        workers = await self._column.statistics()
        return max(float(each["campaigns"]["lag_seconds"]) for each in workers)

    def _missing(self, number: int) -> int:
        return sum(budget < number for budget, _ in self._rows())

    def _rows(self) -> list[tuple[float, int]]:
        with closing(sqlite3.connect(self._database)) as connection:
            return connection.execute("SELECT budget, version FROM campaigns").fetchall()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with closing(sqlite3.connect(self._database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")


def _ids() -> list[str]:
    return [f"campaign-{number}" for number in range(_CAMPAIGNS)]
