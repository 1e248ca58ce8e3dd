"""`python -m tests.examples.restart`: what a restart costs on the demo's workload, warm and cold.

One worker of the reference service, over a real Redis and a database, is read by the demo's
workload until it has settled, and stopped. Then it is started again: cold, warm, and warm after
another worker has changed the rows of a thousand of the keys that are noted. Each time it is read
from five seconds after its start on, and every answer is judged from outside. Exit code 0 if the
warm one has at least 0.95 of the former share of hits in memory, and no answer was old.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from cascada import Cache, Limits
from examples.agent_service import terminal, world
from examples.agent_service.client import Client
from examples.agent_service.compare import Truth
from examples.agent_service.corpus import standard_library
from examples.agent_service.drive import Column
from examples.agent_service.process import (
    SERVICE,
    RedisServer,
    running_redis,
    running_service,
)
from examples.agent_service.workload import Read, edit, steps
from examples.agent_service.world import World
from tests.scenarios.row import until
from tests.servers.redis import free_port

KEYS: Final = 10_000
NAMESPACE: Final = "restart"
WITHIN: Final = 5.0
"""Seconds after its start from which on a process is measured."""

LEAST: Final = 0.95
INVALIDATED: Final = 1000
MEASURED: Final = 1000
"""Reads by which a share is measured."""


class Restart:
    """One service that is stopped and started again."""

    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self._environment = {
            "DATABASE_URL": f"sqlite:///{folder / 'rows.db'}",
            "AGENT_SERVICE_CACHE": "on",
            "AGENT_SERVICE_MODEL_LATENCY_MS": "5",
            "AGENT_SERVICE_JWT_SECRET": "",
            "CACHE_DATABASE_URL": f"sqlite:///{folder / 'cache.db'}",
            "CASCADA_MODE": "on",
            "CASCADA_NAMESPACE": NAMESPACE,
            "EMBEDDINGS_MODEL": "",
            "EMBEDDINGS_URL": "",
            "REDIS_PASSWORD": "",
            "REDIS_URL": redis.url,
        }
        self._redis = redis.url
        self._database = str(folder / "cache.db")
        self._truth = Truth()
        # At one address, as services are: responses that are kept bear it in their keys.
        self._module = (*SERVICE[:-2], str(free_port()), SERVICE[-1])

    @asynccontextmanager
    async def worker(self, keys: int) -> AsyncIterator[Column]:
        environment = {**self._environment, "CASCADA_WARM_RESTART": str(keys)}
        async with running_service(environment, self._module) as address, Client(address) as client:
            column = Column("service", [client])
            column.truth = self._truth
            yield column
            for each in (*column.tally.wrong, *column.tally.failed):
                raise AssertionError(each)

    async def still_there(self) -> tuple[int, int]:
        """How many keys are noted, and how many of them a start would find now."""
        limits = Limits(warm_restart=KEYS, op_timeout=10)
        async with Cache(
            redis=self._redis, database=self._database, limits=limits, namespace=NAMESPACE
        ) as cache:
            await until(lambda: cache.warm_restart.finished)
            return cache.warm_restart.noted, cache.warm_restart.found


async def share(column: Column, reads: Sequence[Read]) -> float:
    """Of the answers, so many came from memory."""
    left, from_memory = iter(reads), 0

    async def ask() -> None:
        nonlocal from_memory
        for each in left:
            came_from = (await column.ask(each)).came_from
            from_memory += "; hit" in came_from and "detail=l1" in came_from

    await asyncio.gather(*(ask() for _ in range(8)))
    return from_memory / len(reads)


async def run(reads: int) -> int:
    # More things than the demo has: a thousand keys are to be invalidated.
    world.COLLECTIONS, world._ASKED = 36, 5  # type: ignore[misc]  # of this command
    made = World(standard_library(1200), 20)
    planned = [
        replace(each, worker=0)
        for each in steps(made, reads, 10**9, 1.0, 20)
        if isinstance(each, Read)
    ]
    measured = planned[-MEASURED:]
    with tempfile.TemporaryDirectory(prefix="cascada-restart-") as name:
        async with running_redis(Path(name)) as redis:
            service = Restart(Path(name), redis)
            async with service.worker(KEYS) as column:
                await column.create(list(made.creations()))
                await column.drive(planned, concurrency=8, rate=1e6)
                former = await share(column, measured)
            noted, found = await service.still_there()
            shares = []
            for keys in (KEYS, 0):
                async with service.worker(keys) as column:
                    await asyncio.sleep(WITHIN)
                    shares.append(await share(column, measured))
            warm, cold = shares
            async with service.worker(0) as column:
                places = list(dict.fromkeys(each.about for each in made.questions))
                for place in places:
                    await column.edit(edit(made, place, worker=0))
            _, left = await service.still_there()
            async with service.worker(KEYS) as column:
                await asyncio.sleep(WITHIN)
                after = await share(column, measured)
    terminal.say(
        f"answered by memory before: {former:.3f} of what was asked "
        f"({noted} keys noted, {found} of them in the tiers)"
    )
    terminal.say(f"{WITHIN:.0f} s after a cold restart: {cold:.3f}; after a warm one: {warm:.3f}")
    terminal.say(f"after {found - left} of the keys were invalidated: {after:.3f}, no answer old")
    return 0 if warm >= LEAST * former and found - left >= INVALIDATED else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.examples.restart")
    parser.add_argument("--reads", type=int, default=5000, help="before (default %(default)s)")
    return asyncio.run(run(parser.parse_args().reads))


if __name__ == "__main__":
    sys.exit(main())
