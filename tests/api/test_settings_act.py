"""Every documented variable changes what a cache does: set alone, it is seen to act."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import re
import signal
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cascada import (
    Cache,
    CacheManager,
    CacheService,
    InvalidSettings,
    Limits,
    MissingTenant,
    Policy,
)
from cascada.model.errors import TierUnavailable
from cascada.testing.inside import InsideRedis, inside
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

Act = Callable[[pytest.MonkeyPatch, RedisServer, Path], Awaitable[None]]
ACTS: Final[dict[str, Act]] = {}


def acts(act: Act) -> Act:
    ACTS[act.__name__.upper()] = act
    return act


def clients(server: RedisServer) -> int:
    found = re.search(rb"connected_clients:(\d+)", server.say("INFO", "clients"))
    assert found
    return int(found[1]) - 1


async def stored(cache: Cache) -> str | None:
    """The tier that a value comes from which memory has lost."""
    acme = cache.tenant("acme")
    await acme.set("row", "1", "value")
    inside(cache).memory.flush()
    hit = await acme.get("row", "1")
    return hit.tier if hit else None


@contextlib.contextmanager
def silent_listener() -> Iterator[tuple[str, list[Any]]]:
    """A URL of one who takes connections and says nothing, and what he took."""
    taken: list[Any] = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        listener.setblocking(False)
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0", [listener, taken]
        for each in taken:
            each.close()


@acts
async def redis_url(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert await stored(cache) is None
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert await stored(cache) == "l2"


@acts
async def redis_password(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    server.say("CONFIG", "SET", "requirepass", "hunter2")
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert await stored(cache) is None
    env.setenv("REDIS_PASSWORD", "hunter2")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert await stored(cache) == "l2"


@acts
async def redis_max_connections(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("REDIS_URL", server.url)
    env.setenv("REDIS_MAX_CONNECTIONS", "2")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        await asyncio.gather(*(acme.increment("calls", f"{number}") for number in range(30)))
        assert clients(server) == 2 + 2, "beside those of the cache and of what it hears"


@acts
async def redis_pool_timeout(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("REDIS_URL", server.url)
    env.setenv("REDIS_MAX_CONNECTIONS", "1")
    env.setenv("REDIS_POOL_TIMEOUT", "0.05")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        await acme.increment("calls", "a")
        server.signal(signal.SIGSTOP)
        held = asyncio.create_task(acme.increment("calls", "a"))
        await asyncio.sleep(0)
        with pytest.raises(TierUnavailable, match=r"in use for 0.05 s"):
            await acme.increment("calls", "b")
        server.signal(signal.SIGCONT)
        with contextlib.suppress(TierUnavailable):
            await held


@acts
async def redis_connection_timeout(
    env: pytest.MonkeyPatch, server: RedisServer, folder: Path
) -> None:
    """One that greets nobody is given up, and tried anew."""
    with silent_listener() as (url, (listener, taken)):
        env.setenv("REDIS_URL", url)
        env.setenv("REDIS_CONNECTION_TIMEOUT", "0.05")

        def again() -> bool:
            with contextlib.suppress(BlockingIOError):
                taken.append(listener.accept()[0])
            return len(taken) > 4

        async with Cache.from_env(limits=Limits(op_timeout=10)):
            await until(again)


@acts
async def redis_socket_timeout(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("REDIS_URL", server.url)
    env.setenv("REDIS_SOCKET_TIMEOUT", "0.1")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        await stored(cache)
        server.signal(signal.SIGSTOP)
        await cache.tenant("acme").get("row", "2")
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: link.wire is None)
        assert "said nothing for 0.1 s" in link.why
        server.signal(signal.SIGCONT)


@acts
async def redis_cache_ttl(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("REDIS_CACHE_TTL", "77")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        await acme.set("row", "1", "value")
        assert 70 < await acme.ttl("row", "1") <= 77


@acts
async def cache_database_url(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CACHE_DATABASE_URL", f"sqlite:///{folder / 'cache.db'}")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert await stored(cache) == "l3"
    assert (folder / "cache.db").exists()


@acts
async def cache_encryption_keys(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    _is_refused(env, "CACHE_ENCRYPTION_KEYS", "k1:AAAA")
    env.setenv("CACHE_ENCRYPTION_KEYS", "k1:" + base64.b64encode(bytes(32)).decode())
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env(policies={"doc": Policy(sensitive=True)}) as cache:
        assert await cache.tenant("acme").set("doc", "1", "not to be seen")
    stored = server.say("GET", "cascada.0:{b0}:v:acme:doc:1")
    assert stored
    assert b"not to be seen" not in stored


@acts
async def cascada_encrypt(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    _is_refused(env, "CASCADA_ENCRYPT", "some")
    env.setenv("CASCADA_ENCRYPT", "all")
    env.setenv("CACHE_ENCRYPTION_KEYS", "k1:" + base64.b64encode(bytes(32)).decode())
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env() as cache:
        assert await cache.tenant("acme").set("doc", "2", "not to be seen")
    assert b"not to be seen" not in server.say("GET", "cascada.0:{b0}:v:acme:doc:2")


@acts
async def cache_read_strategy(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CACHE_READ_STRATEGY", "READ_AROUND")
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        await _stored_by_another(server)
        assert [await _tier_of(cache) for _ in range(3)] == ["l2", "l2", "l2"]
    env.setenv("CACHE_READ_STRATEGY", "REFRESH_AHEAD")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert inside(cache).kinds.policy("x").refresh_at == 0.8


@acts
async def cache_write_strategy(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CACHE_WRITE_STRATEGY", "WRITE_AROUND")
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert await cache.tenant("acme").set("x", "1", "v")
        assert [await _tier_of(cache) for _ in range(2)] == ["l2", "l1"]
    env.setenv("CACHE_WRITE_STRATEGY", "WRITE_BEHIND")
    env.setenv("CACHE_DATABASE_URL", str(folder / "cache.db"))
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert inside(cache).stack.behind is not None


@acts
async def cache_eviction_policy(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    for said, gone in (("LFU", {"second"}), ("LRU", {"first"})):
        env.setenv("CACHE_EVICTION_POLICY", said)
        async with Cache.from_env(limits=Limits(l1_bytes=5000)) as cache:
            acme = cache.tenant("acme")
            await acme.set("row", "first", "x" * 500)
            await acme.get("row", "first")
            await acme.get("row", "first")
            await acme.set("row", "second", "x" * 500)
            await acme.get("row", "second")
            await acme.set("row", "third", "x" * 500)
            there = {each for each in ("first", "second") if await acme.get("row", each)}
            assert {"first", "second"} - there == gone


@acts
async def l1_cache_size_mb(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("L1_CACHE_SIZE_MB", "3")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert (await cache.stats()).tiers["l1"].capacity_bytes == 3 * 2**20


@acts
async def l2_cache_size_mb(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("REDIS_URL", server.url)
    env.setenv("L2_CACHE_SIZE_MB", "3")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        await acme.set("row", "small", 1)
        # Who counts for the first time, and then says when, does not see a large value on its way.
        *_, account = server.say("KEYS", "*}:m").decode().split()
        await until(lambda: not server.say("GET", account).endswith(b" 0\r\n"))
        kept = [await acme.set("row", f"{number}", random.randbytes(2**20)) for number in range(4)]
        assert kept == [True, True, False, False]
        assert (await cache.stats()).tiers["l2"].capacity_bytes == 3 * 2**20


@acts
async def l3_cache_size_mb(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CACHE_DATABASE_URL", str(folder / "cache.db"))
    env.setenv("L3_CACHE_SIZE_MB", "3")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        assert (await cache.stats()).tiers["l3"].capacity_bytes == 3 * 2**20


@acts
async def cascada_tenant(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    from cascada import cached

    @cached("row")
    async def row(number: int) -> int:
        return number

    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        CacheManager.configure(cache)
        with pytest.raises(MissingTenant):
            await row(1)
        env.setenv("CASCADA_TENANT", "acme")
        assert await row(1) == 1


@acts
async def cascada_namespace(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("REDIS_URL", server.url)
    env.setenv("CASCADA_NAMESPACE", "shop-test")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        await stored(cache)
        assert b"shop-test." in server.say("KEYS", "*")


@acts
async def cascada_mode(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CASCADA_MODE", "off")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        answers = [(await acme.load("row", "1", lambda: "value")).tier for _ in range(2)]
        assert answers == ["source", "source"]


@acts
async def cascada_op_timeout(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CASCADA_OP_TIMEOUT", "0.03")
    async with Cache.from_env(redis=server.url) as cache:
        assert inside(cache).lower[0].timeout == 0.03


@acts
async def cascada_self_check(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CASCADA_SELF_CHECK", "0.001")
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        await until(lambda: inside(cache).check.armed)


@acts
async def cascada_optimize_every(
    env: pytest.MonkeyPatch, server: RedisServer, folder: Path
) -> None:
    env.setenv("CASCADA_OPTIMIZE_EVERY", "0.05")
    env.setenv("REDIS_URL", server.url)
    async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        await acme.set("x", "1", "hot")
        for _ in range(3):
            inside(cache).memory.flush()  # a process that has just begun
            await acme.get("x", "1")
        inside(cache).memory.flush()
        await until(lambda: acme.peek("x", "1") is not None)


@acts
async def cascada_warm_restart(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    env.setenv("CASCADA_WARM_RESTART", "10")
    env.setenv("CACHE_DATABASE_URL", str(folder / "c.db"))
    for wanted in (0, 1):
        async with Cache.from_env(limits=Limits(op_timeout=10)) as cache:
            await until(lambda: cache.warm_restart.finished)
            assert cache.warm_restart.found == wanted
            await cache.tenant("acme").set("x", "1", "hot")


@acts
async def redis_sync_interval(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    for interval in ("300", "0.02"):
        env.setenv("REDIS_SYNC_INTERVAL", interval)
        async with Cache(database=str(folder / "c.db"), limits=Limits(op_timeout=10)) as cache:
            service = CacheService(cache=cache)
            await service.start_sync()
            await until(lambda: service.last_sync is not None)  # noqa: B023 - it is of this turn
            first = service.last_sync
            if interval == "300":
                await asyncio.sleep(0.1)
                assert service.last_sync == first
            else:
                await until(lambda: service.last_sync != first)  # noqa: B023 - as above
            await service.stop_sync()


@acts
async def cascada_sync_database(env: pytest.MonkeyPatch, server: RedisServer, folder: Path) -> None:
    _is_refused(env, "CASCADA_SYNC_DATABASE", "mysql://db/app")
    env.setenv("CASCADA_TENANT", "acme")
    env.setenv("CASCADA_SYNC_DATABASE", f"sqlite:///{folder / 'app.db'}")
    said = f"sqlite:///{folder / 'given.db'}"
    async with Cache(database=str(folder / "c.db"), limits=Limits(op_timeout=10)) as cache:
        for name, database, there in (("a", None, "app.db"), ("b", said, "given.db")):
            service = CacheService(cache=cache, name=name, database=database)
            assert await service.set("key", 1)
            assert (await service.sync_now()).written == 1
            with sqlite3.connect(folder / there) as app:
                rows = app.execute("SELECT service FROM cascada_service_entries").fetchall()
            app.close()
            assert rows == [(name,)], "arguments go before variables"


async def _stored_by_another(server: RedisServer) -> None:
    async with Cache(redis=server.url, limits=Limits(op_timeout=10)) as cache:
        assert await cache.tenant("acme").set("x", "1", "v")


async def _tier_of(cache: Cache) -> str | None:
    return (await cache.tenant("acme").get("x", "1")).tier


def _is_refused(env: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """What would be something else than it says stops the start."""
    env.setenv(variable, value)
    with pytest.raises(InvalidSettings, match=variable):
        Cache.from_env()


@pytest.mark.parametrize("variable", sorted(ACTS))
async def test_it_acts(
    variable: str, monkeypatch: pytest.MonkeyPatch, server: RedisServer, tmp_path: Path
) -> None:
    await ACTS[variable](monkeypatch, server, tmp_path)


def test_none_is_left_out() -> None:
    from cascada.api.settings import VARIABLES

    documented = VARIABLES.keys()
    # Those of the documents; what is cascada's own besides has tests where it is made.
    own = {name for name in documented if name.startswith("CASCADA_")}
    assert documented - own <= ACTS.keys() <= documented
