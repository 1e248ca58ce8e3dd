"""A thousand set and deleted at once: cascada beside what plain Redis takes, by redis-py.

A set of cascada voids what was made of the old value and is told to other processes, which a SET
does not; a deletion voids names. The plain commands carry values of the same size. Each is timed by
itself, by turns.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from _caches import cache_of
from _rows import Row, ns, script
from _servers import redis_server
from redis.asyncio import Redis

from cascada import Cache

MANY: Final = 1000

Work = Callable[[], Awaitable[Any]]


def value(number: int) -> dict[str, Any]:
    return {"id": f"d{number}", "title": "a document", "score": 0.75}


STORED: Final = b"x" * 100
"""As long as what cascada stores of such a value."""


def of_cascada(name: str, cache: Cache) -> dict[str, Work]:
    acme = cache.tenant("acme")
    ids = [f"d{number}" for number in range(MANY)]

    async def set_many() -> None:
        kept = await acme.set_many("document", {each: value(n) for n, each in enumerate(ids)})
        assert all(kept)

    async def delete_many() -> None:
        assert all(await acme.delete_many("document", ids))

    return {f"{name}: set_many": set_many, f"{name}: delete_many": delete_many}


def of_redis(client: Redis) -> dict[str, Work]:
    keys = [f"plain:{number}" for number in range(MANY)]

    async def sets() -> None:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(key, STORED, px=3_600_000)
        await pipeline.execute()

    async def unlink() -> None:
        assert await client.unlink(*keys) == MANY

    return {SETS: sets, UNLINK: unlink}


SETS: Final = f"redis-py: a pipeline of {MANY} SETs"
UNLINK: Final = f"redis-py: UNLINK of {MANY} keys"


async def by_turns(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Seconds of each, one after the other, round by round."""
    seen: dict[str, list[float]] = {name: [] for name in works}
    gc.collect()
    gc.disable()
    for _ in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            await work()
            seen[name].append(time.perf_counter() - started)
    gc.enable()
    return {name: times[1:] for name, times in seen.items()}


async def measure(quick: bool) -> list[Row]:
    with redis_server() as server, tempfile.TemporaryDirectory() as folder:
        client = Redis(host="127.0.0.1", port=server.port, db=1)
        two = cache_of(redis=server.url, namespace="two")
        three = cache_of(redis=server.url, database=str(Path(folder) / "c.db"), namespace="three")
        alone = cache_of()
        async with two, three, alone:
            works = of_cascada("memory", alone) | of_cascada("L1+L2", two)
            works |= of_cascada("L1+L2+L3", three) | of_redis(client)
            seen = await by_turns(works, 2 if quick else 40)
        await client.aclose()
    reaches = {"L1+L2: set_many": 4.0, "L1+L2: delete_many": 14.0}
    rows = []
    for name, times in seen.items():
        plain = SETS if "set" in name.lower() else UNLINK
        ratio = statistics.median(
            mine / other for mine, other in zip(times, seen[plain], strict=True)
        )
        took = ns(1e9 * statistics.median(times))
        rows.append(Row(name, ratio, "x", plain, reaches.get(name), took))
    return rows


if __name__ == "__main__":
    script("A thousand set and deleted at once", measure)
