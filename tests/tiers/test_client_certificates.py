"""`rediss://` to a server that asks who comes: an authority of one's own and its certificates."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from cascada import Cache, Limits
from cascada.testing.inside import InsideRedis, inside
from tests.scenarios.row import until
from tests.servers.redis import RedisServer

PASSWORD = "of-the-key-4711"


@dataclass
class Authority:
    """One that vouches for whom it has made a certificate for."""

    folder: Path
    name: str = "ca"
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.of(self.name, self.key)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.name}.pem"

    def of(self, name: str, key: Any = None, *, days: int = 1, password: str = "") -> Path:
        """A certificate and its key in one file."""
        key = ec.generate_private_key(ec.SECP256R1()) if key is None else key
        now = datetime.datetime.now(datetime.UTC)
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=3))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(x509.BasicConstraints(name == self.name, None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        hidden = (
            serialization.BestAvailableEncryption(password.encode())
            if password
            else serialization.NoEncryption()
        )
        path = self.folder / f"{name}.pem"
        path.write_bytes(
            made.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden
            )
        )
        return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
async def asking(redis_server: RedisServer, authority: Authority) -> AsyncIterator[int]:
    """The port of what speaks TLS before a server, and lets in whom the authority vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.of("server"))
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED

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


def cache_of(port: int, **options: object) -> Cache:
    said = "&".join(f"{name}={value}" for name, value in options.items())
    return Cache(redis=f"rediss://127.0.0.1:{port}/0?{said}", limits=Limits(op_timeout=5))


@pytest.mark.parametrize("how", ["one file", "two files", "with a password"])
async def test_who_shows_a_certificate_is_let_in(
    asking: int, authority: Authority, redis_server: RedisServer, how: str
) -> None:
    redis_server.flush()
    hidden = {"ssl_password": PASSWORD} if how == "with a password" else {}
    own = authority.of("client", password=hidden.get("ssl_password", ""))
    keyfile = {"ssl_keyfile": own} if how == "two files" else {}
    options = {"ssl_ca_certs": authority.path, "ssl_certfile": own, **keyfile, **hidden}
    async with cache_of(asking, **options) as cache:
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await cache.tenant("acme").get("doc", "0")
        await until(lambda: link.wire is not None)
        assert await cache.tenant("acme").set("doc", "1", "over TLS")
        await cache.tenant("acme").list("queue").rpush(1)  # on connections of their own
        async with cache_of(asking, **options) as other:
            await other.tenant("acme").get("doc", "0")
            link = InsideRedis(inside(other).tiers["l2"]).link
            await until(lambda: link.wire is not None)
            hit = await other.tenant("acme").get("doc", "1")
            assert (hit.value, hit.tier) == ("over TLS", "l2")
            assert await other.tenant("acme").list("queue").lpop() == 1
    assert PASSWORD not in repr(cache) + repr(cache.options)


@pytest.mark.parametrize("who", ["nobody", "a stranger", "one whose time is over"])
async def test_who_shows_none_is_not_and_it_is_said_why(
    asking: int, authority: Authority, tmp_path: Path, who: str
) -> None:
    shown: dict[str, object] = {}
    if who == "a stranger":
        shown["ssl_certfile"] = Authority(tmp_path / "other").of("client")
    elif who != "nobody":
        shown["ssl_certfile"] = authority.of("client", days=-1)
    async with cache_of(asking, ssl_ca_certs=authority.path, **shown) as cache:
        t = cache.tenant("acme")
        assert (await t.load("doc", "1", lambda: "loaded")).value == "loaded"
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: "ssl_certfile" in link.why)
        assert not inside(cache).lower[0].tier.run_id


@pytest.mark.parametrize("password", ["wrong-0815", ""])
async def test_a_key_that_its_password_does_not_open_says_so(
    asking: int, authority: Authority, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    own = authority.of("client", password=PASSWORD)
    said = {"ssl_password": password} if password else {}
    async with cache_of(asking, ssl_ca_certs=authority.path, ssl_certfile=own, **said) as cache:
        assert (await cache.tenant("acme").load("doc", "1", lambda: "loaded")).value == "loaded"
        link = InsideRedis(inside(cache).tiers["l2"]).link
        await until(lambda: "ssl_password" in link.why)
        assert link.wire is None
        assert "wrong-0815" not in link.why + caplog.text
