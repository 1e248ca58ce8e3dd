"""No change that a service has acknowledged is lost, nor written twice, whoever is killed when.

    python -m tests.chaos.journaled [--tiers sqlite|redis|both] [--sets 10000] [--kills 20]
        [--stops 3] [--redis-kills 5] [--fail-points 5] [--seed 0] [--mutant NAME]

Two processes set, remove and delete keys of a `CacheService`, and write what its journal holds to a
table of an application themselves, each change with its number. `killing` says how they are killed,
and Redis, and what is held.
Besides, nothing may be read that is older than what the reader has set, and nothing at all of what
he has removed.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from cascada import Cache, CacheService, Limits
from cascada.engine.journal import KeptJournal
from cascada.engine.writing import journaled
from cascada.model.errors import InvalidationPending, TierUnavailable
from cascada.testing.inside import inside
from cascada.tiers.capabilities import Change
from cascada.tiers.guarded_journal import GuardedJournal
from tests.chaos.__main__ import say
from tests.chaos.killed import Ground
from tests.chaos.killing import Campaign, Outcome, asked, tell
from tests.chaos.mutants_journaled import mutants

NAME: Final = "service.default"
"""What the service's journal is called, and its keys' type."""

CLAIM: Final = 1.0
"""Seconds of a claim, so that what a dead process has claimed is soon written."""

REMOVES, DELETES = 7, 11
"""Of the numbers that can be divided by the first, the key is removed; by the second, it is deleted
from the cache once it was set."""

_TABLES: Final = """
PRAGMA journal_mode = WAL;
CREATE TABLE rows (key TEXT PRIMARY KEY, number INTEGER, value INTEGER);
CREATE TABLE noted (key TEXT, number INTEGER);
CREATE TRIGGER first AFTER INSERT ON rows
 BEGIN INSERT INTO noted VALUES (new.key, new.number); END;
CREATE TRIGGER later AFTER UPDATE ON rows
 BEGIN INSERT INTO noted VALUES (new.key, new.number); END;
"""
_UPSERT: Final = (
    "INSERT INTO rows VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
    " number = excluded.number, value = excluded.value WHERE excluded.number > rows.number"
)


class Service:
    """A process: its service, and what writes to the application's table."""

    def __init__(self, cache: Cache, table: Path) -> None:
        self.service = CacheService(cache=cache, database=f"sqlite:///{table}")
        self.engine = inside(cache).engine
        self.kind = self.engine.kinds.of("acme", NAME)
        self.table = sqlite3.connect(table, timeout=30, isolation_level=None)
        journal = self.engine.journal(NAME)
        assert journal is not None
        self.journal: KeptJournal = journal

    async def set(self, key: str, number: int) -> bool:
        if number % REMOVES == 0:
            return await self.service.delete(key, row=True)
        return await self.service.set(key, number, ttl=86_400)

    async def look(self, key: str, number: int) -> str:
        if number % DELETES == 0:
            with suppress(InvalidationPending):  # then nothing is read here before it is told
                await self.service.delete(key)
        read = await self.service.get(key)
        if read is None or (read == number and number % REMOVES and number % DELETES):
            return ""
        return f"{read} is read, {number} was acknowledged"

    async def write(self) -> int:
        """What was claimed, to the table."""
        changes = await self.journal.claim(100, CLAIM)
        if changes:
            await self.commit(changes)
            await self.journal.done(changes)
        return len(changes)

    async def commit(self, changes: Sequence[Change]) -> None:
        rows = []
        for change in changes:
            assert not change.fault, change.fault
            value = None if change.removed else self.engine.stack.decode(change.entry, self.kind)
            rows.append((change.key.resource_id, change.number, value))
        self.table.execute("BEGIN IMMEDIATE")
        self.table.executemany(_UPSERT, rows)
        self.table.execute("COMMIT")

    async def keep_writing(self) -> None:
        while True:
            try:
                if not await self.write():
                    await asyncio.sleep(0.02)
            except TierUnavailable:
                await asyncio.sleep(0.05)


class Journaled(Ground):
    """In which tiers: "sqlite", "redis" or "both"; behind a "+" the mutant that processes are."""

    def __init__(self, argument: str) -> None:
        tiers, _, self._mutant = argument.partition("+")
        self.name = f"tests.chaos.journaled:{argument}"
        self._tiers = tiers
        self.needs_redis = tiers != "sqlite"
        self.fail_points = {
            "put|ack": (GuardedJournal, "put"),
            "claim|write": (GuardedJournal, "claim"),
            "COMMIT|done": (Service, "commit"),
            "done|": (GuardedJournal, "done"),
        }
        if tiers == "both":
            self.fail_points["above|ack"] = (journaled, "_follow")

    def _cache(self, folder: Path, redis: str) -> Cache:
        places: dict[str, str] = {}
        if redis:
            places["redis"] = redis
        if self._tiers != "redis":
            places["database"] = str(folder / "cache.db")
        limits = Limits(op_timeout=10, invalidate_patience=0.1)
        return Cache(namespace="journaled", limits=limits, **places)  # type: ignore[arg-type]

    @asynccontextmanager
    async def opened(self, folder: Path, redis: str) -> AsyncGenerator[Service]:
        if self._mutant:
            mutants[self._mutant](setattr)
        os.environ["CASCADA_TENANT"] = "acme"
        async with self._cache(folder, redis) as cache:
            service = Service(cache, folder / "table.db")
            writing = asyncio.create_task(service.keep_writing())
            try:
                yield service
            finally:
                writing.cancel()

    async def begin(self, folder: Path, redis: str) -> None:
        with sqlite3.connect(folder / "table.db") as connection:
            connection.executescript(_TABLES)
        connection.close()

    async def finish(self, folder: Path, redis: str) -> str:
        async with self._cache(folder, redis) as cache:
            service = Service(cache, folder / "table.db")
            for _ in range(3000):
                await service.write()
                backlog = await service.journal.backlog()
                if not backlog.changes and not backlog.set_aside:
                    return "" if backlog.size_bytes == 0 else f"its sums are wrong: {backlog}"
                await asyncio.sleep(0.01)
            return f"the journal is not empty: {await service.journal.backlog()}"

    async def there(self, folder: Path, ids: Sequence[str]) -> dict[str, int | None]:
        with sqlite3.connect(folder / "table.db") as connection:
            rows = dict(connection.execute("SELECT key, value FROM rows").fetchall())
        connection.close()
        return {each: rows.get(each) for each in ids}

    def noted(self, folder: Path) -> list[tuple[str, int]]:
        with sqlite3.connect(folder / "table.db") as connection:
            noted = connection.execute("SELECT key, number FROM noted ORDER BY rowid").fetchall()
        connection.close()
        return noted

    def value(self, number: int) -> int | None:
        return number if number % REMOVES else None


def ground(argument: str) -> Ground:
    return Journaled(argument)


def campaign(
    tiers: str,
    sets: int,
    kills: int,
    redis_kills: int = 0,
    *,
    fail_points: int = 1,
    stops: int = 0,
    processes: int = 2,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="journaled-") as folder:
        return Campaign(Journaled(tiers), Path(folder), seed, processes, say).run(
            sets, kills, redis_kills, fail_points, stops
        )


def main() -> int:
    parser = asked(__doc__)
    parser.add_argument("--tiers", choices=["sqlite", "redis", "both"], default="sqlite")
    parser.add_argument("--stops", type=int, default=3)
    parser.add_argument("--mutant", choices=[*mutants], default="")
    given = parser.parse_args()
    outcome = campaign(
        f"{given.tiers}+{given.mutant}",
        given.sets,
        given.kills,
        given.redis_kills,
        fail_points=given.fail_points,
        stops=given.stops,
        seed=given.seed,
        say=say,
    )
    return tell(outcome, say)


if __name__ == "__main__":
    sys.exit(main())
