"""Processes that note the hot keys of memory and read them at their start, killed in the midst.

    python -m tests.chaos.restarts [--kills 60] [--seed 0]

Between two lives rows change and are invalidated by somebody else. A process that is up compares
whatever memory gives it with the row. It notes without a pause, so that most kills are in the midst
of that, or of what a start reads. Held: no old value, whoever was killed when; the list stays
short; and after all kills a start still finds nearly all that is there.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sqlite3
import sys
import tempfile
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Final, NamedTuple
from unittest.mock import patch

from cascada import Cache, Limits
from cascada.engine import warm_restart
from cascada.testing.inside import inside
from tests.chaos.__main__ import say
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

KEYS: Final = 400
CHANGED: Final = 40
"""Rows that change between two lives."""

TOLD: Final = 1, 4, 9
"""Rounds of reads after which processes are killed, by turns."""

LONGEST: Final = 0.05
"""Seconds that they live after that, at most."""


class Outcome(NamedTuple):
    """kills: of processes; midway: of those that had not read all that was noted. compared: values
    of memory. old: what was wrong. items: of the list at its longest; found: what the last start
    has found, of `there`."""

    kills: int
    midway: int
    compared: int
    old: list[str]
    items: int
    found: int
    there: int

    @property
    def is_sound(self) -> bool:
        return not self.old and self.items <= warm_restart.MOST_ITEMS + 3 and bool(self.compared)


def cache_in(folder: Path, redis: str, keys: int = 1000) -> Cache:
    limits = Limits(warm_restart=keys, op_timeout=10)
    return Cache(redis=redis, database=str(folder / "cache.db"), limits=limits)


def rows_of(folder: Path, ids: list[str]) -> dict[str, int]:
    with closing(sqlite3.connect(folder / "rows.db", timeout=10)) as connection:
        found = dict(connection.execute("SELECT id, version FROM rows"))
    return {each: found[each] for each in ids}


def live(folder: Path, redis: str, seed: int, tell: Connection) -> None:
    """A process: what it finds in memory, it compares; what it lacks, it loads."""

    async def load(ids: list[str]) -> dict[str, int]:
        return rows_of(folder, ids)

    async def work() -> None:
        random, known = Random(seed), [str(number) for number in range(KEYS)]
        async with cache_in(folder, redis) as cache:
            acme = cache.tenant("acme")
            while True:
                ids = random.sample(known, 40)
                rows, compared = rows_of(folder, ids), 0
                for each in ids:
                    if (hit := acme.peek("row", each)) is not None:
                        compared += 1
                        if hit.value != rows[each]:
                            tell.send(f"{each} is {hit.value}, and its row {rows[each]}")
                tell.send((compared, cache.warm_restart.finished))
                await acme.load_many("row", ids, load)

    with patch.multiple(warm_restart, FIRST=0.001, EACH=0.001):
        asyncio.run(work())


async def campaign(folder: Path, redis: RedisServer, kills: int, seed: int) -> Outcome:
    random = Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with closing(sqlite3.connect(folder / "rows.db")) as connection, connection:
        connection.execute("CREATE TABLE rows (id text PRIMARY KEY, version integer)")
        connection.executemany(
            "INSERT INTO rows VALUES (?, 1)", [(str(each),) for each in range(KEYS)]
        )
    killed = midway = compared = items = 0
    old: list[str] = []
    while killed < kills:
        items = max(items, await _change(folder, redis, random))
        pipes = [context.Pipe(False) for _ in range(random.choice((1, 1, 2)))]
        processes = [
            context.Process(target=live, args=(folder, redis.url, random.randrange(2**32), tell))
            for _, tell in pipes
        ]
        for each in processes:
            each.start()
        for (hear, tell), process in zip(pipes, processes, strict=True):
            tell.close()
            said: list[str | tuple[int, bool]] = []
            while len(said) < TOLD[killed % len(TOLD)] and await asyncio.to_thread(hear.poll, 60):
                said.append(hear.recv())
            await asyncio.sleep(random.random() * LONGEST)
            process.kill()
            process.join()
            killed += 1
            with suppress(EOFError):  # that was all
                while hear.poll():
                    said.append(hear.recv())
            rounds = [each for each in said if not isinstance(each, str)]
            old += [each for each in said if isinstance(each, str)]
            compared += sum(number for number, _ in rounds)
            midway += not rounds[-1][1]
    async with cache_in(folder, redis.url, 0) as cache:
        known = [str(each) for each in range(KEYS)]
        there = sum(map(bool, await cache.tenant("acme").get_many("row", known)))
    async with cache_in(folder, redis.url) as cache:
        await until(lambda: cache.warm_restart.finished)
        found = cache.warm_restart.found
    return Outcome(killed, midway, compared, old, items, found, there)


async def _change(folder: Path, redis: RedisServer, random: Random) -> int:
    """Rows change while nobody runs who would hear of it; how long the list is."""
    ids = random.sample([str(number) for number in range(KEYS)], CHANGED)
    with closing(sqlite3.connect(folder / "rows.db", timeout=10)) as connection, connection:
        connection.executemany(
            "UPDATE rows SET version = version + 1 WHERE id = ?", [(each,) for each in ids]
        )
    async with cache_in(folder, redis.url, 0) as cache:
        await cache.tenant("acme").invalidate("row", ids)
        store = inside(cache).engine.restart.store
        assert store is not None
        return await store.length(warm_restart.LIST)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.restarts")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cascada-restarts-") as folder:
        server = RedisServer(Path(folder))
        try:
            outcome = asyncio.run(campaign(Path(folder), server, chosen.kills, chosen.seed))
        finally:
            server.kill()
    say(str(outcome))
    return 0 if outcome.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
