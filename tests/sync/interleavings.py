"""Two who write one row, one through the cache and one past it, in any order; and who only read.

    python -m tests.sync.interleavings [--runs 1000] [--database sqlite|postgresql] [--seed 0]

In each run a few callers go on step by step, and chance says whose step is next. One changes the
row in the database, and raises its version. One changes what the cache has, which it may have to
read first. One reads by the documents' pattern: get, a miss, read the row, set it. One syncs. A
trigger notes each state of the row. Of those must hold, whatever the order:

- what was in the database is never written there again: no read comes back as a write;
- versions rise by one;
- database_wins: no change through the cache is written over one that its value was not made from;
- merge: the same, but for rows that hold both;
- last_write_wins and cache_wins: the last change that was acknowledged was written;
- in the end the cache has what the row has, or nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncEngine

from cascada import Cache, CacheService, Limits, Mapping
from cascada.service.sync.databases import opened
from tests.chaos.__main__ import say
from tests.servers.postgres import postgres_server

STRATEGIES: Final = ("database_wins", "last_write_wins", "cache_wins", "merge")
ROUNDS: Final = 2
"""Times that each caller does what it does, in one run."""

NOTES: Final = {
    "sqlite": (
        "CREATE TRIGGER notes_new AFTER INSERT ON campaigns BEGIN"
        " INSERT INTO notes (id, name, version) VALUES (new.id, new.name, new.version); END",
        "CREATE TRIGGER notes_old AFTER UPDATE ON campaigns BEGIN"
        " INSERT INTO notes (id, name, version) VALUES (new.id, new.name, new.version); END",
    ),
    "postgresql": (
        "CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN"
        " INSERT INTO notes (id, name, version) VALUES (new.id, new.name, new.version);"
        " RETURN new; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER notes AFTER INSERT OR UPDATE ON campaigns"
        " FOR EACH ROW EXECUTE FUNCTION note()",
    ),
}


def merged(mine: dict[str, Any], theirs: dict[str, Any] | None) -> dict[str, Any]:
    return mine | {"name": f"{mine['name']}|{'-' if theirs is None else theirs['name']}"}


@dataclass
class Ground:
    """A service, its row's table, and what the runs found."""

    service: CacheService
    engine: AsyncEngine
    wrong: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    async def ask(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.engine.begin() as connection:
            answer = await connection.exec_driver_sql(sql)
            return [tuple(row) for row in answer.fetchall()] if answer.returns_rows else []

    async def row(self, id: int) -> dict[str, Any]:
        ((name, version),) = await self.ask(f"SELECT name, version FROM campaigns WHERE id = {id}")
        return {"id": id, "name": name, "version": version}


@asynccontextmanager
async def ground(url: str, folder: Path, strategy: str) -> AsyncIterator[Ground]:
    """All that the runs of one strategy need."""
    os.environ.setdefault("CASCADA_TENANT", "acme")
    conflicts: Any = merged if strategy == "merge" else strategy
    mapping = Mapping("campaign:", "campaigns", ["name"], "version")
    async with AsyncExitStack() as stack:
        limits = Limits(op_timeout=30)
        cache = Cache(database=str(folder / f"{strategy}.db"), limits=limits)
        await stack.enter_async_context(cache)
        service = CacheService(
            cache=cache, name=strategy, database=url, mappings=[mapping], conflicts=conflicts
        )
        engine = opened(url)
        stack.push_async_callback(engine.dispose)
        made = Ground(service, engine)
        for table in ("campaigns", "notes"):
            await made.ask(f"DROP TABLE IF EXISTS {table}")
        await made.ask("DROP FUNCTION IF EXISTS note") if "postgres" in url else None
        await made.ask(
            "CREATE TABLE campaigns (id integer PRIMARY KEY, name text, version integer)"
        )
        number = "serial" if "postgres" in url else "integer"
        await made.ask(
            f"CREATE TABLE notes (n {number} PRIMARY KEY, id integer, name text, version integer)"
        )
        for sql in NOTES[engine.dialect.name]:
            await made.ask(sql)
        yield made


Turn = Callable[[], Awaitable[None]]


class Caller:
    """One of them: a task, since a miss is of its task, that goes on to its next turn when told."""

    def __init__(self, does: Callable[[Turn], Coroutine[Any, Any, None]]) -> None:
        self._may_go, self._stands = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._do(does), context=Context())

    async def _do(self, does: Callable[[Turn], Coroutine[Any, Any, None]]) -> None:
        try:
            await self._turn()
            await does(self._turn)
        finally:
            self._stands.set()

    async def _turn(self) -> None:
        self._stands.set()
        await self._may_go.wait()
        self._may_go.clear()

    async def goes_on(self) -> bool:
        """Let it do its next step; False if that was its last."""
        await self._stands.wait()
        self._stands.clear()
        self._may_go.set()
        await self._stands.wait()
        await asyncio.sleep(0)
        if self._task.done():
            await self._task
        return not self._task.done()


class Run:
    """One interleaving of one row."""

    def __init__(self, ground: Ground, strategy: str, id: int, seed: str) -> None:
        self._ground = ground
        self._service = ground.service
        self._strategy = strategy
        self._id = id
        self._key = f"campaign:{id}"
        self._rng = random.Random(seed)
        self._bases: dict[str, int] = {}
        self._acknowledged = ""
        self._numbers = 0

    def _name(self, who: str) -> str:
        self._numbers += 1
        return f"{who}{self._numbers}"

    # --- the callers, each a task that waits for its turns ------------------------

    async def _changes_the_row(self, turn: Turn) -> None:
        for _ in range(ROUNDS):
            name = self._name("db")
            await self._ground.ask(
                f"UPDATE campaigns SET name = '{name}', version = version + 1 WHERE id = {self._id}"
            )
            await turn()

    async def _reads(self, turn: Turn) -> None:
        for _ in range(ROUNDS):
            if await self._service.get(self._key) is None:
                await turn()
                row = await self._ground.row(self._id)
                await turn()
                await self._service.set(self._key, row)
            await turn()

    async def _changes_the_cache(self, turn: Turn) -> None:
        for _ in range(ROUNDS):
            value = await self._service.get(self._key)
            await turn()
            if value is None:
                value = await self._ground.row(self._id)
                await turn()
            name = self._name("cache")
            self._bases[name] = value["version"]
            if await self._elsewhere(self._service.set(self._key, value | {"name": name})):
                self._acknowledged = name
            await turn()

    async def _syncs(self, turn: Turn) -> None:
        for _ in range(ROUNDS + 1):
            report = await self._service.sync_now()
            self._ground.seen.update(report.conflicts)
            self._ground.seen["fills"] += report.fills
            self._ground.seen["stale fills"] += report.stale_fills
            self._ground.seen["written"] += report.written
            if not report.finished or report.set_aside:
                self._ground.wrong.append(f"{self._key}: {report}")
            await turn()

    @staticmethod
    async def _elsewhere(work: Coroutine[Any, Any, bool]) -> bool:
        """In a task that has missed nothing: what it sets is a change."""
        return await asyncio.create_task(work, context=Context())

    # --- the run ------------------------------------------------------------------------------

    async def go(self) -> None:
        await self._ground.ask(f"INSERT INTO campaigns VALUES ({self._id}, 'first', 1)")
        callers = [
            Caller(each)
            for each in (self._changes_the_row, self._reads, self._changes_the_cache, self._syncs)
        ]
        while callers:
            caller = self._rng.choice(callers)
            if not await caller.goes_on():
                callers.remove(caller)
        await self._service.sync_now()
        await self._judge()

    async def _judge(self) -> None:
        notes = await self._ground.ask(
            f"SELECT name, version FROM notes WHERE id = {self._id} ORDER BY n"
        )
        said = [f"{name}@{version}" for name, version in notes]
        versions = [version for _, version in notes]
        if versions != [*range(1, len(notes) + 1)]:
            self._wrong("versions do not rise by one", said)
        theirs, seen = "first", 1
        names: set[str] = set()
        for name, version in notes:
            mine = name.partition("|")[0] if name.startswith("cache") else None
            if name in names:
                self._wrong(f"{name} was written again", said)
            names.add(name)
            if mine is None:
                theirs, seen = name, version
                continue
            blind = self._bases[mine] < seen and theirs not in name
            if blind and self._strategy in ("database_wins", "merge"):
                self._wrong(f"{name}, made from {self._bases[mine]}, has not seen {theirs}", said)
        wins = self._strategy in ("last_write_wins", "cache_wins")
        if wins and self._acknowledged and self._acknowledged not in names:
            self._wrong(f"{self._acknowledged} was acknowledged and not written", said)
        value = await self._elsewhere(self._service.get(self._key))  # type: ignore[arg-type]
        row = await self._ground.row(self._id)
        if value is not None and value["name"] != row["name"] and notes[-1][0].startswith("cache"):
            self._wrong(f"the cache has {value}", said)

    def _wrong(self, what: str, said: list[str]) -> None:
        self._ground.wrong.append(f"{self._strategy} {self._key}: {what}: {' '.join(said)}")


async def interleave(url: str, folder: Path, strategy: str, runs: int, seed: int) -> Ground:
    """So many runs, each with a row of its own, one after the other."""
    async with ground(url, folder, strategy) as made:
        for number in range(1, runs + 1):
            await Run(made, strategy, number, f"{seed} {strategy} {number}").go()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        return _all(given, Path(name))


def _all(given: argparse.Namespace, folder: Path) -> int:
    def walk(url: str) -> int:
        wrong = 0
        for strategy in STRATEGIES:
            found = asyncio.run(interleave(url, folder, strategy, given.runs, given.seed))
            seen = ", ".join(f"{name} {n}" for name, n in sorted(found.seen.items()))
            say(f"{strategy}: {given.runs} interleavings, {len(found.wrong)} wrong; {seen}")
            for each in found.wrong[:5]:
                say(f"  {each}")
            wrong += len(found.wrong)
        return 1 if wrong else 0

    if given.database == "sqlite":
        return walk(f"sqlite:///{folder / 'app.db'}")
    with postgres_server() as server:
        return walk(f"{server.url}/postgres")


if __name__ == "__main__":
    sys.exit(main())
