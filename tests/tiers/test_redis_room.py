"""How much room entries take in Redis, what finds none, and how the account is put right."""

from __future__ import annotations

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from cascada.model.keys import Key
from cascada.model.names import key_name, tag_name
from cascada.testing.inside import InsideRedis
from cascada.tiers.contract import Filled, Lease, Outcome
from cascada.tiers.large_values import BULKY
from cascada.tiers.redis.room import NO_SCAN
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.l2_budget import measured
from tests.tiers.redis_world import KEY, OTHER, Process, processes
from tests.tiers.test_redis_rights import User, sentences, user

__all__ = ["user"]

TAG = tag_name("acme", "news")
MB = 2**20
VALUE = b"x" * 1000
ENTRY = 1500  # no more than an entry with that value takes


@pytest.fixture(autouse=True)
def flushed(redis_server: RedisServer) -> None:
    redis_server.flush()


def named(number: object, tenant: str = "acme") -> Key:
    return KEY._replace(tenant=tenant, resource_id=f"{number}")


async def load(
    process: Process, key: Key, data: bytes = VALUE, names: tuple[str, ...] = ()
) -> Filled:
    (filled,) = await process.tier.fill([await process.lease(key)], [process.entry(data, names)])
    return filled


async def put(
    process: Process, key: Key, data: bytes = VALUE, version: int | None = None
) -> Filled:
    lease = await process.lease(key, force=True)
    (filled,) = await process.tier.fill([lease], [process.entry(data, version=version)])
    return filled


async def fill_up(process: Process, most: int = 1000) -> int:
    """Until nothing has room any more; how many had."""
    for number in range(most):
        if not (await load(process, named(number))).accepted:
            return number
    raise AssertionError("it takes all")


async def used(process: Process) -> int:
    return (await process.tier.usage()).size_bytes


def account(server: RedisServer, process: Process) -> list[int]:
    said = server.say("GET", process.tier.layout.account.decode())
    return [int(each) for each in re.findall(rb"\d+", said.partition(b"\r\n")[2])]


def memory(server: RedisServer) -> int:
    found = re.search(rb"used_memory:(\d+)", server.say("INFO", "memory"))
    assert found
    return int(found.group(1))


# --- the account ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10, 300, 1100, 5000])
async def test_it_is_what_the_server_really_takes(redis_server: RedisServer, size: int) -> None:
    process = Process(redis_server.url)
    async with processes(process):
        await load(process, named("first"))
        before, began = memory(redis_server), await used(process)
        for first in range(0, 800, 100):
            keys = [named(n) for n in range(first, first + 100)]
            leases = [each for each in await process.tier.lease(keys, [None] * 100)]
            entries = [process.entry(b"v" * size, (tag_name("acme", f"{key}"),)) for key in keys]
            await process.tier.fill([each for each in leases if isinstance(each, Lease)], entries)
        grown = await used(process) - began
        real = memory(redis_server) - before
        # Buffers of connections, and scripts, are in what the server says.
        assert 0.95 * (real - 2**16) < grown < 1.25 * real


async def test_what_is_removed_makes_room_at_once(redis_server: RedisServer) -> None:
    process = Process(redis_server.url)
    async with processes(process):
        await load(process, KEY)
        one = account(redis_server, process)
        await load(process, OTHER)
        await process.tier.invalidate([key_name(OTHER)])
        assert account(redis_server, process)[0] == one[0]
        assert account(redis_server, process)[2] == 1
        await load(process, KEY, VALUE * 2)
        assert one[0] + 1000 < account(redis_server, process)[0] < one[0] + 1400
        await put(process, KEY)
        assert account(redis_server, process)[:1] == one[:1]


async def test_what_its_group_has_ended_goes_with_the_next_count(redis_server: RedisServer) -> None:
    """Nobody will ever read it again, and it would keep its room until it expires."""
    process = Process(redis_server.url, capacity_bytes=MB)
    async with processes(process):
        await load(process, KEY, names=(TAG,))
        await load(process, OTHER)
        await load(process, named("large"), b"x" * (BULKY + 1), (TAG,))
        assert redis_server.say("KEYS", "*:b:*").startswith(b"*1\r\n")
        await process.tier.invalidate([TAG])
        await InsideRedis(process.tier).count()
        assert account(redis_server, process)[2] == 1
        assert redis_server.say("KEYS", "*:b:*") == b"*0\r\n", "its payload as well"
        for key in (KEY, named("large")):
            assert redis_server.say("EXISTS", process.tier.layout.entry(key).decode()) == b":0\r\n"
        assert await process.found(OTHER) == VALUE
        assert [each.own for each in await process.tier.count_entries(["y:acme:row"])] == [1]


@pytest.mark.parametrize("damage", ["lost", "too high", "too low", "not a number", "a list"])
async def test_an_account_that_lies_is_put_right(redis_server: RedisServer, damage: str) -> None:
    process = Process(redis_server.url, capacity_bytes=MB)
    async with processes(process):
        for number in range(50):
            await load(process, named(number))
        right = account(redis_server, process)
        where = process.tier.layout.account.decode()
        redis_server.say("DEL", where)
        if damage == "too high":
            redis_server.say("SET", where, f"{10**15} 5 7 0")
        elif damage == "too low":
            redis_server.say("SET", where, "1 1 1 0")
        elif damage == "not a number":
            redis_server.say("SET", where, "what is this")
        elif damage == "a list":
            redis_server.say("RPUSH", where, "what is this")
        await load(process, named(0))
        await InsideRedis(process.tier).count()
        now = account(redis_server, process)
        assert now[2] == (49 if damage == "too high" else 50), "for as long, nothing has room"
        assert right[0] - ENTRY <= now[0] <= right[0] + ENTRY
        assert (await load(process, named(0))).accepted


async def test_what_went_by_itself_makes_room_in_time(redis_server: RedisServer) -> None:
    """No script sees what expires, or what the server evicts: here another hand removes it."""
    process = Process(redis_server.url, capacity_bytes=MB)
    async with processes(process):
        tending = asyncio.get_running_loop().create_task(process.tier.tend())
        held = await fill_up(process)
        for number in range(held // 2):
            redis_server.say("DEL", process.tier.layout.entry(named(number)).decode())
        deadline = asyncio.get_running_loop().time() + 15
        while not (await load(process, named("later"))).accepted:
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        tending.cancel()


async def test_one_process_counts_and_another_goes_on_where_it_was_killed(
    redis_server: RedisServer,
) -> None:
    here, there = (Process(redis_server.url, capacity_bytes=MB) for _ in range(2))
    async with processes(here, there):
        await load(here, KEY)
        under_way = (here.tier.layout.account + b"r").decode()
        redis_server.say("SET", under_way, "deadbeef 0 0 0 0 0", "PX", "60000")
        before = account(redis_server, here)
        await InsideRedis(there.tier).count()
        assert account(redis_server, here) == before, "another process counts"
        redis_server.say("PEXPIRE", under_way, "1")
        await until(lambda: redis_server.say("EXISTS", under_way) == b":0\r\n")
        await asyncio.gather(InsideRedis(here.tier).count(), InsideRedis(there.tier).count())
        assert account(redis_server, here)[3] > 0


# --- what finds no room ---------------------------------------------------------------------------


async def test_a_load_that_finds_none_leaves_nothing_and_its_lease_stood(
    redis_server: RedisServer,
) -> None:
    process = Process(redis_server.url, capacity_bytes=MB // 8)
    async with processes(process):
        held = await fill_up(process)
        assert held * ENTRY > MB // 16
        filled = await load(process, named("new"))
        assert (filled.accepted, filled.outcome) == (False, Outcome.NO_ROOM)
        assert await process.found(named("new")) is None
        assert await process.found(named(0)) == VALUE, "what is there stays"
        again = await process.lease(named("new"))
        assert isinstance(again, Lease), "it has left no lease behind"
        same = await load(process, named(0), b"y" * 1000)
        assert same.accepted, "what does not grow may stay"
        grown = await load(process, named(0), b"y" * 3000)
        assert grown.outcome is Outcome.NO_ROOM
        assert await process.found(named(0)) is None, "it would be found where the new one is not"


async def test_a_set_that_finds_none_voids_what_was_there(redis_server: RedisServer) -> None:
    here, there = (Process(redis_server.url, capacity_bytes=MB // 8) for _ in range(2))
    async with processes(here, there):
        held = await fill_up(here)
        made = named(held - 1)
        await there.keep(named(0))
        assert there.has(named(0))
        late = await there.lease(named(0))
        filled = await put(here, named(0), b"y" * 3000, version=7)
        assert filled.outcome is Outcome.NO_ROOM
        assert await here.found(named(0)) is None
        await until(lambda: not there.has(named(0)))
        (refused,) = await there.tier.fill([late], [there.entry(b"old")])
        assert (refused.accepted, refused.outcome) == (False, Outcome.PLAIN)
        assert await here.found(made) == VALUE
        older = await put(here, named(0), b"old", version=6)
        assert older.outcome is Outcome.OLDER, "its version is known all the same"


@pytest.mark.parametrize("how", ["load", "set"])
async def test_an_invalidation_meanwhile_is_no_want_of_room(
    redis_server: RedisServer, how: str
) -> None:
    process = Process(redis_server.url, capacity_bytes=MB // 8)
    async with processes(process):
        await fill_up(process)
        lease = await process.lease(named("new"), force=how == "set")
        await process.tier.invalidate([TAG if how == "load" else key_name(named("new"))])
        (filled,) = await process.tier.fill([lease], [process.entry(VALUE, (TAG,))])
        assert filled.outcome is not Outcome.NO_ROOM, "memory would keep what was invalidated"


async def test_of_contexts_no_generations_are_drawn_beyond_the_bound(
    redis_server: RedisServer,
) -> None:
    process = Process(redis_server.url, capacity_bytes=MB // 8)
    async with processes(process):
        await fill_up(process)
        outcomes = set()
        for number in range(150):
            key = named(number)._replace(agent=f"a{number}", conversation=f"c{number}")
            outcomes.add((await load(process, key)).outcome)
        assert outcomes == {Outcome.NO_ROOM}
        assert await used(process) < MB // 8 + ENTRY
        key = named("x")._replace(agent="ax", conversation="cx")
        lease = await process.lease(key)
        await process.tier.invalidate(["p:acme:agent:ax"])
        (filled,) = await process.tier.fill([lease], [process.entry()])
        assert filled.outcome is Outcome.PLAIN, "only the ring could tell"


async def test_a_large_value_without_room_leaves_no_payload(redis_server: RedisServer) -> None:
    process = Process(redis_server.url, capacity_bytes=MB)
    async with processes(process):
        await load(process, KEY)
        before = memory(redis_server)
        for filled in (
            await load(process, KEY, b"x" * 2 * MB),
            await put(process, OTHER, b"x" * 2 * MB),
        ):
            assert filled.outcome is Outcome.NO_ROOM
        assert memory(redis_server) < before + MB // 4
        assert await process.found() is None
        for number in range(6):
            await load(process, named(number), b"%d" % number * (BULKY + 1))
        assert await used(process) < MB
        assert await process.found(named(0)) == b"0" * (BULKY + 1)


async def test_a_count_before_a_large_payload_has_come_knows_its_place(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(redis_server.url, capacity_bytes=3 * MB)
    async with processes(process):
        inner = InsideRedis(process.tier)
        reserve = inner.room.reserve

        async def reserve_and_count(*of: Any) -> bool:
            has_room = await reserve(*of)
            await inner.count()
            return has_room

        monkeypatch.setattr(inner.room, "reserve", reserve_and_count)
        stored = [(await load(process, named(n), b"%d" % n * MB)).accepted for n in range(3)]
        assert stored == [True, True, False]
        assert 2 * MB < account(redis_server, process)[0] < 3 * MB


async def test_a_place_that_is_only_kept_is_no_payload(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its payload was evicted, and another writer of the same has not brought his yet."""
    process = Process(redis_server.url, capacity_bytes=3 * MB)
    async with processes(process):
        inner = InsideRedis(process.tier)
        put, key = inner.aside.put, named("large")

        async def put_and_evict(*of: Any) -> Any:
            fills = await put(*of)
            place = process.tier.layout.aside(key, fills[0][1].data[:32])
            redis_server.say("DEL", place.decode())
            assert await inner.room.reserve(inner.lanes_of_large, place, 0, MB)
            return fills

        monkeypatch.setattr(inner.aside, "put", put_and_evict)
        assert not (await load(process, key, b"x" * MB)).accepted


@pytest.mark.parametrize("capacity", [1, 1000])
async def test_of_next_to_nothing_all_else_goes_on(
    redis_server: RedisServer, capacity: int
) -> None:
    process = Process(redis_server.url, capacity_bytes=capacity)
    async with processes(process):
        assert (await put(process, KEY)).outcome is Outcome.NO_ROOM
        assert (await load(process, KEY)).outcome is Outcome.NO_ROOM
        assert (await process.tier.invalidate([TAG, key_name(KEY)])).seq > 0
        assert await process.found() is None
        assert await used(process) <= capacity + 1000


async def test_a_lower_budget_than_before_is_reached_by_what_goes(
    redis_server: RedisServer,
) -> None:
    before, after = Process(redis_server.url), Process(redis_server.url, capacity_bytes=MB // 16)
    async with processes(before, after):
        for number in range(200):
            await load(before, named(number))
        assert (await load(after, named("new"))).outcome is Outcome.NO_ROOM
        assert (await put(after, named(0))).outcome is Outcome.NO_ROOM, "though it would not grow"
        assert await after.found(named(0)) is None
        assert (await load(before, named("new"))).accepted, "each by his own budget"


async def test_who_may_not_scan_is_told_and_refuses_nothing(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(user("-scan"), capacity_bytes=MB // 8)
    with caplog.at_level(logging.WARNING, "cascada"):
        async with processes(process):
            await InsideRedis(process.tier).count()
            for number in range(110):
                assert (await load(process, named(number))).accepted
            assert await used(process) > MB // 8
    assert [each for each in sentences(caplog) if each.startswith(NO_SCAN)] == sentences(caplog)
    assert len(sentences(caplog)) == 1


async def test_a_budget_holds_by_what_the_server_says(tmp_path: Path) -> None:
    """The short form of `python -m tests.tiers.l2_budget`."""
    server = RedisServer(tmp_path)
    try:
        empty = memory(server)
        run = await measured(server, 3000, 1)
    finally:
        server.kill()
    assert 500 < run.kept < 2000
    assert run.counted < 2 * MB, "what comes during a count may be counted twice"
    assert run.most < empty + 3 * MB, "rings, buffers, scripts"
