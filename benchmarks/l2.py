"""A hit in Redis (performance.md, section 2): what cascada and its peers take for one.

The values are of 1 KB, and memory is too small for any, so that every read goes to Redis and is
validated there: epoch and generations come in the same MGET. Beside it stand redis-py with its
pool, a raw protocol client, aiocache and cashews, in the same process on the same server. The exit
status is 1 when a ratio misses its goal by more than `--slack` times.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from _servers import RawClient, redis_server
from _timing import Case, Timing, in_turn, machine, table
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from cashews import Cache as Cashews
from redis.asyncio import BlockingConnectionPool, Redis

from cascada import Cache

MANY = 1000
WORKERS = 64
VALUE = b"x" * 1024
IDS = [f"d{number}" for number in range(MANY)]
POOL = 64
"""Connections of redis-py's pool. More make it slower, fewer make callers wait."""

Get = Callable[[str], Awaitable[Any]]


def alone(name: str, get: Get, count: int = 100) -> Case:
    """One get after the other."""

    async def run() -> None:
        for each in IDS[:count]:
            await get(each)

    return Case(name, count, run)


def together(name: str, get: Get) -> Case:
    """A thousand gets at once, each its own task."""

    async def run() -> None:
        await asyncio.gather(*(get(each) for each in IDS))

    return Case(name, MANY, run)


def sustained(name: str, get: Get, turns: int = 20) -> Case:
    """64 workers, each with one get after the other."""

    async def worker(number: int) -> None:
        for turn in range(turns):
            await get(IDS[(number * turns + turn) % MANY])

    async def run() -> None:
        await asyncio.gather(*map(worker, range(WORKERS)))

    return Case(name, WORKERS * turns, run)


def at_once(name: str, get_many: Callable[[], Awaitable[Any]]) -> Case:
    """A thousand keys in one call."""

    async def run() -> None:
        await get_many()

    return Case(name, MANY, run)


async def main(rounds: int, slack: float) -> int:
    print(machine())
    with redis_server() as server:
        cache = Cache(redis=server.url, l1_bytes=1, op_timeout=30.0)
        # Its usual pool raises when a thousand callers come; this one lets them wait.
        waiting = BlockingConnectionPool(port=server.port, max_connections=POOL, timeout=60)
        pool = Redis.from_pool(waiting)
        raw = await RawClient.connect(server.port)
        aio = RedisCache(endpoint="127.0.0.1", port=server.port, serializer=NullSerializer())
        cashews = Cashews()
        cashews.setup(f"redis://127.0.0.1:{server.port}/0", client_side=False)
        acme = cache.tenant("acme")
        deep = cache.tenant("acme", agent="a", conversation="c", collection="l")
        for each in IDS:
            await acme.set("document", each, VALUE)
            await pool.set(each, VALUE)
            await aio.set(each, VALUE.decode())
            await cashews.set(f"c:{each}", VALUE, expire=3600)
        hit = await acme.get("document", IDS[0])
        assert (hit.value, hit.tier) == (VALUE, "l2"), "the reads are to come from Redis"
        assert (await deep.get("document", IDS[0])).tier == "l2"

        async def one_mget() -> None:
            await raw.send(b"MGET", *(each.encode() for each in IDS))

        get: Get = lambda each: acme.get("document", each)  # noqa: E731
        plain: Get = lambda each: raw.send(b"GET", each.encode())  # noqa: E731
        cases = [
            alone("raw protocol: GET", plain),
            alone("redis-py: GET", pool.get),
            alone("aiocache: get", aio.get),
            alone("cashews: get", lambda each: cashews.get(f"c:{each}")),
            alone("cascada: get", get),
            alone("cascada: get, six levels", lambda each: deep.get("document", each)),
            together("1000 at once, redis-py pool", pool.get),
            together("1000 at once, cashews", lambda each: cashews.get(f"c:{each}")),
            together("1000 at once, cascada", get),
            at_once("1000 in one MGET, raw protocol", one_mget),
            at_once("1000 in one, cascada get_many", lambda: acme.get_many("document", IDS)),
            sustained("64 workers, redis-py pool", pool.get),
            sustained("64 workers, cascada", get),
        ]
        timings = await in_turn(cases, rounds)
        missed = report(cases, timings, slack)
        await cache.aclose()
        await pool.aclose()
        await aio.close()
        await cashews.close()
        raw.close()
    return 1 if missed else 0


def report(cases: Sequence[Case], timings: dict[str, Timing], slack: float) -> list[str]:
    """Print the table and the goals; the names of those that are missed by more than `slack`."""
    base = timings["redis-py: GET"]
    rows = [
        (case.name, f"{timings[case.name].ns / 1000:,.1f}", f"{timings[case.name].over(base):.2f}")
        for case in cases
    ]
    print(table(("one get of 1 KB", "us", "x redis-py GET"), rows))
    goals = [
        ("a lone get", "cascada: get", "redis-py: GET", 1.0),
        ("six levels", "cascada: get, six levels", "cascada: get", 1.2),
        ("1000 at once", "1000 at once, cascada", "1000 at once, redis-py pool", 1 / 4),
        (
            "get_many of 1000",
            "1000 in one, cascada get_many",
            "1000 at once, redis-py pool",
            1 / 15,
        ),
        ("64 workers", "64 workers, cascada", "64 workers, redis-py pool", 1 / 8),
    ]
    missed = []
    for what, mine, other, reach in goals:
        ratio = timings[mine].over(timings[other])
        verdict = "reached" if ratio <= reach else "missed"
        print(f"{what}: {ratio:.3f} of {other} (reach {reach:.3f}): {verdict}")
        if ratio > reach * slack:
            missed.append(what)
    return missed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="2 rounds instead of 20, for CI")
    parser.add_argument("--slack", type=float, default=2.0, help="by how much a goal may be missed")
    options = parser.parse_args()
    logging.disable()
    sys.exit(asyncio.run(main(2 if options.quick else 20, options.slack)))
