"""How Redis is reached, and that many callers on one connection never get each other's replies."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import random
import signal
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from cascada import Cache, Limits
from cascada.model.errors import BadInput, TierUnavailable
from cascada.testing.inside import InsideRedis, inside
from cascada.tiers.redis_client import wire as redis_wire
from tests.scenarios.row import until
from tests.servers.redis import RedisServer, binary, free_port

CALLERS = 1000


async def stored(cache: Cache, count: int) -> None:
    acme = cache.tenant("acme")
    for start in range(0, count, 100):
        await asyncio.gather(
            *(acme.set("doc", f"{n}", f"value {n}") for n in range(start, start + 100))
        )


async def test_a_thousand_callers_share_two_connections_and_none_gets_an_error(
    redis_server: RedisServer,
) -> None:
    redis_server.flush()
    before = clients(redis_server)
    async with Cache(redis=redis_server.url, limits=Limits(op_timeout=30, l1_bytes=1)) as cache:
        await stored(cache, CALLERS)
        acme = cache.tenant("acme")
        hits = await asyncio.gather(*(acme.get("doc", f"{n}") for n in range(CALLERS)))
        assert [hit.value for hit in hits] == [f"value {n}" for n in range(CALLERS)]
        assert {hit.tier for hit in hits} == {"l2"}
        assert clients(redis_server) - before == 2, "one for commands, one for pushes"


def clients(server: RedisServer) -> int:
    return server.say("CLIENT", "LIST").count(b" addr=")


async def test_callers_that_leave_take_no_reply_from_the_others(redis_server: RedisServer) -> None:
    redis_server.flush()
    rng = random.Random(1)
    async with Cache(redis=redis_server.url, limits=Limits(op_timeout=30, l1_bytes=1)) as cache:
        await stored(cache, 200)
        acme = cache.tenant("acme")

        async def ask(number: int) -> str:
            hit = await acme.get("doc", f"{number}")
            return str(hit.value)

        for _ in range(10):
            asked = [rng.randrange(200) for _ in range(CALLERS)]
            tasks = [asyncio.create_task(ask(number)) for number in asked]
            for task in rng.sample(tasks, CALLERS // 2):
                asyncio.get_running_loop().call_later(rng.uniform(0, 0.02), task.cancel)
            got = await asyncio.gather(*tasks, return_exceptions=True)
            for number, answer in zip(asked, got, strict=True):
                assert isinstance(answer, asyncio.CancelledError) or answer == f"value {number}"


async def test_a_server_that_stands_still_is_not_sent_commands_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_wire, "MAX_WAITING", 50)
    server = RedisServer(tmp_path)
    async with Cache(redis=server.url) as cache:
        await cache.tenant("acme").set("doc", "1", "value")
        link = InsideRedis(inside(cache).tiers["l2"]).link
        server.signal(signal.SIGSTOP)
        for _ in range(50):
            link.send(b"PING")
        with pytest.raises(TierUnavailable, match="50 commands wait for Redis already"):
            link.send(b"PING")
        assert (await cache.tenant("acme").load("doc", "2", lambda: "loaded")).value == "loaded"
        server.signal(signal.SIGCONT)
    server.kill()


async def test_a_unix_socket(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "redis.sock"))
    async with Cache(redis=f"unix://{tmp_path / 'redis.sock'}?db=3") as cache:
        await keeps_a_value(cache)
    assert b"db3:" in server.say("INFO", "keyspace")
    server.kill()


async def keeps_a_value(cache: Cache) -> None:
    acme = cache.tenant("acme")
    assert await acme.set("doc", "1", "value")
    inside(cache).memory.flush()
    hit = await acme.get("doc", "1")
    assert (hit.value, hit.tier) == ("value", "l2")


@pytest.mark.parametrize("in_url", [True, False])
async def test_a_user_with_a_password(tmp_path: Path, in_url: bool) -> None:
    server = RedisServer(tmp_path)
    server.say("ACL", "SETUSER", "app", "on", ">p@ss word", "~*", "&*", "+@all")
    server.say("ACL", "SETUSER", "default", "off")
    url = f"redis://app:p%40ss%20word@127.0.0.1:{server.port}/0"
    if in_url:
        cache = Cache(redis=url)
    else:
        cache = Cache(redis=f"redis://app@127.0.0.1:{server.port}/0", redis_password="p@ss word")
    async with cache:
        await keeps_a_value(cache)
    server.kill()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that vouches for itself, and its key beside it."""
    x509 = pytest.importorskip("cryptography.x509", reason="makes the certificate")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "cert.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    path.with_name("key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
async def encrypted(redis_server: RedisServer, certificate: Path) -> AsyncIterator[int]:
    """The port of what speaks TLS before a server, as stunnel does: ours was built without it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", redis_server.port)
        await asyncio.gather(pump(reader, there[1]), pump(there[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_tls(encrypted: int, certificate: Path) -> None:
    url = f"rediss://127.0.0.1:{encrypted}/0?ssl_ca_certs={certificate}&ssl_min_version=771"
    async with Cache(redis=url, limits=Limits(op_timeout=5)) as cache:
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: link.wire is not None)  # a busy machine takes its time to shake hands
        await keeps_a_value(cache)


async def test_whom_nobody_looks_at_is_let_in(encrypted: int) -> None:
    url = f"rediss://127.0.0.1:{encrypted}/0?ssl_cert_reqs=none"
    async with Cache(redis=url, limits=Limits(op_timeout=5)) as cache:
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: link.wire is not None)  # a busy machine takes its time to shake hands
        await keeps_a_value(cache)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_that_nobody_vouches_for_is_not_trusted(
    encrypted: int, certificate: Path, host: str
) -> None:
    """Nor one of another host."""
    known = f"?ssl_ca_certs={certificate}" if host == "localhost" else ""
    async with Cache(redis=f"rediss://{host}:{encrypted}/0{known}") as cache:
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: link.why == "TLS failed: CERTIFICATE_VERIFY_FAILED")
        acme = cache.tenant("acme")
        assert (await acme.load("doc", "1", lambda: "loaded")).value == "loaded"
        assert not inside(cache).lower[0].tier.run_id


async def test_a_file_that_is_not_there_says_so(encrypted: int) -> None:
    url = f"rediss://127.0.0.1:{encrypted}/0?ssl_ca_certs=/no/such/file"
    async with Cache(redis=url) as cache:
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: "No such file" in link.why)


@pytest.mark.parametrize("url", ["http://cache:6379", "cache:6379", "redis://", "redis://h:port/0"])
def test_what_is_no_redis_url_is_refused(url: str) -> None:
    with pytest.raises(BadInput, match="redis is"):
        Cache(redis=url)


async def test_a_fail_over_that_sentinel_decides_is_followed(tmp_path: Path) -> None:
    (tmp_path / "master").mkdir()
    (tmp_path / "replica").mkdir()
    master = RedisServer(tmp_path / "master")
    replica = RedisServer(tmp_path / "replica", "--replicaof", "127.0.0.1", str(master.port))
    port = free_port()
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {tmp_path}\n"
        f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
    )
    sentinel = await asyncio.create_subprocess_exec(
        binary(), str(config), "--sentinel", stdout=subprocess.DEVNULL
    )
    try:
        await until(lambda: b"slave0" in master.say("INFO", "replication"))
        cache = Cache(
            redis=f"redis+sentinel://127.0.0.1:{port}/main/0",
            limits=Limits(l1_bytes=1, op_timeout=0.1),
        )
        async with cache:
            acme = cache.tenant("acme")
            await until(lambda: inside(cache).lower[0].available)
            await keeps_a_value(cache)
            # A Sentinel learns of replicas from the master, now and then.
            knows = b"num-slaves\r\n$1\r\n1"
            await until(lambda: knows in ask(port, "SENTINEL", "MASTER", "main"), 30)
            master.kill()
            for _ in range(400):
                if (await acme.load("doc", "2", lambda: "value")).tier == "l2":
                    break
                await asyncio.sleep(0.05)
            else:
                pytest.fail("the cache did not follow")
            assert b"role:master" in replica.say("INFO", "replication")
            assert (await acme.get("doc", "1")).value is None, "another server, another epoch"
    finally:
        sentinel.kill()
        await sentinel.wait()
        master.kill()
        replica.kill()


def ask(port: int, *words: str) -> bytes:
    command = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as wire:
        wire.sendall(command.encode())
        return wire.recv(65536)
