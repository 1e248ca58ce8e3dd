"""The log of a Redis that is lost says why, and what it refuses is no outage."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cascada import Cache, Limits
from cascada.testing.inside import InsideRedis, inside
from tests.scenarios.row import until
from tests.servers.redis import RedisServer, free_port

PASSWORD = "correct horse"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class Nonsense(asyncio.Protocol):
    """It does not speak TLS, nor wait for what it does not understand."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"-ERR what?\r\n")


@asynccontextmanager
async def nonsense() -> AsyncIterator[str]:
    listening = await asyncio.get_running_loop().create_server(Nonsense, "127.0.0.1", 0)
    async with listening:
        yield f"rediss://127.0.0.1:{listening.sockets[0].getsockname()[1]}/0"


@asynccontextmanager
async def silence() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    yield f"redis://127.0.0.1:{free_port()}/0"


@pytest.mark.parametrize(
    ("where", "cause"),
    [
        (nobody, "connection refused"),
        (silence, "no connection within 0.2 s"),
        (nonsense, "TLS failed: WRONG_VERSION_NUMBER"),
    ],
    ids=["refused", "time-out", "tls"],
)
async def test_a_redis_that_cannot_be_reached(
    where: Any, cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        where() as url,
        Cache(
            redis=url, limits=Limits(redis_connection_timeout=0.2 if where is silence else 20.0)
        ) as cache,
    ):
        await until(lambda: InsideRedis(inside(cache).lower[0].tier).link.why.startswith(cause))
        for _ in range(5):
            await cache.tenant("acme").get("x", "1")
        (said,) = warnings(caplog)
    assert "Redis unavailable, serving from memory" in said
    assert cause in said


async def test_a_server_that_takes_the_connection_may_be_silent_no_longer_than_any_other() -> None:
    """Connecting may take 20 s: a line that was dead for a moment would be used no sooner."""
    async with silence() as url, Cache(redis=url, limits=Limits(redis_socket_timeout=0.1)) as cache:
        link = InsideRedis(inside(cache).lower[0].tier).link
        await until(lambda: link.why == "no connection within 0.1 s")


@pytest.mark.parametrize(
    ("given", "code"), [("wrong guess", "WRONGPASS"), (None, "NOAUTH")], ids=["wrong", "none"]
)
async def test_a_password_that_is_not_taken(
    server: RedisServer, given: str | None, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert server.say("CONFIG", "SET", "requirepass", PASSWORD) == b"+OK\r\n"
    async with Cache(redis=server.url, redis_password=given) as cache:
        for _ in range(5):
            await cache.tenant("acme").get("x", "1")
        (said,) = warnings(caplog)
    assert code in said
    assert given is None or given not in said


async def test_a_replica_that_takes_no_writes(
    server: RedisServer, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cache(redis=server.url, limits=Limits(invalidate_patience=0)) as cache:
        acme = cache.tenant("acme")
        assert await acme.set("x", "1", "value")
        server.say("REPLICAOF", "127.0.0.1", str(redis_server.port))
        for number in range(5):
            await acme.set("x", f"{number}", "new")
        await until(lambda: any("READONLY" in said for said in warnings(caplog)))


async def test_a_full_redis_is_one_warning_and_goes_on_being_read(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with Cache(redis=server.url) as cache:
        acme = cache.tenant("acme")
        assert await acme.set("x", "kept", "value")
        server.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.say("CONFIG", "SET", "maxmemory", "1")
        assert [await acme.set("x", f"{number}", "new") for number in range(10)] == [False] * 10
        inside(cache).memory.flush()
        (said,) = warnings(caplog)
        assert "l2 takes nothing more" in said
        assert "OOM" in said
        assert not (await acme.invalidate("x", "kept")).pending, "that it takes, full as it is"
        server.say("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: inside(cache).lower[0].available)
        assert await acme.set("x", "1", "new")
