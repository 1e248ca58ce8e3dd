"""What one tenant stores, however large, costs no other one his answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits
from cascada.model.clock import SystemClock
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.testing.inside import InsideRedis, inside
from cascada.tiers.contract import Filled, Lease
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.large_values import BULKY
from cascada.tiers.redis import writes as redis_leases
from tests.options import grouped
from tests.scenarios.row import all_stored, until
from tests.servers.redis import RedisServer

MIB = 2**20
LARGE = 6 * MIB


def is_trusted(cache: Cache) -> bool:
    return all(guarded.available for guarded in inside(cache).lower)


def is_there(cache: Cache) -> bool:
    """Whether the first connection has been made; who asks before goes on without it."""
    tier = inside(cache).tiers.get("l2")
    return tier is None or InsideRedis(tier).link.wire is not None


@pytest.fixture(params=["redis", "sqlite"])
def a_process(
    request: pytest.FixtureRequest, redis_server: RedisServer, tmp_path: Path
) -> Callable[[], Cache]:
    """Caches that share what is stored, each with an empty memory at first."""
    if request.param == "sqlite":
        return lambda: Cache(database=str(tmp_path / "cache.db"), limits=Limits(op_timeout=1))
    redis_server.flush()
    return lambda: Cache(redis=redis_server.url, limits=Limits(op_timeout=1))


async def test_nine_tenants_with_large_values_keep_two_hundred_with_small_ones_waiting_for_nothing(
    a_process: Callable[[], Cache],
) -> None:
    """Set at once, and read at once by who has never seen them: no value is lost or refused."""
    values = [os.urandom(4 * MIB) for _ in range(9)]
    async with a_process() as writer:
        rows = (writer.tenant(f"small {number}").set("row", "1", number) for number in range(200))
        await asyncio.gather(*rows)
        sets = [writer.tenant(f"large {n}").set("blob", "1", each) for n, each in enumerate(values)]
        assert await asyncio.gather(*sets) == [True] * 9
        assert is_trusted(writer)
    async with a_process() as reader:
        await until(lambda: is_there(reader))
        large, small = await asyncio.gather(
            asyncio.gather(*(reader.tenant(f"large {n}").get("blob", "1") for n in range(9))),
            asyncio.gather(*(reader.tenant(f"small {n}").get("row", "1") for n in range(200))),
        )
        assert [hit.value for hit in small] == [*range(200)]
        assert [hit.value == value for hit, value in zip(large, values, strict=True)] == [True] * 9
        assert is_trusted(reader)


@pytest.fixture
async def two(redis_server: RedisServer) -> AsyncIterator[tuple[Cache, Cache]]:
    """Two processes on one Redis. Nothing is compressed, so that a size is a size."""
    redis_server.flush()
    how: dict[str, Any] = {"redis": redis_server.url, "compress_over": 2**40, "op_timeout": 5}
    async with Cache(**grouped(how)) as one, Cache(**grouped(how)) as other:
        yield one, other


async def test_a_large_value_never_goes_where_all_others_do(
    two: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither as it is stored, nor as it is read, nor as another process's load brings it."""
    went: list[int] = []
    for cache in two:
        wire = InsideRedis(inside(cache).tiers["l2"]).link.wire
        assert wire is not None
        watch(wire, went, monkeypatch)
    one, other = (cache.tenant("acme") for cache in two)
    value, begun, loads = os.urandom(LARGE), asyncio.Event(), 0

    async def load() -> bytes:
        nonlocal loads
        loads += 1
        begun.set()
        await asyncio.sleep(0.05)
        return value

    leading = asyncio.create_task(one.load("blob", "1", load))
    await begun.wait()
    assert (await other.load("blob", "1", load)).value == value
    assert (await leading).value == value
    assert loads == 1
    for cache in two:
        inside(cache).memory.flush()
    (hit,) = await other.get_many("blob", ["1"])
    assert (hit.value, hit.tier) == (value, "l2")
    assert await one.set("blob", "1", b"small")
    assert await other.set("blob", "1", value[1:])
    inside(two[0]).memory.flush()
    assert (await one.get("blob", "1")).value == value[1:]
    assert went
    assert max(went) < 2**16


async def test_who_asks_together_with_one_who_reads_a_large_value_does_not_wait_for_it(
    two: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked for in one turn of the loop is read together."""
    for number in range(3):
        await two[0].tenant(f"{number}").set("row", "1", bytes(MIB) if number == 1 else number)
    lanes, go_on = InsideRedis(inside(two[1]).tiers["l2"]).lanes_of_large, asyncio.Event()
    ask = lanes.ask

    async def held(*command: Any, **how: Any) -> Any:
        await go_on.wait()
        return await ask(*command, **how)

    monkeypatch.setattr(lanes, "ask", held)
    first, large, small = (
        asyncio.create_task(two[1].tenant(f"{number}").get("row", "1")) for number in range(3)
    )
    assert (await first).value == 0
    assert (await small).value == 2
    assert not large.done()
    go_on.set()
    assert (await large).value == bytes(MIB)


def watch(wire: Any, went: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what goes over a connection, either way."""
    send, receive = wire.send, wire.data_received

    def sent(command: Any, *rest: Any) -> Any:
        went.append(sum(len(each) for each in command if isinstance(each, bytes)))
        return send(command, *rest)

    def received(data: bytes) -> None:
        went.append(len(data))
        receive(data)

    monkeypatch.setattr(wire, "send", sent)
    monkeypatch.setattr(wire, "data_received", received)


@pytest.mark.parametrize("count", [1, 50])
async def test_values_about_the_bound_come_back(two: tuple[Cache, Cache], count: int) -> None:
    one, other = (cache.tenant("acme") for cache in two)
    for size in (BULKY - 5, BULKY - 4, BULKY + 1):  # with the head that bytes have
        values = {f"{size}-{number}": os.urandom(size) for number in range(count)}
        await one.load_many("blob", list(values), lambda missing, all_=values: all_)
        await until(lambda: not inside(two[0]).flights)
        hits = await other.get_many("blob", list(values))
        assert [hit.value for hit in hits] == list(values.values())
        assert {hit.tier for hit in hits} == {"l2"}


def stored(server: RedisServer) -> bytes:
    """The keys of what lies beside its entry."""
    return server.say("KEYS", "*}:b:*")


def places(server: RedisServer) -> list[str]:
    """The same, one by one."""
    return [part.decode() for part in stored(server).split(b"\r\n")[2::2]]


async def test_what_lies_beside_an_entry_goes_with_it(
    two: tuple[Cache, Cache], redis_server: RedisServer
) -> None:
    acme, value = two[0].tenant("acme"), os.urandom(MIB)
    await acme.set("blob", "1", value)
    first = stored(redis_server)
    assert first.startswith(b"*1\r\n")
    await acme.set("blob", "1", value)  # the same in the place of itself
    assert stored(redis_server) == first
    assert (await two[1].tenant("acme").get("blob", "1")).value == value
    await acme.set("blob", "1", value[1:], tags=["a"])
    assert stored(redis_server).startswith(b"*1\r\n")
    assert stored(redis_server) != first
    await acme.set("blob", "1", b"small")
    assert stored(redis_server) == b"*0\r\n"
    await acme.set("blob", "1", value)
    await acme.invalidate("blob", "1")
    assert stored(redis_server) == b"*0\r\n"


async def test_what_is_refused_goes_from_beside_within_a_minute(
    two: tuple[Cache, Cache], redis_server: RedisServer
) -> None:
    acme = two[0].tenant("acme")

    async def load() -> bytes:
        await two[1].tenant("acme").invalidate("blob", "1")
        return os.urandom(MIB)

    await acme.load("blob", "1", load)
    await all_stored(acme)
    (place,) = places(redis_server)
    left = int(redis_server.say("PTTL", place).removeprefix(b":"))
    assert 0 < left <= 60_000


@pytest.mark.parametrize("at_once", [False, True])
async def test_equal_fills_leave_the_value_there(two: tuple[Cache, Cache], at_once: bool) -> None:
    """The one that is refused has put the same payload in the same place."""
    handles = [cache.tenant("acme") for cache in two]
    value = os.urandom(MIB)
    misses = [await each.get("blob", "1") for each in handles]
    filling = [each.fill(miss, value) for each, miss in zip(handles, misses, strict=True)]
    stored = await asyncio.gather(*filling) if at_once else [await each for each in filling]
    assert sorted(stored) == [False, True]
    for cache in two:
        inside(cache).memory.flush()
    hits = [await each.get("blob", "1") for each in handles]
    assert [(hit.value, hit.tier) for hit in hits] == [(value, "l2")] * 2


async def test_a_payload_lives_as_long_as_the_longest_that_refers_to_it(
    two: tuple[Cache, Cache], redis_server: RedisServer
) -> None:
    """Who says the same for a shorter time, and is refused, has put it for a shorter time."""
    one, other = (cache.tenant("acme") for cache in two)
    value = os.urandom(MIB)
    misses = [await each.get("blob", "1") for each in (one, other)]
    assert await one.fill(misses[0], value, ttl=3600)
    assert not await other.fill(misses[1], value, ttl=1)
    (place,) = places(redis_server)
    assert int(redis_server.say("PTTL", place).removeprefix(b":")) > 3_600_000


async def test_an_entry_is_not_stored_without_its_payload(
    two: tuple[Cache, Cache], redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evicted between the two steps."""
    aside = InsideRedis(inside(two[0]).tiers["l2"]).aside
    put = aside.put

    async def losing(*args: Any) -> Any:
        referring = await put(*args)
        (place,) = places(redis_server)
        redis_server.say("DEL", place)
        return referring

    monkeypatch.setattr(aside, "put", losing)
    assert not await two[0].tenant("acme").set("blob", "1", os.urandom(MIB))
    assert redis_server.say("KEYS", "*:v:acme:blob:1") == b"*0\r\n"


async def test_a_lease_lasts_as_long_as_a_large_value_takes(
    two: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a slow line that is longer than a lease; and what was set would be refused."""
    monkeypatch.setattr(redis_leases, "LEASE_MS", 300)
    lanes = InsideRedis(inside(two[0]).tiers["l2"]).lanes_of_large
    ask = lanes.ask

    async def slowly(*command: Any, **how: Any) -> Any:
        await asyncio.sleep(0.6)
        return await ask(*command, **how)

    monkeypatch.setattr(lanes, "ask", slowly)
    assert await two[0].tenant("acme").set("blob", "1", os.urandom(MIB))


@pytest.mark.parametrize("how", ["evicted", "another's", "of another type"])
async def test_what_is_gone_from_beside_its_entry_is_a_miss_and_loaded_anew(
    two: tuple[Cache, Cache], redis_server: RedisServer, how: str
) -> None:
    one, other = (cache.tenant("acme") for cache in two)
    value = os.urandom(MIB)
    await one.set("blob", "1", value)
    place = stored(redis_server).split(b"\r\n")[2].decode()
    redis_server.say("DEL", place)
    if how == "another's":
        redis_server.say("SET", place, "something else")
    elif how == "of another type":
        redis_server.say("LPUSH", place, "something else")
    assert not await other.get("blob", "1")
    hit = await other.load("blob", "1", lambda: value)
    assert (hit.value, hit.tier) == (value, "source")
    for _ in range(250):  # a load answers before it has stored what it brought
        inside(two[0]).memory.flush()
        if (found := await one.get("blob", "1")).value == value:
            break
        await asyncio.sleep(0.02)
    assert found.value == value


async def test_a_value_that_is_replaced_again_and_again_is_always_there(
    two: tuple[Cache, Cache],
) -> None:
    """Also between the two steps of a read."""
    one, other = (cache.tenant("acme") for cache in two)
    values = [bytes([number]) * MIB for number in range(20)]
    await one.set("blob", "1", values[0])

    async def replace() -> None:
        for value in values:
            await one.set("blob", "1", value)

    replacing = asyncio.create_task(replace())
    while not replacing.done():
        inside(two[1]).memory.flush()
        hit = await other.get("blob", "1")
        assert not hit or hit.value in values
    await replacing
    inside(two[1]).memory.flush()
    assert (await other.get("blob", "1")).value == values[-1]


async def test_twenty_who_read_the_same_large_value_have_it_brought_once(
    redis_server: RedisServer,
) -> None:
    redis_server.flush()
    value, most = os.urandom(20 * MIB), 32 * MIB
    how: dict[str, Any] = {"redis": redis_server.url, "max_value_bytes": most}
    async with Cache(**grouped(how)) as one, Cache(**grouped(how)) as other:
        assert await one.tenant("acme").set("blob", "1", value)
        first = asyncio.create_task(other.tenant("acme").get("blob", "1"))
        others = [asyncio.create_task(other.tenant("acme").get("blob", "1")) for _ in range(5)]
        await asyncio.sleep(0.01)
        first.cancel()  # what he was fetching, others fetch
        assert all(hit.value == value for hit in await asyncio.gather(*others))
        assert is_trusted(other)


async def test_large_items_of_a_list_come_back(two: tuple[Cache, Cache]) -> None:
    items = [os.urandom(2 * MIB) for _ in range(4)]
    lists = [two[0].tenant("acme").list(f"{number}") for number in range(4)]
    for item in items:
        await asyncio.gather(*(each.rpush(item) for each in lists))
    assert await asyncio.gather(*(each.range() for each in lists)) == [items] * 4
    assert is_trusted(two[0])


async def test_a_server_that_stops_within_a_large_reply_is_late(server: RedisServer) -> None:
    """What arrives lengthens nobody's wait once it has ceased to arrive."""
    async with Cache(redis=server.url, limits=Limits(compress_over=2**40)) as one:
        acme = one.tenant("acme")
        assert await acme.set("blob", "1", os.urandom(LARGE))
        inside(one).memory.flush()
        reading = asyncio.create_task(acme.get("blob", "1"))
        await asyncio.sleep(0.01)
        server.signal(signal.SIGSTOP)
        await reading  # however far it came
        inside(one).memory.flush()
        assert not await acme.get("blob", "1")
        server.signal(signal.SIGCONT)


class Slow:
    """A tier behind a slow line: what it is given takes 0.3 s to arrive."""

    name = "l2"

    async def fill(self, leases: Any, entries: Any) -> list[Filled]:
        await asyncio.sleep(0.3)
        return [Filled(True, 1)]


async def test_the_time_that_a_large_value_takes_is_no_failure_of_the_tier() -> None:
    """Three in a row would open the breaker for all tenants."""
    tier: Any = Slow()
    guarded = GuardedTier(tier, SystemClock(), timeout=0.05)
    lease = Lease(Key("acme", "blob", None, None, None, "1"), 0, b"")
    for _ in range(3):
        large = Entry(bytes(LARGE), created=0, fresh_until=1, expires=1)
        assert await guarded.fill([lease], [large]) == [Filled(True, 1)]
    assert guarded.available
