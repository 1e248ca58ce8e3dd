"""`cascada doctor` on set-ups that are broken: each is named, with its cure; nothing is left."""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from cascada import Cache, Limits
from cascada.api.settings import VARIABLES
from cascada.cli import database_checks, host_checks, redis_checks
from cascada.cli.command import main
from cascada.cli.database_checks import database_findings
from cascada.model.secret import Url
from tests.servers.redis import RedisServer, free_port

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(redis_checks, "LOOKING", 0.1)


class Said:
    """What the doctor has said."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        self.text = text
        told = json.loads(text)
        assert {"ok": 0, "warn": 1, "fail": 2}[told["status"]] == status
        self.checks: list[dict[str, str]] = told["checks"]

    def __call__(self, check: str) -> tuple[str, str]:
        """The worst status of a check, and all that was said of it."""
        found = [each for each in self.checks if each["check"] == check]
        assert found, f"{check} is not among {[each['check'] for each in self.checks]}"
        for each in found:
            assert each["status"] == "ok" or each["cure"], "what is wrong has a cure"
        said = " / ".join(f"{each['found']} -> {each['cure']}" for each in found)
        return max((each["status"] for each in found), key=["ok", "warn", "fail"].index), said

    @property
    def wrong(self) -> set[str]:
        return {each["check"] for each in self.checks if each["status"] != "ok"}


Doctor = Callable[..., Said]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Doctor:
    def look(*arguments: object, database: bool = True) -> Said:
        beside = ["--database", str(tmp_path / "cache.db")] if database else []
        status = main(["doctor", "--json", "--workers", "2", *beside, *map(str, arguments)])
        return Said(status, capsys.readouterr().out)

    return look


@contextmanager
def server(folder: Path, *options: str) -> Iterator[RedisServer]:
    folder.mkdir(exist_ok=True)
    running = RedisServer(folder, *options)
    try:
        yield running
    finally:
        running.kill()


SOUND = ("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lfu")


@contextmanager
def between(
    *ports: int, pause: float = 0.0, change: tuple[bytes, bytes] = (b"", b"")
) -> Iterator[int]:
    """A proxy before real servers: late, to each of them in turn, or with other words."""
    listening = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def carry(source: socket.socket, target: socket.socket, *, back: bool) -> None:
        with closing(source), closing(target):
            while data := _received(source):
                if back:
                    time.sleep(pause)
                    data = data.replace(*change) if change[0] else data
                try:
                    target.sendall(data)
                except OSError:
                    return

    def accept() -> None:
        number = 0
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", ports[number % len(ports)]))
            number += 1
            taken.extend((client, upstream))
            for one, other, back in ((client, upstream, False), (upstream, client, True)):
                threading.Thread(
                    target=carry, args=(one, other), kwargs={"back": back}, daemon=True
                ).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for each in taken:
            each.close()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(65536)
    except OSError:
        return b""


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}/0"


def test_a_sound_set_up_is_sound_and_nothing_is_left(doctor: Doctor, tmp_path: Path) -> None:
    with server(tmp_path / "r", *SOUND) as redis:
        said = doctor("--redis", redis.url)
        assert (said.status, said.wrong) == (0, set()), said.text
        assert redis.say("DBSIZE") == b":0\r\n"
        assert redis.say("PUBSUB", "CHANNELS") == b"*0\r\n"
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


def test_more_memory_than_there_is(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    there, _ = host_checks.memory_limit()
    monkeypatch.setenv("L1_CACHE_SIZE_MB", str(there // 2**20 // 2 + 1))
    status, text = doctor()("memory of workers")
    assert status == "fail"
    assert "2 workers x " in text
    assert "L1_CACHE_SIZE_MB" in text
    monkeypatch.setenv("L1_CACHE_SIZE_MB", str(there // 2**20 // 4 + 1))
    assert doctor()("memory of workers")[0] == "warn"
    monkeypatch.setenv("L1_CACHE_SIZE_MB", "50")
    (tmp_path / "memory.max").write_text(f"{80 * 2**20}\n")
    monkeypatch.setattr(host_checks, "CGROUPS", tmp_path)
    status, text = doctor()("memory of workers")
    assert status == "fail"
    assert "80 MiB of its control group" in text


def test_what_is_beside_what(doctor: Doctor, redis_server: RedisServer) -> None:
    status, text = doctor("--redis", redis_server.url, database=False)("tiers")
    assert status == "warn"
    assert "CACHE_DATABASE_URL" in text
    status, text = doctor(database=False)("tiers")
    assert status == "fail"
    assert "REDIS_URL" in text
    assert doctor("--workers", "1", database=False)("tiers")[0] == "ok"
    assert doctor()("tiers")[0] == "ok"


@pytest.mark.parametrize("there", [False, True])
def test_a_database_that_cannot_be_written(there: bool) -> None:
    """Looked at by a process that is not root's, to which nothing is forbidden."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "cache.db")
        if there:
            with closing(sqlite3.connect(file)) as made:
                made.execute("CREATE TABLE t (x)")
        Path(folder).chmod(0o555)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.getuid() == 0:
                    os.setuid(65534)
                found = [*database_findings(Url(str(file)), Limits())]
                os.write(tell, json.dumps(found).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        ((check, status, what, cure),) = json.loads(os.read(told, 65536))
        os.close(told)
        os.close(tell)
        Path(folder).chmod(0o755)
    assert (check, status) == ("database", "fail")
    assert ("not writable" if there else "cannot be made") in what
    assert "write" in cure


def test_databases_that_are_none(doctor: Doctor, tmp_path: Path) -> None:
    file = tmp_path / "cache.db"
    file.write_bytes(b"a picture of a cat" * 100)
    assert doctor()("database")[0] == "fail"
    file.unlink()
    with closing(sqlite3.connect(file)) as made:
        made.execute("CREATE TABLE somebody (s TEXT)")
    status, text = doctor()("database")
    assert status == "fail"
    assert "another program" in text
    file.unlink()
    (tmp_path / "file").touch()
    assert doctor("--database", tmp_path / "file" / "cache.db")("database")[0] == "fail"
    assert doctor("--database", tmp_path / "nowhere" / "cache.db")("database")[0] == "fail"
    assert doctor("--database", tmp_path)("database")[0] == "fail"
    assert doctor("--database", "postgresql://u:hunter2@h/d")("database")[0] == "fail"


async def test_a_database_in_use(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Cache(database=str(tmp_path / "cache.db")) as cache:
        await cache.tenant("acme").set("x", "1", "value")
        monkeypatch.setattr(database_checks, "PATIENCE", 0.01)
        assert doctor()("database")[0] == "ok"
        with closing(sqlite3.connect(tmp_path / "cache.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            status, text = doctor()("database")
            assert status == "warn"
            assert "locked" in text
            other.execute("ROLLBACK")
        with closing(sqlite3.connect(tmp_path / "cache.db")) as other:
            other.execute("PRAGMA user_version = 99")
        status, text = doctor()("database")
        assert status == "fail"
        assert "layout 99" in text


def test_a_variable_that_is_wrong(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:hunter2@host")
    said = doctor()
    assert said("settings")[0] == "fail"
    assert "REDIS_URL begins with http" in said.text
    assert "hunter2" not in said.text


def test_urls_that_are_none(doctor: Doctor) -> None:
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
