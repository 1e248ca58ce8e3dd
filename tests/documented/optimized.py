"""`optimize_cache_distribution`: what it says that it gains, and what the next reads do gain.

    python -m tests.documented.optimized [--reads 10000] [--seed 1]

A Redis, a database, and a memory of a megabyte. A third of the reads are of few values that their
application has called LOW, so that they have no place in memory; of the hottest Redis has lost
some. The rest is read at random, of far more than memory has room for. After as many reads a dry
run must move nothing (as `redis-cli` and `sqlite3` would see it), the plan is carried out, and the
same kind of reads goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sqlite3
import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cascada import (
    Cache,
    CachePriority,
    Limits,
    advanced_cache_manager,
    configure,
    get_cache_analytics,
    get_cached_value,
    set_cached_value,
)
from tests.servers.redis import RedisServer

SIZE: Final = 1000
"""Bytes of a value."""


@dataclass(frozen=True)
class World:
    """How many values there are of each kind, how many of the hottest Redis loses, and how many
    bytes memory has."""

    low: int = 150
    normal: int = 3000
    lost: int = 20
    memory: int = 2**20


@dataclass(frozen=True)
class Outcome:
    """What the plan has announced, what came of it, and what was seen below."""

    announced: float
    gained: float
    measured: float
    moves: dict[str, int]
    moved_by_dry_run: bool
    announced_bytes: int
    bytes_in_redis: int
    still_in_database: bool
    lost: int

    @property
    def wrong(self) -> list[str]:
        found = []
        if not abs(self.gained - self.announced) <= 0.3 * self.announced:
            found.append(f"{self.announced:.0f} hits were announced, {self.gained:.0f} gained")
        if self.moved_by_dry_run:
            found.append("a dry run has moved something")
        if not 0 <= self.bytes_in_redis - self.announced_bytes <= 200 * self.lost:
            found.append(f"{self.announced_bytes} bytes were to come, {self.bytes_in_redis} did")
        if not self.still_in_database:
            found.append("the database has lost something")
        return found


class Below:
    """What lies in the tiers below memory, as others see it."""

    def __init__(self, server: RedisServer, path: Path) -> None:
        self._server = server
        self._path = path

    def names(self) -> dict[str, str]:
        """The LOW entries in Redis, by the last part of their keys."""
        said = self._server.say("KEYS", "*:v:*:low*")
        lines = said.decode().split("\r\n")
        return {line.rsplit(":", 1)[1]: line for line in lines if ":v:" in line}

    def size(self, names: Sequence[str]) -> int:
        return sum(int(self._server.say("STRLEN", name)[1:-2]) for name in names)

    def rows(self) -> int:
        with closing(sqlite3.connect(self._path)) as database:
            (count,) = database.execute("SELECT count(*) FROM entries").fetchone()
        return int(count)


def popular(rng: random.Random, low: int) -> int:
    return min(int(rng.expovariate(5 / low)), low - 1)


async def read(world: World, rng: random.Random, reads: int) -> None:
    for _ in range(reads):
        if rng.random() < 1 / 3:
            await get_cached_value(f"low{popular(rng, world.low)}")
        else:
            await get_cached_value(f"normal{rng.randrange(world.normal)}")


async def store(
    key: str, rng: random.Random, priority: CachePriority = CachePriority.NORMAL
) -> None:
    assert await set_cached_value(key, rng.randbytes(SIZE), priority=priority)


async def hits_of_memory() -> tuple[int, int]:
    told: Any = await get_cache_analytics()
    return told["layer_statistics"]["l1"]["hits"], told["global_statistics"]["total_requests"]


async def run(
    folder: Path,
    reads: int,
    seed: int,
    world: World = World(),
) -> Outcome:
    rng, server, path = random.Random(seed), RedisServer(folder), folder / "cache.db"
    optimize = advanced_cache_manager.optimize_cache_distribution
    limits = Limits(l1_bytes=world.memory, op_timeout=30)
    cache = Cache(redis=server.url, database=f"sqlite:///{path}", limits=limits)
    before, below = configure(cache), Below(server, path)
    try:
        async with cache:
            for first in range(0, world.normal, 100):
                some = range(first, first + 100)
                await asyncio.gather(*(store(f"normal{each}", rng) for each in some))
            await asyncio.gather(
                *(store(f"low{each}", rng, CachePriority.LOW) for each in range(world.low))
            )
            await read(world, rng, reads)
            hits, _ = await hits_of_memory()
            there = below.names()
            server.say("DEL", *(there[f"low{number}"] for number in range(world.lost)))
            seen = below.names(), below.rows(), await _in_memory()
            planned = await optimize(dry_run=True)
            moved_by_dry_run = seen != (below.names(), below.rows(), await _in_memory())
            told = await optimize()
            came = {*below.names()} - {*seen[0]}
            names = below.names()
            await read(world, rng, reads)
            now, _ = await hits_of_memory()
            again = await optimize(dry_run=True)
            targets = [str(each["to"]) for each in told["moves"]]
            assert told["moves"] == planned["moves"]
            return Outcome(
                announced=told["expected"]["hits"],
                gained=(now - hits - hits) / reads * 10_000,
                measured=(again["measured"] or {"hits": 0.0})["hits"],
                moves={target: targets.count(target) for target in dict.fromkeys(targets)},
                moved_by_dry_run=moved_by_dry_run,
                announced_bytes=sum(each["bytes"] for each in told["moves"] if each["to"] == "l2"),
                bytes_in_redis=below.size([names[name] for name in came]),
                still_in_database=below.rows() >= world.low,
                lost=world.lost,
            )
    finally:
        configure(before)
        server.kill()


async def _in_memory() -> int:
    told: Any = await get_cache_analytics()
    return int(told["layer_statistics"]["l1"]["size_bytes"])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.documented.optimized")
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    os.environ["CASCADA_TENANT"] = "acme"
    with tempfile.TemporaryDirectory() as folder:
        outcome = asyncio.run(run(Path(folder), asked.reads, asked.seed))
    sys.stdout.write(
        f"announced {outcome.announced:.0f} hits in memory of 10,000 reads, gained "
        f"{outcome.gained:.0f} (it says {outcome.measured:.0f}); moves {outcome.moves}; "
        f"{outcome.bytes_in_redis} bytes came to Redis, {outcome.announced_bytes} of payload were "
        "announced\n"
    )
    for each in outcome.wrong:
        sys.stdout.write(f"WRONG: {each}\n")
    return bool(outcome.wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
