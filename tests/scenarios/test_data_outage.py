"""Lists and counters while their store is away: they say so, repeat nothing, and come back."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, Limits, Tenant, TierUnavailable, Unanswered
from cascada.testing.inside import InsideRedis, inside
from tests.scenarios.row import until
from tests.servers.redis import RedisServer, free_port


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[Cache]:
    async with Cache(redis=server.url, limits=Limits(op_timeout=0.1)) as cache:
        yield cache


CALLS: dict[str, Callable[[Tenant], Awaitable[Any]]] = {
    "increment": lambda acme: acme.increment("calls", "chat"),
    "counter": lambda acme: acme.counter("calls", "chat"),
    "rpush": lambda acme: acme.list("inbox").rpush("item"),
    "lpop": lambda acme: acme.list("inbox").lpop(),
    "range": lambda acme: acme.list("inbox").range(),
    "length": lambda acme: acme.list("inbox").length(),
    "trim": lambda acme: acme.list("inbox").trim(0, -1),
}
CHANGES = {"increment", "rpush", "lpop", "trim"}


async def refusals(cache: Cache) -> dict[str, TierUnavailable]:
    """What each call raises while the store is away."""
    acme = cache.tenant("acme")
    raised = await asyncio.gather(*(call(acme) for call in CALLS.values()), return_exceptions=True)
    for call, error in zip(CALLS, raised, strict=True):
        assert isinstance(error, TierUnavailable), f"{call}: {error!r}"
    return dict(zip(CALLS, raised, strict=True))  # type: ignore[arg-type]


async def until_back(cache: Cache) -> None:
    """Until a counter can be read again."""
    deadline = time.perf_counter() + 10
    while True:
        try:
            await cache.tenant("acme").counter("calls", "probe")
        except TierUnavailable:
            assert time.perf_counter() < deadline, "it never came back"
            await asyncio.sleep(0.01)
        else:
            return


async def test_a_stopped_redis(server: RedisServer, cache: Cache) -> None:
    acme = cache.tenant("acme")
    # At once, so that each has a connection when the server stops: a new one is not greeted.
    begun = acme.increment("calls", "chat", 7), acme.list("inbox").rpush("first")
    assert await asyncio.gather(*begun) == [7, 1]
    server.signal(signal.SIGSTOP)
    started = time.perf_counter()
    for call, error in (await refusals(cache)).items():
        assert isinstance(error, Unanswered), "it was sent"
        assert ("may or may not have happened" in str(error)) == (call in CHANGES)
    assert time.perf_counter() - started < 8, "all at once, each for 2 s"
    assert (await acme.load("doc", "1", lambda: "loaded")).value == "loaded", "a cache goes on"
    started = time.perf_counter()
    for error in (await refusals(cache)).values():
        assert not isinstance(error, Unanswered), "the breaker is open: it was not even sent"
    assert time.perf_counter() - started < 0.5
    server.signal(signal.SIGCONT)
    await until_back(cache)
    assert await acme.counter("calls", "chat") == 8, "what was sent was carried out, and once"
    assert await acme.list("inbox").range() == ["item"], "in the order of the calls"
    assert await acme.increment("calls", "chat") == 9


async def test_a_killed_redis(server: RedisServer, cache: Cache, tmp_path: Path) -> None:
    acme = cache.tenant("acme")
    await acme.increment("calls", "chat", 7)
    assert server.say("SAVE") == b"+OK\r\n"
    server.kill()
    await refusals(cache)
    await until(lambda: not InsideRedis(inside(cache).tiers["l2"]).link.wire)
    for error in (await refusals(cache)).values():
        assert not isinstance(error, Unanswered), "without a connection nothing was sent"
    server.start()
    await until_back(cache)
    assert await acme.increment("calls", "chat") == 8, "what the server has kept, it has kept"


async def test_a_redis_that_is_not_there_yet() -> None:
    async with Cache(
        redis=f"redis://127.0.0.1:{free_port()}/0", limits=Limits(op_timeout=0.1)
    ) as cache:
        for error in (await refusals(cache)).values():
            assert not isinstance(error, Unanswered)


async def test_they_do_not_move_into_the_database(server: RedisServer, tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    async with Cache(
        redis=server.url, database=str(database), limits=Limits(op_timeout=0.1)
    ) as cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "opens every tier")
        server.kill()
        await refusals(cache)
        assert (await acme.get("doc", "1")).value == "opens every tier"
    with closing(sqlite3.connect(database)) as connection:
        for table in ("counters", "lists", "items"):
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == []


async def test_a_locked_database_has_changed_nothing_and_says_so(tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    async with Cache(database=str(database)) as cache:
        acme = cache.tenant("acme")
        await acme.increment("calls", "chat", 7)
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TierUnavailable) as caught:
                await acme.increment("calls", "chat")
            assert not isinstance(caught.value, Unanswered)
            with pytest.raises(TierUnavailable):
                await acme.list("inbox").rpush("item")
            assert await acme.counter("calls", "chat") == 7, "readers do not wait for writers"
        assert await acme.increment("calls", "chat") == 8
        assert await acme.list("inbox").length() == 0


async def test_who_grants_a_call_more_time_waits_longer_for_another_process(tmp_path: Path) -> None:
    database = tmp_path / "cache.db"
    async with Cache(database=str(database), limits=Limits(op_timeout=60.0)) as cache:
        acme = cache.tenant("acme")
        await acme.increment("calls", "chat", 7)
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            waiting = asyncio.ensure_future(acme.increment("calls", "chat"))
            await asyncio.wait((waiting,), timeout=1.3)  # longer than it waits by default
            assert not waiting.done()
        assert await waiting == 8
