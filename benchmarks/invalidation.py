"""Invalidating 100 of many cached values (performance.md, section 6): cascada, its peers, a PING.

The hundred bear one tag. Cascada is timed on memory and Redis, and with a database (SQLite) below;
for that, beside one durable commit of the same database. An invalidation is timed by itself; what
it ended is filled again in between. The peers delete by tag (cashews) or by namespace (aiocache).
With `--many` it is repeated with more values cached, which must not matter. The exit status is 1
when a goal is missed by more than `--slack` times.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _servers import RawClient, redis_server
from _timing import machine, table
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


async def measure(contenders: list[Contender], rounds: int) -> dict[str, list[float]]:
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


async def main(rounds: int, many: int, slack: float) -> int:
    print(machine())
    with redis_server() as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        two = Cache(redis=server.url, namespace="two", op_timeout=30)
        three = Cache(
            redis=server.url, database=str(folder / "c.db"), namespace="three", op_timeout=30
        )
        raw = await RawClient.connect(server.port)
        ping = Contender("raw protocol: PING", nothing, lambda: raw.send(b"PING"))
        l2, l3 = of_cascada("cascada: L1+L2", two), of_cascada("cascada: L1+L2+L3", three)
        others = [ping, of_commit(folder / "d.db"), *await peers(server.port)]
        few = await measure([l2, l3, *others], rounds)
        ratios = {
            "L1+L2 over a PING, settle included": (over(few[l2.name], few[ping.name]), 3.0),
            "L3 on top, over a durable commit": (
                statistics.median(
                    (deep - shallow) / commit
                    for deep, shallow, commit in zip(
                        few[l3.name], few[l2.name], few["SQLite: one durable commit"], strict=True
                    )
                ),
                1.5,
            ),
        }
        rows = [
            (each, f"{1000 * statistics.median(times):.3f}",
             f"{over(times, few[ping.name]):.1f}")
            for each, times in few.items()
        ]  # fmt: skip
        if many:
            acme = two.tenant("acme")
            await in_batches(lambda n: acme.set("document", f"m{n}", n), many)
            crowded = await measure([l2, ping], rounds)
            rows.append(
                (f"cascada: L1+L2, beside {many:,} others",
                 f"{1000 * statistics.median(crowded[l2.name]):.3f}",
                 f"{over(crowded[l2.name], crowded[ping.name]):.1f}")
            )  # fmt: skip
            mine = over(crowded[l2.name], crowded[ping.name])
            ratios[f"beside {many:,} others over beside none"] = (
                mine / ratios["L1+L2 over a PING, settle included"][0], 1.5,
            )  # fmt: skip
        print(table(("invalidating 100 values", "ms", "x PING"), rows))
        for what, (ratio, reach) in ratios.items():
            verdict = "reached" if ratio <= reach else "missed"
            print(f"{what}: {ratio:.2f} (reach {reach}): {verdict}")
        await two.aclose()
        await three.aclose()
        raw.close()
    return int(any(ratio > reach * slack for ratio, reach in ratios.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="few rounds, 1,000 others, for CI")
    parser.add_argument("--many", type=int, default=100_000, help="values that stay cached")
    parser.add_argument("--slack", type=float, default=2.0, help="by how much a goal may be missed")
    options = parser.parse_args()
    logging.disable()
    how = (10, 1000) if options.quick else (100, options.many)
    sys.exit(asyncio.run(main(*how, options.slack)))
