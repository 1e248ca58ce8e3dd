"""Where a cache keeps its values: from a URL to the tier that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cascada.model.clock import Clock
from cascada.model.errors import BadInput
from cascada.tiers.sqlite import SqliteTier

if TYPE_CHECKING:
    from cascada.tiers.redis import RedisTier

REDIS_SCHEMES: Final = ("redis", "rediss", "unix", "redis+sentinel")


def redis_tier(
    url: str,
    namespace: str,
    clock: Clock,
    password: str | None,
    connection_timeout: float,
    socket_timeout: float,
) -> RedisTier:
    """The tier on the Redis server that a URL names."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in REDIS_SCHEMES or not rest:
        raise BadInput(
            f"redis is {without_password(url)!r}; expected redis://HOST:PORT/DB, rediss:// for "
            "TLS, unix://PATH, or redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB"
        )
    try:
        from cascada.tiers.redis import RedisTier
    except ImportError as error:
        raise BadInput(
            f"redis is {without_password(url)!r}, but {error.name} is not installed: "
            "pip install 'cascada[redis]'"
        ) from error
    return RedisTier(
        url,
        namespace=namespace,
        clock=clock,
        password=password,
        connect_timeout=connection_timeout,
        silence=socket_timeout,
    )


def database_tier(url: str, namespace: str, capacity: int, clock: Clock) -> SqliteTier:
    """The database tier that a URL names."""
    scheme, separator, path = url.partition("://")
    if not separator:
        path = url
    elif scheme == "sqlite":
        path = path.removeprefix("/")
    else:
        raise BadInput(
            f"database is {without_password(url)!r}; this version takes sqlite:///PATH "
            "(four slashes for an absolute path) or a bare path"
        )
    if not path or path == ":memory:":
        raise BadInput(
            f"database is {url!r}, which names no file; leave it out to keep values in memory only"
        )
    return SqliteTier(path, namespace=namespace, capacity_bytes=capacity, clock=clock)


def without_password(url: str) -> str:
    return re.sub(r"://[^@]*@", "://***@", url)
