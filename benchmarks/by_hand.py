"""The pattern that people write by hand, on one hot key: how often is the source asked?

20 workers make 40 requests each: get, and on a miss ask the source (50 ms, or 50 to 150 ms) and
store what it gave, the same for all by `set` and through `CacheManager`, something else each time
by `fill` and the helpers of derived values. A dict asks 20 times. And four equal sets at once, a
thousand times: how often is nothing there?
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from _caches import cache_of
from _rows import Row, script
from _servers import redis_server

from cascada import Cache, CacheManager

WORKERS, REQUESTS, AT_MOST = 20, 40, 25
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


async def empty_of(cache: Cache, times: int) -> int:
    acme, empty = cache.tenant("acme"), 0
    for number in range(times):
        await asyncio.gather(*(acme.set("row", f"e{number}", "the same") for _ in range(4)))
        empty += not await acme.get("row", f"e{number}")
    return empty


async def measure(quick: bool) -> list[Row]:
    rows = []
    sources, times = (SOURCES[:1], 50) if quick else (SOURCES, 1000)
    with tempfile.TemporaryDirectory() as folder, redis_server() as server:
        for tiers in TIERS[-1:] if quick else TIERS:
            for number, span in enumerate(sources):
                options: dict[str, Any] = {"namespace": f"{tiers}{number}"}
                if "redis" in tiers:
                    options["redis"] = server.url
                if "sqlite" in tiers:
                    options["database"] = str(Path(folder) / f"{tiers}{number}.db")
                async with cache_of(**options) as cache:
                    calls = max([await calls_of(way, cache, span) for way in WAYS])
                    name = f"{tiers}: the most of five ways, a source of {span[0]} to {span[1]} s"
                    rows.append(Row(name, calls, "source calls", reach=AT_MOST))
                    if not number:
                        empty = await empty_of(cache, times)
                        rows.append(Row(f"{tiers}: four equal sets, empty after", empty, "times",
                                        reach=0))  # fmt: skip
                    CacheManager.configure(None)
    return rows


if __name__ == "__main__":
    script("The pattern that people write by hand: source calls of 20 workers", measure)
