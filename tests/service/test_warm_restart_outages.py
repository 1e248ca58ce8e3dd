"""Warm restart: others are away, or come and go at the same time."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from cascada.engine import warm_restart
from cascada.testing.inside import inside
from cascada.tiers.redis import tier
from cascada.tiers.redis.feed import PushFeed
from cascada.tiers.redis.layout import LAYOUT, Layout
from cascada.tiers.redis.permissions import Rights
from cascada.tiers.redis_client.wire import Wire
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.service.restarts import BUSY, MakeCache, held, hit, started

IDS = ["1", "2", "3"]


@pytest.mark.parametrize("saved", [False, True])
async def test_a_start_without_redis_is_not_held_up(
    make_cache: MakeCache, server: RedisServer, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """What is noted lies in the database, and is read again when Redis is back: empty, or with what
    it had, of which nobody knows what was invalidated since."""
    monkeypatch.setattr(warm_restart, "AGAIN", 0.01)
    before = make_cache(redis=server.url)
    await hit(before, "acme", *IDS)
    await before.aclose()
    if saved:
        assert server.say("SAVE") == b"+OK\r\n"
    with server.down():
        after = make_cache(redis=server.url, limits={"op_timeout": 0.5})
        assert await after.tenant("acme").get("row", "1")
        await until(lambda: after.warm_restart.noted == 3, BUSY)
        assert not after.warm_restart.finished
    await until(lambda: after.warm_restart.finished, BUSY)
    assert after.warm_restart.found == 3
    assert held(after, "acme", *IDS) == IDS


@pytest.mark.parametrize("epoch", ["", f"{'n' * 8}{'0' * 40}{LAYOUT:04}7"])
async def test_a_redis_that_has_just_begun_empties_nothing_afterwards(
    make_cache: MakeCache,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    epoch: str,
) -> None:
    """It has no numbers, or those of a process of the server that is no more. Who connects makes
    new ones, the feed may have looked before him, and who hears of new numbers forgets all."""
    before = make_cache()
    await hit(before, "acme", *IDS)
    await before.aclose()
    redis_server.flush()
    if epoch:
        redis_server.say("SET", "cascada.0:{b0}:e", epoch)
    after = make_cache()
    feed: Any = inside(after).engine.stack.memory.freshness
    find_out = tier.find_out

    async def later(wire: Wire, layout: Layout) -> Rights:
        assert await feed.poll(), "it is up"
        return await find_out(wire, layout)

    monkeypatch.setattr(tier, "find_out", later)
    await inside(after).engine.life.ready()
    await until(lambda: after.warm_restart.finished, BUSY)
    await after.tenant("acme").invalidate("row", "other")  # numbered by the new numbers
    assert held(after, "acme", *IDS) == IDS


async def test_numbers_that_nobody_makes_are_not_waited_for(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made by what is found."""
    monkeypatch.setattr(warm_restart, "SOON", 0.001)
    none_ever = property(lambda feed: False, lambda feed, known: None)
    monkeypatch.setattr(PushFeed, "is_numbered", none_ever, raising=False)
    before = make_cache()
    await hit(before, "acme", *IDS)
    await before.aclose()
    after = await started(make_cache())
    assert held(after, "acme", *IDS) == IDS


async def test_memory_that_is_emptied_afterwards_is_filled_again(
    make_cache: MakeCache, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what has come since is not noted in the place of what was hot."""
    monkeypatch.setattr(warm_restart, "AGAIN", 0.01)
    monkeypatch.setattr(warm_restart, "FIRST", 0.02)
    monkeypatch.setattr(warm_restart, "EACH", 0.02)
    before = make_cache(redis=server.url)
    await hit(before, "acme", *IDS)
    await before.aclose()
    after = await started(make_cache(redis=server.url))
    for _ in range(2):
        with server.down():
            assert await after.tenant("acme").get("row", "other") is not None
        numbering = inside(after).engine.stack.memory.names.numbering
        finished: set[bool] = set()

        def again(known: object = numbering, finished: set[bool] = finished) -> bool:
            finished.add(after.warm_restart.finished)
            emptied = inside(after).engine.stack.memory.names.numbering is not known
            return emptied and held(after, "acme", *IDS) == IDS

        await until(again, BUSY)
        assert finished == {True}, "who looks at that before it serves would cease to"


async def test_who_ends_while_redis_is_away_leaves_what_is_noted(
    make_cache: MakeCache, server: RedisServer
) -> None:
    """However long it is away: it waits, and ends at once."""
    before = make_cache(redis=server.url)
    await hit(before, "acme", *IDS)
    await before.aclose()
    with server.down():
        for _ in range(2):
            away = make_cache(redis=server.url, limits={"op_timeout": 0.5})
            await away.tenant("acme").set("row", "4", "of others")
            await until(lambda cache=away: cache.warm_restart.noted == 3, BUSY)
            await away.aclose()
            assert not away.warm_restart.finished
    after = await started(make_cache(redis=server.url))
    assert after.warm_restart.found == 3


async def test_a_list_that_cannot_be_read_is_asked_for_again(
    make_cache: MakeCache, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Redis alone, which is away at the start."""
    monkeypatch.setattr(warm_restart, "AGAIN", 0.02)
    before = make_cache(redis=server.url, database=None)
    await hit(before, "acme", "1")
    await before.aclose()
    server.signal(signal.SIGSTOP)
    after = make_cache(redis=server.url, database=None, limits={"op_timeout": 0.2})
    assert await after.tenant("acme").get("row", "2") is not None
    assert after.warm_restart == (0, 0, 0, 0.0, False)
    server.signal(signal.SIGCONT)
    await until(lambda: after.warm_restart.finished, BUSY)
    assert after.warm_restart.noted == 1


async def test_two_that_start_at_once(make_cache: MakeCache) -> None:
    before = make_cache()
    await hit(before, "acme", *map(str, range(200)))
    await before.aclose()
    pair = await asyncio.gather(*(started(make_cache()) for _ in range(2)))
    assert [each.warm_restart.found for each in pair] == [200, 200]


async def test_who_closes_meanwhile_leaves_what_is_noted(
    make_cache: MakeCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no task, nor a list of the few keys that it has read so far."""
    before = make_cache()
    await hit(before, "acme", *map(str, range(100)))
    await before.aclose()
    read, met = warm_restart.Lookup.run, asyncio.Event()

    async def hanging(lookup: warm_restart.Lookup) -> Any:
        if after.warm_restart.read > 5:
            met.set()
            await asyncio.Event().wait()
        return await read(lookup)

    after = make_cache()
    with monkeypatch.context() as patched:
        patched.setattr(warm_restart.Lookup, "run", hanging)
        handle = after.tenant("acme")
        await inside(after).engine.life.ready()
        await asyncio.wait_for(met.wait(), 10)
        assert 5 < after.warm_restart.read < 100
        assert not after.warm_restart.finished
        assert handle.peek("row", "99") is None
        await after.aclose()
    last = await started(make_cache())
    assert last.warm_restart.found == 100
