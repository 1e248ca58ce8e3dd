"""What a `set` takes that the database is told of later, and how fast it is told.

    python benchmarks/behind.py

Sets are made in turn with and without WRITE_BEHIND, round after round, against one Redis
(`appendfsync everysec`) and a database each: microseconds of wall time, of this process's CPU (all
threads, the flushing too) and of the server's CPU (by INFO, whose ticks are coarse). Then how many
changes a second are written when thousands wait, and how old a change is when it is written at a
steady rate.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from _servers import RedisServer

from cascada import Cache, Limits
from cascada.engine import write_behind
from cascada.engine.engine import Engine
from cascada.tiers.capabilities import Change, Fate
from cascada.tiers.sqlite.tier import SqliteTier

ROUNDS: Final = 12
SETS: Final = 200
WAITING: Final = 8_000
RATE: Final = 300
VALUE: Final = {"text": "x" * 1000, "number": 1}
LIMITS: Final = Limits(op_timeout=10)


def server_cpu(server: RedisServer) -> float:
    """Seconds of CPU that the server has used."""
    said = server.say("INFO", "cpu").decode()
    names = ("used_cpu_sys:", "used_cpu_user:")
    return sum(float(said.partition(name)[2].split("\r\n")[0]) for name in names)


async def sets(cache: Cache, server: RedisServer, number: int, at_once: int) -> tuple[float, ...]:
    """Microseconds of one set: wall, this process's CPU, the server's CPU."""
    tenant = cache.tenant("acme")
    began = time.perf_counter(), time.process_time(), server_cpu(server)
    for start in range(0, SETS, at_once):
        keys = range(start, min(start + at_once, SETS))
        await asyncio.gather(*[tenant.set("doc", f"{number}-{n}", VALUE) for n in keys])
    wall = time.perf_counter() - began[0]
    await drained(cache)
    cpu, servers = time.process_time() - began[1], server_cpu(server) - began[2]
    return tuple(each / SETS * 1e6 for each in (wall, cpu, servers))


async def drained(cache: Cache) -> None:
    behind = behind_of(cache)
    if behind is None:
        return
    while True:
        if not (await behind.backlog()).changes:
            return
        await asyncio.sleep(0.002)


def behind_of(cache: Cache) -> write_behind.WriteBehind | None:
    engine: Engine = cache._engine
    return engine.stack.behind


async def compare(through: Cache, behind: Cache, server: RedisServer) -> None:
    for at_once in (1, 20):
        found: dict[str, list[tuple[float, ...]]] = {"through": [], "behind": []}
        for number in range(ROUNDS):
            for name, cache in (("through", through), ("behind", behind)):
                found[name].append(await sets(cache, server, number, at_once))
        for name, rounds in found.items():
            wall, cpu, servers = (statistics.median(each) for each in zip(*rounds, strict=True))
            print(
                f"set, {at_once:2} at once, written {name:8}"
                f"{wall:9.0f} us wall {cpu:9.0f} us CPU {servers:7.0f} us of the server's"
            )


def spied(hook: Callable[[Sequence[Change]], None]) -> Any:
    apply = SqliteTier.apply

    async def applied(self: SqliteTier, changes: Sequence[Change]) -> list[Fate]:
        fates = await apply(self, changes)
        hook(changes)
        return fates

    SqliteTier.apply = applied  # type: ignore[method-assign]
    return apply


async def flushing(cache: Cache) -> None:
    behind = behind_of(cache)
    assert behind is not None
    released, claim = False, behind.journal.claim

    async def claimed(most: int, seconds: float) -> list[Change]:
        return await claim(most, seconds) if released else []

    behind.journal.claim = claimed  # type: ignore[method-assign]
    await cache.tenant("acme").set_many("doc", {f"w{n}": VALUE for n in range(WAITING)})
    waiting, began = (await behind.backlog()).changes, time.perf_counter()
    released = True
    await drained(cache)
    took = time.perf_counter() - began
    print(f"{waiting:,} changes that waited: {waiting / took:,.0f} a second")


async def lag(cache: Cache) -> None:
    ages: list[float] = []
    apply = spied(
        lambda changes: ages.extend(time.time() - change.number / 1e6 for change in changes)
    )
    tenant, began = cache.tenant("acme"), time.perf_counter()
    for number in range(3 * RATE):
        await tenant.set("doc", f"lag{number}", VALUE)
        await asyncio.sleep(max(0.0, began + number / RATE - time.perf_counter()))
    await drained(cache)
    SqliteTier.apply = apply  # type: ignore[method-assign]
    ages.sort()
    half, most = ages[len(ages) // 2] * 1e3, ages[len(ages) * 99 // 100] * 1e3
    print(
        f"age of a change when it is written, at {RATE} sets a second: half up to {half:.1f} ms, "
        f"99 % up to {most:.1f} ms"
    )


async def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        server = RedisServer(folder, "--appendonly", "yes")
        try:
            async with (
                Cache(redis=server.url, database=str(folder / "t.db"), namespace="t", limits=LIMITS)
                as through,
                Cache(
                    redis=server.url, database=str(folder / "b.db"), namespace="b", limits=LIMITS,
                    write_strategy="WRITE_BEHIND",
                ) as behind,
            ):  # fmt: skip
                await compare(through, behind, server)
                await flushing(behind)
                await lag(behind)
        finally:
            server.kill()


if __name__ == "__main__":
    asyncio.run(main())
