"""`python -m examples.agent_service.by_hand`: the same service, its cache written by hand.

A column of the demo: cache-aside over Redis with a TTL, as most services have it. A read gets the
key, else loads and sets it with the lifetime of its type, the same that cascada has; a write
deletes the key of what it has changed. What was made from that, nobody remembers: it stays until
its TTL ends. It is written with care: no request fails for Redis, and values are shared by all
workers. It prints its address alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeVar

import uvicorn
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from cascada import Hit, Loaded, get_ttl_for_data_type
from examples.agent_service.app import create_app
from examples.agent_service.caching import CachedReads, Served
from examples.agent_service.database import NotThere
from examples.agent_service.records import Document
from examples.agent_service.serve import Server
from examples.agent_service.service import Service, TenantService
from examples.agent_service.settings import Settings
from examples.agent_service.writes import Writes

T = TypeVar("T")

_NOT_JSON: Final = {"vector_store"}
"""Bytes, and large: read from the database each time."""


class Store:
    """Redis, which may be away: then nothing is there."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url, socket_timeout=0.5, socket_connect_timeout=0.5, retry=Retry(NoBackoff(), 0)
        )

    async def get(self, key: str) -> Any:
        try:
            found = await self._redis.get(key)
        except RedisError:
            return None
        return None if found is None else json.loads(found)

    async def set(self, key: str, value: Any, ttl: int) -> None:
        try:
            await self._redis.set(key, json.dumps(value), ex=ttl)
        except RedisError:
            return

    async def delete(self, key: str) -> None:
        try:
            await self._redis.delete(key)
        except RedisError:
            return

    async def aclose(self) -> None:
        await self._redis.aclose()


class _Reads(CachedReads):
    def __init__(self, store: Store, of: Service, tenant: str) -> None:
        super().__init__(of.cache, tenant, of.database, of.embedder, of.model)
        self._store = store

    async def _load(
        self,
        data_type: str,
        resource_id: str,
        loader: Callable[[], Awaitable[T | Loaded[T] | None]],
        what: str = "it",
        **context: str | None,
    ) -> Served[T]:
        key = _key(self._tenant, data_type, resource_id, *context.values())
        begun = time.perf_counter()
        value = None if data_type in _NOT_JSON else await self._store.get(key)
        if value is None:
            loaded = await loader()
            value = loaded.value if isinstance(loaded, Loaded) else loaded
            if value is None:
                raise NotThere(f"{what} does not exist")
            if data_type not in _NOT_JSON:
                await self._store.set(key, value, get_ttl_for_data_type(data_type))
        spent = (time.perf_counter() - begun) * 1000
        return Served(value, Hit(value, "source"), data_type, context.get("agent"), spent)


class _Writes(Writes):
    """The writes of the demo. Each deletes the key of what it has changed, after the commit."""

    def __init__(self, store: Store, of: Service, tenant: str) -> None:
        super().__init__(of.cache, tenant, of.database, of.embedder)
        self._store = store

    async def put_documents(self, collection_id: str, documents: Sequence[Document]) -> int:
        replaced = await super().put_documents(collection_id, documents)
        for document in documents:
            await self._store.delete(_key(self._tenant, "document", document["id"], collection_id))
        return replaced


def _key(tenant: str, data_type: str, resource_id: str, *context: str | None) -> str:
    return ":".join([tenant, data_type, *(part or "" for part in context), resource_id])


@dataclass(frozen=True, slots=True)
class _TenantService(TenantService):
    store: Store

    @property
    def reads(self) -> CachedReads:
        return _Reads(self.store, self._service, self.tenant)

    @property
    def writes(self) -> Writes:
        return _Writes(self.store, self._service, self.tenant)


@dataclass(frozen=True, slots=True)
class _Service(Service):
    store: Store

    def tenant(self, tenant: str) -> TenantService:
        return _TenantService(self, tenant, self.store)


def by_hand(service: Service, store: Store) -> Service:
    """The service, with this cache; its own should be off."""
    parts = {each.name: getattr(service, each.name) for each in fields(Service)}
    return _Service(**parts, store=store)


def main() -> int:
    settings = Settings.from_env({**os.environ, "AGENT_SERVICE_CACHE": "off"})
    app = create_app(settings)

    async def announce(address: str) -> None:
        app.state.service = by_hand(app.state.service, Store(os.environ["REDIS_URL"]))
        print(address, flush=True)

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False)
    Server(config, announce).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
