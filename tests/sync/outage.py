"""A database that stops for a while, under load: no set fails, and all is there by itself later.

    python -m tests.sync.outage [--seconds 30]

PostgreSQL and all its processes are stopped by SIGSTOP while values are set all the time. Told are
the sets and what they answered, the slowest one, the greatest lag, how long it took after the end
of the outage until nothing waited, and what the table lacks then.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import asyncpg

from cascada import Cache, CacheService, Limits
from tests.chaos.__main__ import say
from tests.servers.postgres import postgres_server


def family(pid: int) -> list[int]:
    """A server's first process, found by one of its others, and all that it has started."""
    parents: dict[int, int] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(each.parent.name)] = int(each.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
    first = parents[pid]
    return [first, *(each for each, parent in parents.items() if parent == first)]


async def outage(server: str, folder: Path, seconds: float) -> int:
    os.environ["CASCADA_TENANT"] = "acme"
    limits = Limits(op_timeout=10)
    async with Cache(database=str(folder / "cache.db"), limits=limits) as cache:
        service = CacheService(0.5, cache=cache, database=f"{server}/postgres")
        kept: dict[str, int] = {}
        refused, slowest, lag = 0, 0.0, 0.0

        async def load() -> None:
            nonlocal refused, slowest, lag
            number = 0
            while True:
                number += 1
                key, began = f"k:{number % 500}", time.perf_counter()
                if await service.set(key, number):
                    kept[key] = number
                else:
                    refused += 1
                slowest = max(slowest, time.perf_counter() - began)
                lag = max(lag, service.sync_lag)
                await asyncio.sleep(0.005)

        await service.start_sync()
        loading = asyncio.create_task(load())
        await asyncio.sleep(3)
        asking = await asyncpg.connect(f"{server}/postgres")
        them = family(await asking.fetchval("SELECT pg_backend_pid()"))
        for pid in them:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        for pid in them:
            os.kill(pid, signal.SIGCONT)
        ended, before = time.perf_counter(), service.last_sync
        while service.last_sync == before or service.sync_lag > 3:  # noqa: ASYNC110 - it polls
            await asyncio.sleep(0.05)
        healed = time.perf_counter() - ended
        loading.cancel()
        await asyncio.wait([loading])
        await service.stop_sync()
        rows = await asking.fetch("SELECT key, value::text FROM cascada.service_entries")
        there = {key: int(value) for key, value in rows}
        # One was in flight at the end: it may be there, too.
        lost = [key for key, number in kept.items() if there.get(key, 0) < number]
        await asking.close()
    say(f"{max(kept.values())} sets in all, {refused} False, the slowest {slowest:.2f} s")
    say(f"greatest lag {lag:.1f} s; {healed:.1f} s after the outage the lag was gone by itself")
    say(f"{len(kept)} keys acknowledged, {len(lost)} older in the table")
    return 1 if lost or refused else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30)
    given = parser.parse_args()
    with postgres_server() as server, tempfile.TemporaryDirectory() as folder:
        return asyncio.run(outage(server.url, Path(folder), given.seconds))


if __name__ == "__main__":
    sys.exit(main())
