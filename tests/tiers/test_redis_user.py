"""The user that the documents name may do all that cascada does, and not much else; one that may do
less is told so."""

from __future__ import annotations

import logging
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascada import Cache, CacheService, Context, Limits, Policy
from cascada.cli.command import main
from cascada.model.errors import CascadaError
from tests.sealed import GIVEN
from tests.servers.redis import RedisServer

DOCUMENT = Path(__file__).parents[2] / "docs" / "production.md"
LINE = re.compile(r"`ACL SETUSER cascada on >PASSWORD ([^`]*)`")

User = Callable[..., str]


@pytest.fixture
def user(redis_server: RedisServer) -> User:
    """Makes such a user, less some things; gives its URL."""
    redis_server.flush()
    (found,) = LINE.findall(DOCUMENT.read_text("utf-8"))

    def make(*less: str) -> str:
        name = f"u{os.urandom(4).hex()}"
        said = redis_server.say("ACL", "SETUSER", name, "on", ">pw", *found.split(), *less)
        assert said == b"+OK\r\n", said
        redis_server.say("ACL", "LOG", "RESET")
        return redis_server.url.replace("//", f"//{name}:pw@")

    return make


async def everything_once(url: str, folder: Path) -> None:
    """All that a cache, its journal and its service do in Redis."""
    options: dict[str, Any] = {
        "redis": url, "encryption_keys": GIVEN, "encrypt": "all",
        "limits": Limits(op_timeout=10, l2_bytes=64 * 2**20),
        "default_policy": Policy(stale_for=60),
    }  # fmt: skip
    behind = {"database": str(folder / "behind.db"), "write_strategy": "WRITE_BEHIND"}
    async with Cache(**options) as here, Cache(**options) as there, Cache(
        **options, namespace="cascada", **behind
    ) as with_database:  # fmt: skip
        for number, cache in enumerate((here, with_database)):
            t = cache.tenant(f"t{number}", agent="a")
            assert await t.set("doc", "1", "value", tags=["tag"])
            assert await t.set_many("doc", {"2": "two", "3": os.urandom(600_000)})
            assert await t.add("doc", "4", "four")
            miss = await t.get("doc", "5")
            assert await t.fill(miss, "five")
            assert (await t.load("doc", "6", lambda: "six", tags=["tag"])).value == "six"
            assert await t.touch("doc", "1", 600)
            assert len(await t.get_many("doc", ["1", "2", "3"])) == 3
            assert await t.delete("doc", "2")
            assert "hit" in str(await t.explain("doc", "1"))
            await t.list("queue").rpush(1)
            await t.list("queue").lpush(0)
            assert await t.list("queue").range() == [0, 1]
            await t.list("queue").trim(0, 1)
            assert [await t.list("queue").rpop(), await t.list("queue").lpop()] == [1, 0]
            assert await t.list("queue").length() == 0
            assert await t.increment("hits", "1", 5, ttl=60) == 5
            assert await t.counter("hits", "1") == 5
            assert (await t.invalidate(tag="tag")).keys >= 0
            await cache.stats()
            assert await cache.rotate_keys() == 0
        assert await here.tenant("acme").set("doc", "told", 1)
        assert (await there.tenant("acme").get("doc", "told")).value == 1
        await here.tenant("acme").invalidate("doc", "told")
        assert not await there.tenant("acme").get("doc", "told")
        service = CacheService(cache=here, database=f"sqlite:///{folder / 'app.db'}")
        with Context(tenant_id="acme"):
            assert await service.set("a:1", {"n": 1})
            assert (await service.sync_now()).written == 1
            assert await service.clear("a:*")
            assert await service.clear("*x*") >= 0
        await service.get_metrics()
        await service.stop_sync()
        for tenant in ("acme", "t0", "t1"):
            await here.forget(tenant)


async def test_the_documented_user_may_do_all_that_is_done(
    user: User, redis_server: RedisServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = user()
    await everything_once(url, tmp_path)
    denied = redis_server.say("ACL", "LOG")
    assert denied == b"*0\r\n", denied
    assert not [each for each in caplog.messages if "allow" in each or "NOPERM" in each]


def test_so_may_the_doctor(
    user: User, redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["doctor", "--json", "--workers", "2", "--redis", user()])
    assert '"the user may do all that is needed"' in capsys.readouterr().out
    assert redis_server.say("ACL", "LOG") == b"*0\r\n"


def test_it_may_do_no_harm_elsewhere(user: User, redis_server: RedisServer) -> None:
    name = user().split("//")[1].split(":")[0]
    refused = (
        "FLUSHALL", "FLUSHDB", "CONFIG GET *", "KEYS *", "DEBUG SLEEP 0", "ACL LIST", "MONITOR",
        "REPLICAOF NO ONE", "SAVE", "SET other x", "GET other", "PUBLISH other x",
        "GET cascada2.0:{b0}:v:a:b:c", "SWAPDB 0 1", "CLIENT KILL TYPE normal", "SORT other",
        "EVALSHA 0 1 other",
    )  # fmt: skip
    told = {each: _said(redis_server, name, each) for each in refused}
    assert not [each for each, said in told.items() if b"NOPERM" not in said], told
    assert _said(redis_server, name, "GET cascada.0:{b0}:x") == b"$-1\r\n"


def _said(server: RedisServer, name: str, command: str) -> bytes:
    """What the server says to one command of this user."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as wire:
        wire.sendall(f"AUTH {name} pw\r\n".encode())
        assert wire.recv(100) == b"+OK\r\n"
        wire.sendall(f"{command}\r\n".encode())
        return wire.recv(1000)


LESS = {
    "-@read": "GET", "-@write": "SET", "-@scripting": "EVAL", "-@string": "SET",
    "-@sortedset": "Z", "-@list": "PUSH", "-@keyspace": "EXPIRE", "-@pubsub": "SUBSCRIBE",
    "resetkeys": "key", "resetchannels": "channel",
}  # fmt: skip


@pytest.mark.parametrize("less", LESS)
async def test_one_that_may_do_less_is_told_and_nobody_is_harmed(
    user: User, less: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Loads are answered; what raises says in Redis' own words what is not allowed."""
    caplog.set_level(logging.DEBUG, "cascada")
    said: list[str] = []
    async with Cache(redis=user(less), limits=Limits(op_timeout=5)) as cache:
        t = cache.tenant("acme")
        assert (await t.load("doc", "1", lambda: "loaded")).value == "loaded"
        await t.set("doc", "2", "set")
        await t.get("doc", "2")
        for call in (t.list("queue").rpush(1), t.increment("hits", "1"), t.invalidate("doc", "1")):
            try:
                await call
            except CascadaError as error:
                said.append(str(error))
    told = " ".join([*said, *caplog.messages])
    assert re.search(r"NOPERM|ACL failure|can't run this command|forbids", told), told
    assert not [each for each in caplog.records if each.exc_info]
