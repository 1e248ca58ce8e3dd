"""The documents' `get_supabase_client`, in as much of its dialect as they speak, on PostgreSQL.

A client that was made for a tenant sees that tenant's rows alone, as row level security has it:
the documents' own query for a document names no tenant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Generator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg  # type: ignore[import-untyped]

SCHEMA = """
DROP SCHEMA IF EXISTS documented CASCADE;
CREATE SCHEMA documented;
CREATE TABLE agents (id text, tenant_id text, name text, temperature float8);
CREATE TABLE agent_tools (id text, tenant_id text, agent_id text, name text);
CREATE TABLE conversations (id text, tenant_id text, agent_id text);
CREATE TABLE messages (id text, tenant_id text, conversation_id text, content text);
CREATE TABLE documents (document_id text, tenant_id text, collection_id text, content text);
"""


@dataclass(frozen=True)
class Result:
    """What a query has found or changed."""

    data: list[dict[str, Any]]


class Database:
    """The tables of one test; `asked` holds the table of every query, in their order."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.asked: list[str] = []

    async def insert(self, table: str, **row: object) -> None:
        await get_supabase_client().table(table).insert(row).execute()
        self.asked.clear()

    async def update(self, table: str, id_: str, **values: object) -> None:
        await get_supabase_client().table(table).update(values).eq("id", id_).execute()
        self.asked.clear()


class Query:
    """One statement, put together word by word; every value is a parameter of it."""

    def __init__(self, table: str) -> None:
        self._table, self._columns = table, "*"
        self._values: Mapping[str, object] | None = None
        self._inserts = False
        self._where: list[tuple[str, object]] = []

    def select(self, columns: str) -> Query:
        self._columns = columns
        return self

    def insert(self, row: Mapping[str, object]) -> Query:
        self._values, self._inserts = row, True
        return self

    def update(self, values: Mapping[str, object]) -> Query:
        self._values = values
        return self

    def eq(self, column: str, value: object) -> Query:
        self._where.append((column, value))
        return self

    async def execute(self) -> Result:
        assert _database is not None, "the test has not asked for its database"
        _database.asked.append(self._table)
        values = self._values or {}
        arguments = [*values.values(), *(value for _, value in self._where)]
        rows = await _database.pool.fetch(self._text(values), *arguments)
        return Result([dict(row) for row in rows])

    def _text(self, values: Mapping[str, object]) -> str:
        if self._inserts:
            places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
            return f"INSERT INTO {self._table} ({', '.join(values)}) VALUES ({places}) RETURNING *"
        conditions = [
            f"{column} = ${number}"
            for number, (column, _) in enumerate(self._where, start=len(values) + 1)
        ]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        if values:
            changes = [f"{column} = ${number}" for number, column in enumerate(values, start=1)]
            return f"UPDATE {self._table} SET {', '.join(changes)}{where} RETURNING *"
        return f"SELECT {self._columns} FROM {self._table}{where}"


class Client:
    """What both documents call `supabase` or `client`; it may be awaited, which gives itself."""

    def __init__(self, tenant_id: str | None) -> None:
        self._tenant = tenant_id

    def __await__(self) -> Generator[Any, None, Client]:
        yield from ()
        return self

    def table(self, name: str) -> Query:
        query = Query(name)
        return query if self._tenant is None else query.eq("tenant_id", self._tenant)


_database: Database | None = None


def get_supabase_client(tenant_id: str | None = None) -> Client:
    """Document A calls it as it is, document S awaits it and names the tenant."""
    return Client(tenant_id)


def get_table_name(name: str) -> str:
    """The table in its schema."""
    return f"documented.{name}"


@asynccontextmanager
async def database_on(server: str) -> AsyncIterator[Database]:
    """Empty tables, which `get_supabase_client` reads until the end of it."""
    global _database
    path = {"search_path": "documented"}
    async with asyncpg.create_pool(
        f"{server}/postgres", min_size=1, max_size=4, server_settings=path
    ) as pool:
        await pool.execute(SCHEMA)
        _database = Database(pool)
        try:
            yield _database
        finally:
            _database = None
