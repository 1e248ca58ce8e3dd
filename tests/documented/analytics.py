"""`get_cache_analytics` beside what others have counted: a proxy before Redis, wrapped loaders, and
the caller himself.

    python -m tests.documented.analytics [--calls 5000] [--seed 1]

Flat keys are read, set, revalidated and deleted at random, by one caller, over a real Redis and a
memory that has no room for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascada import (
    Cache,
    Limits,
    cached,
    configure,
    delete_cached_value,
    get_cache_analytics,
    get_cached_value,
    personalized_cache,
    set_cached_value,
    swr_cache,
)
from tests.servers.counting import counting
from tests.servers.redis import RedisServer

KEYS = 400
SIZE = 500
"""Values, and bytes of each: memory has room for a quarter of them."""


class Caller:
    """Makes calls, and counts what he does and what his loaders are asked."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.counts: Counter[str] = Counter()

        @cached("computed")
        async def computed(number: int) -> bytes:
            self.counts["loads"] += 1
            return self._random.randbytes(SIZE)

        self._computed = computed

    async def call(self) -> None:
        number = min(int(self._random.expovariate(1 / 60)), KEYS)
        what = self._random.choices(
            ["get", "set", "swr", "cached", "own", "delete"], [40, 20, 15, 15, 8, 2]
        )[0]
        if what == "set":
            await set_cached_value(f"k{number}", self._random.randbytes(SIZE))
            return
        if what == "delete":
            await delete_cached_value(f"k{number}")
            return
        self.counts["reads"] += 1
        if what == "get":
            self.counts["nothing"] += await get_cached_value(f"k{number}") is None
        elif what == "own":
            self.counts["nothing"] += await personalized_cache.get(f"own{number}", "u1") is None
        elif what == "swr":
            await swr_cache.get(f"swr{number}", self._load)
        else:
            await self._computed(number)

    async def _load(self) -> bytes:
        self.counts["loads"] += 1
        return self._random.randbytes(SIZE)


async def compared(port: int, calls: int, seed: int) -> dict[str, tuple[float, float]]:
    """What analytics say and what others have counted, by name."""
    with counting(port) as (through, seen):
        limits = Limits(l1_bytes=100 * (SIZE + 450), op_timeout=30)
        cache = Cache(redis=f"redis://127.0.0.1:{through}/0", limits=limits)
        before = configure(cache)
        caller = Caller(seed)
        async with cache:
            for _ in range(20):
                await set_cached_value("warm", 1)
            seen.asked = seen.found = 0
            for _ in range(calls):
                await caller.call()
            told: Any = await get_cache_analytics()
        configure(before)
    whole, layers, counts = told["global_statistics"], told["layer_statistics"], caller.counts
    missed = counts["nothing"] + counts["loads"]
    return {
        "requests": (whole["total_requests"], counts["reads"]),
        "misses": (whole["misses"], missed),
        "hits": (whole["hits"], counts["reads"] - missed),
        "hits of l2": (layers["l2"]["hits"], seen.found),
        "hits of l1": (layers["l1"]["hits"], counts["reads"] - missed - seen.found),
        "misses of l1": (layers["l1"]["misses"], missed + seen.found),
        "l3": (layers["l3"]["hits"] + layers["l3"]["misses"], 0),
    }


def differing(told: dict[str, tuple[float, float]]) -> list[str]:
    return [
        f"{name}: {ours}, counted {theirs}"
        for name, (ours, theirs) in told.items()
        if abs(ours - theirs) > 0.01 * theirs
    ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.documented.analytics")
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    os.environ["CASCADA_TENANT"] = "acme"
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(folder))
        try:
            told = asyncio.run(compared(server.port, asked.calls, asked.seed))
        finally:
            server.kill()
    for name, (ours, theirs) in told.items():
        sys.stdout.write(f"{name:>14}  analytics {ours:7}  counted {theirs:7}\n")
    return bool(differing(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
