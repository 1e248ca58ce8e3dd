"""Fixtures that several folders share: real servers, started once when first asked for."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.properties.budget import FACTOR
from tests.sealed import seal_everything
from tests.servers.postgres import PostgresServer, postgres_server
from tests.servers.redis import RedisServer

# The same examples in each run, however slow the machine is; CASCADA_EXAMPLES asks for others.
settings.register_profile(
    "cascada",
    derandomize=FACTOR == 1,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("cascada")

if os.environ.get("CASCADA_SEALED"):
    seal_everything()


def pytest_collection_finish() -> None:
    """What is there now stays to the end: whoever collects need not walk over it each time."""
    gc.freeze()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One Redis for tests that only need it to be there; who breaks servers starts his own."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of this test's own, to be broken."""
    own = RedisServer(tmp_path)
    yield own
    own.kill()


@pytest.fixture(scope="session")
def postgres_process() -> Iterator[PostgresServer]:
    """One PostgreSQL; whoever uses it makes a place of his own."""
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_process: PostgresServer) -> str:
    """Its URL, `postgresql://user@host:port`."""
    return postgres_process.url
