"""Lists and counters are data: nothing that is done to a cache reaches them."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheClosed, CorruptEntry, InvalidTTL, Limits
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.conftest import TIMEOUT, MakeCache
from tests.servers.redis import RedisServer

TENANTS = ("acme", "globex", "acme:calls", "acme%3Acalls", "*")


async def filled(cache: Cache, tenant: str = "acme") -> None:
    handle = cache.tenant(tenant)
    await handle.increment("calls", "chat", 7)
    for item in ("a", "b"):
        await handle.list("inbox").rpush(item)


async def is_all_there(cache: Cache, tenant: str = "acme") -> bool:
    handle = cache.tenant(tenant)
    return await handle.counter("calls", "chat") == 7 and await handle.list("inbox").range() == [
        "a",
        "b",
    ]


async def test_no_invalidation_reaches_them(cache: Cache) -> None:
    await filled(cache)
    acme = cache.tenant("acme")
    await acme.set("calls", "chat", "cached", tags=["inbox"])
    await acme.invalidate("calls", "chat")
    await acme.invalidate("calls", "*")
    await acme.invalidate("inbox", "*")
    await acme.invalidate(tag="inbox")
    assert await is_all_there(cache)
    await acme.invalidate(strict=True)
    assert not await acme.get("calls", "chat")
    assert await is_all_there(cache)


async def test_a_window_is_counted_from_its_beginning(
    make_cache: MakeCache, clock: ManualClock, tiers: str
) -> None:
    acme = make_cache().tenant("acme")
    assert await acme.increment("calls", "1", ttl=60) == 1
    assert await acme.increment("calls", "1", ttl=3600) == 2
    assert await acme.increment("calls", "2", ttl=math.inf) == 1
    if "redis" not in tiers:  # whose time is its own
        clock.advance(61)
        assert await acme.counter("calls", "1") == 0
        assert await acme.increment("calls", "1", 5, ttl=60) == 5
    for wrong in (0, -1, True, "60"):
        with pytest.raises(InvalidTTL, match=r"^ttl is"):
            await acme.increment("calls", "1", ttl=wrong)


async def test_they_neither_expire_nor_are_evicted(
    make_cache: MakeCache, clock: ManualClock
) -> None:
    cache = make_cache(l1_bytes=20_000, l3_bytes=20_000, default_ttl=1)
    await filled(cache)
    acme = cache.tenant("acme")
    for number in range(300):
        await acme.set("x", number, b"much" * 250)
        clock.advance(0.5)
    clock.advance(366 * 86400)
    await acme.set("x", "last", "one")
    assert await is_all_there(cache)


async def test_tenants_with_the_same_names_never_meet(cache: Cache) -> None:
    for number, tenant in enumerate(TENANTS):
        handle = cache.tenant(tenant)
        await handle.increment("calls", "chat", number + 1)
        await handle.list("inbox").rpush(tenant)
    for number, tenant in enumerate(TENANTS):
        handle = cache.tenant(tenant)
        assert await handle.counter("calls", "chat") == number + 1
        assert await handle.list("inbox").range() == [tenant]
    assert await cache.tenant("acme").counter("calls:chat", "x") == 0


async def test_the_context_of_a_handle_is_no_part_of_their_names(cache: Cache) -> None:
    await filled(cache)
    narrow = cache.tenant("acme", agent="a1").within(conversation="c1")
    assert await narrow.counter("calls", "chat") == 7
    assert await narrow.list("inbox").length() == 2


@dataclass
class Message:
    """What a user may declare."""

    role: str
    text: str


async def test_items_are_any_values_and_come_back_exactly(cache: Cache) -> None:
    acme = cache.tenant("acme")
    values: list[Any] = [
        0, "", [], {}, False, None, 2**80, -0.1, b"\x00", (1, (2,)), {3, 4}, "é" * 9000,
        {"nested": [{"deep": (b"bytes", None)}]}, [0.1, 0.2], float("inf"),
    ]  # fmt: skip
    mixed = acme.list("mixed")
    for value in values:
        await mixed.rpush(value)
    assert [(type(value), value) for value in await mixed.range()] == [
        (type(value), value) for value in values
    ]
    typed = acme.list("typed", type=Message)
    await typed.rpush(Message("user", "hello"))
    assert await typed.range() == [Message("user", "hello")]
    missing = object()
    none = acme.list("none")
    await none.rpush(None)
    assert await none.lpop(missing) is None
    assert await none.lpop(missing) is missing
    assert await none.rpop(missing) is missing


async def test_off_and_bypassed_they_work_all_the_same(make_cache: MakeCache) -> None:
    cache = make_cache()
    await filled(cache)
    with cache.bypass():
        assert await is_all_there(cache)
        await cache.tenant("acme").increment("calls", "other")
    assert await cache.tenant("acme").counter("calls", "other") == 1
    off = make_cache(mode="off")
    await filled(off, "globex")
    assert await is_all_there(off, "globex")


async def test_a_closed_cache_says_so(make_cache: MakeCache) -> None:
    cache = make_cache()
    await filled(cache)
    await cache.aclose()
    with pytest.raises(CacheClosed):
        await cache.tenant("acme").increment("calls", "chat")
    with pytest.raises(CacheClosed):
        await cache.tenant("acme").list("inbox").lpop()


async def test_two_caches_share_what_is_not_in_this_process_alone(
    make_cache: MakeCache, tiers: str
) -> None:
    here, there = make_cache(), make_cache()
    await filled(here)
    assert await is_all_there(there) == (tiers != "memory")
    assert not await is_all_there(make_cache(namespace="another"))
    await here.reset()
    assert await is_all_there(here), "what a reset ends is the cache"


async def test_they_are_in_redis_else_in_the_database(
    make_cache: MakeCache, tiers: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    cache = make_cache()
    await filled(cache)
    await cache.tenant("acme").set("x", "1", "opens every tier")
    in_redis = in_database = False
    if "redis" in tiers:
        server: RedisServer = request.getfixturevalue("redis_server")
        in_redis = server.say("GET", "cascada.0:{b0}:c:acme:calls:chat") == b"$1\r\n7\r\n"
        assert server.say("TTL", "cascada.0:{b0}:c:acme:calls:chat") == b":-1\r\n"
        assert server.say("TTL", "cascada.0:{b0}:d:acme:inbox") == b":-1\r\n"
    if "sqlite" in tiers:
        with closing(sqlite3.connect(tmp_path / "cache.db")) as connection:
            in_database = connection.execute("SELECT value FROM counters").fetchall() == [(7,)]
    assert (in_redis, in_database) == ("redis" in tiers, tiers == "sqlite")


async def test_in_this_process_alone_is_said_once(
    make_cache: MakeCache, tiers: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make_cache()
    await cache.tenant("acme").set("x", "1", "value")
    assert not caplog.records, "who does not use them need not know"
    await filled(cache)
    assert await is_all_there(cache)
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert ["in this process alone" in text for text in said] == [True] * (tiers == "memory")


async def test_what_does_not_decode_is_said_with_the_list_s_name(cache: Cache) -> None:
    acme = cache.tenant("acme")
    inbox = acme.list("in:box")
    await inbox.rpush("good")
    await inside(cache).data.push("acme:in%3Abox", b"no envelope", left=False)
    with pytest.raises(CorruptEntry, match="an item of the list acme:in%3Abox"):
        await inbox.range()
    with pytest.raises(CorruptEntry, match="an item of the list acme:in%3Abox"):
        await inbox.rpop()
    assert await inbox.range() == ["good"], "it was taken, so that it stops nobody"
    await inbox.rpush("a text")
    with pytest.raises(CorruptEntry, match="acme:in%3Abox"):
        await acme.list("in:box", type=Message).lpop()


async def test_what_others_have_put_in_their_place_is_said(
    make_cache: MakeCache, redis_server: RedisServer
) -> None:
    redis_server.flush()
    cache = make_cache(redis=redis_server.url)
    redis_server.say("SET", "cascada.0:{b0}:c:acme:calls:chat", "no number")
    redis_server.say("SET", "cascada.0:{b0}:d:acme:inbox", "no list")
    acme = cache.tenant("acme")
    for _ in range(4):  # more often than a breaker would stand
        with pytest.raises(CorruptEntry, match="acme:calls:chat"):
            await acme.counter("calls", "chat")
        with pytest.raises(CorruptEntry, match="acme:calls:chat"):
            await acme.increment("calls", "chat")
        with pytest.raises(CorruptEntry, match="acme:inbox"):
            await acme.list("inbox").rpush("item")
    assert inside(cache).lower[0].available, "the server has not failed"


async def test_a_cancelled_push_happens_whole_or_not_at_all(cache: Cache) -> None:
    inbox = cache.tenant("acme").list("inbox")
    await inbox.length()
    for number in range(20):
        task = asyncio.get_running_loop().create_task(inbox.rpush(number))
        for _ in range(number % 4):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await inbox.rpush(99)  # after all that nobody waits for any more
    got = await inbox.range()
    assert got == sorted(got)
    assert len({*got}) == len(got) == await inbox.length()


def in_child(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `work` in a forked child and fail if it fails."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            logging.disable()
            asyncio.run(work())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_in_a_forked_child_the_items_of_this_process_stay_with_the_parent() -> None:
    cache = Cache()
    asyncio.run(filled(cache))

    async def child() -> None:
        assert await cache.tenant("acme").counter("calls", "chat") == 0
        assert await cache.tenant("acme").list("inbox").lpop() is None

    in_child(child)
    assert asyncio.run(is_all_there(cache))


@pytest.mark.parametrize("place", ["redis", "database"])
def test_parent_and_child_count_together(
    place: str, tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.flush()
    url = redis_server.url if place == "redis" else str(tmp_path / "cache.db")
    cache = Cache(**{place: url}, limits=Limits(op_timeout=TIMEOUT))  # type: ignore[arg-type]

    async def count() -> None:
        acme = cache.tenant("acme")
        await asyncio.gather(*(acme.increment("calls", "chat") for _ in range(50)))
        await acme.list("inbox").rpush(os.getpid())

    async def looked_at() -> tuple[int, int]:
        acme = cache.tenant("acme")
        seen = await acme.counter("calls", "chat"), await acme.list("inbox").length()
        await cache.aclose()
        return seen

    asyncio.run(count())
    in_child(count)
    asyncio.run(count())
    assert asyncio.run(looked_at()) == (150, 3)
