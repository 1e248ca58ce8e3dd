"""A hit in memory (performance.md, section 1): what cascada and its peers take for one.

BASE is the least that an async cache can be: awaiting a coroutine that does `dict.get` and compares
an expiry with `time.monotonic`. Every case asks for the same 1000 hot keys (a slow one for 100 of
them) in a loop of its own, which is part of the time. Cascada's hits are those of the default
policy, with all checks of coherence and all counting; only memory is asked, so a database below
would change nothing. The exit status is 1 when `Cache.get` with its key at hand takes more than
`--at-most` times BASE.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cachetools
import msgspec
from _timing import Case, Timing, in_turn, machine, table
from aiocache import SimpleMemoryCache
from async_lru import alru_cache
from cashews import Cache as Cashews

from cascada import Cache, Context, cached, configure, get_with_cache_aside

HOT = 1000
AT_HAND = "cascada: cache.get(key)"
DECODED = "cascada: cache.get(key), a dict of 1 KB"
DECODING = "msgspec: decode that dict"
DECORATED = "cascada: @cached"
ALRU = "async_lru.alru_cache"
MANY = "cascada: acme.get_many(1000 ids), per key"
BASE = "BASE: await a coroutine: dict.get, expiry"

IDS = [f"d{number}" for number in range(HOT)]
DOCUMENT = {
    "id": "d1", "title": "a document of about one kilobyte", "tags": ["news", "cache", "demo"],
    "owner": {"id": 17, "name": "somebody", "active": True}, "score": 0.75, "version": 3,
    "paragraphs": [f"{number} {'lorem ipsum dolor sit amet ' * 5}" for number in range(6)],
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A case with the goal that its ratio to BASE has, if it has one."""

    case: Case
    at_most: float | None = None


class Base:
    """BASE itself."""

    def __init__(self, entries: dict[str, tuple[str, float]]) -> None:
        self._entries = entries

    async def get(self, key: str) -> str | None:
        entry = self._entries.get(key)
        if entry is None or time.monotonic() >= entry[1]:
            return None
        return entry[0]


def awaiting(name: str, get: Callable[[Any], Awaitable[Any]], keys: Sequence[Any]) -> Case:
    """A loop that awaits `get(key)` for every key."""

    async def run() -> None:
        for key in keys:
            await get(key)

    return Case(name, len(keys), run)


def calling(name: str, get: Callable[[Any], Any], keys: Sequence[Any]) -> Case:
    """A loop that calls `get(key)` for every key."""

    async def run() -> None:
        for key in keys:
            get(key)

    return Case(name, len(keys), run)


async def cascada_rows(cache: Cache) -> list[Row]:
    """Every face of cascada that answers from memory."""
    acme = cache.tenant("acme")
    within = cache.tenant("acme", agent="a1", conversation="c7")
    for each in IDS:
        await acme.set("document", each, f"value {each}")
        await within.set("document", each, f"value {each}")
        await acme.set("row", each, {**DOCUMENT, "id": each})
    configure(cache)

    async def load(each: str) -> None:
        await acme.load("document", each, unreachable)

    async def cache_aside(each: str) -> None:
        await get_with_cache_aside("document", each, "acme", unreachable)

    async def by_handle() -> None:
        for each in IDS:
            await acme.get("document", each)

    async def by_strings() -> None:
        for each in IDS:
            await cache.tenant("acme", agent="a1", conversation="c7").get("document", each)

    async def many() -> None:
        await acme.get_many("document", IDS)

    return [
        Row(awaiting(AT_HAND, cache.get, [acme.key("document", each) for each in IDS]), 2.0),
        Row(Case("cascada: acme.get(type, id)", HOT, by_handle)),
        Row(Case("cascada: cache.tenant(3 strings).get(type, id)", HOT, by_strings), 4.0),
        Row(awaiting("cascada: acme.load(type, id, loader)", load, IDS)),
        Row(awaiting(DECODED, cache.get, [acme.key("row", each) for each in IDS])),
        Row(Case(MANY, HOT, many)),
        Row(awaiting("cascada: get_with_cache_aside(...)", cache_aside, IDS[:100]), 12.0),
        decorated_row(),
    ]


def decorated_row() -> Row:
    @cached("decorated")
    async def decorated(each: str) -> str:
        return f"value {each}"

    return Row(awaiting(DECORATED, decorated, IDS))


async def unreachable() -> str:
    """The loader of values that are there."""
    raise AssertionError("a hit was expected")


async def peer_rows() -> list[Row]:
    """What others take for the same."""
    timed: cachetools.TTLCache[str, str] = cachetools.TTLCache(2 * HOT, 3600)
    simple, cashews = SimpleMemoryCache(timeout=0), Cashews()
    cashews.setup("mem://")
    for each in IDS:
        timed[each] = f"value {each}"
        await simple.set(each, f"value {each}")
        await cashews.set(each, f"value {each}", expire=3600)

    @lru_cache(maxsize=2 * HOT)
    def plain(each: str) -> str:
        return f"value {each}"

    @alru_cache(maxsize=2 * HOT, ttl=3600)
    async def awaited(each: str) -> str:
        return f"value {each}"

    @cashews(ttl=3600)
    async def decorated(each: str) -> str:
        return f"value {each}"

    some = IDS[:100]
    return [
        Row(calling("functools.lru_cache (no await)", plain, IDS)),
        Row(calling("cachetools.TTLCache (no await)", timed.get, IDS)),
        Row(awaiting(ALRU, awaited, IDS)),
        Row(awaiting("cashews get", cashews.get, some)),
        Row(awaiting("cashews @cache", decorated, some)),
        Row(awaiting("aiocache get, timeout=0", simple.get, some)),
    ]


def floor_rows() -> list[Row]:
    """What nothing in Python can be below."""
    entries = {each: (f"value {each}", time.monotonic() + 3600) for each in IDS}

    async def only_get(key: str) -> object:
        return entries.get(key)

    encoded = [msgspec.msgpack.encode({**DOCUMENT, "id": each}) for each in IDS]
    return [
        Row(awaiting(BASE, Base(entries).get, IDS)),
        Row(calling("dict.get", entries.get, IDS)),
        Row(awaiting("await a coroutine: dict.get", only_get, IDS)),
        Row(calling(DECODING, msgspec.msgpack.Decoder().decode, encoded)),
    ]


async def overhead(entries: int) -> float:
    """Bytes of an entry beside its key and its value, by tracemalloc."""
    ids = [f"document-{number}" for number in range(entries)]
    value = {"n": 1}
    cache = Cache(l1_bytes=2**40)
    acme = cache.tenant("acme")
    await acme.set("document", "first", value)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for each in ids:
        await acme.set("document", each, value)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The key is the tuple (its texts were there before), the value what it was encoded to.
    beside = sys.getsizeof(acme.key("document", "first")) + 16
    beside += sys.getsizeof(msgspec.msgpack.encode(value))
    await cache.aclose()
    return (after - before) / entries - beside


def report(rows: Iterable[Row], timings: dict[str, Timing]) -> None:
    base = timings[BASE]
    lines = []
    for row in rows:
        timing = timings[row.case.name]
        reach = "" if row.at_most is None else f"<= {row.at_most:.1f}"
        lines.append((row.case.name, f"{timing.ns:,.0f}", f"{timing.over(base):.2f}", reach))
    print(table(("one hit in memory", "ns", "x BASE", "reach"), lines))
    of_alru = timings[DECORATED].over(timings[ALRU])
    decode = timings[DECODED].less(timings[AT_HAND]) / timings[DECODING].ns
    print(f"a hit of a dict adds {decode:.2f}x its decoding (reach <= 1.5)")
    print(f"get_many takes {timings[MANY].ns:.0f} ns a key (reach <= 120)")
    print(f"@cached takes {of_alru:.2f}x alru_cache (reach <= 1.5)")


async def main(rounds: int, entries: int, at_most: float) -> int:
    print(machine())
    cache = Cache()
    with Context(tenant_id="acme"):
        rows = [*floor_rows(), *await cascada_rows(cache), *await peer_rows()]
        timings = await in_turn([row.case for row in rows], rounds)
    report(rows, timings)
    configure(None)
    await cache.aclose()
    spent = await overhead(entries)
    print(f"an entry takes {spent:.0f} B beside its key and value (reach <= 350)")
    ratio = timings[AT_HAND].over(timings[BASE])
    kept = ratio <= at_most
    print(f"{AT_HAND} is {ratio:.2f}x BASE, {'within' if kept else 'over'} {at_most:.2f}")
    return 0 if kept else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="10 rounds instead of 100, for CI")
    parser.add_argument("--at-most", type=float, default=2.0, help="bound on the ratio to BASE")
    options = parser.parse_args()
    logging.disable()
    rounds, entries = (10, 10_000) if options.quick else (100, 100_000)
    sys.exit(asyncio.run(main(rounds, entries, options.at_most)))
