"""Each library behind the same four methods, used as its own documents advise.

What all have in common: a time to live of two minutes, JSON or the library's own format, keys built
as the documents of each build them, and an invalidation after the row was written. Where a library
can keep values in the process and be told when they change, it does. Each imports its library when
it is opened: a process of the attack uses one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from cascada import Cache, Hit

TTL: Final = 120
POOL: Final = 64
TYPE: Final = "doc"

Loader = Callable[[], Awaitable[Any]]


class Rival(Protocol):
    """One library, connected, in one process."""

    async def get(self, tenant: str, each: str) -> Any:
        """The cached value; None if there is none."""

    async def load(self, tenant: str, each: str, loader: Loader) -> Any:
        """The cached value, or what the loader gives, which is then cached."""

    async def invalidate(self, tenant: str, each: str) -> None:
        """The row has changed. When this returns, it is done."""

    async def aclose(self) -> None: ...


def key_of(tenant: str, each: str) -> str:
    """A key as the documents of all of them build one."""
    return f"{TYPE}:{tenant}:{each}"


class OfCascada:
    def __init__(self, port: int) -> None:
        self._cache = Cache(redis=f"redis://127.0.0.1:{port}/0", namespace="rivals")

    async def get(self, tenant: str, each: str) -> Any:
        hit = await self._cache.tenant(tenant).get(TYPE, each)
        return hit.value if isinstance(hit, Hit) else None

    async def load(self, tenant: str, each: str, loader: Loader) -> Any:
        return (await self._cache.tenant(tenant).load(TYPE, each, loader)).value

    async def invalidate(self, tenant: str, each: str) -> None:
        await self._cache.tenant(tenant).invalidate(data_type=TYPE, resource_id=each)

    async def aclose(self) -> None:
        await self._cache.aclose()


class OfCashews:
    """Its decorator over Redis; callers of one process share a call. `local`: with its client-side
    cache."""

    def __init__(self, port: int, *, local: bool = False) -> None:
        from cashews import Cache as Cashews

        self._cache = Cashews()
        # Of redis-py 8, which speaks RESP3 unless told otherwise, it hears no invalidation.
        self._cache.setup(f"redis://127.0.0.1:{port}/0", client_side=local, protocol=2)
        self._loaders: dict[tuple[str, str], Loader] = {}

        @self._cache(ttl=TTL, key=TYPE + ":{tenant}:{each}")
        async def load(tenant: str, each: str) -> Any:
            return await self._loaders[tenant, each]()

        self._load = load

    async def get(self, tenant: str, each: str) -> Any:
        return await self._cache.get(key_of(tenant, each))

    async def load(self, tenant: str, each: str, loader: Loader) -> Any:
        self._loaders[tenant, each] = loader
        return await self._load(tenant, each)

    async def invalidate(self, tenant: str, each: str) -> None:
        await self._cache.delete(key_of(tenant, each))

    async def aclose(self) -> None:
        await self._cache.close()


class OfAiocache:
    """`cached_stampede` over its Redis cache: a lock in Redis for two seconds."""

    def __init__(self, port: int) -> None:
        from aiocache import Cache as AioCache  # type: ignore[import-untyped]
        from aiocache import cached_stampede
        from aiocache.serializers import JsonSerializer  # type: ignore[import-untyped]

        self._loaders: dict[tuple[str, str], Loader] = {}

        @cached_stampede(  # type: ignore[untyped-decorator]
            lease=2, ttl=TTL, key_builder=lambda function, *given: key_of(*given),
            cache=AioCache.REDIS, endpoint="127.0.0.1", port=port, serializer=JsonSerializer(),
            pool_max_size=2 * 500,
        )  # fmt: skip
        async def load(tenant: str, each: str) -> Any:
            return await self._loaders[tenant, each]()

        self._load = load
        self._cache = load.cache

    async def get(self, tenant: str, each: str) -> Any:
        return await self._cache.get(key_of(tenant, each))

    async def load(self, tenant: str, each: str, loader: Loader) -> Any:
        self._loaders[tenant, each] = loader
        return await self._load(tenant, each)

    async def invalidate(self, tenant: str, each: str) -> None:
        await self._cache.delete(key_of(tenant, each))

    async def aclose(self) -> None:
        await self._cache.close()


class ByHand:
    """Cache-aside as it is written by hand over a client: get, and on a miss load and set."""

    async def _read(self, key: str) -> bytes | None:
        raise NotImplementedError

    async def _write(self, key: str, value: bytes) -> None:
        raise NotImplementedError

    async def _delete(self, key: str) -> None:
        raise NotImplementedError

    async def get(self, tenant: str, each: str) -> Any:
        found = await self._read(key_of(tenant, each))
        return None if found is None else json.loads(found)

    async def load(self, tenant: str, each: str, loader: Loader) -> Any:
        found = await self.get(tenant, each)
        if found is None:
            found = await loader()
            await self._write(key_of(tenant, each), json.dumps(found).encode())
        return found

    async def invalidate(self, tenant: str, each: str) -> None:
        await self._delete(key_of(tenant, each))


class OfRedisPy(ByHand):
    """A pool whose callers wait for a connection, as its documents advise for many at once."""

    def __init__(self, port: int) -> None:
        from redis.asyncio import BlockingConnectionPool, Redis

        pool = BlockingConnectionPool(port=port, max_connections=POOL, timeout=60)
        self._client: Any = Redis.from_pool(pool)

    async def _read(self, key: str) -> bytes | None:
        found: bytes | None = await self._client.get(key)
        return found

    async def _write(self, key: str, value: bytes) -> None:
        await self._client.set(key, value, ex=TTL)

    async def _delete(self, key: str) -> None:
        await self._client.delete(key)

    async def aclose(self) -> None:
        await self._client.aclose()


class OfGlide(ByHand):
    """Its client-side cache, assisted by the server (CLIENT TRACKING BCAST)."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._client: Any = None
        self._connecting = asyncio.Lock()

    async def _read(self, key: str) -> bytes | None:
        found: bytes | None = await (await self._connected()).get(key)
        return found

    async def _write(self, key: str, value: bytes) -> None:
        from glide import ExpirySet, ExpiryType

        client = await self._connected()
        await client.set(key, value, expiry=ExpirySet(ExpiryType.SEC, TTL))

    async def _delete(self, key: str) -> None:
        await (await self._connected()).delete([key])

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._client is None:
                self._client = await glide_client(self._port)
        return self._client


async def glide_client(port: int) -> Any:
    """A client that keeps what it has read, for as long as the server does not say otherwise."""
    import glide

    glide.Logger.init(glide.LogLevel.OFF)
    local = glide.ClientSideCache.create(
        max_cache_kb=50 * 1024, entry_ttl_ms=TTL * 1000, server_assisted=True
    )
    configuration = glide.GlideClientConfiguration(
        [glide.NodeAddress("127.0.0.1", port)],
        protocol=glide.ProtocolVersion.RESP3,
        client_side_cache=local,
        request_timeout=5000,
        advanced_config=glide.AdvancedGlideClientConfiguration(connection_timeout=20_000),
    )
    return await glide.GlideClient.create(configuration)


RIVALS: Final[Mapping[str, Callable[[int], Rival]]] = {
    "cascada": OfCascada,
    "cashews": OfCashews,
    "cashews, client side": partial(OfCashews, local=True),
    "aiocache": OfAiocache,
    "valkey-glide": OfGlide,
    "redis-py": OfRedisPy,
}

CONFIGURED: Final[Mapping[str, str]] = {
    "cascada": "`Cache(redis=...)`, `load`, `invalidate`",
    "cashews": "`setup(url)`, `@cache(ttl, key)`, `delete`; nothing in the process",
    "cashews, client side": "the same with `client_side=True, protocol=2`",
    "aiocache": "`@cached_stampede(lease=2, ttl)` over Redis, `delete`; nothing in the process",
    "valkey-glide": "`ClientSideCache(server_assisted=True)`, RESP3; cache-aside by hand over it",
    "redis-py": "a blocking pool of 64; cache-aside by hand: GET, SET EX, DEL",
}
