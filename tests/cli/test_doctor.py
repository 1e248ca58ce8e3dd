"""`cascada doctor` on set-ups that are broken: each is named, with its cure; nothing is left."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cascada.cli import redis_checks
from cascada.cli.command import main
from tests.cli.conftest import Doctor
from tests.servers.between import between
from tests.servers.redis import RedisServer, free_port

ROOT = Path(__file__).parents[2]


@contextmanager
def server(folder: Path, *options: str) -> Iterator[RedisServer]:
    folder.mkdir(exist_ok=True)
    running = RedisServer(folder, *options)
    try:
        yield running
    finally:
        running.kill()


SOUND = ("--maxmemory", "600mb", "--maxmemory-policy", "volatile-lfu")


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def test_a_sound_set_up_is_sound_and_nothing_is_left(doctor: Doctor, tmp_path: Path) -> None:
    with server(tmp_path / "r", *SOUND) as redis:
        said = doctor("--redis", redis.url)
        assert (said.status, said.wrong) == (1, {"redis password"}), said.text
        assert redis.say("DBSIZE") == b":0\r\n"
        assert redis.say("PUBSUB", "CHANNELS") == b"*0\r\n"
        redis.say("CONFIG", "SET", "requirepass", "s3same")
        said = doctor("--redis", redis.url.replace("//", "//:s3same@"))
        assert (said.status, said.wrong) == (0, set()), said.text
    assert not (tmp_path / "cache.db").exists()
    assert [*tmp_path.iterdir()] == [tmp_path / "r"]


def test_a_wrong_password(doctor: Doctor, tmp_path: Path) -> None:
    with server(tmp_path / "r") as redis:
        redis.say("CONFIG", "SET", "requirepass", "s3same")
        for wrong in (redis.url, redis.url.replace("//", "//:hunter2@")):
            said = doctor("--redis", wrong)
            status, text = said("redis connection")
            assert status == "fail"
            assert "REDIS_PASSWORD" in text
            assert "hunter2" not in said.text
        assert doctor("--redis", redis.url.replace("//", "//:s3same@"))("redis connection")[0] == (
            "ok"
        )


@pytest.mark.parametrize(
    ("rules", "status", "names"),
    [
        (("-eval",), "fail", "EVAL"),
        (("-evalsha",), "fail", "EVALSHA"),
        (("-publish",), "warn", "PUBLISH"),
        (("-subscribe",), "warn", "SUBSCRIBE"),
        (("-info",), "warn", "INFO"),
        (("-zadd", "-pexpire"), "fail", "ZADD"),
        (("-lpush",), "warn", "LPUSH"),
        (("-unlink",), "fail", "UNLINK"),
        (("resetkeys", "~other:*"), "fail", "EVAL"),
        (("resetchannels",), "warn", "PUBLISH"),
    ],
)
def test_rights_that_are_missing(
    doctor: Doctor, redis_server: RedisServer, rules: tuple[str, ...], status: str, names: str
) -> None:
    redis_server.flush()
    user = f"d{os.urandom(4).hex()}"
    say = redis_server.say("ACL", "SETUSER", user, "on", ">pw", "~*", "&*", "+@all", *rules)
    assert say == b"+OK\r\n"
    said = doctor("--redis", redis_server.url.replace("//", f"//{user}:pw@"))
    found, text = said("redis rights")
    assert found == status, text
    assert names in text
    assert "ACL SETUSER" in text or "lists" in text
    redis_server.say("ACL", "DELUSER", user)


def test_the_rights_that_it_names_are_enough(doctor: Doctor, tmp_path: Path) -> None:
    with server(tmp_path / "r", *SOUND) as redis:
        redis.say("ACL", "SETUSER", "poor", "on", ">pw", "+hello", "+ping")
        poor = redis.url.replace("//", "//poor:pw@")
        _, text = doctor("--redis", poor)("redis rights")
        told = re.search(r"ACL SETUSER NAME (.*?)(?: /|$)", text)
        assert told
        assert redis.say("ACL", "SETUSER", "poor", *told[1].split()) == b"+OK\r\n"
        redis.say("ACL", "SETUSER", "default", "off")
        assert doctor("--redis", poor).wrong == set()


def test_full_and_evicting_nothing(doctor: Doctor, tmp_path: Path) -> None:
    with server(
        tmp_path / "r", "--maxmemory", "500kb", "--maxmemory-policy", "noeviction"
    ) as redis:
        said = doctor("--redis", redis.url)
        assert said("redis memory")[0] == "fail", "an empty server takes as much"
        assert said("redis writes")[0] == "fail"
        assert "volatile-lfu" in said("redis memory")[1]
        redis.say("CONFIG", "SET", "maxmemory", "100mb")
        assert doctor("--redis", redis.url)("redis memory")[0] == "warn"


def test_a_budget_that_the_server_has_no_room_for(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server(tmp_path / "r", *SOUND) as redis:
        redis.say("SET", "cascada.0:{b0}:m", f"{95 * 2**20} 0 7 0")
        status, text = doctor("--redis", redis.url)("redis budget")
        assert (status, "95 of 500 MiB" in text) == ("ok", True)
        monkeypatch.setenv("L2_CACHE_SIZE_MB", "100")
        status, text = doctor("--redis", redis.url)("redis budget")
        assert (status, "no room" in text) == ("warn", True)
        monkeypatch.setenv("L2_CACHE_SIZE_MB", "600")
        status, text = doctor("--redis", redis.url)("redis budget")
        assert (status, "at least 660 MiB" in text, "at most 545" in text) == ("warn", True, True)
        redis.say("CONFIG", "SET", "maxmemory", "0")
        redis.say("DEL", "cascada.0:{b0}:m")
        redis.say("RPUSH", "cascada.0:{b0}:m", "what is this")
        assert doctor("--redis", redis.url)("redis budget")[0] == "ok"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--maxmemory", "0"), "no maxmemory"),
        (("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"), "lists and counters"),
        (("--maxmemory", "50mb", "--maxmemory-policy", "volatile-ttl"), "in use"),
    ],
)
def test_policies(doctor: Doctor, tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    with server(tmp_path / "r", *options) as redis:
        status, text = doctor("--redis", redis.url)("redis memory")
        assert status == "warn"
        assert says in text
        assert "volatile-lfu" in text
        before = redis.say("CONFIG", "GET", "maxmemory*")
        assert all(option.encode() in before for option in options[3:]), "it sets nothing"


def test_nobody_there(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    status, text = doctor("--redis", url(free_port()))("redis connection")
    assert status == "fail"
    assert "connection refused" in text
    status, text = doctor("--redis", "redis://no-such-host.invalid:6379")("redis connection")
    assert status == "fail"
    assert "correct the host" in text
    monkeypatch.setattr(redis_checks, "LONGEST", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        status, text = doctor("--redis", url(mute.getsockname()[1]))("redis connection")
    assert status == "fail"
    assert "no answer within" in text


@pytest.mark.parametrize(
    ("where", "cure"),
    [
        ("unix:///no/such/socket", "path of the socket"),
        ("rediss://127.0.0.1:{port}", "both ends use TLS"),
        ("rediss://127.0.0.1:{port}/0?ssl_ca_certs=/no/such/file", "certificates"),
        ("redis+sentinel://127.0.0.1:{port}/mymaster", "Sentinel"),
    ],
)
def test_what_is_no_such_server(
    doctor: Doctor,
    redis_server: RedisServer,
    where: str,
    cure: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_checks, "LONGEST", 0.5)  # Redis waits for more of what is no command
    status, text = doctor("--redis", where.format(port=redis_server.port))("redis connection")
    assert status == "fail"
    assert cure in text


def test_another_program_on_the_port(doctor: Doctor, redis_server: RedisServer) -> None:
    with between(redis_server.port, change=(b"%", b"HTTP/1.1 400 Bad Request\r\n")) as port:
        status, text = doctor("--redis", url(port))("redis connection")
    assert status == "fail"
    assert "listens on this port" in text


def test_a_slow_server(
    doctor: Doctor, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASCADA_OP_TIMEOUT", "0.01")
    with between(redis_server.port, pause=0.02) as port:
        status, text = doctor("--redis", url(port))("redis latency")
    assert status == "fail"
    assert "CASCADA_OP_TIMEOUT" in text
    assert "a call may take 10 ms" in text


def test_a_proxy_that_changes_servers(
    doctor: Doctor, redis_server: RedisServer, tmp_path: Path
) -> None:
    with server(tmp_path / "r") as other, between(redis_server.port, other.port) as port:
        status, text = doctor("--redis", url(port))("redis servers")
    assert status == "fail"
    assert "2 different servers" in text


def test_a_replica(doctor: Doctor, redis_server: RedisServer, tmp_path: Path) -> None:
    with server(tmp_path / "r", "--replicaof", "127.0.0.1", str(redis_server.port)) as replica:
        said = doctor("--redis", replica.url)
    status, text = said("redis role")
    assert status == "fail"
    assert "master" in text


def test_an_old_server(doctor: Doctor, redis_server: RedisServer) -> None:
    version = re.search(r"redis_version:([\d.]+)", redis_server.say("INFO", "server").decode())
    assert version
    old = "5.0." + "9" * (len(version[1]) - 4)
    change = version[1].encode(), old.encode()
    with between(redis_server.port, change=change) as port:
        status, text = doctor("--redis", url(port))("redis version")
    assert status == "fail"
    assert "6.2" in text


@pytest.mark.parametrize(
    ("value", "status", "says"),
    [
        ("n" * 8 + "0" * 40 + "0099" + "1", "fail", "layout 99"),
        ("n" * 8 + "0" * 40 + "0000" + "1", "warn", "layout 0"),
        ("a session of somebody's", "warn", "somebody else"),
    ],
)
def test_a_namespace_that_others_use(
    doctor: Doctor, redis_server: RedisServer, value: str, status: str, says: str
) -> None:
    redis_server.say("SET", "cascada.0:{b0}:e", value)
    try:
        found, text = doctor("--redis", redis_server.url)("redis namespace")
    finally:
        redis_server.flush()
    assert found == status
    assert says in text
    assert "CASCADA_NAMESPACE" in text


def test_what_is_beside_what(doctor: Doctor, redis_server: RedisServer) -> None:
    status, text = doctor("--redis", redis_server.url, database=False)("tiers")
    assert status == "warn"
    assert "CACHE_DATABASE_URL" in text
    status, text = doctor(database=False)("tiers")
    assert status == "fail"
    assert "REDIS_URL" in text
    assert doctor("--workers", "1", database=False)("tiers")[0] == "ok"
    assert doctor()("tiers")[0] == "ok"


def test_a_variable_that_is_wrong(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@host")
    said = doctor()
    assert said("settings")[0] == "fail"
    assert "REDIS_URL begins with http" in said.text
    assert "hunter2" not in said.text


def test_urls_that_are_none(doctor: Doctor) -> None:
    assert doctor("--redis", "")("redis url")[0] == "fail"
    said = doctor("--redis", "redis://:pa/ss@host")
    assert said("redis url")[0] == "fail"
    assert "pa/ss" not in said.text
    assert "host" not in said("redis url")[1].partition("->")[0]


def test_people_read_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--workers", "3"]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("fail  tiers              3 workers have memory alone")
    assert lines[2].startswith("                         -> set REDIS_URL")
    assert lines[-1] == "3 checks: 1 failed, 0 to think about."


@pytest.mark.parametrize("workers", ["0", "-1", "many", "1.5"])
def test_workers_are_a_number(workers: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--workers", workers])
    assert "--workers" in capsys.readouterr().err


def test_workers_as_servers_read_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "7")
    main(["doctor"])
    assert "7 workers x 50 MiB" in capsys.readouterr().out
