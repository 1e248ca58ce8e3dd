"""A hit in memory: what cascada and its peers take for one.

BASE is the least that an async cache can be: awaiting a coroutine that does `dict.get` and compares
an expiry with `time.monotonic`. Every case asks for the same 1000 hot keys (a slow one for 100 of
them) in a loop of its own, which is part of the time. Cascada's hits are those of the default
policy, with all checks of coherence and all counting; only memory is asked, so a database below
would change nothing.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import count
from typing import Any, Final

import cachetools
import msgspec
from _caches import cache_of
from _rows import Row, ns, script
from _timing import CPU, Case, Timing, in_turn
from aiocache import SimpleMemoryCache
from async_lru import alru_cache
from cashews import Cache as Cashews

from cascada import Cache, Context, Event, Policy, cached, configure, get_with_cache_aside

HOT: Final = 1000
IDS: Final = [f"d{number}" for number in range(HOT)]
SOME: Final = IDS[:100]
HELD: Final = 3 * 2**20
"""Bytes of a memory that is full: some thousand values."""
DOCUMENT: Final = {
    "id": "d1", "title": "a document of about one kilobyte", "tags": ["news", "cache", "demo"],
    "owner": {"id": 17, "name": "somebody", "active": True}, "score": 0.75, "version": 3,
    "paragraphs": [f"{number} {'lorem ipsum dolor sit amet ' * 5}" for number in range(6)],
}  # fmt: skip

BASE: Final = "BASE: await a coroutine of dict.get and an expiry"
AT_HAND: Final = "cascada: cache.get(key), the key at hand"
BY_HANDLE: Final = "cascada: acme.get(type, id)"
DECODED: Final = "cascada: cache.get(key), a dict of 1 KB"
SHARED: Final = "cascada: cache.get(key), a dict of 1 KB with shared=True"
OBSERVED: Final = "cascada: acme.get(type, id), with one observer"
DECORATED: Final = "cascada: @cached"
DECODING: Final = "msgspec: decode that dict"
BY_LRU: Final = "cascada: acme.get(type, id), eviction='lru'"
WITH_ROOM: Final = "cascada: set a new id, memory has room"
FULL: Final = "cascada: set a new id, memory is full"
FULL_LRU: Final = "cascada: set a new id, memory is full, eviction='lru'"
ALRU: Final = "async_lru.alru_cache"

REACHES: Final = {
    AT_HAND: 1.9,
    BY_HANDLE: 2.3,
    "cascada: tenant, type, id, agent and conversation as strings": 3.2,
    "cascada: acme.load(type, id, loader)": 2.5,
    "cascada: get_with_cache_aside(...)": 8.0,
    # 150 ns where BASE takes 177
    "cascada: acme.get_many(1000 ids), a key": 0.85,
}
"""At most so many times BASE."""


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


async def of_cascada(cache: Cache, observed: Cache) -> list[Case]:  # noqa: C901 - a loop each
    """Every face of cascada that answers from memory."""
    acme, watched = cache.tenant("acme"), observed.tenant("acme")
    within = cache.tenant("acme", agent="a1", conversation="c7")
    for each in IDS:
        await acme.set("document", each, f"value {each}")
        await watched.set("document", each, f"value {each}")
        await within.set("document", each, f"value {each}")
        await acme.set("row", each, {**DOCUMENT, "id": each})
        await acme.set("shared_row", each, {**DOCUMENT, "id": each})
    configure(cache)

    @cached("decorated")
    async def decorated(each: str) -> str:
        return f"value {each}"

    async def load(each: str) -> None:
        await acme.load("document", each, unreachable)

    async def cache_aside(each: str) -> None:
        await get_with_cache_aside("document", each, "acme", unreachable)

    async def by_handle() -> None:
        for each in IDS:
            await acme.get("document", each)

    async def with_observer() -> None:
        for each in IDS:
            await watched.get("document", each)

    async def by_strings() -> None:
        for each in IDS:
            await cache.tenant("acme", agent="a1", conversation="c7").get("document", each)

    async def many() -> None:
        await acme.get_many("document", IDS)

    _, _, strings, loaded, aside, in_one = REACHES
    return [
        awaiting(AT_HAND, cache.get, [acme.key("document", each) for each in IDS]),
        Case(BY_HANDLE, HOT, by_handle),
        Case(strings, HOT, by_strings),
        awaiting(loaded, load, IDS),
        awaiting(aside, cache_aside, SOME),
        Case(in_one, HOT, many),
        awaiting(DECODED, cache.get, [acme.key("row", each) for each in IDS]),
        awaiting(SHARED, cache.get, [acme.key("shared_row", each) for each in IDS]),
        Case(OBSERVED, HOT, with_observer),
        awaiting(DECORATED, decorated, IDS),
    ]


async def evicting(cache: Cache) -> Case:
    """Sets of ids that were never seen, into a memory that is full."""
    acme, number = cache.tenant("acme"), count()

    async def run() -> None:
        for _ in range(HOT):
            await acme.set("document", f"e{next(number)}", "a value")

    for _ in range(8):
        await run()
    return Case("", HOT, run)


async def of_eviction(full: Cache, by_lru: Cache, roomy: Cache) -> list[Case]:
    """A hit under another policy, and what it takes to give up one value for each new one."""
    acme, room = by_lru.tenant("acme"), roomy.tenant("acme")
    cases = [replace(await evicting(each), name=name) for each, name in (
        (full, FULL), (by_lru, FULL_LRU)
    )]  # fmt: skip
    for each in IDS:
        await acme.set("document", each, f"value {each}")

    async def hits() -> None:
        for each in IDS:
            await acme.get("document", each)

    number, made = count(), list[str]()

    async def sets() -> None:  # as `evicting` does, but that nothing goes
        for _ in range(HOT):
            made.append(f"e{next(number)}")
            await room.set("document", made[-1], "a value")

    async def again() -> None:
        for each in IDS:
            await acme.set("document", each, f"value {each}")

    async def gone() -> None:
        await room.delete_many("document", made)
        made.clear()

    return [
        Case(BY_LRU, HOT, hits, again),
        Case(WITH_ROOM, HOT, sets, gone),
        *cases,
    ]


async def unreachable() -> str:
    """The loader of values that are there."""
    raise AssertionError("a hit was expected")


def unheeded(event: Event) -> None:
    """An observer that looks at nothing."""


async def of_peers() -> list[Case]:
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

    return [
        calling("functools.lru_cache (no await)", plain, IDS),
        calling("cachetools.TTLCache (no await)", timed.get, IDS),
        awaiting(ALRU, awaited, IDS),
        awaiting("cashews: get", cashews.get, SOME),
        awaiting("cashews: @cache", decorated, SOME),
        awaiting("aiocache: get, timeout=0", simple.get, SOME),
    ]


def floors() -> list[Case]:
    """What nothing in Python can be below."""
    entries = {each: (f"value {each}", time.monotonic() + 3600) for each in IDS}

    async def only_get(key: str) -> object:
        return entries.get(key)

    encoded = [msgspec.msgpack.encode({**DOCUMENT, "id": each}) for each in IDS]
    return [
        awaiting(BASE, Base(entries).get, IDS),
        calling("dict.get (no await)", entries.get, IDS),
        awaiting("await a coroutine of dict.get", only_get, IDS),
        calling(DECODING, msgspec.msgpack.Decoder().decode, encoded),
    ]


def rows_of(timings: dict[str, Timing]) -> list[Row]:
    base = timings[BASE]
    rows = [
        Row(name, timing.over(base), "x", "BASE", REACHES.get(name), ns(timing.ns))
        for name, timing in timings.items()
    ]
    evicted = timings[FULL].less(timings[WITH_ROOM])
    added = timings[DECODED].less(timings[AT_HAND])
    return [
        *rows,
        Row("what a dict of 1 KB adds to a hit", added / timings[DECODING].ns, "x",
            "its decoding by msgspec", 1.3, ns(added)),
        Row("a hit of a shared dict", timings[SHARED].over(timings[AT_HAND]), "x",
            "a hit of a text"),
        Row("a hit under ADAPTIVE", timings[BY_HANDLE].over(timings[BY_LRU]), "x",
            "one under LRU", 1.2),
        Row("to give up another for a new value", evicted / timings[BY_LRU].ns, "x",
            "a hit under LRU", 10, ns(evicted)),
        Row("a hit with one observer", timings[OBSERVED].over(timings[BY_HANDLE]), "x",
            "a hit without", 1.5),
        Row("a hit of @cached", timings[DECORATED].over(timings[ALRU]), "x", ALRU, 1.4),
    ]  # fmt: skip


async def measure(quick: bool) -> list[Row]:
    policies = {"shared_row": Policy(shared=True)}
    observed = cache_of(observers=[unheeded])
    full, by_lru = cache_of(l1_bytes=HELD), cache_of(l1_bytes=HELD, eviction="lru")
    async with cache_of(policies=policies) as cache, observed, full, by_lru, cache_of() as roomy:
        with Context(tenant_id="acme"):
            cases = [*floors(), *await of_cascada(cache, observed), *await of_peers()]
            cases += await of_eviction(full, by_lru, roomy)
            timings = await in_turn(cases, 2 if quick else 60, clock=CPU)
        configure(None)
    return rows_of(timings)


if __name__ == "__main__":
    script("A hit in memory", measure)
