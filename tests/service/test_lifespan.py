"""FastAPI's lifespan with a service: its sync runs as long as the application, and ends well."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from fastapi import FastAPI

from cascada import BadInput, Cache, CacheClosed, CacheService, Limits, Misuse
from cascada.integrations.fastapi import lifespan

KEYS = "SELECT key FROM cascada_service_entries ORDER BY key"


def cache_in(path: Path) -> Cache:
    return Cache(database=str(path), limits=Limits(op_timeout=10))


async def test_the_sync_runs_and_ends_with_a_last_round(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    cache = cache_in(path)
    one, other = CacheService(60, cache=cache), CacheService(60, "other", cache=cache)
    app = FastAPI(lifespan=lifespan(one, other))
    async with app.router.lifespan_context(app):
        assert one.sync_task is not None
        assert other.sync_task is not None
        await one.set("k:1", 1)
        await other.set("k:2", 2)
    assert one.sync_task is None
    assert other.sync_task is None
    connection = sqlite3.connect(path)
    assert connection.execute(KEYS).fetchall() == [("k:1",), ("k:2",)]
    connection.close()


async def test_what_cannot_be_synced_stops_the_start() -> None:
    cache = Cache()
    with pytest.raises(Misuse, match="in memory alone"):
        async with lifespan(cache, CacheService(cache=cache))(FastAPI()):
            pytest.fail("it has started")
    with pytest.raises(CacheClosed):
        await cache.tenant("acme").get("x", "1")


@pytest.mark.parametrize("wrong", [None, "cache", CacheService])
def test_nothing_else_is_taken(wrong: object) -> None:
    with pytest.raises(BadInput, match="Cache"):
        lifespan(wrong)  # type: ignore[arg-type]  # a wrong one
    with pytest.raises(BadInput, match="services"):
        lifespan(Cache(), wrong)  # type: ignore[arg-type]  # a wrong one
