"""For how long one call keeps the event loop from everybody else: the longest block, in ms.

A task that does nothing asks for its turn again and again; the longest time that it waited while
one call of 10,000 keys ran is the block. The machine's other work can only make it longer, so the
shortest of several attempts counts. "Mixed" values are texts, dicts, lists and bytes.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import Any, Final

from _caches import cache_of
from _rows import Row, script
from _servers import redis_server

from cascada import Cache

KEYS: Final = 10_000
LOOK_EVERY: Final = 0.001
REACH_MS: Final = 20.0
Call = Callable[[], Awaitable[Any]]


def mixed(number: int) -> Any:
    """A value of one of the usual kinds."""
    text = f"value {number} " * 20
    kinds: tuple[Any, ...] = (text, {"id": number, "text": text, "tags": ["a", "b"]},
                              [number, 0.5, text], text.encode())  # fmt: skip
    return kinds[number % len(kinds)]


async def longest_block(call: Call) -> float:
    """Milliseconds."""
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        before = time.perf_counter()
        while running:
            # Not 0: a loop that never waits would leave SQLite's threads the interpreter lock once
            # in five milliseconds, for each row.
            await asyncio.sleep(LOOK_EVERY)
            now = time.perf_counter()
            longest, before = max(longest, now - before - LOOK_EVERY), now

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0.01)
    longest = 0.0
    await call()
    await asyncio.sleep(2 * LOOK_EVERY)
    running = False
    await watching
    return 1000 * longest


async def stored(cache: Cache, ids: list[str]) -> None:
    """All ids with a value each."""
    acme = cache.tenant("acme")
    for start in range(0, len(ids), 250):
        some = enumerate(ids[start : start + 250], start)
        await asyncio.gather(*(acme.set("document", each, mixed(n)) for n, each in some))


async def block_of(name: str, cache: Cache, call: Call, attempts: int, *, reset: bool) -> Row:
    seen = []
    for _ in range(attempts):
        if reset:
            await cache.reset()
        gc.collect()
        gc.disable()
        seen.append(await longest_block(call))
        gc.enable()
    return Row(name, min(seen), "ms", reach=REACH_MS)


async def measure(quick: bool) -> list[Row]:
    keys, attempts = (300, 1) if quick else (KEYS, 4)
    ids = [f"d{number}" for number in range(keys)]
    missing = [f"m{number}" for number in range(keys)]
    rows = []
    with redis_server() as server, tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "cache.db")
        for name, options in (
            ("memory", {}), ("Redis", {"redis": server.url}), ("SQLite", {"database": database}),
        ):  # fmt: skip
            async with cache_of(l1_bytes=2**29, **options) as cache:
                acme, turns = cache.tenant("acme"), count()
                await stored(cache, ids)

                async def load(asked: list[str]) -> dict[str, Any]:
                    return {each: mixed(number) for number, each in enumerate(asked)}

                async def hits(acme: Any = acme) -> None:
                    await acme.get_many("document", ids)

                async def misses(acme: Any = acme) -> None:
                    await acme.get_many("document", missing)

                async def loads(acme: Any = acme, turns: Any = turns) -> None:
                    await acme.load_many(f"loaded{next(turns)}", ids, load)

                for what, call, reset in (
                    ("hits, mixed", hits, bool(options)),
                    ("misses", misses, False),
                    ("loads", loads, False),
                ):
                    rows.append(
                        await block_of(f"{name}: {what}", cache, call, attempts, reset=reset)
                    )
    return rows


if __name__ == "__main__":
    script("The longest block of the event loop by one call of 10,000 keys", measure)
