"""From a URL to connections: redis-py's own, to the server that the URL names.

`RedisTier` makes one pool. The link (`redis_link`), the lanes and the push feed open their
connections by it. An error that is raised here is never chained to a parser's, whose text would
hold the URL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from cascada.model.errors import BadInput
from cascada.model.secret import Secret, Url
from cascada.tiers.redis.layout import without_arguments
from cascada.tiers.redis.replies import Argument, exactly, greeted
from cascada.tiers.redis.urls import what_is_wrong
from cascada.tiers.redis.wire import Wire


class Pool:
    """How connections to one server are opened: redis-py's own, with its retries switched off.

    A script that is sent twice may be carried out twice; and retries would make one stopped server
    cost many timeouts. The server is greeted here, since redis-py's parser would believe whatever
    a header says.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self.database = int(pool.connection_kwargs.get("db", 0) or 0)
        given = (str(pool.connection_kwargs.get(name) or "") for name in ("password", "username"))
        self._secrets = [Secret(text) for text in given if text]

    async def aclose(self) -> None:
        """Close what was opened to find the server; its own connections belong to the links."""
        manager: Any = getattr(self._pool, "sentinel_manager", None)
        for sentinel in () if manager is None else manager.sentinels:
            await sentinel.aclose()

    async def open(
        self,
        on_push: Callable[[list[Any]], None] = lambda message: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> Opened:
        """A new connection on which nothing has been said yet."""
        made: Any = self._pool
        connection: AbstractConnection = made.make_connection()
        opened = Opened(Wire(on_push, on_lost), connection)
        try:
            if (tls := getattr(connection, "ssl_context", None)) is not None:
                # It reads all certificates that this machine trusts: too long for the loop. Each
                # time anew, since they may have been replaced.
                await asyncio.to_thread(tls.get)
            await cast(Any, connection).connect()
            end_if_cancelled()
            opened.wire.take_over(_transport_of(connection))
        except BaseException:
            opened.end("it could not be opened")
            raise
        return opened

    async def greet(self, wire: Wire) -> None:
        """What a server is told first. RESP3 is asked for, since pushes depend on it."""
        told: Any = self._pool.connection_kwargs.get
        proof: tuple[Argument, ...] = ()
        if told("username") or told("password"):
            proof = (b"AUTH", told("username") or "default", told("password") or "")
        await wire.send((b"HELLO", b"3", *proof), greeted)
        if told("client_name"):
            await wire.send((b"CLIENT", b"SETNAME", told("client_name")), exactly(b"OK"))
        if self.database:
            await wire.send((b"SELECT", self.database), exactly(b"OK"))

    def said(self, error: BaseException) -> str:
        """What a driver or a server says of a failure, for a log.

        A server that does not know HELLO repeats what it was sent, and that is the password.
        """
        text = without_arguments(str(error)) or type(error).__name__
        for secret in self._secrets:
            text = secret.hidden_in(text)
        return text


class Opened:
    """A wire, and the connection that redis-py holds its transport by."""

    def __init__(self, wire: Wire, connection: AbstractConnection) -> None:
        self.wire = wire
        self._connection = connection

    def end(self, why: str) -> None:
        self.wire.close(why)
        cast(Any, self._connection)._close()  # else it would warn that nobody did


async def _said_later(connection: AbstractConnection) -> None:
    """In the place of redis-py's own greeting."""


def end_if_cancelled() -> None:
    """redis-py loses a cancellation that comes while it connects; the task would never end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """The transport under a connection that redis-py has made, which is ours from now on."""
    writer = connection._writer
    assert writer is not None
    return cast(asyncio.Transport, writer.transport)


def pool_of(url: str | Url, password: str | Secret | None = None) -> Pool:
    """BadInput for a URL that redis-py does not take, or would take for another one.

    `redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB` asks Sentinels for the master, at every
    connect.
    """
    url = Url(url)
    wrong = what_is_wrong(url)
    pool = None if wrong else _driver_pool(url, password)
    if pool is None:
        raise BadInput(f"redis is {url!r}: {wrong or 'an option after its ? is none of redis-py'}")
    return Pool(pool)


def _driver_pool(url: Url, password: str | Secret | None) -> ConnectionPool | None:
    """redis-py's pool; None if it does not take the URL's options."""
    text = url.reveal()
    try:
        is_sentinel = url.scheme == "redis+sentinel"
        pool = _sentinel_pool(text) if is_sentinel else ConnectionPool.from_url(text)
        # Afterwards, since options in the URL would win.
        pool.connection_kwargs.update(
            protocol=3,
            retry=Retry(NoBackoff(), 0),
            retry_on_timeout=False,
            health_check_interval=0,
            redis_connect_func=_said_later,
        )
        if password is not None:
            pool.connection_kwargs["password"] = Secret(password).reveal()
        cast(Any, pool).make_connection()  # connects to nothing, and refuses unknown options
    except (ValueError, TypeError):
        return None
    return pool


def _sentinel_pool(url: str) -> ConnectionPool:
    parts = urlsplit(url)
    _, _, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    sentinels = []
    for host in hosts.split(","):
        name, _, port = host.partition(":")
        sentinels.append((name, int(port or 26379)))
    given = {"username": parts.username, "password": parts.password}
    how: dict[str, Any] = {name: unquote(text) for name, text in given.items() if text}
    asked: Any = cast(Any, Sentinel)(sentinels, socket_timeout=1.0)
    pool: ConnectionPool = cast(Any, SentinelConnectionPool)(
        service, asked, db=int(database or 0), **how
    )
    return pool
