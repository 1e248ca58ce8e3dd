"""Redis is stopped, killed, restarted: what callers get meanwhile, and what comes back."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, InvalidationPending, Limits, SourceBusy
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.options import grouped
from tests.scenarios.row import Row, until
from tests.servers.redis import RedisServer, free_port

BACK = 2.0
"""Seconds after which Redis answers again through the cache, once it is there."""

OUTAGE = float(os.environ.get("CASCADA_OUTAGE_SECONDS", "2"))
"""How long the source is besieged while Redis is away; 60 in the long form."""


@pytest.fixture
async def cache(server: RedisServer) -> AsyncIterator[Cache]:
    async with Cache(redis=server.url, limits=Limits(op_timeout=0.1)) as cache:
        yield cache


async def until_back(cache: Cache) -> float:
    """Seconds until a value is stored in Redis and read from there."""
    acme, memory = cache.tenant("acme"), inside(cache).memory
    started = time.perf_counter()
    while time.perf_counter() - started < 3 * BACK:
        await acme.load("probe", "1", lambda: "probe")
        memory.flush()
        if (await acme.load("probe", "1", lambda: "probe")).tier == "l2":
            return time.perf_counter() - started
        await asyncio.sleep(0.01)
    pytest.fail("the cache never came back to Redis")


@pytest.mark.parametrize("fault", ["stopped", "restarted empty", "restarted from a snapshot"])
async def test_no_caller_gets_an_error_and_redis_is_used_again(
    server: RedisServer, cache: Cache, fault: str
) -> None:
    acme = cache.tenant("acme")
    await acme.set("doc", "1", "old")
    assert server.say("SAVE") == b"+OK\r\n"
    shutil.copy(server.folder / "dump.rdb", server.folder / "older.rdb")
    await acme.set("doc", "1", "new")
    stop = server.kill if fault.startswith("restarted") else lambda: server.signal(signal.SIGSTOP)
    stop()
    for number in range(30):
        assert (await acme.load("doc", f"{number}", Row("loaded").read)).value in ("new", "loaded")
        # Memory may have been emptied: then it keeps what was loaded, and serves it as stale.
        assert (await acme.get("doc", "1")).value in ("new", "loaded", None)
        await asyncio.sleep(0.02)
    if fault == "stopped":
        server.signal(signal.SIGCONT)
    else:
        if fault == "restarted from a snapshot":
            shutil.copy(server.folder / "older.rdb", server.folder / "dump.rdb")
        else:
            (server.folder / "dump.rdb").unlink()
        server.start()
    took = await until_back(cache)
    assert took < BACK
    inside(cache).memory.flush()
    assert (await acme.get("doc", "1")).value != "old", "a snapshot's numbers are another epoch's"


async def test_memory_goes_on_for_a_while_and_says_that_it_may_be_stale(
    server: RedisServer,
) -> None:
    clock = ManualClock()
    options: Any = {"op_timeout": 0.1, "invalidate_patience": 0.1, "clock": clock}
    async with Cache(redis=server.url, **grouped(options)) as cache:
        acme = cache.tenant("acme")
        for name in ("1", "2"):
            await acme.set("doc", name, "old", ttl=3600)
        server.signal(signal.SIGSTOP)
        clock.advance(10)
        hit = await acme.get("doc", "1")
        assert (hit.value, hit.tier, hit.stale) == ("old", "l1", True)
        hit = await acme.load("doc", "1", Row("new").read)
        assert (hit.value, hit.tier, hit.stale) == ("old", "l1", True)
        with pytest.raises(InvalidationPending):
            await acme.invalidate("doc", "1")
        assert not await acme.get("doc", "1"), "what was invalidated here is not served here"
        assert (await acme.get("doc", "2")).value == "old", "but the rest is"
        clock.advance(25)
        assert not await acme.get("doc", "2"), "for degraded_l1_ttl at most"
        assert (await acme.load("doc", "2", Row("new").read)).tier == "source"
        server.signal(signal.SIGCONT)


async def test_what_is_made_of_a_stale_answer_is_not_kept(server: RedisServer) -> None:
    clock = ManualClock()
    async with Cache(redis=server.url, limits=Limits(op_timeout=0.1), clock=clock) as cache:
        acme = cache.tenant("acme")
        await acme.set("part", "1", "old")
        server.signal(signal.SIGSTOP)
        clock.advance(1)

        async def made() -> str:
            part = await acme.load("part", "1", Row("new").read)
            return f"made of {part.value}"

        assert (await acme.load("whole", "1", made)).value == "made of new"
        server.signal(signal.SIGCONT)


CUT_OFF = """
import asyncio, os, sys
from cascada import Cache, Limits

async def main():
    cache = Cache(redis=sys.argv[1], database=sys.argv[2], limits=Limits(invalidate_patience=0))
    told = await cache.tenant("acme").invalidate("doc", "1")
    print(told.pending, flush=True)
    os._exit(9)

asyncio.run(main())
"""


@pytest.mark.parametrize("away", [False, True], ids=["reached", "away for the reader, too"])
async def test_the_debts_of_a_process_that_died_are_paid_by_another(
    server: RedisServer, tmp_path: Path, away: bool
) -> None:
    """It was cut off from Redis, left word in the database, and was killed."""
    database = str(tmp_path / "cache.db")
    cache = Cache(
        redis=server.url, database=database, limits=Limits(op_timeout=0.1, degraded_l1_ttl=0)
    )
    async with cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "old")
        if away:
            server.signal(signal.SIGSTOP)
            while inside(cache).lower[0].available:
                await acme.get("doc", "other")
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CUT_OFF, f"redis://127.0.0.1:{free_port()}/0", database,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        said, _ = await child.communicate()
        assert (said.split(), child.returncode) == ([b"True"], 9)
        if away:
            server.signal(signal.SIGCONT)
            inside(cache).memory.flush()
            hits = []
            while not inside(cache).lower[0].available:
                hits.append(await acme.get("doc", "1"))
                await asyncio.sleep(0.005)
            assert not any(hits), "Redis is not trusted before it was told"
        else:
            # Memory alone says nothing: where this process is slow, it is not trusted anyway.
            while waiting := await inside(cache).tiers["l3"].posted():
                assert len(waiting) == 1
                await asyncio.sleep(0.005)
            memory = inside(cache).memory
            await until(lambda: memory.peek(acme.key("doc", "1")) is None)
        assert not await acme.get("doc", "1")
        assert (await acme.load("doc", "1", Row("new").read)).value == "new"


async def test_a_set_without_redis_is_kept_in_the_database(
    server: RedisServer, tmp_path: Path
) -> None:
    database = str(tmp_path / "cache.db")
    async with Cache(redis=server.url, database=database, limits=Limits(op_timeout=0.1)) as cache:
        acme = cache.tenant("acme")
        await acme.set("doc", "1", "old")
        server.signal(signal.SIGSTOP)
        assert not await acme.set("doc", "1", "new"), "others may read the old one in Redis"
        hit = await acme.get("doc", "1")
        assert (hit.value, hit.tier) == ("new", "l3")
        server.signal(signal.SIGCONT)
        await until_back(cache)
        assert (await acme.get("doc", "1")).value == "new"


async def test_the_source_is_never_asked_by_more_than_the_bound(
    server: RedisServer, cache: Cache
) -> None:
    """Ten times as much is asked of it as it can bring, while Redis is away."""
    bound, load_time = 8, 0.1
    besieged = Cache(
        redis=server.url,
        limits=Limits(op_timeout=0.1, max_loads_per_type=bound, load_wait=0.2, degraded_l1_ttl=0),
    )
    running = most = loads = 0

    async def source() -> str:
        nonlocal running, most, loads
        running += 1
        loads += 1
        most = max(most, running)
        try:
            await asyncio.sleep(load_time)
        finally:
            running -= 1
        return "value"

    async with besieged:
        acme = besieged.tenant("acme")
        await acme.load("doc", "first", source)
        server.signal(signal.SIGSTOP)
        asked, refused = 0, 0
        ends = time.perf_counter() + OUTAGE
        callers: set[asyncio.Task[object]] = set()
        while time.perf_counter() < ends:
            for _ in range(int(10 * bound / load_time * 0.02)):
                asked += 1
                callers.add(asyncio.create_task(acme.load("doc", f"{asked}", source)))
            await asyncio.sleep(0.02)
        for outcome in await asyncio.gather(*callers, return_exceptions=True):
            refused += isinstance(outcome, SourceBusy)
            assert not isinstance(outcome, BaseException) or isinstance(outcome, SourceBusy)
        assert most == bound
        assert refused > asked / 2, "it could not bring them all"
        assert loads > bound
        server.signal(signal.SIGCONT)
        assert await until_back(besieged) < BACK
