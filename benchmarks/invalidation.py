"""Invalidating 100 of many cached values: cascada, its peers, a PING.

The hundred bear one tag. Cascada is timed on memory and Redis, and with a database (SQLite) below;
for that, beside one durable commit of the same database. An invalidation is timed by itself; what
it ended is filled again in between. The peers delete by tag (cashews) or by namespace (aiocache).
It is repeated with 100,000 more values cached, which must not matter.
"""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _caches import cache_of
from _rows import Row, ns, script
from _servers import RawClient, redis_server
from aiocache import RedisCache
from cashews import Cache as Cashews

from cascada import Cache

HUNDRED = 100
AT_ONCE = 500


@dataclass
class Contender:
    """`fill` stores the hundred; `invalidate` is what is timed."""

    name: str
    fill: Callable[[], Awaitable[None]]
    invalidate: Callable[[], Awaitable[Any]]


async def nothing() -> None:
    """There is nothing to fill for a PING."""


async def in_batches(store: Callable[[int], Awaitable[Any]], count: int) -> None:
    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*map(store, range(start, min(start + AT_ONCE, count))))


def of_cascada(name: str, cache: Cache) -> Contender:
    acme = cache.tenant("acme")

    async def fill() -> None:
        await in_batches(lambda n: acme.set("document", f"t{n}", n, tags=["hundred"]), HUNDRED)

    return Contender(name, fill, lambda: acme.invalidate(tag="hundred"))


def of_commit(path: Path) -> Contender:
    """What a database takes to make one row durable."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE rows (n INTEGER)")

    async def commit() -> None:
        connection.execute("INSERT INTO rows VALUES (1)")

    return Contender("SQLite: one durable commit", nothing, commit)


async def peers(port: int) -> list[Contender]:
    cashews = Cashews()
    cashews.setup(f"redis://127.0.0.1:{port}/1", client_side=False)
    aio = RedisCache(endpoint="127.0.0.1", port=port, db=2, namespace="hundred")

    async def fill_cashews() -> None:
        await in_batches(lambda n: cashews.set(f"t{n}", n, expire=3600, tags=["hundred"]), HUNDRED)

    async def fill_aio() -> None:
        for number in range(HUNDRED):
            await aio.set(f"t{number}", number)

    cashews.register_tag("hundred", "t{n}")
    return [
        Contender("cashews: delete_tags", fill_cashews, lambda: cashews.delete_tags("hundred")),
        Contender("aiocache: clear(namespace)", fill_aio, lambda: aio.clear(namespace="hundred")),
    ]


async def attack(contenders: list[Contender], rounds: int) -> dict[str, list[float]]:
    """Seconds of each invalidation, one after the other, round by round."""
    seen: dict[str, list[float]] = {each.name: [] for each in contenders}
    gc.collect()
    gc.disable()
    for _ in range(rounds + 1):
        for each in contenders:
            await each.fill()
            await asyncio.sleep(0.002)  # let what was published arrive
            started = time.perf_counter()
            await each.invalidate()
            seen[each.name].append(time.perf_counter() - started)
    gc.enable()
    return {name: times[1:] for name, times in seen.items()}


def over(mine: list[float], other: list[float]) -> float:
    return statistics.median(one / two for one, two in zip(mine, other, strict=True))


async def measure(quick: bool) -> list[Row]:
    rounds, many = (5, 500) if quick else (100, 100_000)
    with redis_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two = cache_of(redis=server.url, namespace="two", l1_bytes=2**30)
        three = cache_of(redis=server.url, database=str(folder / "c.db"), namespace="three")
        async with two, three:
            raw = await RawClient.connect(server.port)
            ping = Contender("raw protocol: PING", nothing, lambda: raw.send(b"PING"))
            l2, l3 = of_cascada("cascada: L1+L2", two), of_cascada("cascada: L1+L2+L3", three)
            commit = of_commit(folder / "d.db")
            few = await attack([l2, l3, ping, commit, *await peers(server.port)], rounds)
            acme = two.tenant("acme")
            await in_batches(lambda n: acme.set("document", f"m{n}", n), many)
            crowded = await attack([l2, ping], rounds)
            raw.close()
    alone, beside = (over(seen[l2.name], seen[ping.name]) for seen in (few, crowded))
    on_top = [
        (deep - shallow) / durable
        for deep, shallow, durable in zip(few[l3.name], few[l2.name], few[commit.name], strict=True)
    ]
    return [
        *(Row(each, over(times, few[ping.name]), "x", "a PING",
              took=ns(1e9 * statistics.median(times))) for each, times in few.items()),
        Row("L1+L2, settle included", alone, "x", "a PING", 3.0),
        Row("L3 on top", statistics.median(on_top), "x", "a durable commit", 1.5),
        Row("with 100,000 others cached", beside / alone, "x", "with none", 1.5),
    ]  # fmt: skip


if __name__ == "__main__":
    script("Invalidating 100 values", measure)
