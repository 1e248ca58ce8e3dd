"""Services as several processes have them: each cache has its own memory, over the same tiers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, Limits
from cascada.testing.clock import ManualClock
from tests.servers.redis import RedisServer
from tests.service.restarts import MakeCache

MakeService = Callable[..., CacheService]


@pytest.fixture(autouse=True)
def as_acme() -> Iterator[None]:
    with Context(tenant_id="acme"):
        yield


@pytest.fixture
def clock() -> ManualClock:
    """8 in the evening, UTC."""
    return ManualClock(1_781_121_600.0)


@pytest.fixture(params=["sqlite", "redis"])
def tier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def make_service(
    tier: str, clock: ManualClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[MakeService]:
    """Each of them is of a cache of its own."""
    made: list[Cache] = []

    def make(**options: Any) -> CacheService:
        where: dict[str, Any] = {"database": str(tmp_path / "cache.db")}
        if tier == "redis":
            server: RedisServer = request.getfixturevalue("redis_server")
            if not made:
                server.flush()
            where = {"redis": server.url}
        cache = Cache(**where, clock=clock, limits=Limits(op_timeout=10))
        made.append(cache)
        options.setdefault("time_zone", "UTC")
        return CacheService(cache=cache, **options)

    yield make
    for cache in made:
        await cache.aclose()


@pytest.fixture
async def make_cache(tmp_path: Path, redis_server: RedisServer) -> AsyncIterator[MakeCache]:
    """Caches over one Redis and one database, as one process after the other has them."""
    redis_server.flush()
    made: list[Cache] = []

    def make(warm: int | None = 10_000, **given: Any) -> Cache:
        limits = {"op_timeout": 10, "warm_restart": warm, **given.pop("limits", {})}
        where = {"redis": redis_server.url, "database": str(tmp_path / "c.db"), **given}
        made.append(Cache(**where, limits=Limits(**limits)))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()
