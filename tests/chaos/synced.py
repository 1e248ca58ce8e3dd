"""No change that a service has acknowledged is missing in the application's database, nor is one
written there twice, whoever is killed when.

    python -m tests.chaos.synced [--tiers sqlite|redis|both] [--database sqlite|postgresql]
        [--table own|mapped] [--sets 10000] [--kills 50] [--stops 3] [--redis-kills 5]
        [--database-kills 5] [--fail-points 5] [--seed 0] [--mutant NAME]

Two processes set keys of a `CacheService`, and sync. Either lies in the journal of SQLite or of a
durable Redis, and is written to the table that cascada owns, or by a mapping to one with versions.
A trigger notes each row that is ever written. `killing` says how they are killed, PostgreSQL, too,
and what is held.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from cascada import Cache, CacheService, Limits, Mapping
from cascada.service.sync import databases, loop, target
from cascada.service.sync.entries import Entries
from cascada.service.sync.tables import Mapped
from cascada.tiers.guarded_journal import GuardedJournal
from tests.chaos.__main__ import say
from tests.chaos.killed import Ground
from tests.chaos.killing import Campaign, Outcome, asked, tell
from tests.chaos.mutants_synced import mutants
from tests.servers.postgres import PostgresServer, postgres_server

CLAIM: Final = 1.0
"""Seconds of a claim, so that what a dead process has claimed is soon written."""

REMOVES: Final = 7
"""Of the numbers that can be divided by it, the row is removed, in the table that cascada owns."""

_ROWS: Final = "CREATE TABLE rows (id text PRIMARY KEY, value integer, version integer)"
_NOTED: Final = {
    "sqlite": "CREATE TABLE noted (n integer PRIMARY KEY, key text, number integer)",
    "postgresql": "CREATE TABLE noted (n serial PRIMARY KEY, key text, number bigint)",
}
_NOTES: Final = {
    "sqlite": (
        "CREATE TRIGGER note_{event} AFTER {event} ON {table} BEGIN"
        " INSERT INTO noted (key, number) VALUES (new.{key}, new.{number}); END",
    ),
    "postgresql": (
        "CREATE OR REPLACE FUNCTION note() RETURNS trigger AS $$ BEGIN"
        " INSERT INTO noted (key, number) VALUES (new.{key}, new.{number});"
        " RETURN new; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER note_{event} AFTER {event} ON {table} FOR EACH ROW EXECUTE FUNCTION note()",
    ),
}


class Syncing:
    """A process: its service."""

    def __init__(self, service: CacheService, *, removes: bool) -> None:
        self.service = service
        self._removes = removes

    async def set(self, key: str, number: int) -> bool:
        if self._removes and number % REMOVES == 0:
            return await self.service.delete(f"row:{key}", row=True)
        return await self.service.set(f"row:{key}", {"value": number}, ttl=86_400)

    async def look(self, key: str, number: int) -> str:
        read = await self.service.get(f"row:{key}")
        gone = self._removes and number % REMOVES == 0
        if read is None or (read["value"] == number and not gone):
            return ""
        return f"{read} is read, {number} was acknowledged"


class Synced(Ground):
    """`argument`: the tiers, "own" or "mapped", the URL of PostgreSQL or nothing, and the mutant
    that the processes are, by commas."""

    def __init__(self, argument: str) -> None:
        self.name = f"tests.chaos.synced:{argument}"
        self._tiers, self._table, self._url, self._mutant = argument.split(",")
        self.needs_redis = self._tiers != "sqlite"
        self._own = self._table == "own"
        self.fail_points = {
            "put|ack": (GuardedJournal, "put"),
            "claim|write": (GuardedJournal, "claim"),
            "write|COMMIT": (Entries if self._own else Mapped, "write"),
            "COMMIT|let go": (target.Target, "write"),
            "let go|done": (loop.SyncLoop, "let_go"),
            "done|": (GuardedJournal, "done"),
        }

    def _database(self, folder: Path) -> str:
        return self._url or f"sqlite:///{folder / 'app.db'}"

    @asynccontextmanager
    async def _service(self, folder: Path, redis: str) -> AsyncGenerator[CacheService]:
        loop.CLAIM, loop.AT_ONCE = CLAIM, 20  # type: ignore[misc]
        loop.FIRST_PAUSE = loop.LONGEST_PAUSE = 0.1  # type: ignore[misc]
        places: dict[str, Any] = {"redis": redis} if redis else {}
        if self._tiers != "redis":
            places["database"] = str(folder / "cache.db")
        limits = Limits(op_timeout=10, invalidate_patience=0.1)
        mapping = Mapping("row:", "rows", ["value"], "version")
        with patch.dict(os.environ, CASCADA_TENANT="acme"):
            async with Cache(namespace="synced", limits=limits, **places) as cache:
                yield CacheService(
                    0.05,
                    cache=cache,
                    database=self._database(folder),
                    mappings=[] if self._own else [mapping],
                )

    @asynccontextmanager
    async def opened(self, folder: Path, redis: str) -> AsyncGenerator[Syncing]:
        if self._mutant:
            mutants[self._mutant](setattr)
        async with self._service(folder, redis) as service:
            await service.start_sync()
            yield Syncing(service, removes=self._own)

    async def begin(self, folder: Path, redis: str) -> None:
        made = target.Target(self._database(folder), namespace="synced", service="default")
        await made.begin()
        await made.aclose()
        kind = "postgresql" if self._url else "sqlite"
        own = "cascada.service_entries" if self._url else "cascada_service_entries"
        names = {"table": own, "key": "key", "number": "number"}
        if not self._own:
            names = {"table": "rows", "key": "id", "number": "value"}
        await self._ask(folder, _ROWS, _NOTED[kind])
        for event in ("INSERT", "UPDATE"):
            await self._ask(folder, *[sql.format(event=event, **names) for sql in _NOTES[kind]])

    async def _ask(self, folder: Path, *statements: str) -> list[Sequence[Any]]:
        engine = databases.opened(self._database(folder))
        found: list[Sequence[Any]] = []
        async with engine.begin() as connection:
            for sql in statements:
                answer = await connection.exec_driver_sql(sql)
                found = [tuple(row) for row in answer.fetchall()] if answer.returns_rows else []
        await engine.dispose()
        return found

    async def finish(self, folder: Path, redis: str) -> str:
        async with self._service(folder, redis) as service:
            for _ in range(600):
                report = await service.sync_now()
                if report.set_aside or await service.sync_set_aside():
                    return f"set aside: {report}"
                if not report.waiting and report.finished:
                    return ""
                await asyncio.sleep(0.05)
            return f"the journal is not empty: {report}"

    async def there(self, folder: Path, ids: Sequence[str]) -> dict[str, int | None]:
        if not self._own:
            rows = await self._ask(folder, "SELECT id, value FROM rows")
            found = {id: value for id, value in rows}
        else:
            own = "cascada.service_entries" if self._url else "cascada_service_entries"
            rows = await self._ask(folder, f"SELECT key, value FROM {own} WHERE value IS NOT NULL")
            found = {
                key.removeprefix("row:"): (json.loads(value) if type(value) is str else value)[
                    "value"
                ]
                for key, value in rows
            }
        return {each: found.get(each) for each in ids}

    def noted(self, folder: Path) -> list[tuple[str, int]]:
        rows = asyncio.run(self._ask(folder, "SELECT key, number FROM noted ORDER BY n"))
        return [(key.removeprefix("row:"), number) for key, number in rows]

    def value(self, number: int) -> int | None:
        return None if self._own and number % REMOVES == 0 else number


def ground(argument: str) -> Ground:
    return Synced(argument)


def campaign(
    tiers: str,
    table: str,
    sets: int,
    kills: int,
    redis_kills: int = 0,
    *,
    postgres: PostgresServer | None = None,
    database_kills: int = 0,
    mutant: str = "",
    fail_points: int = 1,
    stops: int = 0,
    processes: int = 2,
    seed: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="synced-") as folder:
        url = "" if postgres is None else f"{postgres.url}/postgres"
        on = Synced(f"{tiers},{table},{url},{mutant}")
        return Campaign(on, Path(folder), seed, processes, say, postgres).run(
            sets, kills, redis_kills, fail_points, stops, database_kills
        )


def main() -> int:
    parser = asked(__doc__)
    parser.add_argument("--tiers", choices=["sqlite", "redis", "both"], default="sqlite")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--table", choices=["own", "mapped"], default="own")
    parser.add_argument("--stops", type=int, default=3)
    parser.add_argument("--database-kills", type=int, default=5, help="of PostgreSQL")
    parser.add_argument("--mutant", choices=[*mutants], default="")
    given = parser.parse_args()
    with postgres_server() if given.database == "postgresql" else nullcontext() as server:
        outcome = campaign(
            given.tiers,
            given.table,
            given.sets,
            given.kills,
            given.redis_kills,
            postgres=server,
            database_kills=given.database_kills,
            mutant=given.mutant,
            fail_points=given.fail_points,
            stops=given.stops,
            seed=given.seed,
            say=say,
        )
    return tell(outcome, say)


if __name__ == "__main__":
    sys.exit(main())
