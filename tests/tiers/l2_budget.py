"""Redis without maxmemory under far more sets than L2_CACHE_SIZE_MB has room for.

    python -m tests.tiers.l2_budget --sets 2000000 --mb 50

Sets ever new keys (values of 50 to 2,000 bytes, a third with tags, a third in contexts) and asks
INFO for used_memory all the while: metadata, leases, generations and buffers are in it. It ends
with 1 if that was ever above six fifths of the budget.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cascada import Cache
from cascada.model.limits import Limits
from cascada.testing.inside import inside
from tests.servers.redis import RedisServer

AT_ONCE = 500
LOOK_EVERY = 0.02


class Run(NamedTuple):
    """What became of so many sets; `most` and `last` as INFO says used_memory."""

    sets: int
    kept: int
    most: int
    last: int
    counted: int
    seconds: float
    server_seconds: float


def field(server: RedisServer, section: str, name: str) -> float:
    found = re.search(rf"{name}:([\d.]+)".encode(), server.say("INFO", section))
    assert found is not None, name
    return float(found.group(1))


async def measured(
    server: RedisServer, sets: int, megabytes: float, say: Callable[[str], object] = lambda _: None
) -> Run:
    """Set so many new keys through a cache with that budget."""
    chance = random.Random(1)
    blob = chance.randbytes(4096)
    most, going = 0, True
    limits = Limits(l1_bytes=2**20, l2_bytes=int(megabytes * 2**20), op_timeout=30)

    async def look() -> None:
        nonlocal most
        while going:
            used = await asyncio.to_thread(field, server, "memory", "used_memory")
            most = max(most, int(used))
            await asyncio.sleep(LOOK_EVERY)

    def value() -> bytes:
        size = min(2000, int(50 + chance.expovariate(1 / 300)))
        at = chance.randrange(len(blob) - size)
        return blob[at : at + size]

    async with Cache(redis=server.url, limits=limits) as cache:
        looking = asyncio.get_running_loop().create_task(look())
        kept = 0
        busy = field(server, "cpu", "used_cpu_user") + field(server, "cpu", "used_cpu_sys")
        began = time.perf_counter()
        for first in range(0, sets, AT_ONCE):
            part = {f"{n}": value() for n in range(first, min(first + AT_ONCE, sets))}
            kind = first // AT_ONCE % 3
            acme = cache.tenant("acme", conversation=f"c{first}" if kind == 1 else None)
            how: dict[str, Any] = {"tags": [f"t{first}"]} if kind == 2 else {}
            kept += sum(await acme.set_many("row", part, ttl=3600, **how))
            if first % 20_000 == 0:
                say(f"{first:,} sets: {kept:,} kept, at most {most / 2**20:.1f} MB\n")
        seconds = time.perf_counter() - began
        busy = field(server, "cpu", "used_cpu_user") + field(server, "cpu", "used_cpu_sys") - busy
        last = int(field(server, "memory", "used_memory"))
        counted = (await inside(cache).tiers["l2"].usage()).size_bytes
        going = False
        await looking
    return Run(sets, kept, most, last, counted, seconds, busy)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=2_000_000)
    parser.add_argument("--mb", type=float, default=50)
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="l2-budget-") as folder:
        server = RedisServer(Path(folder))
        try:
            run = asyncio.run(measured(server, given.sets, given.mb, sys.stderr.write))
        finally:
            server.kill()
    mb = 2**20
    sys.stdout.write(
        f"{run.sets:,} sets in {run.seconds:.0f} s (of the server "
        f"{run.server_seconds / run.sets * 1e6:.1f} us for each), {run.kept:,} kept; used_memory "
        f"at most {run.most / mb:.1f} MB, at the end {run.last / mb:.1f} MB, of it counted "
        f"{run.counted / mb:.1f} MB; the budget is "
        f"{given.mb:g} MB\n"
    )
    return int(run.most > 1.2 * given.mb * mb)


if __name__ == "__main__":
    sys.exit(main())
