"""What one write transaction knows of the database, and what it changes.

A `Transaction` holds the sums of the whole file and a `TenantState` for each tenant that is
touched. All of it is read from the transaction's own snapshot, and `save` writes back what
changed, one statement for all rows of a sort. Nothing here outlives the transaction.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec

from cascada.codecs.envelope import home_of, unpack
from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key
from cascada.model.names import OF_ONE_KEY, is_own, static_names
from cascada.tiers.sqlite.schema import SIZES
from cascada.tiers.sqlite.sparing import is_spared, spared

ROW_OVERHEAD: Final = 200
"""Bytes of a row beside its envelope, key and names: columns and five index entries."""

MADE: Final = "+"
"""Before a name: the count of what was made from what it names. No name begins so."""

_ROWS: Final = (
    "SELECT e.key, e.q, e.expires, e.size, e.version, e.names"
    " FROM json_each(?) k CROSS JOIN entries e ON e.tenant = ? AND e.key = k.value"
)
_STATE: Final = "SELECT id, q, floor, tombstones, sweep, bytes FROM tenants"
_ENVELOPE: Final = "SELECT envelope FROM entries WHERE tenant = ? AND key = ?"
_TOMBSTONES: Final = (
    "SELECT d.name, d.q, d.version, d.at"
    " FROM json_each(?) n CROSS JOIN tombstones d ON d.tenant = ? AND d.name = n.value"
)
_STORE: Final = (
    "INSERT INTO entries (tenant, key, q, expires, used, priority, size, version, names, envelope)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, key) DO UPDATE SET"
    " q = excluded.q, expires = excluded.expires, used = excluded.used,"
    " priority = excluded.priority, size = excluded.size, version = excluded.version,"
    " names = excluded.names, envelope = excluded.envelope"
)
_BUMP: Final = (
    "INSERT INTO tombstones VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, name) DO UPDATE SET"
    " q = excluded.q, version = excluded.version, at = excluded.at"
)
_COUNT: Final = (
    "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (tenant, name) DO UPDATE SET"
    " rows = rows + excluded.rows"
)


class Options(msgspec.Struct, frozen=True):
    """What a tier was told when it was made."""

    namespace: str
    clock: Clock
    capacity_bytes: int
    max_tombstones: int


class Row(NamedTuple):
    """An entry as it lies in the database, less its envelope. `names` None: unreadable."""

    key: str
    seq: int
    expires: float
    size: int
    version: int | None
    names: tuple[str, ...] | None


class Tombstone(NamedTuple):
    """The latest invalidation of a name; for a key, with its greatest version."""

    seq: int
    version: int | None
    at: float | None = None
    """When that was, unless by a set."""


class TenantState:
    """One tenant's part of a transaction.

    `tombstones` and `rows` hold what `learn` has read and what was done since; a name that was
    learned and is not in `tombstones` was never invalidated, or so long ago that `floor` covers it.
    `stored` and `bumped` are the rows and tombstones that `save` is to write. `keep_from`: a sweep
    that begins now must not go beyond, since what is fenced by such a number is still to come.
    """

    def __init__(self, transaction: Transaction, columns: tuple[int, ...]) -> None:
        self.transaction = transaction
        self.found_as = columns
        self.id, self.seq, self.floor, self.tombstone_count, self.sweep, self.bytes = columns
        self.tombstones: dict[str, Tombstone] = {}
        self.rows: dict[str, Row] = {}
        self.stored: dict[str, tuple[Any, ...]] = {}
        self.bumped: dict[str, tuple[Any, ...]] = {}
        self.keep_from: int | None = None

    def learn(self, keys: Sequence[str], names: Iterable[str]) -> None:
        """Read the rows of these keys, and the tombstones of these names and of the rows'."""
        execute = self.transaction.connection.execute
        wanted = dict.fromkeys(names)
        if keys:
            for found in execute(_ROWS, (as_json(keys), self.id)):
                row = row_of(found)
                self.rows[row.key] = row
                wanted.update(dict.fromkeys(row.names or ()))
        tombstones = execute(_TOMBSTONES, (as_json(wanted), self.id))
        self.tombstones.update({name: Tombstone(*rest) for name, *rest in tombstones})

    def next(self) -> int:
        """The number of a new invalidation of this tenant."""
        self.transaction.seq += 1
        self.seq = self.transaction.seq
        return self.seq

    def stands(self, seq: int, names: Iterable[str]) -> bool:
        """Whether none of the names was invalidated after `seq`.

        A seq above the tenant's own comes from a database that was here before this one.
        """
        if not self.floor <= seq <= self.seq:
            return False
        tombstones = self.tombstones
        return not any(name in tombstones and tombstones[name].seq > seq for name in names)

    def is_live(self, row: Row) -> bool:
        """Whether a read would find this row."""
        return (
            row.names is not None
            and row.expires > self.transaction.now
            and self.stands(row.seq, row.names)
        )

    def entry_of(self, key: str) -> Entry | None:
        """What the row of a key holds; None if there is none, or nothing legible."""
        found = self.stored.get(key)
        if found is None:
            found = self.transaction.connection.execute(_ENVELOPE, (self.id, key)).fetchone()
        if found is None:
            return None
        try:
            return unpack(found[-1], home_in(self.transaction.namespace, key))
        except CorruptEntry:
            return None

    def newest_version(self, key: str) -> int | None:
        """The greatest version that the key is known to have had, live or not."""
        voided = [self.tombstones.get(f"{kind}{key}") for kind in OF_ONE_KEY]
        versions = [known.version for known in (self.rows.get(key), *voided) if known is not None]
        return max((version for version in versions if version is not None), default=None)

    def bump(
        self, name: str, seq: int, version: int | None = None, *, at: float | None = None
    ) -> int:
        """Void everything that bears `name` and is older than `seq`.

        How many rows bear it begins anew; returns how many more this transaction has counted.
        """
        if name not in self.tombstones:
            self.tombstone_count += 1
        self.tombstones[name] = Tombstone(seq, version, at)
        self.bumped[name] = (self.id, name, seq, version, at)
        counts = self.transaction.counts
        return counts.pop((self.id, name), 0) + counts.pop((self.id, MADE + name), 0)

    def store(
        self, key: str, seq: int, names: tuple[str, ...], entry: Entry, envelope: bytes
    ) -> None:
        """Write the row, in place of the key's former one; of a type that is spared, nothing."""
        transaction = self.transaction
        if is_spared(names, transaction.spared):
            if (former := self.rows.get(key)) is not None:
                self.remove(former)
            return
        text = as_json(names)
        size = len(envelope) + len(key) + len(text) + ROW_OVERHEAD
        old = self.rows.get(key)
        row = Row(key, seq, entry.expires, size, entry.version, names)
        if old is None or old.names != names or not self.stands(old.seq, names):
            if old is not None:
                self._count(old, -1)
            self._count(row, 1)
        self.stored[key] = (
            self.id, key, seq, entry.expires, int(transaction.now), int(entry.priority), size,
            entry.version, text, envelope,
        )  # fmt: skip
        grown = size - (0 if old is None else old.size)
        transaction.entries += old is None
        transaction.bytes += grown
        self.bytes += grown
        self.rows[key] = row

    def remove(self, row: Row) -> None:
        self._count(row, -1)
        self.rows.pop(row.key, None)
        self.stored.pop(row.key, None)
        self.transaction.connection.execute(
            "DELETE FROM entries WHERE tenant = ? AND key = ?", (self.id, row.key)
        )
        self.transaction.entries -= 1
        self.transaction.removed += 1
        self.transaction.bytes -= row.size
        self.bytes -= row.size

    def save(self, max_tombstones: int) -> None:
        """Write back what has changed, and let a sweep begin if there are too many tombstones."""
        connection = self.transaction.connection
        connection.executemany(_STORE, self.stored.values())
        connection.executemany(_BUMP, self.bumped.values())
        anew = [(self.id, counted) for name in self.bumped for counted in (name, MADE + name)]
        connection.executemany("DELETE FROM counts WHERE tenant = ? AND name = ?", anew)
        if self.tombstone_count > max_tombstones and not self.sweep:
            # The newest stay above the new floor: a load that is under way is refused when the
            # floor passes its lease.
            newest = max_tombstones // 4
            found = connection.execute(
                "SELECT q FROM tombstones WHERE tenant = ? ORDER BY q DESC LIMIT 1 OFFSET ?",
                (self.id, newest),
            ).fetchone()
            if found is not None:
                kept = found[0] if self.keep_from is None else min(found[0], self.keep_from)
                self.sweep = kept if kept > self.floor else 0
        columns = (self.id, self.seq, self.floor, self.tombstone_count, self.sweep, self.bytes)
        if columns != self.found_as:
            connection.execute(
                "UPDATE tenants SET q = ?, floor = ?, tombstones = ?, sweep = ?, bytes = ?"
                " WHERE id = ?",
                (*columns[1:], self.id),
            )

    def _count(self, row: Row, by: int) -> None:
        # What a tombstone voided was taken out of its name's count when it was written.
        if row.names is None:
            return
        key = Key.parse(row.key)
        own_name, *shared = static_names(key)
        for name in row.names:
            tombstone = self.tombstones.get(name)
            bumped = self.floor if tombstone is None else max(self.floor, tombstone.seq)
            if name != own_name and row.seq >= bumped:
                own = name in shared or is_own(key, name)
                self.transaction.counts[self.id, name if own else MADE + name] += by


class Transaction:
    """What one write transaction knows of the database, and has to write back."""

    def __init__(self, connection: sqlite3.Connection, options: Options) -> None:
        self.connection = connection
        self.namespace = options.namespace
        self.now = options.clock.time()
        self._max_tombstones = options.max_tombstones
        self._states: dict[str | int, TenantState] = {}
        self.counts: Counter[tuple[int, str]] = Counter()
        self.removed = 0
        self._sums = connection.execute(
            "SELECT born, q, lost, entries, bytes, evictions FROM meta"
        ).fetchone()
        self.born, self.seq, self.lost, self.entries, self.bytes, self.evictions = self._sums

    @cached_property
    def spared(self) -> frozenset[str]:
        """The types of which nothing is kept."""
        return spared(self.connection, self.namespace)

    def state(self, tenant: str) -> TenantState:
        """The state of a tenant of our namespace (its name quoted); it is begun if need be."""
        state = self._states.get(tenant)
        if state is None:
            where = (self.namespace, tenant)
            found = self.connection.execute(
                f"{_STATE} WHERE namespace = ? AND tenant = ?", where
            ).fetchone()  # fmt: skip
            if found is None:
                # Leases that were granted while the tenant was unknown carry `born`.
                fresh = (self.born, self.born, 0, 0, 0)
                cursor = self.connection.execute(
                    "INSERT INTO tenants (namespace, tenant, q, floor, tombstones, sweep, bytes)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)", (*where, *fresh)
                )  # fmt: skip
                found = (cursor.lastrowid, *fresh)
            self._states[tenant] = state = TenantState(self, found)
        return state

    def state_of(self, tenant: int) -> TenantState:
        """The state of a tenant of any namespace."""
        state = self._states.get(tenant)
        if state is None:
            found = self.connection.execute(f"{_STATE} WHERE id = ?", (tenant,)).fetchone()
            self._states[tenant] = state = TenantState(self, found)
        return state

    def settle(self) -> None:
        """Write back what has changed of tenants, and close their states."""
        for state in self._states.values():
            state.save(self._max_tombstones)
        self._states.clear()

    def count_anew(self) -> None:
        """Put all sums of sizes right: a version that knew nothing of them has stored something."""
        self.settle()
        self.connection.execute(SIZES)
        found = self.connection.execute("SELECT count(*), coalesce(sum(size), 0) FROM entries")
        ((self.entries, self.bytes),) = found.fetchall()

    def save(self) -> None:
        """Write back what has changed, and close all states."""
        self.settle()
        changed = [(tenant, name, by) for (tenant, name), by in self.counts.items() if by]
        self.counts.clear()
        self.connection.executemany(_COUNT, changed)
        self.connection.executemany(
            "DELETE FROM counts WHERE tenant = ? AND name = ? AND rows <= 0",
            [(tenant, name) for tenant, name, by in changed if by < 0],
        )
        sums = (self.born, self.seq, self.lost, self.entries, self.bytes, self.evictions)
        if sums != self._sums:
            self.connection.execute(
                "UPDATE meta SET born = ?, q = ?, lost = ?, entries = ?, bytes = ?, evictions = ?",
                sums,
            )
            self._sums = sums


def home_in(namespace: str, key: str) -> int:
    """What binds an envelope to its row."""
    return home_of(f"{namespace}\0{key}".encode())


def row_of(found: Sequence[Any]) -> Row:
    """A row from its columns, in the order of `Row`; they may be of any type."""
    key, seq, expires, size, version, text = found
    names: tuple[str, ...] | None
    try:
        names = msgspec.json.decode(text, type=tuple[str, ...])
    except (msgspec.MsgspecError, TypeError):
        names = None
    if (type(seq), type(expires), type(size)) != (int, float, int) or type(
        version
    ) not in _VERSIONS:
        return Row(key, -1, 0.0, size if type(size) is int else 0, None, None)
    return Row(key, seq, expires, size, version, names)


_VERSIONS: Final = (int, type(None))


def as_json(each: Iterable[str | int]) -> str:
    return msgspec.json.encode(list(each)).decode()
