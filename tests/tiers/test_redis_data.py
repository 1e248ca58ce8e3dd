"""Data in Redis: what its server may do to them, and connections that are cut again and again.

A call ends in one of three ways, and each must be the truth: done, certainly not done, unanswered.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from cascada import FOREVER, Cache, Limits
from cascada.model.clock import SystemClock
from cascada.model.errors import TierUnavailable, Unanswered
from cascada.tiers.contract import NotPermitted
from cascada.tiers.redis.layout import LAYOUT
from cascada.tiers.redis.tier import RedisTier
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY

CUTS, CALLERS = 40, 10


@pytest.fixture
async def tier(server: RedisServer) -> AsyncIterator[RedisTier]:
    tier = RedisTier(server.url, namespace="test", clock=SystemClock())
    running = asyncio.get_running_loop().create_task(tier.run())
    await tier.up()
    yield tier
    running.cancel()
    await asyncio.wait([running])
    await tier.aclose()


class Siege:
    """Callers that go on calling while their connection is cut; what became of each call."""

    def __init__(self, server: RedisServer, tier: RedisTier) -> None:
        self.server, self.tier = server, tier
        self.ended: Counter[str] = Counter()
        self.over = False

    async def run(self, call: Callable[[], Awaitable[Any]]) -> list[Any]:
        """What was answered to the calls that were done, in the order of the answers."""
        answers: list[Any] = []
        callers = asyncio.gather(*(self._go_on(call, answers) for _ in range(CALLERS)))
        for _ in range(CUTS):
            await self._until_it_answers()
            await asyncio.sleep(0.005)
            self.server.say("CLIENT", "KILL", "TYPE", "normal")
        self.over = True
        await callers
        for _ in range(2):  # by the second time it has heard of the last cut
            await self._until_it_answers()
            await asyncio.sleep(0.05)
        assert self.ended["unanswered"] > CUTS / 2, "else it would have proved little"
        assert self.ended["done"] > CUTS
        return answers

    async def _until_it_answers(self) -> None:
        async with asyncio.timeout(10):
            while True:
                try:
                    await self.tier.data.length("acme:probe")
                except TierUnavailable:
                    await asyncio.sleep(0.001)
                else:
                    return

    async def _go_on(self, call: Callable[[], Awaitable[Any]], answers: list[Any]) -> None:
        while not self.over:
            try:
                answers.append(await call())
            except Unanswered:
                self.ended["unanswered"] += 1
            except TierUnavailable:
                self.ended["certainly not done"] += 1
                await asyncio.sleep(0.001)
            else:
                self.ended["done"] += 1


@pytest.fixture
def siege(server: RedisServer, tier: RedisTier) -> Siege:
    return Siege(server, tier)


async def test_nothing_is_counted_twice(siege: Siege, tier: RedisTier) -> None:
    answers = await siege.run(lambda: tier.data.increment("acme:calls", 1))
    counted = await tier.data.counter("acme:calls")
    assert len(answers) <= counted <= len(answers) + siege.ended["unanswered"]
    assert len(answers) == len({*answers}), "nobody got another's answer"


async def test_nothing_is_pushed_twice(siege: Siege, tier: RedisTier) -> None:
    numbers, done = count(), set()

    async def push() -> None:
        item = b"%d" % next(numbers)
        await tier.data.push("acme:l", item, left=False)
        done.add(item)

    await siege.run(push)
    there = await tier.data.range("acme:l", 0, -1)
    assert len(there) == len({*there})
    assert done <= {*there}
    assert len(there) <= len(done) + siege.ended["unanswered"]


async def test_nothing_is_popped_twice(siege: Siege, tier: RedisTier) -> None:
    numbers, there = count(), set()

    async def push() -> None:
        item = b"%d" % next(numbers)
        await tier.data.push("acme:l", item, left=False)
        there.add(item)

    async def push_and_pop() -> bytes | None:
        await push()  # there is always something to pop
        return await tier.data.pop("acme:l", left=True)

    await asyncio.gather(*(push() for _ in range(1_000)))
    taken = await siege.run(push_and_pop)
    left = await tier.data.range("acme:l", 0, -1)
    assert left, "else it would have proved little"
    assert None not in taken
    assert len(taken) == len({*taken})
    assert not {*taken} & {*left}
    assert len(there - {*taken} - {*left}) <= siege.ended["unanswered"]


# --- other versions -------------------------------------------------------------------------


async def test_a_change_of_the_layout_leaves_data_to_all_versions(
    server: RedisServer, tier: RedisTier
) -> None:
    """A newer version empties the cache in Redis and shuts the older one out of it."""
    assert await tier.data.increment("acme:c", 7) == 7
    assert await tier.data.push("acme:l", b"item", left=False) == 1
    newer = RedisTier(server.url, namespace="test", clock=SystemClock(), layout=LAYOUT + 1)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(newer.run())
        await newer.up()
        with pytest.raises(NotPermitted):
            await tier.read([KEY])
        assert await newer.data.increment("acme:c", 1) == 8
        assert await tier.data.increment("acme:c", 1) == 9
        assert await newer.data.pop("acme:l", left=True) == b"item"
        running.cancel()
    await newer.aclose()


async def test_a_counter_has_its_end_from_the_beginning(
    server: RedisServer, tier: RedisTier
) -> None:
    await asyncio.gather(*(tier.data.increment(f"acme:{n}", 1, 60.0) for n in range(5)))
    await tier.data.increment("acme:0", 1)
    await tier.data.increment("acme:plain", 1)
    await tier.data.increment("acme:plain", 1, 60.0)
    left = {
        n: int(server.say("PTTL", f"test.0:{{b0}}:c:acme:{n}")[1:]) for n in (*range(5), "plain")
    }
    assert left.pop("plain") == -1
    assert all(50_000 < each <= 60_000 for each in left.values())


# --- what the server allows -------------------------------------------------------------------


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[Cache]:
    """Of a user who may neither run scripts nor count."""
    rules = ("on", ">pw", "~*", "&*", "+@all", "-@scripting", "-incrby")
    assert server.say("ACL", "SETUSER", "few", *rules) == b"+OK\r\n"
    async with Cache(redis=server.url.replace("//", "//few:pw@")) as cache:
        yield cache


async def test_what_is_forbidden_is_said_and_the_rest_works(cache: Cache) -> None:
    acme = cache.tenant("acme")
    for _ in range(5):  # more often than a breaker would stand
        with pytest.raises(TierUnavailable, match="Redis refused INCRBY: NOPERM") as caught:
            await acme.increment("calls", "chat")
        assert not isinstance(caught.value, Unanswered), "certainly not done"
        with pytest.raises(TierUnavailable, match="NOPERM") as caught:
            await acme.increment("calls", "window", ttl=60)
        assert not isinstance(caught.value, Unanswered)
    assert await acme.list("inbox").rpush("item") == 1, "without a script"


async def test_a_full_server_refuses_and_has_not_failed(server: RedisServer) -> None:
    async with Cache(redis=server.url) as cache:
        acme = cache.tenant("acme")
        await acme.increment("calls", "chat")
        server.say("CONFIG", "SET", "maxmemory", "1")
        for _ in range(5):
            with pytest.raises(TierUnavailable, match="Redis refused RPUSH: OOM"):
                await acme.list("inbox").rpush("item")
        assert await acme.counter("calls", "chat") == 1
        server.say("CONFIG", "SET", "maxmemory", "0")
        assert await acme.list("inbox").rpush("item") == 1


@pytest.mark.parametrize(
    ("policy", "most", "warned"),
    [
        ("allkeys-lru", "100mb", True),
        ("allkeys-lru", "0", False),
        ("volatile-lru", "100mb", False),
        ("noeviction", "100mb", False),
    ],
)
async def test_a_server_that_may_evict_data_is_warned_of_once(
    server: RedisServer, policy: str, most: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    server.say("CONFIG", "SET", "maxmemory", most)
    server.say("CONFIG", "SET", "maxmemory-policy", policy)
    async with Cache(redis=server.url) as cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "who has no data is not warned")
        assert not caplog.records
        for _ in range(3):
            await acme.increment("calls", "chat")
    said = [record.getMessage() for record in caplog.records]
    assert [
        f"maxmemory-policy {policy}" in text and "set volatile-lru" in text for text in said
    ] == ([True] * warned)


async def test_a_full_server_that_evicts_by_ttl_leaves_data_alone(server: RedisServer) -> None:
    async with Cache(redis=server.url, limits=Limits(op_timeout=10)) as cache:
        acme = cache.tenant("acme")
        for number in range(100):
            await acme.list("inbox").rpush(number)
            await acme.increment("calls", number, number)
        said = re.search(rb"used_memory:(\d+)", server.say("INFO", "memory"))
        assert said
        used = int(said[1])
        server.say("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
        server.say("CONFIG", "SET", "maxmemory", str(used + 500_000))
        for number in range(200):
            await acme.set("doc", number, os.urandom(10_000), ttl=FOREVER)
        assert (await cache.stats()).tiers["l2"].evictions > 50
        assert await acme.list("inbox").range() == [*range(100)]
        for number in range(100):
            assert await acme.counter("calls", number) == number
