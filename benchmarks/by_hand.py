"""The pattern that people write by hand, on one hot key: how often is the source asked?

20 workers make 40 requests each: get, and on a miss ask the source (50 ms, or 50 to 150 ms) and
store what it gave, the same for all by `set` and through `CacheManager`, something else each time
by `fill` and the helpers of derived values. A dict asks 20 times. And four equal sets at once, a
thousand times: how often is nothing there? The exit status is 1 over 25 calls, or if it ever is.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from _servers import redis_server

from cascada import Cache, CacheManager

WORKERS, REQUESTS, AT_MOST, TIMES = 20, 40, 25, 1000
SOURCES = ((0.05, 0.05), (0.05, 0.15))
TIERS = ("memory", "sqlite", "redis", "redis+sqlite")

Source = Callable[[], Awaitable[int]]


async def by_set(cache: Cache, source: Source) -> None:
    acme = cache.tenant("acme")
    if not await acme.get("row", "1"):
        await source()
        await acme.set("row", "1", {"row": "the same"})


async def by_manager(cache: Cache, source: Source) -> None:
    if await CacheManager.get("row", "2", "acme") is None:
        await source()
        await CacheManager.set("row", "2", {"row": "the same"}, "acme")


async def by_fill(cache: Cache, source: Source) -> None:
    acme = cache.tenant("acme")
    if not (miss := await acme.get("row", "3")):
        await acme.fill(miss, await source())


async def by_set_embedding(cache: Cache, source: Source) -> None:
    if await CacheManager.get_embedding("text", "model", "acme") is None:
        await CacheManager.set_embedding("text", [float(await source())], "model", "acme")


async def by_set_query_result(cache: Cache, source: Source) -> None:
    if await CacheManager.get_query_result("query", "k1", "acme") is None:
        await CacheManager.set_query_result("query", await source(), "k1", "acme")


WAYS = (by_set, by_manager, by_fill, by_set_embedding, by_set_query_result)


async def calls_of(way: Callable[[Cache, Source], Awaitable[None]], cache: Cache, span: Any) -> int:
    calls = 0

    async def source() -> int:
        nonlocal calls
        calls += 1
        number = calls
        await asyncio.sleep(random.uniform(*span))
        return number

    async def worker() -> None:
        for _ in range(REQUESTS):
            await way(cache, source)

    CacheManager.configure(cache)
    await asyncio.gather(*(asyncio.create_task(worker()) for _ in range(WORKERS)))
    return calls


async def empty_of(cache: Cache) -> int:
    acme, empty = cache.tenant("acme"), 0
    for number in range(TIMES):
        await asyncio.gather(*(acme.set("row", f"e{number}", "the same") for _ in range(4)))
        empty += not await acme.get("row", f"e{number}")
    return empty


async def main() -> int:
    failed = False
    with tempfile.TemporaryDirectory() as folder, redis_server() as server:
        for tiers in TIERS:
            for number, span in enumerate(SOURCES):
                options: dict[str, Any] = {"op_timeout": 5, "namespace": f"{tiers}{number}"}
                if "redis" in tiers:
                    options["redis"] = server.url
                if "sqlite" in tiers:
                    options["database"] = str(Path(folder) / f"{tiers}{number}.db")
                async with Cache(**options) as cache:
                    for way in WAYS:
                        calls = await calls_of(way, cache, span)
                        failed |= calls > AT_MOST
                        print(f"{tiers:13} {way.__name__:20} {span} s: {calls} source calls")
                    if not number:
                        empty = await empty_of(cache)
                        failed |= empty > 0
                        print(f"{tiers:13} four equal sets at once: {empty} of {TIMES} empty")
    return int(failed)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
