"""Deploys, databases and namespaces: who shares a server and must not disturb the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from cascada.model.clock import SystemClock
from cascada.model.names import key_name, tag_name
from cascada.tiers.contract import NotPermitted
from cascada.tiers.guarded import GuardedTier
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, OTHER, Process, processes


@pytest.fixture(autouse=True)
def _empty(redis_server: RedisServer) -> None:
    redis_server.flush()


# --- a rolling deploy ---------------------------------------------------------------------------


@pytest.fixture
async def deploy(redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    """A process of this layout that has something in Redis and memory, then one of the next."""
    old, new = Process(redis_server.url), Process(redis_server.url, layout=2)
    async with processes(old):
        assert await old.store(data=b"old layout")
        assert await old.keep()
        assert old.has()
        async with processes(new):
            yield old, new


async def test_what_another_server_process_has_numbered_is_not_there(
    redis_server: RedisServer,
) -> None:
    """A restored dump brings `e` along: what it numbers was pushed by a process that is gone."""
    process = Process(redis_server.url)
    async with processes(process):
        assert await process.store()
        assert await process.found() == b"value"
        run_id, epoch = process.tier.run_id, process.tier.layout.epoch
        # By a script: the nonce before it is no text.
        script = (
            "local e = redis.call('GET', KEYS[1]); local at, last = e:find(ARGV[1], 1, true); "
            "redis.call('SET', KEYS[1], e:sub(1, at - 1) .. ARGV[2] .. e:sub(last + 1))"
        )
        swap = [run_id.decode(), "0" * len(run_id)]
        redis_server.say("EVAL", script, "1", epoch.decode(), *swap)
        assert await process.found() is None
        redis_server.say("EVAL", script, "1", epoch.decode(), *reversed(swap))
        assert await process.found() == b"value"


async def test_a_newer_layout_finds_nothing_of_the_older_one(
    deploy: tuple[Process, Process],
) -> None:
    _, new = deploy
    assert await new.found() is None
    assert await new.store(data=b"new layout")
    assert await new.found() == b"new layout"


async def test_a_process_that_meets_a_newer_layout_reads_nothing_and_says_so_once(
    deploy: tuple[Process, Process], caplog: pytest.LogCaptureFixture
) -> None:
    old, new = deploy
    await new.store(data=b"new layout")
    with caplog.at_level(logging.WARNING, "cascada"):
        for _ in range(3):
            with pytest.raises(NotPermitted, match="a newer version of cascada"):
                await old.tier.read([KEY])
        with pytest.raises(NotPermitted, match="a newer version of cascada"):
            await old.tier.lease([KEY], [None])
    assert len(caplog.records) == 1
    await until(lambda: not old.has())
    await asyncio.sleep(0.3)  # several heartbeats, each of which is answered
    assert not old.feed.extend(old.clock.monotonic()), "and its memory is off"
    assert await new.found() == b"new layout", "what it tried has harmed nobody"


async def test_invalidations_reach_the_other_layout_both_ways(
    deploy: tuple[Process, Process],
) -> None:
    old, new = deploy
    tag = tag_name("acme", "news")
    for name in (key_name(KEY), tag):
        assert await new.store(names=(tag,))
        assert await new.keep()
        await new.trusted()
        assert new.has()
        told = await old.tier.invalidate([name])
        assert await new.found() is None
        await until(lambda: not new.has())
        assert told.receivers == 2, "both listen on one channel"
    lease = await new.lease()
    await old.tier.invalidate([key_name(KEY)])
    (filled,) = await new.tier.fill([lease], [new.entry()])
    assert not filled.accepted


async def test_reads_that_are_barred_do_not_keep_invalidations_from_being_sent(
    deploy: tuple[Process, Process],
) -> None:
    """A breaker that opened on them would hold invalidations back for a second each."""
    old, new = deploy
    guarded = GuardedTier(old.tier, SystemClock(), timeout=5.0)
    assert await new.store()
    for _ in range(10):
        with pytest.raises(NotPermitted):
            await guarded.read([KEY])
    assert guarded.available
    await guarded.invalidate([key_name(KEY)])
    assert await new.found() is None


async def test_a_load_of_the_older_layout_that_was_under_way_stores_nothing(
    redis_server: RedisServer,
) -> None:
    old, new = Process(redis_server.url), Process(redis_server.url, layout=2)
    async with processes(old):
        lease = await old.lease()
        async with processes(new):
            (filled,) = await old.tier.fill([lease], [old.entry()])
            assert not filled.accepted
            assert await new.found() is None


# --- databases and namespaces -------------------------------------------------------------------

APART = [({}, {"db": 1}), ({"namespace": "a"}, {"namespace": "b"})]


@pytest.fixture(params=APART, ids=["databases", "namespaces"])
async def apart(
    redis_server: RedisServer, request: pytest.FixtureRequest
) -> AsyncIterator[tuple[Process, Process]]:
    made = []
    for options in request.param:
        url = redis_server.url.removesuffix("0") + str(options.get("db", 0))
        rest = {name: value for name, value in options.items() if name != "db"}
        made.append(Process(url, **rest))
    here, there = made
    async with processes(here, there):
        yield here, there


async def test_values_are_apart(apart: tuple[Process, Process]) -> None:
    here, there = apart
    assert await here.store(data=b"here")
    assert await there.found() is None
    assert await there.store(data=b"there")
    assert await here.found() == b"here"


async def test_invalidations_elsewhere_neither_void_nor_make_a_gap(
    apart: tuple[Process, Process],
) -> None:
    """Redis publishes to listeners of all databases: numbers of another would be a gap."""
    here, there = apart
    flushes: list[None] = []
    flush = there.memory.flush
    there.memory.flush = lambda: (flushes.append(None), flush())[1]  # type: ignore[method-assign]
    for key in (KEY, OTHER):
        assert await there.store(key)
        assert await there.keep(key)
    for _ in range(3):
        told = await here.tier.invalidate([key_name(KEY)])
        assert told.receivers == 1, "its own listener alone"
    await there.tier.invalidate([key_name(OTHER)])
    await until(lambda: not there.has(OTHER))
    await until(lambda: there.has(KEY))  # a late heartbeat hides it, and ends nothing
    assert await there.found() == b"value"
    await asyncio.sleep(0.25)  # heartbeats compare the numbers as well
    await until(lambda: there.has(KEY))
    assert not flushes
