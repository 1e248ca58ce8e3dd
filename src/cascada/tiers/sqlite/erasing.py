"""Removing the bytes of a tenant or a user from the database's file (`tiers/erasing`).

Of a tenant all that is void goes by the sweep that drops tombstones, too (`maintenance`): up to the
latest number of his, under which nothing is left then. Of a user it goes row by row, and of
tombstones those of his own names that the user's own one covers: the floor of his tenant stays, by
which others' changes are judged.

What is deleted is overwritten (`PRAGMA secure_delete`), but where SQLite has moved a row from one
page to another, the place where it has lain is not. So the file is written anew at the end (VACUUM)
if it is not large, or if it is asked for: nobody else writes meanwhile. Last the write-ahead log is
brought into the file and cut off.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from cascada.model.forgotten import Removed, Whom
from cascada.tiers.deadline import lengthen
from cascada.tiers.sqlite.maintenance import remove, sweep
from cascada.tiers.sqlite.pruning import COLUMNS
from cascada.tiers.sqlite.schema import KILLER
from cascada.tiers.sqlite.transaction import Options, TenantState, Transaction
from cascada.tiers.sqlite.worker import Writer

NAME: Final = "l3"

CHUNK: Final = 200
"""Rows of one step: a few milliseconds, in which nobody else writes."""

COMPACTED: Final = 64 * 2**20
"""Bytes of a file that is written anew unasked: it takes a second or less."""

SLOWEST: Final = 2 * 2**20
"""Bytes of a second that are written anew, at the least."""

AGAIN: Final = 0.1
TRIES: Final = 50
"""Seconds between two tries to have the file for oneself, and how often."""

NOT_COMPACTED: Final = (
    "unused parts of %s may hold bytes of what was moved in it: pass compact=True, which writes "
    "%d MB anew while nobody else writes, or run VACUUM when it is quiet"
)
BUSY: Final = (
    "others have kept %s busy, so that its write-ahead log, or unused parts of it, may hold bytes "
    "still: run it again"
)

_TENANT: Final = "SELECT id FROM tenants WHERE namespace = ? AND tenant = ?"
_VOID: Final = (
    f"SELECT {KILLER} IS NOT NULL OR e.q < t.floor, {COLUMNS}"
    " FROM tenants t CROSS JOIN entries e ON e.tenant = t.id AND e.key > ?"
    " WHERE t.id = ? ORDER BY e.key LIMIT ?"
)
_TOMBSTONES: Final = (
    "SELECT name, q FROM tombstones WHERE tenant = ? AND name > ? ORDER BY name LIMIT ?"
)
_JOURNALS: Final = "SELECT name FROM journals WHERE namespace = ?"
_HIS: Final = "EXISTS (SELECT 1 FROM json_each(e.names) n WHERE n.value = ?)"
_CHANGES: Final = (
    f"SELECT e.rowid, e.size, e.journal FROM {{}} e"
    f" WHERE e.tenant = ? AND e.number <= ? AND {_HIS} LIMIT ?"
)
_LESS: Final = "UPDATE journals SET changes = changes - ?, bytes = bytes - ? WHERE id = ?"
_DATA: Final = "namespace = ? AND name >= ? AND name < ?"
_COUNTERS: Final = f"SELECT name FROM counters WHERE {_DATA} LIMIT ?"
_LIST: Final = f"SELECT id FROM lists WHERE {_DATA} LIMIT 1"
_ITEMS: Final = (
    "DELETE FROM items WHERE rowid IN (SELECT rowid FROM items WHERE list = ? LIMIT ?)"
    " RETURNING length(item)"
)
_POSTED: Final = "SELECT id, names FROM outbox WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?"
_LISTS: Final = "SELECT name FROM lists WHERE namespace = ? AND name >= ':' AND name < ';'"


class SqliteErasing:
    """Of one file. `writer` says who writes now: after a fork, it is another."""

    def __init__(self, path: Path, options: Options, writer: Callable[[], Writer]) -> None:
        self._path = path
        self._options = options
        self._writer = writer

    async def journals(self) -> list[str]:
        where = (self._options.namespace,)
        return await self._writer().run(lambda c: [name for (name,) in c.execute(_JOURNALS, where)])

    async def erase(
        self, whom: Whom, journaled: int, *, compact: bool | None
    ) -> AsyncGenerator[Removed]:
        his = _His(self._options, whom, journaled)
        steps = [his.changes, his.outbox]
        steps += [his.void, his.tombstones] if whom.user is not None else [his.swept]
        if whom.user is None:
            steps += [his.counters, his.lists, his.left]
        for step in steps:
            place: Any = None
            while True:
                removed, place = await self._writer().run(partial(step, place=place), durable=True)
                yield removed
                if place is None:
                    break
        async for removed in self._clean(compact):
            yield removed

    async def _clean(self, compact: bool | None) -> AsyncGenerator[Removed]:
        """Leave nothing in unused parts of the file, nor in the write-ahead log."""
        size = await self._writer().run(_size)
        small = size <= COMPACTED if compact is None else compact
        for work in (_compact, _cut) if small else (_cut,):
            for _ in range(TRIES):
                if await self._alone(work, size):
                    break
                yield Removed(NAME)
                await asyncio.sleep(AGAIN)
            else:
                yield Removed(NAME, incomplete=BUSY % self._path.name)
        if not small and compact is None:
            why = NOT_COMPACTED % (self._path.name, size // 2**20)
            yield Removed(NAME, incomplete=why)

    async def _alone(self, work: Callable[[sqlite3.Connection], bool], size: int) -> bool:
        """Outside of a transaction, in a thread of its own: the writer's waits for it."""
        link = self._writer().link
        lengthen(size / SLOWEST, size / SLOWEST)

        def alone() -> bool:
            with link as connection:
                return work(connection)

        return await asyncio.to_thread(alone)

    async def remains(self, *, compact: bool | None) -> list[str]:
        if compact is not False:
            return []
        size = await self._writer().run(_size)
        return [NOT_COMPACTED % (self._path.name, size // 2**20)]

    async def shared_lists(self) -> list[str]:
        where = (self._options.namespace,)
        return await self._writer().run(lambda c: [name for (name,) in c.execute(_LISTS, where)])


class _His:
    """The steps, each in one transaction: what went, and where to go on (None: it is over)."""

    def __init__(self, options: Options, whom: Whom, journaled: int) -> None:
        self._options = options
        self._whom = whom
        self._journaled = journaled
        self._name = whom.name
        begins = f"{whom.text}:"
        self._data = (options.namespace, begins, f"{begins[:-1]};")  # ";" comes next to ":"
        self._swept_to = 0

    def _id(self, connection: sqlite3.Connection) -> int | None:
        found = connection.execute(
            _TENANT, (self._options.namespace, self._whom.text)
        ).fetchone()  # fmt: skip
        return None if found is None else int(found[0])

    def changes(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """What waits in journals, and what was set aside."""
        tenant = self._id(connection)
        if tenant is None:
            return Removed(NAME), None
        for table in ("changes", "aside"):
            found = connection.execute(
                _CHANGES.format(table), (tenant, self._journaled, self._name, CHUNK)
            ).fetchall()
            if found:
                gone = [(row,) for row, _, _ in found]
                connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", gone)
                less = [(1, size, journal) for _, size, journal in found]
                connection.executemany(_LESS, less)
                size = sum(each for _, each, _ in found)
                return Removed(NAME, changes=len(found), size_bytes=size), True
        return Removed(NAME), None

    def outbox(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """What a tier above is still to be told: one name for all of his."""
        where = (self._options.namespace, place or 0, CHUNK)
        rows = connection.execute(_POSTED, where).fetchall()
        others = 0
        for number, text in rows:
            names = msgspec.json.decode(text, type=list[str])
            kept = [name for name in names if not self._whom.is_named(name)]
            if len(kept) < len(names) and names != [self._name]:
                others += len(names) - len(kept)
                # In a row of its own, as whoever sends the others deletes them by their numbers.
                connection.execute("DELETE FROM outbox WHERE id = ?", (number,))
                told = msgspec.json.encode([*kept, self._name]).decode()
                connection.execute(
                    "INSERT INTO outbox (namespace, names) VALUES (?, ?)",
                    (self._options.namespace, told),
                )
        return Removed(NAME, others=others), rows[-1][0] if len(rows) == CHUNK else None

    # --- entries ------------------------------------------------------------------------------

    def swept(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """Of all of the tenant: what is void, and tombstones up to his latest number."""
        transaction, tenant = Transaction(connection, self._options), self._id(connection)
        if tenant is None:
            return Removed(NAME), None
        state = transaction.state_of(tenant)
        if not place:
            self._swept_to = max(state.sweep, state.seq)
        before, tombstones, due = transaction.bytes, state.tombstone_count, state.sweep
        state.sweep = self._swept_to
        sweep(transaction, state)
        removed = self._removed(transaction, before, tombstones - state.tombstone_count)
        if more := bool(state.sweep):
            state.sweep = due  # nobody else goes on with it: what he removed would be in no report
        transaction.save()
        return removed, more or None

    def void(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """Rows of the user's tenant that are void."""
        transaction, tenant = Transaction(connection, self._options), self._id(connection)
        if tenant is None:
            return Removed(NAME), None
        rows = connection.execute(_VOID, (place or "", tenant, CHUNK)).fetchall()
        before = transaction.bytes
        remove(transaction, [(tenant, *columns) for void, *columns in rows if void])
        removed = self._removed(transaction, before, 0)
        transaction.save()
        return removed, rows[-1][1] if len(rows) == CHUNK else None

    def tombstones(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """Those of the user's own names: whoever is older than his name's is refused by that."""
        transaction, tenant = Transaction(connection, self._options), self._id(connection)
        if tenant is None:
            return Removed(NAME), None
        state = transaction.state_of(tenant)
        state.learn((), [self._name])
        covers = state.tombstones.get(self._name)
        if covers is None:
            return Removed(NAME), None
        rows = connection.execute(_TOMBSTONES, (tenant, place or "", CHUNK)).fetchall()
        gone = [(name, seq) for name, seq in rows if seq < covers.seq and self._whom.is_named(name)]
        self._drop(transaction, state, gone)
        transaction.save()
        last = rows[-1][0] if len(rows) == CHUNK else None
        return Removed(NAME, others=len(gone)), last

    def _drop(
        self, transaction: Transaction, state: TenantState, gone: Sequence[tuple[str, int]]
    ) -> None:
        execute = transaction.connection.executemany
        execute("DELETE FROM tombstones WHERE tenant = ? AND name = ?", [
            (state.id, name) for name, _ in gone
        ])  # fmt: skip
        execute("DELETE FROM applied WHERE tenant = ? AND key = ? AND q <= ?", [
            (state.id, name[2:], seq) for name, seq in gone if name.startswith("k:")
        ])  # fmt: skip
        execute("DELETE FROM counts WHERE tenant = ? AND name = ?", [
            (state.id, name) for name, _ in gone
        ])  # fmt: skip
        state.tombstone_count -= len(gone)
        # Who polls the feed and has not heard of these must be told that he missed some.
        transaction.lost = max([transaction.lost, *[seq for _, seq in gone]])

    @staticmethod
    def _removed(transaction: Transaction, before: int, others: int) -> Removed:
        size = before - transaction.bytes
        return Removed(NAME, entries=transaction.removed, others=others, size_bytes=size)

    # --- data, and the rest -------------------------------------------------------------------

    def counters(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        names = connection.execute(_COUNTERS, (*self._data, CHUNK)).fetchall()
        gone = [(self._options.namespace, name) for (name,) in names]
        for table in ("counters", "ends"):
            connection.executemany(f"DELETE FROM {table} WHERE namespace = ? AND name = ?", gone)
        return Removed(NAME, counters=len(gone)), len(gone) == CHUNK or None

    def lists(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """A part of a list; when it has no items, the list itself."""
        found = connection.execute(_LIST, self._data).fetchone()
        if found is None:
            return Removed(NAME), None
        sizes = connection.execute(_ITEMS, (found[0], CHUNK)).fetchall()
        size = sum(each for (each,) in sizes)
        if len(sizes) < CHUNK:
            connection.execute("DELETE FROM lists WHERE id = ?", found)
        return Removed(NAME, lists=int(len(sizes) < CHUNK), size_bytes=size), True

    def left(self, connection: sqlite3.Connection, place: Any) -> tuple[Removed, Any]:
        """Names of what has been written behind, and counts: of no use without rows."""
        tenant = self._id(connection)
        if tenant is None:
            return Removed(NAME), None
        where = {"t": tenant, "n": CHUNK, "q": self._swept_to}
        gone = connection.execute(
            "DELETE FROM applied WHERE (tenant, key) IN (SELECT tenant, key FROM applied"
            " WHERE tenant = :t AND q <= :q LIMIT :n)",
            where,
        ).rowcount
        gone += connection.execute(
            "DELETE FROM counts WHERE (tenant, name) IN (SELECT tenant, name FROM counts"
            " WHERE tenant = :t LIMIT :n)"
            " AND NOT EXISTS (SELECT 1 FROM entries WHERE tenant = :t)",
            where,
        ).rowcount
        return Removed(NAME, others=gone), True if gone else None


def _size(connection: sqlite3.Connection) -> int:
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    ((size,),) = connection.execute("PRAGMA page_size").fetchall()
    return int(pages) * int(size)


def _compact(connection: sqlite3.Connection) -> bool:
    """Write the file anew; False while somebody else writes."""
    try:
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _cut(connection: sqlite3.Connection) -> bool:
    """Bring the write-ahead log into the file, and cut it off; False while somebody reads."""
    ((busy, _, _),) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return not busy
