"""What a call that waits costs: hits read in place, and calls that are carried to the cache's loop.

    python benchmarks/sync.py

The best of several rounds, in microseconds: of CPU time (of all threads), and of wall time, which
waits for what else the machine does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from cascada import Cache

ROUNDS: Final = 15
TIMES: Final = 5000


def best(call: Callable[[], Any], times: int) -> tuple[float, float]:
    """Microseconds of one call."""
    found = [once(lambda: [call() for _ in range(times)]) for _ in range(ROUNDS)]
    cpu, wall = map(min, zip(*found, strict=True))
    return cpu / times, wall / times


def once(work: Callable[[], Any]) -> tuple[float, float]:
    """Microseconds of CPU and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - cpu) * 1e6, (time.perf_counter() - wall) * 1e6


def show(what: str, microseconds: tuple[float, float]) -> None:
    cpu, wall = microseconds
    print(f"{what:<58} {cpu:8.2f} us CPU {wall:8.2f} us")


def waiting(cache: Cache, where: str) -> None:
    acme, numbers = cache.sync.tenant("acme"), count()
    acme.set("x", "1", {"a": 1, "b": [1, 2, 3]})
    show(f"hit, read in place, {where}", best(lambda: acme.get("x", "1"), TIMES))
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
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(TIMES):
                await acme.get("x", "1")
            found.append((time.process_time() - cpu, time.perf_counter() - wall))
        cpu, wall = (min(each) / TIMES * 1e6 for each in zip(*found, strict=True))
        show("hit, async, on the cache's own loop", (cpu, wall))
        await asyncio.to_thread(waiting, cache, "on a loop of the program's")


if __name__ == "__main__":
    asyncio.run(beside())
    alone = Cache()
    with alone.sync:
        waiting(alone, "on the bridge")
