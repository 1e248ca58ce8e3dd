"""dogpile.cache's own suite for backends, through the adapter of the examples, on each tier.

What waits for its time to pass takes two minutes: `CASCADA_SUITES=all` runs that, and SQLite.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from dogpile.cache import register_backend
from dogpile.testing.fixtures import (
    _GenericBackendTestSuite,
    _GenericMutexTestSuite,
    _GenericSerializerTestSuite,
)

from cascada import Cache
from tests.servers.redis import RedisServer

register_backend("cascada", "examples.adapters.dogpile", "CascadaBackend")

ALL = os.environ.get("CASCADA_SUITES") == "all"
LINES = 40

caches: dict[str, Cache] = {}


@pytest.fixture(scope="module", autouse=True)
def _caches(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    redis_server.flush()
    file = tmp_path_factory.mktemp("dogpile") / "cache.db"
    caches["memory"] = Cache()
    caches["redis"] = Cache(redis=redis_server.url)
    caches["sqlite"] = Cache(database=str(file))
    yield
    for cache in caches.values():
        cache.sync.close()


class Arguments:
    """dogpile looks for them on the class, and by then the caches are there."""

    def __get__(self, instance: object, owner: type[Suite]) -> dict[str, Any]:
        return {"arguments": {"cache": caches[owner.tier], "tenant": "acme"}}


class Suite:
    tier: ClassVar[str]
    backend = "cascada"
    config_args = Arguments()

    @pytest.fixture(autouse=True)
    def _short(self, request: pytest.FixtureRequest) -> None:
        if ALL:
            return
        if request.node.get_closest_marker("time_intensive") or self.tier == "sqlite":
            pytest.skip("takes its time; CASCADA_SUITES=all runs it")


class InMemory(Suite):
    tier = "memory"


class InRedis(Suite):
    tier = "redis"


class InSqlite(Suite):
    tier = "sqlite"


class TestBackendInMemory(InMemory, _GenericBackendTestSuite): ...


class TestSerializerInMemory(InMemory, _GenericSerializerTestSuite, _GenericBackendTestSuite): ...


class TestMutexInMemory(InMemory, _GenericMutexTestSuite): ...


class TestBackendInRedis(InRedis, _GenericBackendTestSuite): ...


class TestSerializerInRedis(InRedis, _GenericSerializerTestSuite, _GenericBackendTestSuite): ...


class TestMutexInRedis(InRedis, _GenericMutexTestSuite): ...


class TestBackendInSqlite(InSqlite, _GenericBackendTestSuite): ...


class TestSerializerInSqlite(InSqlite, _GenericSerializerTestSuite, _GenericBackendTestSuite): ...


class TestMutexInSqlite(InSqlite, _GenericMutexTestSuite): ...


def test_the_adapter_is_short() -> None:
    """What a user has to write by hand is a measure of what cascada lacks."""
    source = Path(__file__).parents[2] / "examples/adapters/dogpile.py"
    code = source.read_text("utf-8").split('"""', 2)[2]
    lines = [line for line in code.splitlines() if line.strip() and '"""' not in line]
    lines = [line for line in lines if not line.startswith(("from ", "import "))]
    assert len(lines) <= LINES, lines
