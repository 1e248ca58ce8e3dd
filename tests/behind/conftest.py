"""Processes that write behind, on a real Redis and a database; the journal can be held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits
from cascada.engine import write_behind
from cascada.model.clock import SystemClock
from cascada.tiers.capabilities import Change
from cascada.tiers.redis.journal import RedisJournal
from cascada.tiers.sqlite.tier import SqliteTier
from tests.servers.redis import RedisServer

Make = Callable[..., Cache]


@pytest.fixture
def database(tmp_path: Path) -> SqliteTier:
    """A look into the database, past everything else."""
    return SqliteTier(tmp_path / "cache.db", namespace="behind", clock=SystemClock())


@pytest.fixture
async def make(
    redis_server: RedisServer, tmp_path: Path, database: SqliteTier
) -> AsyncIterator[Make]:
    """Processes that share a Redis and a database, and write behind."""
    made: list[Cache] = []
    redis_server.flush()

    def one(**options: Any) -> Cache:
        options.setdefault("redis", redis_server.url)
        options.setdefault("database", str(tmp_path / "cache.db"))
        options.setdefault("limits", Limits(op_timeout=10, invalidate_patience=0.1))
        options.setdefault("write_strategy", "WRITE_BEHIND")
        cache = Cache(namespace="behind", **options)
        made.append(cache)
        return cache

    yield one
    for cache in made:
        await cache.aclose()
    await database.aclose()


class Held:
    """While it is, no process claims a change."""

    def __init__(self) -> None:
        self.is_so = True


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held, claim = Held(), RedisJournal.claim

    async def claimed(self: RedisJournal, most: int, seconds: float) -> list[Change]:
        return [] if held.is_so else await claim(self, most, seconds)

    monkeypatch.setattr(RedisJournal, "claim", claimed)
    monkeypatch.setattr(write_behind, "LOOK_EVERY", 0.01)
    monkeypatch.setattr(write_behind, "DRAIN", 0.2)
    return held
