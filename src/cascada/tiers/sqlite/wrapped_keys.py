"""The wrapped data keys of tenants in the database: a table that no upkeep touches (`schema`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from cascada.tiers.sqlite.worker import Inline, Worker, Writer


class SqliteKeys:
    """See `sealing.WrappedKeys`. What is changed outlives a power cut."""

    def __init__(
        self,
        namespace: str,
        reader: Callable[[], Worker | Inline],
        writer: Callable[[], Writer],
    ) -> None:
        self._namespace = namespace
        self._reader = reader
        self._writer = writer

    async def get(self, tenant: str) -> bytes | None:
        return await self._reader().run(lambda connection: self._get(connection, tenant))

    def _get(self, connection: sqlite3.Connection, tenant: str) -> bytes | None:
        row = connection.execute(
            "SELECT wrapped FROM wrapped_keys WHERE namespace = ? AND tenant = ?",
            (self._namespace, tenant),
        ).fetchone()
        # A database's own types bind nobody who writes to it.
        return None if row is None else row[0] if type(row[0]) is bytes else b""

    async def add(self, tenant: str, wrapped: bytes) -> bytes:
        def add(connection: sqlite3.Connection) -> bytes:
            connection.execute(
                "INSERT OR IGNORE INTO wrapped_keys VALUES (?, ?, ?)",
                (self._namespace, tenant, wrapped),
            )
            there = self._get(connection, tenant)
            assert there is not None
            return there

        return await self._writer().run(add, durable=True)

    async def replace(self, tenant: str, wrapped: bytes, newer: bytes) -> bool:
        def replace(connection: sqlite3.Connection) -> bool:
            done = connection.execute(
                "UPDATE wrapped_keys SET wrapped = ?"
                " WHERE namespace = ? AND tenant = ? AND wrapped = ?",
                (newer, self._namespace, tenant, wrapped),
            )
            return done.rowcount == 1

        return await self._writer().run(replace, durable=True)

    async def drop(self, tenant: str) -> bool:
        def drop(connection: sqlite3.Connection) -> bool:
            done = connection.execute(
                "DELETE FROM wrapped_keys WHERE namespace = ? AND tenant = ?",
                (self._namespace, tenant),
            )
            return done.rowcount == 1

        return await self._writer().run(drop, durable=True)

    async def tenants(self) -> list[str]:
        def tenants(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute(
                "SELECT tenant FROM wrapped_keys WHERE namespace = ? ORDER BY tenant",
                (self._namespace,),
            )
            return [tenant for (tenant,) in rows.fetchall()]

        return await self._reader().run(tenants)
