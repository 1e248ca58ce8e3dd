"""The service in this process, on a real SQLite file and on a real PostgreSQL server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest
from fastapi import FastAPI

from examples.agent_service.app import create_app
from examples.agent_service.service import Service
from examples.agent_service.settings import Settings

CLEARED = ("REDIS_URL", "CASCADA_MODE", "CASCADA_NAMESPACE", "CASCADA_TENANT", "DATABASE_URL",
           "EMBEDDINGS_URL", "EMBEDDINGS_MODEL", "EMBEDDINGS_API_KEY", "AGENT_SERVICE_CACHE",
           "AGENT_SERVICE_MODEL_LATENCY_MS", "AGENT_SERVICE_JWT_SECRET")  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of this machine's environment, and a cache database of the test's own."""
    for name in CLEARED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CACHE_DATABASE_URL", f"sqlite:///{tmp_path / 'cache.db'}")


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind in turn."""
    return await new_database(request.param, request, tmp_path)


async def new_database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of this kind."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'service.db'}"
    server: str = request.getfixturevalue("postgres")
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(f"{server}/postgres")
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    return f"{server}/{name}"


@dataclass(frozen=True)
class Running:
    """The application, started, and clients of it."""

    app: FastAPI
    client: Callable[[str | None], httpx.AsyncClient]

    @property
    def service(self) -> Service:
        service: Service = self.app.state.service
        return service


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """The service in this process; `client(tenant)` speaks HTTP to it without a network."""
    app = create_app(settings)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        clients: dict[str | None, httpx.AsyncClient] = {}

        def client(tenant: str | None) -> httpx.AsyncClient:
            if tenant not in clients:
                headers = {} if tenant is None else {"X-Tenant-ID": tenant}
                clients[tenant] = httpx.AsyncClient(
                    transport=httpx.ASGITransport(app), base_url="http://test", headers=headers
                )
                stack.push_async_callback(clients[tenant].aclose)
            return clients[tenant]

        yield Running(app, client)


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Running]:
    """The service with its cache, without the waiting of the stand-in, on each database."""
    settings = Settings.from_env(
        {"DATABASE_URL": database_url, "AGENT_SERVICE_MODEL_LATENCY_MS": "0"}
    )
    async with running(settings) as started:
        yield started


@pytest.fixture
def acme(service: Running) -> httpx.AsyncClient:
    return service.client("acme")
