"""`cascada doctor`: who gets at Redis and the database, and how many."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from cascada import Cache, Limits
from cascada.cli import redis_checks, redis_guard
from cascada.cli.redis_guard import connections_finding, tls_finding
from cascada.tiers.redis_client.server import server_of
from tests.cli.conftest import Doctor
from tests.servers.between import between
from tests.servers.redis import RedisServer

ODD = b"maxclients:10000", b"maxclients:1x000"


@pytest.mark.parametrize("local", [True, False])
def test_a_server_that_asks_for_no_password(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch, local: bool
) -> None:
    monkeypatch.setattr(redis_guard, "is_local", lambda wire: local)
    monkeypatch.setattr(redis_checks, "is_local", lambda wire: local)
    plain = server.url
    status, text = doctor("--redis", plain)("redis password")
    assert status == ("warn" if local else "fail")
    assert "REDIS_PASSWORD" in text
    # A user with a password is of no use while anybody else gets in without one.
    server.say("ACL", "SETUSER", "app", "on", ">s3same", "~*", "&*", "+@all")
    app = plain.replace("//", "//app:s3same@")
    said = doctor("--redis", app)
    assert said("redis password")[0] == ("warn" if local else "fail")
    # One who gets in, and may read nothing, is no danger.
    server.say("ACL", "SETUSER", "default", "resetkeys")
    assert doctor("--redis", app)("redis password")[0] == "ok"
    server.say("ACL", "SETUSER", "default", "off")
    said = doctor("--redis", app)
    assert said("redis password")[0] == "ok"
    assert "s3same" not in said.text


def test_a_socket_has_permissions(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    running = RedisServer(tmp_path, "--unixsocket", str(path))
    try:
        said = doctor("--redis", f"unix://{path}")
        assert said("redis password")[0] == said("redis tls")[0] == "ok"
    finally:
        running.kill()


@pytest.mark.parametrize(
    ("url", "local", "status"),
    [
        ("redis://h/0", True, "ok"),
        ("redis://h/0", False, "warn"),
        ("rediss://h/0", False, "ok"),
        ("rediss://h/0?ssl_cert_reqs=none", False, "warn"),
        ("rediss://h/0?ssl_cert_reqs=optional", True, "warn"),
    ],
)
def test_what_is_said_on_the_way(url: str, local: bool, status: str) -> None:
    assert tls_finding(server_of(url), local=local).status == status


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        (("127.0.0.1", 6379), True),
        (("::1", 6379, 0, 0), True),
        (("10.0.0.7", 6379), False),
        (("fe80::1%eth0", 6379, 0, 2), False),
        ("/run/redis.sock", True),
        (OSError("not connected"), False),
    ],
)
def test_where_it_is_says_the_socket(peer: object, local: bool) -> None:
    class Wire:
        class socket:
            @staticmethod
            def getpeername() -> object:
                if isinstance(peer, OSError):
                    raise peer
                return peer

    assert redis_guard.is_local(Wire()) is local  # type: ignore[arg-type]


def test_fewer_connections_than_workers_take(doctor: Doctor, server: RedisServer) -> None:
    assert doctor("--redis", server.url)("redis connections")[0] == "ok"
    server.say("CONFIG", "SET", "maxclients", "100")
    status, text = doctor("--redis", server.url)("redis connections")
    assert (status, "maxclients" in text) == ("warn", True)
    assert "2 workers take at most 120" in text


def test_connections_that_were_refused_and_that_nobody_tells() -> None:
    told = {"maxclients": "10000", "connected_clients": "3", "rejected_connections": "7"}
    found = connections_finding(told, Limits(), 4)
    assert (found.status, "refused 7" in found.found) == ("warn", True)
    assert connections_finding({}, Limits(), 4).status == "ok"


def test_environments_that_nothing_tells_apart(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def used(namespace: str, database: int) -> None:
        url = server.url.removesuffix("/0") + f"/{database}"
        async with Cache(redis=url, namespace=namespace, limits=Limits(op_timeout=10)) as cache:
            await cache.tenant("acme").set("x", "1", "value")

    asyncio.run(used("shop-dev", 0))
    asyncio.run(used("shop-prod", 0))
    status, text = doctor("--redis", server.url)("redis environment")
    assert status == "ok", "nobody else is on this machine"
    assert "shop-dev.0, shop-prod.0" in text
    monkeypatch.setattr(redis_checks, "is_local", lambda wire: False)
    assert doctor("--redis", server.url)("redis environment")[0] == "warn"
    monkeypatch.setenv("CASCADA_NAMESPACE", "shop-prod")
    status, text = doctor("--redis", server.url)("redis environment")
    assert status == "ok"
    assert "beside it: shop-dev.0 " in text


def test_a_file_that_all_may_read(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / "cache.db"

    async def used() -> None:
        async with Cache(database=str(file)) as cache:
            await cache.tenant("acme").set("x", "1", "value")

    asyncio.run(used())
    folders = [each for each in tmp_path.parents if each.stat().st_uid == os.getuid()]
    before = {each: each.stat().st_mode for each in (tmp_path, *folders)}
    try:
        for mode, status in ((0o644, "warn"), (0o666, "fail"), (0o640, "ok"), (0o600, "ok")):
            file.chmod(mode)
            tmp_path.chmod(0o700)
            assert doctor()("database permissions")[0] == "ok", "nobody gets into the folder"
            for each in before:
                each.chmod(before[each] | 0o055)
            assert doctor()("database permissions")[0] == status
    finally:
        for each, mode in before.items():
            each.chmod(mode)


def test_a_server_that_stands_still_is_waited_for_only_so_long(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_checks, "LONGEST", 0.2)
    server.signal(signal.SIGSTOP)
    try:
        status, text = doctor("--redis", server.url)("redis connection")
    finally:
        server.signal(signal.SIGCONT)
    assert status == "fail"
    assert "no answer within" in text


def test_it_stands_still_in_the_midst(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found before is told, and that it fell silent."""
    monkeypatch.setattr(redis_checks, "LONGEST", 0.2)

    def stopped(*_: object, **__: object) -> object:
        server.signal(signal.SIGSTOP)
        return tls_finding(server_of(server.url), local=True)

    monkeypatch.setattr(redis_checks, "tls_finding", stopped)
    try:
        said = doctor("--redis", server.url)
    finally:
        server.signal(signal.SIGCONT)
    assert said("redis password")[0] == "warn"
    status, text = said("redis connection")
    assert status == "fail"
    assert "fell silent" in text


def test_whether_strangers_get_in_is_not_said_where_nobody_gets_in(
    doctor: Doctor, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server frees a client's place some time after the client has gone. So it is full only
    # from the moment in which the doctor has its own place.
    def full(wire: object) -> bool:
        server.say("CONFIG", "SET", "maxclients", "1")
        return True

    monkeypatch.setattr(redis_checks, "is_local", full)
    status, text = doctor("--redis", server.url)("redis password")
    assert (status, "could not be tried" in text) == ("warn", True)


def test_answers_that_no_redis_gives(doctor: Doctor, server: RedisServer) -> None:
    with between(int(server.url.split(":")[2].split("/")[0]), change=ODD) as port:
        status, text = doctor("--redis", f"redis://127.0.0.1:{port}/0")("redis connection")
    assert (status, "as no Redis does" in text) == ("fail", True)


def test_what_somebody_else_has_put_in_the_places_that_it_looks_at(
    doctor: Doctor, server: RedisServer
) -> None:
    home = "cascada.0:{b0}:"
    for command in (
        ("RPUSH", f"{home}k:acme", "x"), ("SET", f"{home}k:globex", ""),
        ("SET", f"{home}jm:service.%ff", "x"), ("SET", f"{home}jp:service.%ff", "x"),
        ("SET", f"{home}jm", "x"), ("ZADD", f"{home}jp", "inf", "k"),
        ("SET", "other.0:{b0}:e", "x"),
    ):  # fmt: skip
        server.say(*command)
    said = doctor("--redis", server.url, database=False)
    assert said("redis connection")[0] == said("redis clock")[0] == "ok"
    assert "other.0" in said("redis environment")[1]
    assert said("encryption keys")[0] == "fail", "a key is there, and none opens it"
