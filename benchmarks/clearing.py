"""`CacheService.clear("campaign:*")` of a group of many keys, beside one of few.

    python benchmarks/clearing.py            1,000,000 keys in memory, in SQLite and in Redis
    python benchmarks/clearing.py --quick    20,000

The group has them all, and is cleared; then it gets one key more and is cleared again, round by
round, while the dead ones still lie there. Both services are cleared in turn, so that what else the
machine does meets both.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from pathlib import Path

from _rows import Row, ns, script
from _servers import redis_server

from cascada import Cache, CacheService, Context, Limits

FEW = 1000
AT_ONCE = 1000


async def filled(cache: Cache, name: str, keys: int) -> CacheService:
    """A service whose one group has so many keys, all of them in the tiers below memory."""
    service = CacheService(name=name, cache=cache)
    service.settings["DEFAULT_CACHE_SIZE"] = service.settings["PEAK_CACHE_SIZE"] = 2 * keys
    await service.set("campaign:0", 0)
    acme = cache.tenant("acme")
    for first in range(1, keys, AT_ONCE):
        values = {f"campaign:{n}": n for n in range(first, min(first + AT_ONCE, keys))}
        await acme.set_many(f"service.{name}", values, tags=[f"service.{name}:campaign"])
    return service


async def timed(services: list[CacheService], rounds: int) -> list[list[float]]:
    """Seconds of the clears of each; the first one's are of the whole group."""
    seen: list[list[float]] = [[] for _ in services]
    gc.collect()
    gc.disable()
    for number in range(rounds):
        for service, times in zip(services, seen, strict=True):
            if number:
                await service.set("campaign:0", number)
            began = time.perf_counter()
            cleared = await service.clear("campaign:*")
            times.append(time.perf_counter() - began)
            assert cleared >= 1
            assert await service.get("campaign:0") is None
    gc.enable()
    return seen


async def measure(quick: bool) -> list[Row]:
    many, rounds = (20_000, 20) if quick else (1_000_000, 200)
    rows = []
    with redis_server() as server, tempfile.TemporaryDirectory() as folder:
        places: dict[str, dict[str, str]] = {
            "memory": {},
            "SQLite": {"database": str(Path(folder) / "c.db")},
            "Redis": {"redis": server.url},
        }
        for name, where in places.items():
            rows.append(await compared(name, where, many, rounds))
    return rows


async def compared(name: str, where: dict[str, str], many: int, rounds: int) -> Row:
    """Many keys beside few, in one cache."""
    limits = Limits(
        op_timeout=60, l1_bytes=2**26 if where else 2**33, l2_bytes=2**33, l3_bytes=2**33
    )
    with Context(tenant_id="acme"):
        async with Cache(**where, limits=limits) as cache:  # type: ignore[arg-type]  # names
            services = [await filled(cache, "few", FEW), await filled(cache, "many", many)]
            few, each = await timed(services, rounds)
    typical = statistics.median(each)
    took = f"{ns(1e9 * typical)}, the first {ns(1e9 * each[0])}"
    ratio = typical / statistics.median(few)
    return Row(f"{name}: {many:,} keys", ratio, "x", f"{FEW:,} keys", 1.5, took)


if __name__ == "__main__":
    script("Clearing a group of many keys", measure)
