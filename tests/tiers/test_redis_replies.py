"""Nobody is ever given the reply to another's command, whatever is sent and whatever comes back."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from cascada import Cache
from cascada.model.errors import CascadaError, TierUnavailable, Unanswered
from cascada.tiers.redis_client.refusals import Away
from cascada.tiers.redis_client.wire import Wire
from tests.servers.redis import RedisServer


class Level(enum.IntEnum):
    HIGH = 7


UNSENDABLE = (True, np.int64(7), Level.HIGH, None, [1], {"a": 1}, "\ud800", bytearray(b"x"))


@pytest.fixture
async def wire(redis_server: RedisServer) -> AsyncIterator[Wire]:
    """A wire of its own to a real server."""
    loop = asyncio.get_running_loop()
    lost = asyncio.Event()
    made = Wire(lambda message: None, lost.set)
    await loop.create_connection(lambda: made, "127.0.0.1", redis_server.port)
    await made.send((b"FLUSHALL",))
    yield made
    made.close()
    await lost.wait()


@pytest.mark.parametrize("odd", UNSENDABLE, ids=repr)
async def test_what_cannot_be_packed_takes_no_place_in_the_queue(wire: Wire, odd: Any) -> None:
    """Its place would never be answered by its own reply, but by the next one's."""
    before = wire.send((b"INCRBY", b"n", 5))
    with pytest.raises(CascadaError):
        wire.send((b"SET", b"k", odd))
    after = wire.send((b"GET", b"n"))
    assert (await before, await after) == (5, b"5")


async def test_a_thousand_that_cannot_be_packed_shift_nothing(wire: Wire) -> None:
    sent = []
    for number in range(1000):
        with pytest.raises(CascadaError):
            wire.send((b"SET", b"k", UNSENDABLE[number % len(UNSENDABLE)]))  # type: ignore[arg-type]
        sent.append(wire.send((b"INCRBY", b"n", 1)))
    assert [await each for each in sent] == list(range(1, 1001))


class Broken:
    """A transport that takes nothing."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write(self, data: bytes) -> None:
        self._transport.write(data[: len(data) // 2])
        raise BufferError("broken")

    def abort(self) -> None:
        self._transport.abort()


async def test_a_command_of_which_half_was_written_ends_the_connection(wire: Wire) -> None:
    """What follows would be read as its other half."""
    asked = wire.send((b"GET", b"n"))
    wire._transport = Broken(wire._transport)  # type: ignore[assignment, arg-type]
    with pytest.raises(BufferError):
        wire.send((b"SET", b"n", b"1"))
    with pytest.raises(TierUnavailable):
        await asked


@pytest.mark.parametrize(
    ("command", "reply"),
    [
        ((b"GET", b"k"), b":5\r\n"),
        ((b"GET", b"k"), b"*1\r\n$1\r\na\r\n"),
        ((b"INCRBY", b"n", 1), b"+PONG\r\n"),
        ((b"INCRBY", b"n", 1), b"$1\r\n5\r\n"),
        ((b"INCRBY", b"n", 1), b"#t\r\n"),
        ((b"LRANGE", b"l", 0, -1), b"$1\r\na\r\n"),
        ((b"LRANGE", b"l", 0, -1), b"*1\r\n:5\r\n"),
        ((b"LRANGE", b"l", 0, -1), b"*1\r\n_\r\n"),
        ((b"LPOP", b"l"), b"%1\r\n$1\r\na\r\n$1\r\nb\r\n"),
        ((b"LTRIM", b"l", 0, 1), b"+PONG\r\n"),
        ((b"MGET", b"a", b"b"), b"*1\r\n$1\r\na\r\n"),
        ((b"MGET", b"a", b"b"), b"*3\r\n$1\r\na\r\n_\r\n_\r\n"),
        ((b"MGET", b"a", b"b"), b"*2\r\n$1\r\na\r\n:1\r\n"),
        ((b"MGET", b"a", b"b"), b"*2\r\n$1\r\na\r\n-ERR no\r\n"),
        ((b"PING",), b"+OK\r\n"),
        ((b"INFO",), b":5\r\n"),
        ((b"GET", b"k"), b"%1\r\n*1\r\n:1\r\n:2\r\n"),
        ((b"GET", b"k"), b"HTTP/1.1 400 Bad Request\r\n"),
    ],
)
async def test_a_reply_that_does_not_fit_ends_the_connection(
    command: Sequence[Any], reply: bytes
) -> None:
    """Its own caller gets a failure, and so do those behind it: the next one is nobody's."""
    lost, closed = asyncio.Event(), asyncio.Event()
    wire = Wire(lambda message: None, lost.set)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"next\r\n")
        writer.write(reply + b"$7\r\nanother\r\n")
        await reader.read()
        writer.transport.abort()
        await asyncio.sleep(0)
        closed.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().create_connection(lambda: wire, "127.0.0.1", port)
        first, second = wire.send(command), wire.send((b"GET", b"next"))
        with pytest.raises(Unanswered):
            await first
        with pytest.raises(Unanswered):
            await second
        await lost.wait()
        await closed.wait()


async def test_an_odd_version_costs_no_neighbour_his_answers(redis_server: RedisServer) -> None:
    """One tenant's argument: another one's list was answered to him, and PONG to a counter."""
    redis_server.flush()
    async with Cache(redis=redis_server.url) as cache:
        tenants = [cache.tenant(name) for name in ("a", "b")]
        for tenant in tenants:
            await tenant.list("l").rpush(f"of {tenant}")
        for odd in UNSENDABLE:
            with suppress(CascadaError):
                await tenants[0].set("v", 1, 1, version=odd)  # type: ignore[arg-type]
            answers = await asyncio.gather(*(each.list("l").range() for each in tenants))
            assert answers == [[f"of {each}"] for each in tenants]
            assert isinstance(await tenants[1].increment("c", "n"), int)


async def test_a_master_that_is_a_replica_now_is_left(
    wire: Wire, redis_server: RedisServer
) -> None:
    """Who asked is told what the server said, and who connects anew is led to the new master."""
    redis_server.say("REPLICAOF", "127.0.0.1", "1")
    try:
        asked, behind = wire.send((b"INCRBY", b"n", 5)), wire.send((b"GET", b"n"))
        with pytest.raises(Away, match="Redis refused INCRBY: READONLY"):
            await asked
        with pytest.raises(Unanswered):
            await behind
        assert not wire.is_open
    finally:
        redis_server.say("REPLICAOF", "NO", "ONE")
