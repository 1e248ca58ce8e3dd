"""What a call that waits costs: hits read in place, and calls that are carried to the cache's loop.

    python benchmarks/sync.py

The best of several rounds, in microseconds of wall time: what it takes on a quiet machine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from cascada import Cache

ROUNDS: Final = 15


def best(call: Callable[[], Any], times: int) -> float:
    """Microseconds of one call."""
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(times):
            call()
        found.append((time.perf_counter() - began) / times * 1e6)
    return min(found)


def show(what: str, microseconds: float) -> None:
    print(f"{what:<58} {microseconds:8.2f} us")


def waiting(cache: Cache, where: str) -> None:
    acme, numbers = cache.sync.tenant("acme"), count()
    acme.set("x", "1", {"a": 1, "b": [1, 2, 3]})
    show(f"hit, read in place, {where}", best(lambda: acme.get("x", "1"), 5000))
    show(f"the same hit, carried, {where}", best(lambda: acme.get("x", "1", type=dict), 300))
    show(f"miss, {where}", best(lambda: acme.get("x", "none"), 300))
    show(f"load in the thread that waits, {where}", best(
        lambda: acme.load("y", next(numbers), lambda: 1), 200))  # fmt: skip


async def beside() -> None:
    async with Cache() as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", {"a": 1, "b": [1, 2, 3]})
        found = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            for _ in range(5000):
                await acme.get("x", "1")
            found.append((time.perf_counter() - began) / 5000 * 1e6)
        show("hit, async, on the cache's own loop", min(found))
        await asyncio.to_thread(waiting, cache, "on a loop of the program's")


if __name__ == "__main__":
    asyncio.run(beside())
    alone = Cache()
    with alone.sync:
        waiting(alone, "on the bridge")
