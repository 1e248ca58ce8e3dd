"""What it costs that a value of 1 KB leaves the process encrypted: get and set of Redis and SQLite.

Two caches in one process, on one server and in two files of one disk, the one with keys and
`encrypt="all"`, the other without, in turn. Every read goes below memory, which is too small to
keep anything, but for the hit in memory, which must not change. The time is this process's CPU
time, of all threads.
"""

from __future__ import annotations

import asyncio
import base64
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from _caches import cache_of
from _rows import Row, ns, script
from _servers import redis_server
from _timing import ALL_CPU, CPU, Case, Timing, in_turn

from cascada import Cache, Policy
from cascada.codecs.sealing import DataKey

SOME: Final = 100
IDS: Final = [f"d{number}" for number in range(SOME)]
VALUE: Final = b"x" * 1024
KEYS: Final = f"bench:{base64.b64encode(bytes(range(32))).decode()}"

SEAL: Final = "seal and open 1 KB"
PLACE: Final = b"cascada" * 6


def encrypted(plain: bool) -> str:
    return "plain" if plain else "encrypted"


async def cases_of(name: str, plain: bool, cache: Cache) -> list[Case]:
    """A set, and a get that goes below memory, one after the other."""
    acme = cache.tenant("acme")
    for each in IDS:
        assert await acme.set("document", each, VALUE)
    hit = await acme.get("document", IDS[0])
    assert (hit.value, hit.tier) != (VALUE, "l1"), "the reads are to go below memory"

    async def get() -> None:
        for each in IDS:
            await acme.get("document", each)

    async def put() -> None:
        for each in IDS:
            await acme.set("document", each, VALUE)

    how = encrypted(plain)
    return [Case(f"{name}, {how}: get", SOME, get), Case(f"{name}, {how}: set", SOME, put)]


async def hits(plain: bool, cache: Cache) -> Case:
    acme = cache.tenant("acme")
    await acme.set("document", "1", VALUE)
    for _ in range(500):  # memory has to hear of others first
        if (await acme.get("document", "1")).tier == "l1":
            break
        await asyncio.sleep(0.01)

    async def get() -> None:
        for _ in range(1000):
            await acme.get("document", "1")

    return Case(f"memory, {encrypted(plain)}: get", 1000, get)


def sealed_and_opened() -> Case:
    key = DataKey.new()

    async def run() -> None:
        for _ in range(SOME):
            key.open(key.seal(VALUE, PLACE), PLACE)

    return Case(SEAL, SOME, run)


async def measure(quick: bool) -> list[Row]:
    rounds, runs = (1, 1) if quick else (12, 3)
    cases: list[Case] = []
    in_memory: list[Case] = []
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(redis_server())
        for plain in (True, False):
            keys: Any = {} if plain else {"encryption_keys": KEYS, "encrypt": "all"}
            places: dict[str, dict[str, Any]] = {
                "Redis": {"redis": server.url},
                "SQLite": {"database": str(folder / f"{encrypted(plain)}.db")},
            }
            for name, place in places.items():
                cache = cache_of(
                    l1_bytes=1, namespace=encrypted(plain), policies={"document": Policy()},
                    **place, **keys,
                )  # fmt: skip
                cases += await cases_of(name, plain, await stack.enter_async_context(cache))
            above = cache_of(redis=server.url, namespace=f"above-{encrypted(plain)}", **keys)
            in_memory.append(await hits(plain, await stack.enter_async_context(above)))
        timings = await in_turn([*cases, sealed_and_opened()], rounds, clock=ALL_CPU, runs=runs)
        timings |= await in_turn(in_memory, rounds, clock=CPU, runs=runs)
    return rows_of(timings)


REACHES: Final = {
    "Redis: get": 1.4, "Redis: set": 1.3, "SQLite: get": 1.4, "SQLite: set": 1.3,
    "memory: get": 1.1,
}  # fmt: skip
"""At most so many times what the same takes without keys."""


def rows_of(timings: dict[str, Timing]) -> list[Row]:
    rows = [Row(SEAL, timings[SEAL].ns / 1000, "µs", "", took=ns(timings[SEAL].ns))]
    for name, reach in REACHES.items():
        tier, _, what = name.partition(": ")
        with_keys, without = (
            timings[f"{tier}, {encrypted(plain)}: {what}"] for plain in (False, True)
        )
        of = f"{ns(without.ns)} without keys"
        rows.append(Row(name, with_keys.over(without), "x", of, reach, ns(with_keys.ns)))
    return rows


if __name__ == "__main__":
    script("A value of 1 KB encrypted, CPU of all threads", measure)
