"""A hit in Redis, of 1 KB: what cascada and its peers take for one, and for a thousand.

Every read of cascada's goes to Redis and is validated there. Where memory is "empty", it is too
small to keep anything; where it is "filled", it is as big as it is in use, is emptied before each
run, and what was read is put there, which is part of the time. Beside it stand redis-py with a pool
of 64 (more are slower, fewer make callers wait), its own MGET, a client that does nothing but the
protocol, valkey-glide, aiocache and cashews: in one process, on one server.

The time is this thread's CPU time, because the wall shows the machine's other work above all.
valkey-glide works in a thread of its own, which that does not count; a row of its own does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from _caches import cache_of
from _rows import Row, ns, script
from _servers import RawClient, client_side_cache, glide_client, redis_server
from _timing import ALL_CPU, CPU, Case, Timing, in_turn
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from cashews import Cache as Cashews
from redis.asyncio import BlockingConnectionPool, Redis

from cascada import Cache, Policy, Tenant

MANY: Final = 1000
WORKERS: Final = 64
POOL: Final = 64
VALUE: Final = b"x" * 1024
IDS: Final = [f"d{number}" for number in range(MANY)]

LEVELS: Final = {"document": Policy(lookup="nearest")}
"""A more general context's value answers, too: what six levels are looked through for."""

LONE: Final = "a lone get"
AT_ONCE: Final = "1000 gets at once"
SUSTAINED: Final = "64 workers"
BATCH: Final = "1000 in one call"
PY: Final = "redis-py"
MGET: Final = f"redis-py's MGET: {BATCH}"

Get = Callable[[str], Awaitable[Any]]


def alone(name: str, get: Get, count: int = 100, before: Any = None) -> Case:
    """One get after the other."""

    async def run() -> None:
        for each in IDS[:count]:
            await get(each)

    return Case(name, count, run, before)


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


def in_one(name: str, get_many: Callable[[], Awaitable[Any]], before: Any = None) -> Case:
    """A thousand keys in one call."""

    async def run() -> None:
        await get_many()

    return Case(name, MANY, run, before)


@dataclass(frozen=True)
class Clients:
    """Everybody who asks, connected, with their values stored."""

    gets: dict[str, Get]
    empty: Cache
    filled: Cache
    pool: Any
    raw: RawClient
    glide: Any
    locals: dict[str, Get]
    """Those that keep what they have read in the process, and are told when it changes."""


async def connect(port: int, url: str, stack: AsyncExitStack) -> Clients:
    empty = await stack.enter_async_context(cache_of(redis=url, l1_bytes=1, policies=LEVELS))
    filled = await stack.enter_async_context(cache_of(redis=url, policies=LEVELS))
    # Its usual pool raises when a thousand callers come; this one lets them wait.
    waiting = BlockingConnectionPool(port=port, max_connections=POOL, timeout=60)
    pool = Redis.from_pool(waiting)
    stack.push_async_callback(pool.aclose)
    raw = await RawClient.connect(port)
    stack.callback(raw.close)
    glide = await glide_client(port)
    stack.push_async_callback(glide.close)
    aio = RedisCache(
        endpoint="127.0.0.1", port=port, serializer=NullSerializer(), pool_max_size=2 * WORKERS
    )
    stack.push_async_callback(aio.close)
    cashews = Cashews()
    cashews.setup(f"redis://127.0.0.1:{port}/0", client_side=False)
    stack.push_async_callback(cashews.close)
    acme = empty.tenant("acme")
    for each in IDS:
        await acme.set("document", each, VALUE)
        await pool.set(each, VALUE)
        await aio.set(each, VALUE.decode())
        await cashews.set(f"c:{each}", VALUE, expire=3600)
    gets: dict[str, Get] = {
        PY: pool.get,
        "raw protocol": lambda each: raw.send(b"GET", each.encode()),
        "valkey-glide": glide.get,
        "aiocache": aio.get,
        "cashews": lambda each: cashews.get(f"c:{each}"),
        "cascada": lambda each: acme.get("document", each),
    }
    return Clients(gets, empty, filled, pool, raw, glide, await keeping(port, url, stack))


async def keeping(port: int, url: str, stack: AsyncExitStack) -> dict[str, Get]:
    kept = (await stack.enter_async_context(cache_of(redis=url))).tenant("acme")
    glide = await glide_client(port, **client_side_cache())
    stack.push_async_callback(glide.close)
    cashews = Cashews()
    cashews.setup(f"redis://127.0.0.1:{port}/0", client_side=True, protocol=2)
    stack.push_async_callback(cashews.close)
    for each in IDS:
        await cashews.set(each, VALUE, expire=3600)
    return {
        "cascada": lambda each: kept.get("document", each),
        "cashews": cashews.get,
        "valkey-glide": glide.get,
    }


async def checked(handle: Tenant) -> Tenant:
    """A handle whose reads really come from Redis."""
    hit = await handle.get("document", IDS[0])
    assert (hit.value, hit.tier) == (VALUE, "l2"), "the reads are to come from Redis"
    return handle


async def cases_of(clients: Clients) -> list[Case]:
    gets = clients.gets
    few = {name: get for name, get in gets.items() if name != "aiocache"}
    return [
        *(alone(f"{name}: {LONE}", get) for name, get in gets.items()),
        *(together(f"{name}: {AT_ONCE}", get) for name, get in few.items()),
        *(sustained(f"{name}: {SUSTAINED}", get) for name, get in gets.items()),
        *(alone(f"{name}, client-side: {LONE}", get) for name, get in clients.locals.items()),
        *await batches(clients),
        *await levels(clients),
    ]


async def batches(clients: Clients) -> list[Case]:
    """A thousand in one call of each."""
    encoded = [each.encode() for each in IDS]
    empty = await checked(clients.empty.tenant("acme"))
    filled = await checked(clients.filled.tenant("acme"))
    return [
        in_one(MGET, lambda: clients.pool.mget(IDS)),
        in_one(f"raw protocol: {BATCH}", lambda: clients.raw.send(b"MGET", *encoded)),
        in_one(f"valkey-glide: {BATCH}", lambda: clients.glide.mget(IDS)),
        in_one(f"cascada, memory empty: {BATCH}", lambda: empty.get_many("document", IDS)),
        in_one(
            f"cascada, memory filled: {BATCH}",
            lambda: filled.get_many("document", IDS),
            clients.filled.reset,
        ),
    ]


async def levels(clients: Clients) -> list[Case]:
    """One get that looks in six levels of context, beside one that looks in one."""
    within = {"agent": "a", "conversation": "c", "collection": "l"}
    deep = await checked(clients.empty.tenant("acme", **within))
    await clients.filled.reset()
    flat = await checked(clients.filled.tenant("acme"))
    await clients.filled.reset()
    below = await checked(clients.filled.tenant("acme", **within))
    reset = clients.filled.reset
    return [
        alone(f"cascada, six levels: {LONE}", lambda each: deep.get("document", each)),
        alone(
            f"cascada, memory filled: {LONE}",
            lambda each: flat.get("document", each),
            before=reset,
        ),
        alone(
            f"cascada, memory filled, six levels: {LONE}",
            lambda each: below.get("document", each),
            before=reset,
        ),
    ]


REACHES: Final = {
    f"cascada: {LONE}": 0.70,
    f"cascada: {AT_ONCE}": 0.18,
    f"cascada: {SUSTAINED}": 0.17,
    f"cascada, memory empty: {BATCH}": 0.065,
    f"cascada, memory filled: {BATCH}": 0.09,
}
"""At most so many times what redis-py takes for the same with its pool."""


def rows_of(timings: dict[str, Timing]) -> list[Row]:
    bases = {LONE: LONE, AT_ONCE: AT_ONCE, SUSTAINED: SUSTAINED, BATCH: AT_ONCE}
    rows = []
    for name, timing in timings.items():
        base = bases[name.rpartition(": ")[2]]
        of = f"redis-py, {base}"
        reach = REACHES.get(name)
        rows.append(Row(name, timing.over(timings[f"{PY}: {base}"]), "x", of, reach, ns(timing.ns)))
    filled = f"cascada, memory filled: {LONE}"
    for name, one, other, against, reach in (
        ("1000 in one call", f"cascada, memory filled: {BATCH}", MGET, "redis-py's MGET", 2.5),
        ("six levels", f"cascada, six levels: {LONE}", f"cascada: {LONE}", "a lone get", 1.35),
        ("six levels, memory filled", f"cascada, memory filled, six levels: {LONE}", filled,
         "a lone get, memory filled", 1.35),
    ):  # fmt: skip
        rows.append(Row(name, timings[one].over(timings[other]), "x", against, reach))
    return rows


async def with_all_threads(cases: Sequence[Case], rounds: int) -> Row:
    """What valkey-glide takes with its own thread."""
    mine, base = f"valkey-glide: {SUSTAINED}", f"{PY}: {SUSTAINED}"
    both = [case for case in cases if case.name in (mine, base)]
    timings = await in_turn(both, rounds, clock=ALL_CPU, runs=2)
    name = f"valkey-glide, its own thread counted: {SUSTAINED}"
    ratio = timings[mine].over(timings[base])
    return Row(name, ratio, "x", f"redis-py, {SUSTAINED}", took=ns(timings[mine].ns))


async def measure(quick: bool) -> list[Row]:
    rounds, runs = (1, 1) if quick else (15, 3)
    with redis_server() as server:
        async with AsyncExitStack() as stack:
            cases = await cases_of(await connect(server.port, server.url, stack))
            timings = await in_turn(cases, rounds, clock=CPU, runs=runs)
            return [*rows_of(timings), await with_all_threads(cases, rounds)]


if __name__ == "__main__":
    script("A hit in Redis, CPU of this thread", measure)
