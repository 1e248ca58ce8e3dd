"""A strict invalidation returns when no process serves the old value from its memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from cascada import Cache, Limits, Policy
from cascada.model.names import key_name
from cascada.testing.inside import InsidePush, inside
from cascada.tiers.capabilities import L1_LEASE
from tests.options import grouped
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes

STRICT = {"row": Policy(ttl=3600, strict=True)}
QUICK = L1_LEASE / 3


@pytest.fixture
async def pair(redis_server: RedisServer) -> AsyncIterator[tuple[Process, Process]]:
    redis_server.flush()
    here, there = Process(redis_server.url), Process(redis_server.url)
    async with processes(here, there):
        assert await there.store()
        assert await there.keep()
        yield here, there


@contextmanager
def held_back(process: Process) -> Iterator[None]:
    """Pushes arrive at the process, which does not look at them."""
    transport: Any = InsidePush(process.feed).transport
    transport.pause_reading()
    try:
        yield
    finally:
        transport.resume_reading()


async def strictly(process: Process) -> float:
    """Seconds that a strict invalidation takes."""
    started = time.perf_counter()
    told = await process.tier.invalidate([key_name(KEY)], strict=True)
    assert told.receivers == 2
    await process.tier.acknowledged(told)
    return time.perf_counter() - started


async def test_it_ends_as_soon_as_all_have_applied_it(pair: tuple[Process, Process]) -> None:
    here, there = pair
    assert await strictly(here) < QUICK
    there.feed.until = float("inf")  # not because the time of the last look is over
    assert not there.has()


async def test_it_waits_for_one_who_has_not_heard_of_it(pair: tuple[Process, Process]) -> None:
    here, there = pair
    with held_back(there):
        asked = asyncio.ensure_future(strictly(here))
        await asyncio.sleep(L1_LEASE / 4)
        assert not asked.done()
    assert await asked < L1_LEASE
    assert not there.has()


async def test_it_waits_no_longer_than_anybody_trusts_his_memory(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    with held_back(there):
        assert L1_LEASE <= await strictly(here) < 2 * L1_LEASE
        assert not there.has(), "its heartbeats were not answered"


async def test_one_process_counts_once_and_only_for_its_own_number(
    pair: tuple[Process, Process],
) -> None:
    here, there = pair
    await strictly(here)
    with held_back(there):
        told = await here.tier.invalidate([key_name(KEY)], strict=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(L1_LEASE / 2):
                await here.tier.acknowledged(told)


async def test_where_nobody_knows_who_was_sent_it_nobody_is_asked(
    pair: tuple[Process, Process],
) -> None:
    """PUBLISH is forbidden: others hear of it at a heartbeat, or trust their memory no more."""
    here, _ = pair
    told = await here.tier.invalidate([key_name(KEY)], strict=True)
    started = time.perf_counter()
    await here.tier.acknowledged(replace(told, receivers=-1))
    assert time.perf_counter() - started >= 0.99 * L1_LEASE


async def test_acknowledgements_leave_nothing_behind(
    pair: tuple[Process, Process], redis_server: RedisServer
) -> None:
    here, _ = pair
    told = await here.tier.invalidate([key_name(KEY)], strict=True)
    await here.tier.acknowledged(told)
    applied = here.tier.layout.applied(told.epoch, told.seq).decode()
    left = int(redis_server.say("PTTL", applied)[1:])
    assert 0 < left <= 2000
    told = await here.tier.invalidate([key_name(KEY)])
    applied = here.tier.layout.applied(told.epoch, told.seq).decode()
    await asyncio.sleep(0.05)
    assert redis_server.say("EXISTS", applied) == b":0\r\n", "nobody asked"


# --- through the cache ----------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["redis", "redis+database", "database", "memory"])
async def test_after_a_strict_invalidation_nobody_has_the_old_value(
    redis_server: RedisServer, tmp_path: Path, below: str
) -> None:
    redis_server.flush()
    options: dict[str, Any] = {"policies": STRICT, "op_timeout": 5.0}
    if "redis" in below:
        options["redis"] = redis_server.url
    if "database" in below:
        options["database"] = str(tmp_path / "cache.db")
    async with Cache(**grouped(options)) as here, Cache(**grouped(options)) as there:
        acme, other = here.tenant("acme"), there.tenant("acme")
        for call in ("type", "all", "delete", "argument"):
            await other.load("row", "1", lambda: "old")
            await until(lambda: inside(other).memory.peek(acme.key("row", "1")) is not None)
            started = time.perf_counter()
            if call == "type":
                await acme.invalidate("row", "1")
            elif call == "all":
                await acme.invalidate()
            elif call == "delete":
                await acme.delete("row", "1")
            else:
                await acme.invalidate(tag="any", strict=True)
                await acme.invalidate("row", "1", strict=True)
            took = time.perf_counter() - started
            if below == "memory":
                assert took < QUICK
                await other.invalidate("row", "1")
                continue
            assert inside(other).memory.peek(acme.key("row", "1")) is None
            assert not await other.get("row", "1")
            assert took < QUICK if "redis" in below else took >= L1_LEASE


async def test_what_is_not_strict_waits_for_nobody(tmp_path: Path) -> None:
    policies = {**STRICT, "loose": Policy(ttl=3600)}
    async with Cache(database=str(tmp_path / "cache.db"), policies=policies) as cache:
        acme = cache.tenant("acme")
        started = time.perf_counter()
        await acme.invalidate("loose", "1")
        await acme.invalidate("row", "1", strict=False)
        assert time.perf_counter() - started < QUICK


async def test_a_strict_type_is_not_served_from_memory_while_redis_is_away(
    tmp_path: Path,
) -> None:
    server = RedisServer(tmp_path)
    policies = {**STRICT, "loose": Policy(ttl=3600)}
    async with Cache(redis=server.url, policies=policies, limits=Limits(op_timeout=0.1)) as cache:
        acme = cache.tenant("acme")
        for data_type in ("row", "loose"):
            await acme.set(data_type, "1", "old")
        server.kill()
        await until(lambda: inside(acme).memory.peek(acme.key("loose", "1")) is None)
        assert (await acme.get("loose", "1")).value == "old"
        assert not await acme.get("row", "1")
