"""What the database needs now and then: notes taken along, tombstones swept, room made (`pruning`).

One `step` is one short write transaction with a bounded amount of each; the tier takes one after
writes, and as many as it takes when asked for all of it. Any process may take any step at any
time, for each looks at what it finds and leaves nothing half done.

The sweep drops tombstones that are older than a new floor. A row older than the floor is void, so
before the floor is raised every row below it is looked at: what is valid is lifted to the floor,
what is not is removed. Lifting without looking would revive what was invalidated; a floor without
lifting would void everything that the tenant holds. (`docs/protocol.md` rule 37.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from cascada.codecs.envelope import unpack
from cascada.model.errors import CorruptEntry
from cascada.tiers.sqlite.datastore import remove_ended
from cascada.tiers.sqlite.forgetting import Forgetting
from cascada.tiers.sqlite.pruning import COLUMNS, make_room
from cascada.tiers.sqlite.reads import Notes, is_legible
from cascada.tiers.sqlite.schema import KILLER
from cascada.tiers.sqlite.transaction import Options, Row, TenantState, Transaction, home_in, row_of

CHUNK: Final = 200
"""Rows that one step looks at for each of its duties: one or two milliseconds."""

TOMBSTONES: Final = 1000
"""Tombstones that one step drops."""

_NOTED: Final = (
    f"SELECT {KILLER}, e.expires, e.used, e.envelope, e.tenant, {COLUMNS} FROM entries e"
    " CROSS JOIN tenants t ON t.id = e.tenant AND t.namespace = ? WHERE e.id = ?"
)
_BELOW: Final = (
    f"SELECT {KILLER} IS NOT NULL OR e.q < t.floor, {COLUMNS}"
    " FROM tenants t CROSS JOIN entries e ON e.tenant = t.id"
    " WHERE t.id = ? AND e.q < ? ORDER BY e.q LIMIT ?"
)
_CHANGES_BELOW: Final = (
    f"SELECT CASE WHEN {KILLER} IS NULL AND e.q >= t.floor THEN t.sweep ELSE -1 END,"
    " e.journal, e.number FROM tenants t CROSS JOIN changes e ON e.tenant = t.id"
    " WHERE t.id = ? AND e.q >= 0 AND e.q < ? LIMIT ?"
)
_LIFT_CHANGE: Final = "UPDATE changes SET q = ? WHERE journal = ? AND number = ?"


class Upkeep:
    """What one process does of it."""

    def __init__(self, options: Options, notes: Notes) -> None:
        self._options = options
        self._notes = notes
        self._forgetting = Forgetting()

    def step(self, connection: sqlite3.Connection) -> bool:
        """Do some of what is due, in a transaction that is open already; True if there is more."""
        transaction = Transaction(connection, self._options)
        _take_along(transaction, self._options.namespace, self._notes)
        more = _sweep_one(transaction)
        more |= make_room(transaction, self._options.capacity_bytes, remove)
        transaction.save()  # before tenants are looked at as they are stored
        more |= self._forgetting.step(transaction)
        more |= remove_ended(connection, transaction.now, CHUNK)
        transaction.save()
        return more

    def is_due(self, connection: sqlite3.Connection) -> bool:
        """Whether a step would find notes, a sweep or a round to go on with, too little room, or
        a chunk of counters that have ended."""
        if self._notes.pressing:
            return True
        ((size, sweeping, ended),) = connection.execute(
            "SELECT bytes, EXISTS (SELECT 1 FROM tenants WHERE sweep > 0),"
            " EXISTS (SELECT 1 FROM ends WHERE at <= ? LIMIT 1 OFFSET ?) FROM meta",
            (self._options.clock.time(), CHUNK - 1),
        ).fetchall()
        full = 0 < self._options.capacity_bytes < size
        return bool(sweeping or full or ended or self._forgetting.is_due(connection))


def _take_along(transaction: Transaction, namespace: str, notes: Notes) -> None:
    used, damaged = notes.take()
    transaction.connection.executemany("UPDATE entries SET used = ? WHERE id = ?", used)
    for row in damaged:
        # Looked at again: by now somebody may have stored a good one over it, or in its place.
        found = transaction.connection.execute(_NOTED, (namespace, row)).fetchall()
        remove(transaction, [columns[4:] for columns in found if _is_damaged(namespace, columns)])


def _is_damaged(namespace: str, columns: tuple[Any, ...]) -> bool:
    killer, expires, used, envelope, _, key, seq, *_ = columns
    if not is_legible(killer, seq, expires, used, envelope):
        return True
    try:
        unpack(envelope, home_in(namespace, key))
    except CorruptEntry:
        return True
    return False


def _sweep_one(transaction: Transaction) -> bool:
    found = transaction.connection.execute(
        "SELECT id FROM tenants WHERE sweep > 0 LIMIT 1"
    ).fetchall()
    if not found:
        return False
    sweep(transaction, transaction.state_of(found[0][0]))
    return True


def sweep(transaction: Transaction, state: TenantState) -> None:
    """Go on with the sweep of this tenant; it is over when its `sweep` is 0."""
    below = transaction.connection.execute(_BELOW, (state.id, state.sweep, CHUNK)).fetchall()
    remove(transaction, [(state.id, *columns) for void, *columns in below if void])
    transaction.connection.executemany(
        "UPDATE entries SET q = ? WHERE tenant = ? AND key = ?",
        [(state.sweep, state.id, key) for void, key, *_ in below if not void],
    )
    # What is journaled is lifted in the same way; what is void stays void, and stays there.
    changes = transaction.connection.execute(
        _CHANGES_BELOW, (state.id, state.sweep, CHUNK)
    ).fetchall()
    transaction.connection.executemany(_LIFT_CHANGE, changes)
    if CHUNK in (len(below), len(changes)):
        return
    # Nothing is left below, in this very transaction: fills under older leases are refused now.
    state.floor = max(state.floor, state.sweep)
    _drop_tombstones(state)


def _drop_tombstones(state: TenantState) -> None:
    execute = state.transaction.connection.execute
    dropped = execute(
        "SELECT q, name FROM tombstones WHERE tenant = ? AND q <= ? ORDER BY q LIMIT ?",
        (state.id, state.floor, TOMBSTONES),
    ).fetchall()
    state.transaction.connection.executemany(
        "DELETE FROM tombstones WHERE tenant = ? AND name = ?",
        [(state.id, name) for _, name in dropped],
    )
    # What is older than the floor is refused by that, whatever number it has.
    state.transaction.connection.executemany(
        "DELETE FROM applied WHERE tenant = ? AND key = ? AND q <= ?",
        [(state.id, name[2:], seq) for seq, name in dropped if name.startswith("k:")],
    )
    state.tombstone_count -= len(dropped)
    if dropped:
        # Whoever polls the feed and has not heard of these yet must be told that he missed some.
        state.transaction.lost = max(state.transaction.lost, dropped[-1][0])
    if len(dropped) < TOMBSTONES:
        state.sweep = 0


def remove(transaction: Transaction, found: Iterable[tuple[Any, ...]]) -> None:
    """Remove rows: the ids of their tenants, and their `COLUMNS`."""
    by_tenant: dict[int, list[Row]] = {}
    for tenant, *columns in found:
        by_tenant.setdefault(tenant, []).append(row_of(columns))
    for tenant, rows in by_tenant.items():
        state = transaction.state_of(tenant)
        state.learn((), {name for row in rows for name in row.names or ()})
        for row in rows:
            state.remove(row)
