"""Misses, sets and loads where memory is all there is: CPU time beside that of peers.

Nobody in another process can race with memory alone, so these should cost what they cost others.
Each is awaited one after the other. A missing id is another one each time, as is what is loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from typing import Any, Final

from _caches import cache_of
from _rows import Row, ns, script
from _timing import CPU, Case, Timing, in_turn
from aiocache import SimpleMemoryCache
from async_lru import alru_cache
from cashews import Cache as Cashews

from cascada import Cache

TURNS: Final = 200
ROOM: Final = 20_000
"""Entries that the peers keep; cascada bounds its memory by bytes, and holds as many."""

MISS: Final = "a get of a missing id"
SET: Final = "a set"
LOAD: Final = "a load of a missing value"
REACHES: Final = {
    # 4 us where it takes 2.9, 6 where it takes 5.6, 30 where it takes 16.8
    MISS: ("aiocache", 1.38),
    SET: ("aiocache", 1.07),
    LOAD: ("async_lru", 1.79),
}
"""The quickest peer, and how many times its time is allowed."""

VALUE: Final = {"id": "d1", "title": "a document", "score": 0.75}


def each_new(name: str, run_one: Callable[[str], Awaitable[Any]]) -> Case:
    """A loop that awaits `run_one` for ids that never came before."""
    numbers: Iterator[int] = count()

    async def run() -> None:
        for number in numbers:
            await run_one(f"id{number}")
            if number % TURNS == TURNS - 1:
                return

    return Case(name, TURNS, run)


async def source() -> dict[str, Any]:
    """It answers at once."""
    return VALUE


def of_cascada(cache: Cache) -> list[Case]:
    acme = cache.tenant("acme")
    return [
        each_new(f"cascada: {MISS}", lambda each: acme.get("document", each)),
        each_new(f"cascada: {SET}", lambda each: acme.set("document", each, VALUE)),
        each_new(f"cascada: {LOAD}", lambda each: acme.load("loaded", each, source)),
    ]


def of_peers() -> list[Case]:
    simple, cashews = SimpleMemoryCache(timeout=0), Cashews()
    cashews.setup("mem://", size=ROOM)

    @alru_cache(maxsize=ROOM, ttl=3600)
    async def awaited(each: str) -> dict[str, Any]:
        return await source()

    @cashews(ttl=3600, key="{each}")
    async def decorated(each: str) -> dict[str, Any]:
        return await source()

    return [
        each_new(f"aiocache: {MISS}", lambda each: simple.get(f"missing{each}")),
        each_new(f"cashews: {MISS}", lambda each: cashews.get(f"missing{each}")),
        # Without a ttl: with one it leaves a timer of the event loop for each.
        each_new(f"aiocache: {SET}", lambda each: simple.set(each, VALUE)),
        each_new(f"cashews: {SET}", lambda each: cashews.set(each, VALUE, expire=3600)),
        each_new(f"async_lru: {LOAD}", awaited),
        each_new(f"cashews: {LOAD}", decorated),
    ]


def rows_of(timings: dict[str, Timing]) -> list[Row]:
    rows = []
    for what, (peer, reach) in REACHES.items():
        base = timings[f"{peer}: {what}"]
        for name, timing in timings.items():
            if name.endswith(what) and timing is not base:
                mine = name.startswith("cascada")
                rows.append(
                    Row(name, timing.over(base), "x", peer, reach if mine else None, ns(timing.ns))
                )
        rows.append(Row(f"{peer}: {what}", 1.0, "x", peer, took=ns(base.ns)))
    return rows


async def measure(quick: bool) -> list[Row]:
    async with cache_of(l1_bytes=ROOM * 1024) as cache:
        cases = [*of_cascada(cache), *of_peers()]
        return rows_of(await in_turn(cases, 1 if quick else 20, clock=CPU))


if __name__ == "__main__":
    script("Misses, sets and loads in memory alone, CPU", measure)
