"""Servers that forbid what the protocol uses: each gap has a fallback, and is said once."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable

import pytest

from cascada import Cache, Limits
from cascada.model.names import key_name, tag_name
from cascada.testing.inside import InsidePush, InsideRedis, inside
from cascada.tiers.contract import NotPermitted
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.redis import permissions as redis_rights
from cascada.tiers.redis import tier as redis
from tests.scenarios.row import until
from tests.servers.redis import RedisServer
from tests.tiers.redis_world import KEY, Process, processes

User = Callable[..., str]


@pytest.fixture
def user(redis_server: RedisServer) -> User:
    """Makes users of the server who may not do some things; gives their URL."""
    redis_server.flush()

    def make(*rules: str) -> str:
        name = f"u{os.urandom(4).hex()}"
        said = redis_server.say("ACL", "SETUSER", name, "on", ">pw", "~*", "&*", "+@all", *rules)
        assert said == b"+OK\r\n", said
        return redis_server.url.replace("//", f"//{name}:pw@")

    return make


def sentences(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "cascada"]


async def test_without_info_every_connection_begins_an_epoch(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    url = user("-info")
    here, there = Process(url), Process(url)
    with caplog.at_level(logging.WARNING, "cascada"):
        async with processes(here):
            assert await here.store()
            assert await here.found() == b"value"
            async with processes(there):
                assert await there.found() is None, "a new connection, a new epoch"
                assert await there.store(data=b"shared")
                assert await here.found() == b"shared", "which is everybody's"
                assert await there.keep()
                await here.tier.invalidate([key_name(KEY)])
                await until(lambda: not there.has())
                assert await there.found() is None
                InsideRedis(here.tier).link.wire.close()
                await until(lambda: InsideRedis(here.tier).link.wire is not None)
    assert sentences(caplog) == [f"l2: {redis_rights.NO_RUN_ID}"] * 2, "once for each tier"


async def test_without_info_memory_does_not_outlive_its_connection(
    user: User, redis_server: RedisServer
) -> None:
    """A snapshot with the very number that was last heard cannot be told from no restart."""
    process = Process(user("-info"))
    async with processes(process):
        assert await process.store()
        assert await process.keep()
        assert process.has()
        redis_server.say("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: not process.has())
        await process.trusted()
        assert not process.has()


@pytest.mark.parametrize("rule", ["-eval", "-evalsha", "-@scripting", "-time"])
async def test_without_scripts_redis_is_not_used_but_still_told(
    user: User, redis_server: RedisServer, caplog: pytest.LogCaptureFixture, rule: str
) -> None:
    """`-time`: a command that the scripts need."""
    bound, free = Process(user(rule)), Process(redis_server.url)
    async with processes(free):
        assert await free.store()
        assert await free.keep()
        assert free.has()
        with caplog.at_level(logging.WARNING, "cascada"):
            async with processes(bound):
                for _ in range(2):
                    with pytest.raises(NotPermitted, match="forbids EVAL"):
                        await bound.tier.read([KEY])
                    with pytest.raises(NotPermitted, match="forbids EVAL"):
                        await bound.tier.lease([KEY], [None])
                lease = await free.lease(KEY._replace(resource_id="9"))
                told = await bound.tier.invalidate([tag_name("acme", "any")])
                assert not told.exact
                assert await free.found() is None, "a new epoch"
                await until(lambda: not free.has())
                (filled,) = await free.tier.fill([lease], [free.entry()])
                assert not filled.accepted
    (said,) = sentences(caplog)
    assert said.startswith(f"l2: {redis_rights.NO_SCRIPTS} (")
    assert len(said) > len(redis_rights.NO_SCRIPTS) + 20, "Redis' own words are behind it"


async def test_scripts_that_are_allowed_later_are_used_on_the_connection_that_is_there(
    user: User, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "LOOK_AGAIN", 0.0)
    url = user("-eval", "-evalsha")
    here = Process(url)
    async with processes(here):
        with pytest.raises(NotPermitted):
            await here.tier.read([KEY])
        name = url.split("//")[1].split(":")[0]
        assert redis_server.say("ACL", "SETUSER", name, "+eval", "+evalsha") == b"+OK\r\n"
        assert await here.store()
        assert await here.found() == b"value"


async def test_a_cache_without_scripts_loads_and_invalidates_without_an_error(user: User) -> None:
    async with Cache(redis=user("-@scripting"), limits=Limits(op_timeout=5.0)) as cache:
        acme = cache.tenant("acme")
        for number in range(6):
            assert (await acme.load("row", "1", lambda number=number: number)).value == number
            told = await acme.invalidate("row", "1")
            assert not told.pending
        assert inside(cache).lower[0].available, "it has not failed"


async def test_without_publish_others_hear_at_their_next_heartbeat(
    user: User, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "cascada"):
        mute, hearing = Process(user("-publish")), Process(redis_server.url)
        async with processes(mute, hearing):
            assert await hearing.store()
            for process in (mute, hearing):
                assert await process.keep()
                assert process.has()
            told = await mute.tier.invalidate([key_name(KEY)])
            told_at = time.perf_counter()
            assert told.receivers == -1, "nobody knows who heard of it"
            assert await hearing.found() is None
            await until(lambda: not hearing.has() and not mute.has())
            assert time.perf_counter() - told_at < 0.4
            assert await mute.store(data=b"new"), "a set and a fill publish as well"
            assert await hearing.found() == b"new"
    assert sentences(caplog) == [f"l2: {redis_rights.NO_PUBLISH}"]


@pytest.mark.parametrize("rule", ["-subscribe", "resetchannels"])
async def test_without_subscribe_nothing_is_served_from_memory(
    user: User, caplog: pytest.LogCaptureFixture, rule: str
) -> None:
    deaf = Process(user(rule))
    with caplog.at_level(logging.WARNING, "cascada"):
        async with processes(deaf, listening=False):
            await until(lambda: InsidePush(deaf.feed).up.is_set())
            assert await deaf.store()
            assert await deaf.found() == b"value", "Redis goes on"
            assert await deaf.keep()
            await asyncio.sleep(0.25)  # heartbeats, which are answered
            assert not deaf.has()
            assert not deaf.tier.hearing.listening
    assert f"l1: {redis_rights.NO_SUBSCRIBE}" in sentences(caplog)
    assert len(sentences(caplog)) == (1 if rule == "-subscribe" else 2)


async def test_asking_in_vain_how_full_it_is_does_not_look_like_a_failure(user: User) -> None:
    process = Process(user("-info"))
    async with processes(process):
        guarded = GuardedTier(process.tier, process.clock, timeout=5.0)
        for _ in range(5):
            with pytest.raises(NotPermitted, match="how full"):
                await guarded.usage()
        assert guarded.available


async def test_who_may_do_everything_is_told_nothing(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(user())
    with caplog.at_level(logging.WARNING, "cascada"):
        async with processes(process):
            assert await process.store()
    assert not sentences(caplog)
