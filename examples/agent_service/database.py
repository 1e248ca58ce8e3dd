"""The service's own database: one engine, its settings, and a count of what it is asked.

SQLite by default, PostgreSQL by URL. The count is the demo's measure of what a cache saves.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from sqlalchemy import ColumnElement, Executable, Insert, Row, Table, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from examples.agent_service.schema import metadata

_OPTIONS: Final = {
    "pool_size": 5,
    "max_overflow": 10,
    "pool_timeout": 10,
    "hide_parameters": True,  # rows are their tenants', and no log's
}
_ONE_AT_A_TIME: Final = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "SELECT pg_advisory_xact_lock(20)",
}
unavailable: Final = (OperationalError, InterfaceError, NoConnection, ConnectionError)
"""What is raised while the database is locked, full or away: later the same may go well."""
_FOREIGN_KEY: Final = ("SQLITE_CONSTRAINT_FOREIGNKEY", "23503")


class NotThere(LookupError):
    """What the request names does not exist (for this tenant)."""


class AlreadyThere(Exception):
    """What the request would create exists."""


class Database:
    """Connections to one database, and how many statements went through them."""

    def __init__(self, url: str) -> None:
        self.queries = 0
        if make_url(url).get_backend_name() == "sqlite":
            self._engine = create_async_engine(url, connect_args={"timeout": 10}, **_OPTIONS)
            event.listen(self._engine.sync_engine, "connect", _prepare_sqlite)
        else:
            # A server may have closed what the pool kept: ask before use.
            self._engine = create_async_engine(
                url,
                pool_pre_ping=True,
                connect_args={"timeout": 10, "command_timeout": 30},
                **_OPTIONS,
            )
        event.listen(self._engine.sync_engine, "before_cursor_execute", self._count)

    async def create_tables(self) -> None:
        if self._engine.dialect.name == "sqlite":
            await self._use_wal()
        async with self._engine.begin() as connection:
            # Of workers that start together, one looks and creates while the others wait.
            await connection.exec_driver_sql(_ONE_AT_A_TIME[self._engine.dialect.name])
            await connection.run_sync(metadata.create_all)

    async def _use_wal(self) -> None:
        """From now on readers do not wait for a writer; the file remembers it."""
        for patience in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, None):
            try:
                async with self._engine.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            except OperationalError:
                # SQLite does not wait for the lock of this switch, as for others, so that workers
                # that start together have to try again.
                if patience is None:
                    raise
                await asyncio.sleep(patience)
            else:
                return

    async def fetch(self, statement: Executable) -> Sequence[Row[Any]]:
        async with self._engine.connect() as connection:
            return (await connection.execute(statement)).all()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed when the block ends well."""
        async with self._engine.begin() as connection:
            yield connection

    async def aclose(self) -> None:
        await self._engine.dispose()

    def _count(self, *_: object) -> None:
        self.queries += 1


class TenantRows:
    """The base of all queries: they are built here, so that each one carries the tenant."""

    def __init__(self, database: Database, tenant: str) -> None:
        self._database = database
        self._tenant = tenant

    def _own(self, table: Table, **equal: str) -> ColumnElement[bool]:
        """This tenant's rows of a table whose columns equal the values."""
        condition: ColumnElement[bool] = table.c.tenant_id == self._tenant
        for column, value in equal.items():
            condition &= table.c[column] == value
        return condition

    async def _all(self, statement: Executable) -> list[dict[str, Any]]:
        rows = await self._database.fetch(statement)
        # SQLAlchemy's column names are a kind of string of its own, which nothing else should see.
        return [{str(name): value for name, value in row._mapping.items()} for row in rows]

    async def _one(self, statement: Executable) -> dict[str, Any] | None:
        rows = await self._all(statement)
        return rows[0] if rows else None

    async def _change(self, statement: Executable) -> int:
        """Run one statement in a transaction of its own; how many rows it changed."""
        async with self._database.transaction() as connection:
            return (await connection.execute(statement)).rowcount

    async def _add(self, statement: Insert, what: str, parent: str | None = None) -> Any:
        """Insert; the sentences say which row is in the way and which one it misses.

        Answers what the statement returns, if it returns something.
        """
        with explained(what, parent):
            async with self._database.transaction() as connection:
                result = await connection.execute(statement)
                return result.scalar_one() if result.returns_rows else None


@contextmanager
def explained(what: str, parent: str | None = None) -> Iterator[None]:
    """The database's refusal of a row, as NotThere or AlreadyThere with a sentence."""
    try:
        yield
    except IntegrityError as error:
        # sqlite3 gives its error a name, asyncpg the SQL standard's number.
        name = getattr(error.orig, "sqlite_errorname", None)
        if (name or getattr(error.orig, "sqlstate", None)) in _FOREIGN_KEY:
            raise NotThere(f"{parent} does not exist") from error
        raise AlreadyThere(f"{what} exists already") from error


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()
