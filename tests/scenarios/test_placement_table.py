"""Where a value is after it was stored, once it was read, and what another process then finds.

The tables are written by hand, from the documented rules: a digit is a tier (1 memory, 2 Redis,
3 the database), "2>12" is after the write, and after it was read. What may not be in the database
is in memory while Redis is away, as if there were no other tier.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CachePriority, Hit, Limits, Policy
from cascada.engine.home import lifecycle
from cascada.engine.sparing import may_spare
from cascada.model.policy import CachePriority as P
from cascada.testing.clock import ManualClock
from cascada.testing.inside import InsidePush, inside
from cascada.testing.nodes import hear
from cascada.tiers.contract import Found
from cascada.tiers.redis.feed import PushFeed
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

Row = tuple[CachePriority | None, bool | None]

TIERS = ("memory", "redis", "sqlite", "redis and sqlite", "sqlite, redis away")
"""The columns of the tables."""

# fmt: off
SET: dict[Row, tuple[str, ...]] = {
    (None, None):        ("1", "12",   "13",   "123",    "3"),
    (None, True):        ("1", "2>12", "3>13", "23>123", "3"),
    (None, False):       ("1", "2>12", "1",    "2>12",   "1"),
    (P.LOW, None):       ("1", "2",    "3",    "3>23",   "3"),
    (P.LOW, True):       ("1", "2",    "3",    "3>23",   "3"),
    (P.LOW, False):      ("1", "2",    "1",    "2",      "1"),
    (P.NORMAL, None):    ("1", "2>12", "3>13", "2>12",   "3"),
    (P.NORMAL, True):    ("1", "2>12", "3>13", "23>123", "3"),
    (P.NORMAL, False):   ("1", "2>12", "1",    "2>12",   "1"),
    (P.HIGH, None):      ("1", "12",   "13",   "12",     "3"),
    (P.HIGH, True):      ("1", "12",   "13",   "123",    "3"),
    (P.HIGH, False):     ("1", "12",   "1",    "12",     "1"),
    (P.CRITICAL, None):  ("1", "12",   "13",   "12",     "3"),
    (P.CRITICAL, True):  ("1", "12",   "13",   "123",    "3"),
    (P.CRITICAL, False): ("1", "12",   "1",    "12",     "1"),
}

LOADED_FAST: dict[Row, tuple[str, ...]] = {
    (None, None):        ("1", "12", "13", "123", "3"),
    (None, True):        ("1", "12", "13", "123", "3"),
    (None, False):       ("1", "12", "1",  "12",  "1"),
    (P.LOW, None):       ("1", "2",  "3",  "23",  "3"),
    (P.LOW, True):       ("1", "2",  "3",  "23",  "3"),
    (P.LOW, False):      ("1", "2",  "1",  "2",   "1"),
    (P.NORMAL, None):    ("1", "12", "13", "12",  "3"),
    (P.NORMAL, True):    ("1", "12", "13", "123", "3"),
    (P.NORMAL, False):   ("1", "12", "1",  "12",  "1"),
    (P.HIGH, None):      ("1", "12", "13", "12",  "3"),
    (P.HIGH, True):      ("1", "12", "13", "123", "3"),
    (P.HIGH, False):     ("1", "12", "1",  "12",  "1"),
    (P.CRITICAL, None):  ("1", "12", "13", "12",  "3"),
    (P.CRITICAL, True):  ("1", "12", "13", "123", "3"),
    (P.CRITICAL, False): ("1", "12", "1",  "12",  "1"),
}

LOADED_SLOWLY: dict[Row, tuple[str, ...]] = {
    **LOADED_FAST,
    (P.NORMAL, None):    ("1", "12", "13", "123", "3"),
    (P.HIGH, None):      ("1", "12", "13", "123", "3"),
    (P.CRITICAL, None):  ("1", "12", "13", "123", "3"),
}
# fmt: on


def type_of(row: Row) -> str:
    priority, durable = row
    return f"{'none' if priority is None else priority.name}_{durable}".lower()


POLICIES = {type_of(row): Policy(priority=row[0], durable=row[1], ttl=600) for row in SET}


class World:
    """Two processes on the same tiers; `clock` is both of theirs."""

    def __init__(self, tiers: str, clock: ManualClock, server: str, database: Path) -> None:
        where: dict[str, Any] = {}
        if "redis" in tiers:
            where["redis"] = "redis://127.0.0.1:1" if "away" in tiers else server
        if "sqlite" in tiers:
            where["database"] = str(database)
        self.column = TIERS.index(tiers)
        self.clock = clock
        limits = Limits(op_timeout=10, invalidate_patience=0)
        self.here, self.there = (
            Cache(policies=POLICIES, clock=clock, limits=limits, **where) for _ in range(2)
        )

    async def warm(self) -> None:
        """Both have met their servers: nothing empties a memory any more."""
        for cache in (self.here, self.there):
            await cache.tenant("acme").set("warm", "up", 1)
            feed = inside(cache).feed
            if isinstance(feed, PushFeed) and "away" not in TIERS[self.column]:
                await until(lambda: InsidePush(feed).nonce != b"")  # noqa: B023 - used at once
            if may_spare(stack := inside(cache).stack):
                await until(lambda: bool(stack.spared))

    async def places(self, tenant: str, data_type: str) -> str:
        """The tiers that have the value, by their digits."""
        stack = inside(self.here)
        while tasks := [task for task in asyncio.all_tasks() if "backfill" in task.get_name()]:
            await asyncio.wait(tasks)
        key = self.here.tenant(tenant).key(data_type, "r")
        # Whether it may be served now or not: a slow machine hears late of what there is.
        found = "1" if stack.memory.records.get(key) is not None else ""
        for tier in stack.lower:
            if not tier.breaker.open and not tier.deferred:
                (answer,) = await tier.tier.read([key])
                found += tier.name[1] if isinstance(answer, Found) else ""
        return found or "-"

    async def read_twice(self, tenant: str, data_type: str, expected: str) -> list[str]:
        """Where it is now, after one read and after two, and where another process finds it."""
        places = [await self.places(tenant, data_type)]
        for _ in range(2):
            assert bool(await self.here.tenant(tenant).get(data_type, "r")) is (expected != "-")
            places.append(await self.places(tenant, data_type))
        hit = await self.there.tenant(tenant).get(data_type, "r")
        return [*places, hit.tier[1] if isinstance(hit, Hit) else "-"]

    def expected(self, table: dict[Row, tuple[str, ...]], row: Row) -> list[str]:
        stored, _, read = table[row][self.column].partition(">")
        read = read or stored
        # The other process reads the first tier that both have.
        shared = read.replace("1", "")
        return [stored, read, read, shared[:1] or "-"]


@pytest.fixture(params=TIERS)
async def world(
    request: pytest.FixtureRequest,
    clock: ManualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    nothing_left_behind: None,
) -> AsyncIterator[World]:
    url = ""
    if "away" in request.param:
        monkeypatch.setattr(lifecycle, "FIRST_LOOK", 0.05)  # seconds that the first use waits
    if "redis" in request.param and "away" not in request.param:
        server: RedisServer = request.getfixturevalue("redis_server")
        server.flush()
        url = server.url
    made = World(request.param, clock, url, tmp_path / "cache.db")
    await made.warm()
    yield made
    await made.here.aclose()
    await made.there.aclose()


async def test_where_a_value_is(world: World) -> None:
    await after_a_set(world)
    await what_a_call_says_goes_before_the_policy(world)
    await many_are_placed_as_one_is(world)
    await after_a_load(world, 0.001, LOADED_FAST)
    await after_a_load(world, 0.06, LOADED_SLOWLY)


async def after_a_set(world: World) -> None:
    for row in SET:
        await world.here.tenant("set").set(type_of(row), "r", "value")
        expected = world.expected(SET, row)
        assert await world.read_twice("set", type_of(row), expected[0]) == expected, row


async def what_a_call_says_goes_before_the_policy(world: World) -> None:
    for said in P:
        for policy in (None, *P):
            data_type = type_of((policy, None))
            await world.here.tenant("call").set(data_type, "r", "value", priority=said)
            places = world.expected(SET, (said, None))[0]
            assert await world.places("call", data_type) == places, (said, policy)


async def many_are_placed_as_one_is(world: World) -> None:
    for row in SET:
        await world.here.tenant("many").set_many(type_of(row), {"r": "value", "s": "another"})
        assert await world.places("many", type_of(row)) == world.expected(SET, row)[0], row


async def after_a_load(world: World, seconds: float, table: dict[Row, tuple[str, ...]]) -> None:
    tenant = f"load {seconds}"
    acme = world.here.tenant(tenant)

    async def row_of_a_source() -> str:
        world.clock.advance(seconds)
        return "value"

    for row in SET:
        if TIERS[world.column] in ("redis", "sqlite", "redis and sqlite"):
            await hear(world.here)  # the clock goes on
        await acme.load(type_of(row), "r", row_of_a_source)
        await acme.get(type_of(row), "r")  # waits until it is stored
        expected = world.expected(table, row)
        assert await world.read_twice(tenant, type_of(row), expected[0]) == expected, row
