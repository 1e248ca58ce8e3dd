"""What an entry and a tenant take in memory beside the key and the value, by tracemalloc."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Awaitable, Callable

import msgspec
from _caches import cache_of
from _rows import Row, script

from cascada import Cache

PLENTY = 2**40
VALUE = {"n": 1}


async def grown_by(count: int, add: Callable[[int], Awaitable[object]]) -> float:
    """Bytes that each of `count` additions leaves behind."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(count):
        await add(number)
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / count


async def of_entry(count: int) -> float:
    """The key is a tuple (its texts were there before), the value what it was encoded to."""
    ids = [f"document-{number}" for number in range(count)]
    async with cache_of(l1_bytes=PLENTY) as cache:
        acme = cache.tenant("acme")
        await acme.set("document", "first", VALUE)
        beside = sys.getsizeof(acme.key("document", "first")) + 16
        beside += sys.getsizeof(msgspec.msgpack.encode(VALUE))
        return await grown_by(count, lambda n: acme.set("document", ids[n], VALUE)) - beside


async def of_tenant(count: int) -> float:
    """A tenant with one entry, that entry included."""
    names = [f"tenant-{number}" for number in range(count)]
    async with cache_of(l1_bytes=PLENTY) as cache:

        async def add(number: int) -> None:
            await cache.tenant(names[number]).set("document", "d1", VALUE)

        await fill_handles(cache)
        return await grown_by(count, add)


async def fill_handles(cache: Cache) -> None:
    """The handles that are kept for those who ask again are a fixed number, so they come first."""
    for number in range(2000):
        cache.tenant(f"handle-{number}")


async def measure(quick: bool) -> list[Row]:
    count = 2_000 if quick else 100_000
    entry = await of_entry(count)
    tenant = await of_tenant(count // 10)
    return [
        Row("an entry, beside its key and its value", entry, "B", reach=350),
        Row("a further tenant with one entry", tenant, "B", reach=1200),
    ]


if __name__ == "__main__":
    script("Bytes in memory", measure)
