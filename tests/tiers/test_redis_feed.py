"""What pushes may keep fresh in memory, and when: the traps of the push connection, one test each.

Each fails when the rule that its text names is left out.
"""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cascada.model.names import key_name, tenant_name
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsidePush, InsideRedis
from cascada.tiers.redis_client.server import Server, server_of
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    redis_server.flush()
    here, there = Process(redis_server.url), Process(redis_server.url)
    async with processes(here, there):
        yield here, there


class Gate:
    """A server that opens no connection while it is shut."""

    def __init__(self, server: Server) -> None:
        self.shut = True
        self._server = server
        self.greet = server.greet

    async def open(self, *hooks: Any) -> Any:
        if self.shut:
            raise OSError("shut")
        return await self._server.open(*hooks)

    def said(self, error: BaseException) -> str:
        return self._server.said(error)


async def test_a_reconnect_compares_with_what_was_applied_not_with_what_was_read(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """An MGET has seen the number of an invalidation that nobody applied here."""
    here, there = pair
    assert await there.store()
    assert await there.keep()
    gate = Gate(InsidePush(there.feed).server)
    InsidePush(there.feed).server = gate
    InsidePush(there.feed).link.wire.close()
    await until(lambda: InsidePush(there.feed).link.wire is None)
    await here.tier.invalidate([key_name(KEY)])
    (missed,) = await there.tier.read([KEY])
    assert missed.seq == 1
    gate.shut = False
    await there.trusted()
    assert not there.has()


async def test_a_reconnect_that_missed_nothing_keeps_memory(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    _, there = pair
    assert await there.store()
    assert await there.keep()
    redis_server.say("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: not there.has())
    await there.trusted()
    assert there.has()


async def test_pushes_of_another_live_server_keep_nothing_fresh(
    server: RedisServer, redis_server: RedisServer
) -> None:
    """An address that leads elsewhere by now: whatever is read here, nobody publishes it there."""
    redis_server.flush()
    elsewhere, process = Process(server.url), Process(redis_server.url)
    InsidePush(process.feed).server = server_of(server.url)
    async with processes(elsewhere), processes(process, listening=False):
        await until(lambda: InsidePush(process.feed).up.is_set())
        assert await process.store()
        for _ in range(20):
            await process.keep()
            assert not process.has()
            await asyncio.sleep(0.01)
        InsidePush(process.feed).server = server_of(redis_server.url)
        await process.trusted()
        assert await process.keep()
        assert process.has()


def test_the_time_of_a_look_is_that_before_it(redis_server: RedisServer) -> None:
    """The process may be stopped between the look and the clock, and a push arrive meanwhile."""
    clock = ManualClock()
    process = Process(redis_server.url, clock=clock)
    feed = process.feed

    class Slow:
        def poll(self, timeout: int) -> list[object]:
            clock.advance(0.2)
            return []

    InsidePush(feed).trust(clock.monotonic() + 10, Slow())
    asked = clock.monotonic()
    feed.extend(asked)
    assert feed.until <= asked + 0.0051


async def test_a_push_that_waits_in_the_socket_is_not_overtaken_by_a_hit(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    """This event loop is blocked while another process invalidates."""
    _, there = pair
    assert await there.store()
    assert await there.keep()
    assert there.has()
    nonce = InsidePush(there.feed).nonce
    # Without a turn of the loop: as in a process that is busy with something else.
    body = b"i" + nonce + b"1\n" + key_name(KEY).encode()
    with socket.create_connection(("127.0.0.1", redis_server.port)) as wire:
        channel = there.tier.layout.channel
        wire.sendall(
            b"*3\r\n$7\r\nPUBLISH\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n"
            % (len(channel), channel, len(body), body)
        )
        assert wire.recv(100) == b":2\r\n"
    assert select.select([InsidePush(there.feed).socket], [], [], 5)[0], "the push is there"
    there.feed.until = 0.0  # the 5 ms for which the last look counted are over
    assert not there.has()


@pytest.mark.parametrize("option", ["", "?protocol=2", "?protocol=3"])
async def test_pushes_arrive_whatever_protocol_the_url_asks_for(
    redis_server: RedisServer, option: str
) -> None:
    """redis-py's default has changed, and with the other one pushes never come."""
    redis_server.flush()
    process = Process(redis_server.url + option)
    async with processes(process):
        assert await process.store()
        assert await process.keep()
        await process.tier.invalidate([key_name(KEY)])
        await until(lambda: not process.has())


@pytest.mark.parametrize(
    ("listeners", "heard", "pings"),
    [(0, False, 0), (1, True, 0), (1, False, 1), (2, True, 1)],
    ids=["nobody", "itself alone", "another alone", "itself and another"],
)
async def test_an_invalidation_waits_until_its_push_has_left_for_others(
    redis_server: RedisServer, listeners: int, heard: bool, pings: int
) -> None:
    redis_server.flush()
    here, there = Process(redis_server.url), Process(redis_server.url)
    async with processes(here, there):
        link, sent = InsideRedis(here.tier).link, list[bytes]()
        send = link.send

        def record(*command: Any, **options: Any) -> Any:
            sent.append(command[0])
            if command[0] not in (b"EVALSHA", b"EVAL"):
                return send(*command, **options)
            # Its own push is at hand before its reply, or is not: as if that depended on luck.
            feed = here.feed
            before = feed.heard

            def answered(reply: Any) -> None:
                seq, _, *rest = reply.result()
                reply.result()[1] = listeners
                feed.heard = (rest[0], seq) if heard else before

            reply = send(*command, **options)
            reply.add_done_callback(answered)
            return reply

        link.send = record
        await here.tier.invalidate([tenant_name("acme")])
        assert sent.count(b"PING") == pings


async def test_a_feed_that_connects_anew_has_not_heard_what_it_reads_of_the_number(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    here, there = pair
    await there.tier.invalidate([tenant_name("acme")])
    await until(lambda: here.feed.heard == there.feed.heard != (b"", 0))
    anew = Process(redis_server.url)
    async with processes(anew):
        await until(
            lambda: anew.feed.heard == (b"", 0) and anew.feed.extend(anew.clock.monotonic())
        )
