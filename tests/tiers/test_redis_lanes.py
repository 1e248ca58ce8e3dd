"""Lists and counters have connections of their own: bounded, in order, one name on each."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import signal
import socket
import time
from collections.abc import AsyncIterator

import pytest

from cascada import Cache, Limits
from cascada.model.clock import SystemClock
from cascada.model.errors import TierUnavailable, Unanswered
from cascada.testing.inside import InsideRedis, inside
from cascada.tiers import guarded_datastore
from cascada.tiers.contract import NotPermitted
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_datastore import GuardedData
from cascada.tiers.redis.tier import RedisTier
from tests.scenarios.row import until
from tests.servers.fuzzing_redis import FuzzingRedis, Plan, before
from tests.servers.redis import RedisServer


@contextlib.asynccontextmanager
async def connected(url: str, most: int = 50, patience: float = 30.0) -> AsyncIterator[RedisTier]:
    tier = RedisTier(
        url, namespace="test", clock=SystemClock(), max_connections=most, pool_timeout=patience
    )
    running = asyncio.get_running_loop().create_task(tier.run())
    await tier.up()
    try:
        yield tier
    finally:
        running.cancel()
        await asyncio.wait([running])
        await tier.aclose()


def clients(server: RedisServer) -> int:
    """Connections to the server, less the one that asks."""
    found = re.search(rb"connected_clients:(\d+)", server.say("INFO", "clients"))
    assert found
    return int(found[1]) - 1


@pytest.mark.parametrize("most", [1, 3])
async def test_so_many_connections_and_no_more(server: RedisServer, most: int) -> None:
    async with connected(server.url, most) as tier:
        for _ in range(3):
            names = [f"acme:{number}" for number in range(40)]
            await asyncio.gather(*(tier.data.increment(name, 1) for name in names))
        assert clients(server) == 1 + most
        assert [await tier.data.counter(name) for name in names] == [3] * 40


async def test_who_gets_no_connection_is_told_that_nothing_was_sent(server: RedisServer) -> None:
    async with connected(server.url, most=1, patience=0.05) as tier:
        await tier.data.increment("acme:a", 1)
        server.signal(signal.SIGSTOP)
        first = asyncio.create_task(tier.data.increment("acme:a", 1))
        await asyncio.sleep(0)
        same = asyncio.create_task(tier.data.increment("acme:a", 1))
        with pytest.raises(TierUnavailable, match=r"all 1 connections .* it was not sent") as told:
            await tier.data.increment("acme:b", 1)
        assert not isinstance(told.value, Unanswered)
        server.signal(signal.SIGCONT)
        assert await asyncio.gather(first, same) == [2, 3], "one name waits for none of its own"
        assert await tier.data.increment("acme:b", 1) == 1


def one_more(server: RedisServer) -> socket.socket:
    """A connection that the server has taken, though it may count one for a moment that is gone."""
    while True:
        other = socket.create_connection(("127.0.0.1", server.port))
        other.sendall(b"PING\r\n")
        if b"max number of clients" not in other.recv(1000):
            return other
        other.close()


@pytest.mark.parametrize(
    "order",
    [
        ("CONFIG", "SET", "requirepass", "another"),
        ("CONFIG", "SET", "maxclients", "3"),
        ("ACL", "SETUSER", "default", "-ping"),
    ],
    ids=["password", "clients", "ping"],
)
async def test_who_is_refused_a_connection_leaves_the_others_theirs(
    server: RedisServer, order: tuple[str, ...]
) -> None:
    """It is the server that says so: it has not failed, and reads go on where they went before."""
    async with Cache(redis=server.url, limits=Limits(op_timeout=5.0)) as cache:
        acme = cache.tenant("acme")
        assert await acme.set("x", "1", "value")
        await until(lambda: clients(server) == 2)
        assert server.say(*order) == b"+OK\r\n"
        with one_more(server):
            for number in range(5):
                with pytest.raises(NotPermitted, match="Redis refused"):
                    await acme.increment("n", str(number))
        inside(cache).memory.flush()
        hit = await acme.get("x", "1")
        assert hit
        assert hit.tier == "l2"
        assert inside(cache).lower[0].available


async def test_calls_of_one_name_are_carried_out_in_their_order(server: RedisServer) -> None:
    async with connected(server.url) as tier:
        items = [b"%d" % number for number in range(500)]
        await asyncio.gather(*(tier.data.push("acme:l", item, left=False) for item in items))
        assert await tier.data.range("acme:l", 0, -1) == items


async def test_callers_that_leave_take_no_answer_from_the_others(server: RedisServer) -> None:
    rng = random.Random(4)
    async with connected(server.url, most=4) as tier:
        names = [f"{tenant}:l" for tenant in "abcdefgh"]
        for name in names:
            await tier.data.push(name, name.encode(), left=False)
        for _ in range(20):
            asked = rng.choices(names, k=60)
            tasks = [asyncio.create_task(tier.data.range(name, 0, -1)) for name in asked]
            for task in rng.sample(tasks, 30):
                asyncio.get_running_loop().call_later(rng.uniform(0, 0.01), task.cancel)
            got = await asyncio.gather(*tasks, return_exceptions=True)
            for name, answer in zip(asked, got, strict=True):
                assert isinstance(answer, asyncio.CancelledError) or answer == [name.encode()]
        assert clients(server) <= 1 + 4


async def test_a_large_list_keeps_no_other_waiting(server: RedisServer) -> None:
    """On one connection its megabytes would be read before the neighbour's number."""
    async with connected(server.url) as tier:
        await tier.data.increment("b:n", 1)
        for _ in range(8):
            await tier.data.push("a:l", b"x" * 2**22, left=False)
        reading = asyncio.create_task(tier.data.range("a:l", 0, -1))
        await asyncio.sleep(0)
        assert await tier.data.increment("b:n", 1) == 2
        assert not reading.done()
        assert len(await reading) == 8


async def test_an_outage_costs_callers_nothing(server: RedisServer) -> None:
    async with connected(server.url) as tier:
        await tier.data.increment("acme:a", 1)
        server.kill()
        with contextlib.suppress(TierUnavailable):
            await tier.data.increment("acme:a", 1)
        for _ in range(1000):
            if InsideRedis(tier).link.wire is None:
                break
            await asyncio.sleep(0.005)
        started = time.thread_time()
        for _ in range(100):
            with pytest.raises(TierUnavailable, match="no connection to Redis at present"):
                await tier.data.increment("acme:a", 1)
        assert time.thread_time() - started < 1


@pytest.mark.parametrize(
    "extra", [b":7\r\n", b"$3\r\nabc\r\n", b"*1\r\n$3\r\nabc\r\n", b"_\r\n"], ids=repr
)
async def test_a_reply_of_the_right_form_is_taken_only_with_its_proof(
    server: RedisServer, extra: bytes
) -> None:
    """One reply too many: it would be an answer, and the next caller's would be this one's."""
    async with FuzzingRedis(server.port) as between, connected(between.url) as tier:
        data = tier.data
        for item in (b"one", b"two"):
            await data.push("acme:l", item, left=False)
        await data.increment("acme:n", 1000)
        between.plan = Plan(before(extra))
        for call in (
            lambda: data.range("acme:l", 0, -1),
            lambda: data.pop("acme:l", left=True),
            lambda: data.counter("acme:n"),
            lambda: data.length("acme:l"),
            lambda: data.increment("acme:n", 1000),
        ):
            with pytest.raises(TierUnavailable):
                await call()
        between.plan = None
        assert await data.increment("acme:n", 1000) >= 2000


async def test_a_connection_that_is_never_greeted_costs_its_callers_one_deadline(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others' calls go on beside it: they say nothing about the connection that is waited for."""
    monkeypatch.setattr(guarded_datastore, "PATIENCE", 0.5)
    async with FuzzingRedis(server.port) as between, connected(between.url) as tier:
        data = GuardedData(GuardedTier(tier, SystemClock(), timeout=0.5), tier.data)

        async def go_on() -> None:
            while True:
                await tier.data.increment("acme:busy", 1)

        others = [asyncio.create_task(go_on()) for _ in range(8)]
        assert await tier.data.increment("acme:busy", 1) > 0
        between.plan = Plan(lambda talk, reply: talk.hush(), 0)
        began = time.monotonic()
        calls = [data.push("acme:l", b"item", left=False) for _ in range(3)]
        told = await asyncio.gather(*calls, return_exceptions=True)
        took = time.monotonic() - began
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    assert [type(each) for each in told] == [Unanswered] * 3
    assert took < 1.2, "each of them would begin anew, or go on for as long as others do"
