"""Who waits for another process's load: woken by its end, and never left waiting or behind."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cascada import Cache, Limits
from cascada.testing.inside import InsideRedis, inside
from cascada.tiers.contract import Lease
from cascada.tiers.redis import lease_releases as redis_hearing
from cascada.tiers.redis.tier import RedisTier
from tests.options import grouped
from tests.scenarios.row import Row, until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes

FAR = 30.0
"""Seconds between two looks without a push, so that nothing but the push can be in time."""


@pytest.fixture
async def pair(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Cache, Cache]]:
    redis_server.flush()
    monkeypatch.setattr(redis_hearing, "POLL_HEARING", FAR)
    options = {"redis": redis_server.url, "op_timeout": 5.0}
    async with Cache(**grouped(options)) as here, Cache(**grouped(options)) as there:
        for cache in (here, there):
            await cache.tenant("acme").get("row", "warm")
            await until(lambda cache=cache: tier_of(cache).hearing.listening)
        yield here, there


def tier_of(cache: Cache) -> RedisTier:
    tier = inside(cache).lower[0].tier
    assert isinstance(tier, RedisTier)
    return tier


async def waiting(cache: Cache) -> None:
    """Until a load of this cache waits for another's."""
    await until(lambda: InsideRedis(tier_of(cache)).waited_for)


async def test_who_waits_for_a_lease_that_nobody_has_received_goes_on(
    pair: tuple[Cache, Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = map(tier_of, pair)
    acme = pair[0].tenant("acme")
    await acme.load("row", "known", lambda: "the server knows the script from now on")
    link = InsideRedis(here).link
    send, never = link.send, asyncio.get_running_loop().create_future()
    with monkeypatch.context() as late:
        late.setattr(
            link, "send", lambda *what, **how: (send(*what, **how), asyncio.shield(never))[1]
        )
        asking = asyncio.create_task(here.lease([acme.key("row", "1")], [None]))
        await asyncio.sleep(0)
    asked = asyncio.create_task(pair[1].tenant("acme").load("row", "1", lambda: "value"))
    await until(lambda: InsideRedis(there).waited_for)
    asking.cancel()
    async with asyncio.timeout(2):
        assert (await asked).value == "value"


async def test_a_lease_whose_asker_has_left_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Its deadline was over, or its caller was cancelled, before the server came to it."""
    server = RedisServer(tmp_path)
    here, there = Process(server.url), Process(server.url)
    many = [KEY._replace(resource_id=f"many {number}") for number in range(250)]
    try:
        async with processes(here, there):
            assert await here.store()  # the server knows the script from now on
            server.signal(signal.SIGSTOP)
            asking = asyncio.ensure_future(here.tier.lease(many, [None] * len(many)))
            await asyncio.sleep(0.01)
            asking.cancel()
            await asyncio.wait([asking])
            server.signal(signal.SIGCONT)
            await here.tier.usage()  # whatever was sent before has been carried out
            leases = await there.tier.lease(many, [None] * len(many))
            assert {type(lease) for lease in leases} == {Lease}
    finally:
        server.kill()


@pytest.mark.parametrize("ends", ["stored", "failed", "unstored", "set", "invalidated"])
async def test_however_the_load_ends_those_who_wait_for_it_go_on(
    pair: tuple[Cache, Cache], ends: str
) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    row = Row("value")
    row.hold()

    async def load() -> object:
        value = await row.read()
        if ends == "failed":
            raise ValueError(value)
        return None if ends == "unstored" else value

    loading = asyncio.create_task(here.load("row", "1", load))
    await row.being_read()
    asked = asyncio.create_task(there.load("row", "1", lambda: "other"))
    await waiting(pair[1])
    await asyncio.sleep(0.05)
    assert not asked.done()
    if ends == "set":
        await here.set("row", "1", "value")
    elif ends == "invalidated":
        await here.invalidate("row", "1")
    else:
        row.let_go()
    async with asyncio.timeout(FAR / 10):
        hit = await asked
    assert hit.value == ("value" if ends in ("stored", "set") else "other")
    row.let_go()
    await asyncio.gather(loading, return_exceptions=True)


async def test_a_load_whose_late_tag_was_invalidated_keeps_nobody_waiting(
    pair: tuple[Cache, Cache],
) -> None:
    """It is not stored, but its lease is still there, and nothing else named the key."""
    here, there = (cache.tenant("acme") for cache in pair)
    row = Row("old")
    row.hold()
    loading = asyncio.create_task(here.load("row", "1", row.read, tags=["news"]))
    await row.being_read()
    asked = asyncio.create_task(there.load("row", "1", lambda: "new"))
    await waiting(pair[1])
    await here.invalidate(tag="news")
    row.let_go()
    async with asyncio.timeout(FAR / 10):
        assert (await asked).value == "new"
    await loading


@pytest.mark.parametrize("meanwhile", ["released", "forgotten", "deaf", "another"])
async def test_a_push_that_overtakes_the_answer_is_not_missed(meanwhile: str) -> None:
    hearing = redis_hearing.LeaseReleases()
    hearing.listening = True
    hearing.released("key")
    since = hearing.moment
    if meanwhile == "released":
        hearing.released("key")
    elif meanwhile == "forgotten":
        for number in range(redis_hearing.MAX_RELEASED + 1):
            hearing.released(f"{number}")
    elif meanwhile == "deaf":
        hearing.listening = False
        hearing.listening = True
    else:
        hearing.released("another")
    busy = hearing.busy("key", since, 5.0)
    assert busy.released is not None
    assert busy.released.is_set() == (meanwhile != "another")
    later = hearing.busy("key", hearing.moment, 5.0)
    assert later.released is not None
    assert not later.released.is_set()
    hearing.released("key")
    async with asyncio.timeout(1):
        await later.over()
        await busy.over()


async def test_nothing_is_left_of_those_who_leave(pair: tuple[Cache, Cache]) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    row = Row()
    row.hold()
    loading = asyncio.create_task(here.load("row", "1", row.read))
    await row.being_read()
    asked = [asyncio.create_task(there.load("row", "1", row.read)) for _ in range(5)]
    await waiting(pair[1])
    for task in asked:
        task.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
    row.let_go()
    await loading
    await pair[1].aclose()
    gc.collect()
    assert not InsideRedis(tier_of(pair[1])).waited_for


async def test_when_the_push_connection_breaks_those_who_wait_ask_again(
    pair: tuple[Cache, Cache], redis_server: RedisServer
) -> None:
    here, there = (cache.tenant("acme") for cache in pair)
    row = Row()
    row.hold()
    loading = asyncio.create_task(here.load("row", "1", row.read))
    await row.being_read()
    asked = asyncio.create_task(there.load("row", "1", lambda: "other"))
    await waiting(pair[1])
    # What is released while the push connection is down is pushed to nobody.
    redis_server.say("CLIENT", "KILL", "TYPE", "pubsub")
    row.let_go()
    async with asyncio.timeout(FAR / 10):
        assert (await asked).value == "old"
    await loading


async def test_a_loader_that_died_is_waited_for_no_longer_than_its_lease(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        async with Cache(redis=server.url, limits=Limits(op_timeout=5.0)) as here:
            acme = here.tenant("acme")
            lease = tier_of(here).layout.lease(acme.key("row", "1")).decode()
            await acme.load("row", "1", lambda: "old")
            held = inside(here).lower[0]
            await acme.invalidate("row", "1")
            (seen,) = await held.read([acme.key("row", "1")])
            await held.lease([acme.key("row", "1")], [seen])  # and nobody renews it
            server.say("PEXPIRE", lease, "300")
            started = time.perf_counter()
            assert (await acme.load("row", "1", lambda: "new")).value == "new"
            assert 0.15 < time.perf_counter() - started < 2
    finally:
        server.kill()
