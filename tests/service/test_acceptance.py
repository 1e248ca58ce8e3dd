"""What `set` says, by a table: False only where a value could not be accepted durably."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada import BadInput, Cache, CacheService, Limits
from tests.servers.redis import RedisServer, free_port

AWAY = f"redis://127.0.0.1:{free_port()}/0"


@pytest.fixture(params=[False, True], ids=["without sync", "with sync"])
def synced(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(params=["memory", "sqlite", "redis", "both", "redis away", "redis away, sqlite"])
async def tiers(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[tuple[str, Cache]]:
    name = str(request.param)
    where: dict[str, str] = {}
    if "redis" in name or name == "both":
        redis_server.flush()
        where["redis"] = AWAY if "away" in name else redis_server.url
    if "sqlite" in name or name == "both":
        where["database"] = str(tmp_path / "c.db")
    patience = 0.2 if "away" in name else 10
    limits = Limits(op_timeout=patience, invalidate_patience=0.0)
    cache = Cache(**where, limits=limits)  # type: ignore[arg-type]  # names and URLs
    yield name, cache
    await cache.aclose()


async def test_what_a_set_says(tiers: tuple[str, Cache], synced: bool, tmp_path: Path) -> None:
    name, cache = tiers
    database = f"sqlite:///{tmp_path / 'application.db'}" if synced else None
    service = CacheService(cache=cache, database=database)
    accepted = name != "redis away"
    for value in (1, 2):
        assert await service.set("k:1", value) is accepted
        if accepted:
            assert await service.get("k:1") == value
    with pytest.raises(BadInput):
        await service.set("k:1", object())


async def test_what_was_evicted_and_is_not_yet_written_is_read_all_the_same(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'application.db'}"
    async with (
        Cache(database=str(tmp_path / "c.db")) as cache,
        Cache(database=str(tmp_path / "c.db")) as another,
    ):
        assert await CacheService(cache=cache, database=database).set("k:1", 1)
        with sqlite3.connect(tmp_path / "c.db") as connection:
            connection.execute("DELETE FROM entries")
        connection.close()
        service = CacheService(cache=another, database=database)
        assert await service.get("k:1") == 1
        await service.delete("k:1")
        assert await service.get("k:1") is None
