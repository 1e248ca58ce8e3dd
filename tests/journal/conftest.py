"""Processes that note what they set in a journal of a service, in a database or a Redis."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits
from cascada.testing.inside import inside
from cascada.tiers.redis.tier import RedisTier
from tests.journal.noting import Noting
from tests.servers.disk import small_disk as small_disk
from tests.servers.redis import RedisServer

Make = Callable[..., Noting]
Evict = Callable[[Noting, str], None]


@pytest.fixture
async def make(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[Make]:
    """Processes that share the tiers that they are given by name: "memory", "sqlite", "redis" or
    "both"."""
    made: list[Cache] = []
    redis_server.flush()

    def one(tiers: str = "sqlite", **options: Any) -> Noting:
        if tiers in ("redis", "both"):
            options.setdefault("redis", redis_server.url)
        if tiers in ("sqlite", "both"):
            options.setdefault("database", str(tmp_path / "cache.db"))
        options.setdefault("limits", Limits(op_timeout=10, invalidate_patience=0.1))
        cache = Cache(namespace="noting", **options)
        made.append(cache)
        return Noting(cache)

    yield one
    for cache in made:
        await cache.aclose()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that may be killed."""
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    yield server
    server.kill()


@pytest.fixture
def evict(tmp_path: Path, redis_server: RedisServer) -> Evict:
    """Let the tiers lose what they have of a key; no invalidation."""

    def one(here: Noting, name: str) -> None:
        tiers = inside(here.cache).tiers
        if isinstance(tier := tiers.get("l2"), RedisTier):
            redis_server.say("DEL", tier.layout.entry(here.key(name)).decode())
        if "l3" in tiers:
            with sqlite3.connect(tmp_path / "cache.db") as connection:
                connection.execute("DELETE FROM entries WHERE key = ?", (here.key(name).text,))
            connection.close()

    return one
