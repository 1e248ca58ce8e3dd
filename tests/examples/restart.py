"""`python -m tests.examples.restart`: what a restart costs on the demo's workload, warm and cold.

One worker of the reference service, over a real Redis and a database, is read by the demo's
workload until it has settled, and stopped. Then it is started again: cold, warm, and warm after
another worker has changed the rows of a thousand of the keys that are noted. Each time it is read
from five seconds after its start on, and every answer is judged from outside. Exit code 0 if the
warm one has at least 0.95 of the former share of hits in memory, and no answer was old.

With `--loop`, instead: how long a warm restart holds the event loop at a time, by values of several
sizes, in CPU time of its thread, which others on the machine change little. What Python's garbage
collector takes of it goes over all that the process has, and is told apart. Exit code 0 if no
stretch was longer than 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final
from unittest.mock import patch

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

LONGEST: Final = 0.02
"""Seconds that the event loop may be held at a time."""

SIZES: Final = ((KEYS, 10), (5000, 100), (1000, 2500), (50, 50_000))
"""Keys, and the rows of their values; a row has some 40 bytes."""


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


class Stretches:
    """Of the event loop's thread: the longest of its callbacks, and of the collector's runs, in
    seconds of CPU time."""

    def __init__(self) -> None:
        self.longest = self.collector = self._collected = self._began = 0.0

    def _collect(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            took = time.thread_time() - self._began
            self._collected += took
            self.collector = max(self.collector, took)

    @contextmanager
    def measured(self) -> Iterator[None]:
        plain = asyncio.Handle._run

        def run(handle: asyncio.Handle) -> None:
            began, collected = time.thread_time(), self._collected
            plain(handle)
            took = time.thread_time() - began - (self._collected - collected)
            self.longest = max(self.longest, took)

        gc.callbacks.append(self._collect)
        try:
            with patch.object(asyncio.Handle, "_run", run):
                yield
        finally:
            gc.callbacks.remove(self._collect)


async def hold(folder: Path, redis: str, keys: int, rows: int) -> Stretches:
    """What a warm restart of so many keys does to the loop."""
    database = str(folder / f"{keys}.db")
    limits = Limits(warm_restart=keys, op_timeout=60, l1_bytes=2**30, max_value_bytes=2**24)

    def make() -> Cache:
        return Cache(redis=redis, database=database, limits=limits, namespace=f"loop{keys}")

    ids, stretches = [str(number) for number in range(keys)], Stretches()
    async with make() as before:
        acme = before.tenant("acme")
        await acme.get("row", "none")
        await until(lambda: before.warm_restart.finished)
        for number, each in enumerate(ids):
            value = [{"row": at, "text": f"word {number} {at}"} for at in range(rows)]
            await acme.set("row", each, value)
    async with make() as after:
        with stretches.measured():
            await after.tenant("acme").get("row", "none")
            await until(lambda: after.warm_restart.finished, 60)
            progress = after.warm_restart
    assert progress.found >= keys - 1, progress
    terminal.say(
        f"{keys} keys of {rows} rows each, in {progress.seconds:.2f} s: the loop was held for "
        f"{1000 * stretches.longest:.1f} ms at most, and for {1000 * stretches.collector:.1f} ms "
        f"by the garbage collector"
    )
    return stretches


async def run_loop() -> int:
    with tempfile.TemporaryDirectory(prefix="cascada-restart-") as name:
        async with running_redis(Path(name)) as redis:
            held = [await hold(Path(name), redis.url, keys, rows) for keys, rows in SIZES]
    return 0 if max(each.longest for each in held) <= LONGEST else 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.examples.restart")
    parser.add_argument("--reads", type=int, default=5000, help="before (default %(default)s)")
    parser.add_argument("--loop", action="store_true", help="how long it holds the event loop")
    chosen = parser.parse_args()
    return asyncio.run(run_loop() if chosen.loop else run(chosen.reads))


if __name__ == "__main__":
    sys.exit(main())
