"""The application's database as it is named: SQLAlchemy's engine, or a URL, which makes one.

SQLAlchemy is imported when it is used (the extra `sql`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from cascada.model.errors import BadInput, MissingExtra

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

CONNECT: Final = 5.0
"""Seconds that connecting may take."""

_DRIVERS: Final = {
    "sqlite": "sqlite+aiosqlite",
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
}
ACCEPTED: Final = (
    "a URL such as postgresql://user@host/name or sqlite:///file.db, or SQLAlchemy's AsyncEngine"
)


def is_engine(given: object) -> bool:
    """Whether it is an engine of SQLAlchemy's, which is not imported for that."""
    module = sys.modules.get("sqlalchemy.ext.asyncio")
    return module is not None and isinstance(given, module.AsyncEngine)


def opened(database: str | AsyncEngine) -> AsyncEngine:
    """The engine of a URL; one that was given as it is. MissingExtra without SQLAlchemy."""
    try:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError
        from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
    except ImportError as error:
        raise MissingExtra("the sync needs SQLAlchemy: pip install 'cascada[sql]'") from error
    if isinstance(database, AsyncEngine):
        return database
    scheme, colon, rest = database.partition(":")
    try:
        url = make_url(_DRIVERS.get(scheme, scheme) + colon + rest)
    except ArgumentError:
        url = None
    if url is None or url.drivername not in _DRIVERS.values():
        # Not shown: it may hold a password.
        raise BadInput(f"database holds something else (not shown here); pass {ACCEPTED}")
    if url.get_backend_name() == "sqlite":
        return create_async_engine(url, connect_args={"timeout": CONNECT})
    if (mode := url.query.get("sslmode")) is not None:
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return create_async_engine(
        url, pool_size=2, max_overflow=2, pool_pre_ping=True, connect_args={"timeout": CONNECT}
    )
