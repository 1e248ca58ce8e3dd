"""From a URL to connections: redis-py's own, to the server that the URL names.

No error here has another one behind it: a parser's would hold the URL.
"""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from cascada.model.errors import BadInput
from cascada.model.secret import Secret, Url
from cascada.tiers.redis_layout import without_arguments
from cascada.tiers.redis_url import what_is_wrong


class Pool:
    """How connections to one server are made: redis-py's own, with its retries switched off.

    A script that is sent twice may be carried out twice; and retries would make one stopped server
    cost many timeouts. RESP3 is asked for explicitly, since pushes depend on it.
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

    def make(self) -> AbstractConnection:
        made: Any = self._pool
        return cast(AbstractConnection, made.make_connection())

    def said(self, error: BaseException) -> str:
        """What a driver or a server says of a failure, for a log.

        A server that does not know HELLO repeats what it was sent, and that is the password.
        """
        text = without_arguments(str(error)) or type(error).__name__
        for secret in self._secrets:
            text = secret.hidden_in(text)
        return text


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
            protocol=3, retry=Retry(NoBackoff(), 0), retry_on_timeout=False, health_check_interval=0
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
