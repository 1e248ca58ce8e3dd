"""Where a cache keeps its values: from a URL to the tier that it names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from cascada.model.clock import Clock
from cascada.model.door.secret import Secret, Url
from cascada.model.errors import BadInput
from cascada.model.options import Options

if TYPE_CHECKING:
    from cascada.tiers.redis.tier import RedisTier
    from cascada.tiers.sqlite.tier import SqliteTier

DATABASE: Final = "sqlite:///PATH (four slashes for an absolute path) or a bare path"
SYNCED: Final = ("postgresql", "postgres", "sqlite", "postgresql+asyncpg", "sqlite+aiosqlite")
"""Schemes of the databases that a `CacheService` writes to."""
SHORTEST_WAIT: Final = 1.0
LONGEST_WAIT: Final = 600.0
"""Seconds to wait for another process's transaction."""
_NO_PATH: Final = re.compile(r":.*@|[?#]|;.*=", re.S)


def redis_tier(
    url: Url, password: str | Secret | None, options: Options, clock: Clock
) -> RedisTier:
    """The tier on the Redis server that a URL names."""
    try:
        from cascada.tiers.redis.tier import RedisTier
    except ImportError as error:
        raise BadInput(
            f"redis is {url!r}, but {error.name} is not installed: pip install 'cascada[redis]'"
        ) from error
    limits = options.limits
    return RedisTier(
        url,
        namespace=options.namespace,
        clock=clock,
        password=password,
        connect_timeout=limits.redis_connection_timeout,
        silence=limits.redis_socket_timeout,
        capacity_bytes=limits.l2_bytes,
        max_connections=limits.redis_max_connections,
        pool_timeout=limits.redis_pool_timeout,
    )


def database_tier(url: Url, options: Options, clock: Clock) -> SqliteTier:
    """The database tier that a URL names.

    Who grants a call more time than usual grants other processes' transactions more, too.
    """
    from cascada.tiers.sqlite.tier import SqliteTier  # nor is SQLite read where none is asked for

    path = sqlite_path(url)
    if path is None:
        raise BadInput(
            f"database is {url!r}, which names no file, and SQLite alone can be a tier (a loader "
            f"may read any database); pass {DATABASE}, or leave it out to keep values in memory "
            "only"
        )
    return SqliteTier(
        path,
        namespace=options.namespace,
        clock=clock,
        capacity_bytes=options.limits.l3_bytes,
        busy_timeout=min(max(SHORTEST_WAIT, options.limits.op_timeout), LONGEST_WAIT),
        turns=True,
    )


def sqlite_path(url: Url) -> str | None:
    """The file that a URL or a bare path names; None if it names none.

    The path is written into logs and errors. So what reads like `user:password@` or like options
    is none: it is the URL of another database, with its scheme wrong or left out.
    """
    path = url.rest
    if url.scheme == "sqlite":
        path = path.removeprefix("/")
    elif url.scheme or "://" in path:
        return None
    if path.strip("/ ") in ("", ":memory:") or _NO_PATH.search(path):
        return None
    return path
