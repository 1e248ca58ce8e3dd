"""Processes with keys, over each set of shared tiers."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits, Policy
from tests.servers.redis import RedisServer

Make = Callable[..., Cache]


def key_of(number: int) -> str:
    """A wrapping key, the same each time."""
    return base64.b64encode(bytes([number]) * 32).decode()


KEYS = f"a:{key_of(1)}"


@pytest.fixture(params=["redis", "sqlite", "redis+sqlite"])
async def make(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path
) -> AsyncIterator[Make]:
    """Processes that share tiers, and have keys; `doc` is sensitive, `open` is not."""
    made: list[Cache] = []
    redis_server.flush()

    def one(**options: Any) -> Cache:
        if "redis" in request.param:
            options.setdefault("redis", redis_server.url)
        if "sqlite" in request.param:
            options.setdefault("database", str(tmp_path / "cache.db"))
        options.setdefault("limits", Limits(op_timeout=10))
        options.setdefault("encryption_keys", KEYS)
        options.setdefault("policies", {"doc": Policy(sensitive=True, stale_for=60)})
        cache = Cache(namespace="sealed", **options)
        made.append(cache)
        return cache

    yield one
    for cache in made:
        await cache.aclose()
