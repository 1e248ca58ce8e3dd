"""Lists and counters in the cache database, each call in one transaction that waits for the disk.

Items stand at whole numbers that only ever grow at the right end and shrink at the left one, from
`head` up to but not including `tail`, without gaps: both ends cost the same, however long the list.
Rows of data count for no capacity and are in no sweep; upkeep removes counters that have ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import NamedTuple

from cascada.model.clock import Clock
from cascada.model.door.arguments import LEAST, MOST
from cascada.tiers.datastore import overflow, span
from cascada.tiers.sqlite.worker import Inline, Worker, Writer


class SqliteData:
    """See `DataStore`. `reader` and `writer` say who runs what now: after a fork, it is others."""

    def __init__(
        self,
        namespace: str,
        clock: Clock,
        reader: Callable[[], Worker | Inline],
        writer: Callable[[], Writer],
    ) -> None:
        self._namespace = namespace
        self._now = clock.time
        self._reader = reader
        self._writer = writer

    async def increment(self, name: str, amount: int, ttl: float | None = None) -> int:
        where = (self._namespace, name)
        return await self._writer().run(
            # The time when it is done: it may have waited for others.
            lambda c: _increment(c, where, amount, self._now(), ttl),
            durable=True,
        )

    async def counter(self, name: str) -> int:
        where = (self._namespace, name)
        return await self._reader().run(lambda c: _counter(c, where, self._now()) or 0)

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        where = (self._namespace, name)
        return await self._writer().run(lambda c: _push(c, where, item, left), durable=True)

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        where = (self._namespace, name)
        # Who asks an empty list again and again keeps nobody from writing.
        if not await self._reader().run(lambda c: _length(c, where)):
            return None
        return await self._writer().run(lambda c: _pop(c, where, left), durable=True)

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        where = (self._namespace, name)
        return await self._reader().run(lambda c: _range(c, where, start, end))

    async def length(self, name: str) -> int:
        where = (self._namespace, name)
        return await self._reader().run(lambda c: _length(c, where))

    async def trim(self, name: str, start: int, end: int) -> None:
        where = (self._namespace, name)
        await self._writer().run(lambda c: _trim(c, where, start, end), durable=True)


Where = tuple[str, str]


class _List(NamedTuple):
    """One row of `lists`; one that is not there has id 0 and no items."""

    id: int
    head: int
    tail: int


def _increment(
    connection: sqlite3.Connection, where: Where, amount: int, now: float, ttl: float | None
) -> int:
    before = _counter(connection, where, now)
    value = (before or 0) + amount
    if not LEAST <= value <= MOST:  # SQLite itself would go on with a float
        raise overflow(where[1], amount)
    if before is None:  # it begins, perhaps after one that has ended
        connection.execute("DELETE FROM ends WHERE namespace = ? AND name = ?", where)
        if ttl is not None:
            connection.execute(
                "INSERT INTO ends (namespace, name, at) VALUES (?, ?, ?)", (*where, now + ttl)
            )
    connection.execute(
        "INSERT INTO counters (namespace, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (namespace, name) DO UPDATE SET value = excluded.value",
        (*where, value),
    )
    return value


def _counter(connection: sqlite3.Connection, where: Where, now: float) -> int | None:
    """None: it never was, or has ended."""
    # fetchall, as below: a cursor that is not read to its end would keep the snapshot open.
    found = connection.execute(
        "SELECT value FROM counters c LEFT JOIN ends e USING (namespace, name)"
        " WHERE c.namespace = ? AND c.name = ? AND (e.at IS NULL OR e.at > ?)",
        (*where, now),
    ).fetchall()
    return int(found[0][0]) if found else None


def remove_ended(connection: sqlite3.Connection, now: float, most: int) -> bool:
    """Remove so many counters that have ended, of all namespaces; True if there may be more."""
    ended = connection.execute(
        "SELECT namespace, name FROM ends WHERE at <= ? ORDER BY at LIMIT ?", (now, most)
    ).fetchall()
    for table in ("counters", "ends"):
        connection.executemany(f"DELETE FROM {table} WHERE namespace = ? AND name = ?", ended)
    return len(ended) == most


def _push(connection: sqlite3.Connection, where: Where, item: bytes, left: bool) -> int:
    found = _list(connection, where)
    if not found.id:
        added = connection.execute(
            "INSERT INTO lists (namespace, name, head, tail) VALUES (?, ?, 0, 0)", where
        )
        assert added.lastrowid is not None
        found = _List(added.lastrowid, 0, 0)
    head, tail = (found.head - 1, found.tail) if left else (found.head, found.tail + 1)
    connection.execute(
        "INSERT INTO items (list, position, item) VALUES (?, ?, ?)",
        (found.id, head if left else tail - 1, item),
    )
    _keep(connection, found, head, tail)
    return tail - head


def _pop(connection: sqlite3.Connection, where: Where, left: bool) -> bytes | None:
    found = _list(connection, where)
    if not found.id:
        return None
    head, tail = (found.head + 1, found.tail) if left else (found.head, found.tail - 1)
    at = found.head if left else tail
    (item,) = _items(connection, found.id, at, at + 1)
    _keep(connection, found, head, tail)
    return bytes(item)


def _range(connection: sqlite3.Connection, where: Where, start: int, end: int) -> list[bytes]:
    connection.execute("BEGIN")  # both looks at one moment
    try:
        found = _list(connection, where)
        first, after = span(start, end, found.tail - found.head)
        return _items(connection, found.id, found.head + first, found.head + after)
    finally:
        connection.execute("COMMIT")


def _length(connection: sqlite3.Connection, where: Where) -> int:
    found = _list(connection, where)
    return found.tail - found.head


def _trim(connection: sqlite3.Connection, where: Where, start: int, end: int) -> None:
    found = _list(connection, where)
    first, after = span(start, end, found.tail - found.head)
    _keep(connection, found, found.head + first, found.head + after)


def _list(connection: sqlite3.Connection, where: Where) -> _List:
    found = connection.execute(
        "SELECT id, head, tail FROM lists WHERE namespace = ? AND name = ?", where
    ).fetchall()
    return _List(*found[0]) if found else _List(0, 0, 0)


def _items(connection: sqlite3.Connection, number: int, head: int, tail: int) -> list[bytes]:
    rows = connection.execute(
        "SELECT item FROM items WHERE list = ? AND position >= ? AND position < ?"
        " ORDER BY position",
        (number, head, tail),
    ).fetchall()
    return [item for (item,) in rows]


def _keep(connection: sqlite3.Connection, found: _List, head: int, tail: int) -> None:
    """Let the list be what stands from `head` to `tail`; nothing at all is no list."""
    if head == tail:
        connection.execute("DELETE FROM lists WHERE id = ?", (found.id,))
        connection.execute("DELETE FROM items WHERE list = ?", (found.id,))
        return
    connection.execute("UPDATE lists SET head = ?, tail = ? WHERE id = ?", (head, tail, found.id))
    if head > found.head:
        connection.execute("DELETE FROM items WHERE list = ? AND position < ?", (found.id, head))
    if tail < found.tail:
        connection.execute("DELETE FROM items WHERE list = ? AND position >= ?", (found.id, tail))
