"""What is asked of the database without changing it.

Every answer comes from one statement or one transaction, that is, from one snapshot: rows,
tombstones, floor and counter belong together, so that the seq of an answer is a moment at which it
was true. What a read notices for later (this row was used, that one is damaged) goes into `Notes`,
and the next write takes it along: no read ever writes.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from cascada.codecs.envelope import unpack
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key, quote
from cascada.model.names import static_names
from cascada.tiers.clock_skew import ahead_of
from cascada.tiers.contract import (
    Filled,
    Found,
    Lease,
    Missing,
    Usage,
    Why,
)
from cascada.tiers.large_values import BULKY, told_of
from cascada.tiers.polled_feed import Changes
from cascada.tiers.sqlite.schema import KILLER
from cascada.tiers.sqlite.transaction import Options, as_json, home_in

USED_AFTER: Final = 30
"""Seconds in which further reads of a row do not make it more recently used."""

_TYPES: Final = (int, float, int, bytes)
"""Of the columns seq, expires, used and envelope of a sound row."""

MANY_NOTES: Final = 512
"""Notes that are worth a write transaction of their own."""

MOST_NOTES: Final = 4 * MANY_NOTES
"""Notes of each sort that wait at most: while nothing can be written, further ones are lost."""

MOST_CHANGES: Final = 5000
"""Invalidations since the last look that are told one by one; beyond it, all memory goes."""

_found: Final = tuple.__new__  # which takes a quarter less than Found itself

_TENANT: Final = "FROM meta m LEFT JOIN tenants t ON t.namespace = ? AND t.tenant = ?"
# In the place of a large envelope comes its length, which SQLite knows without reading it.
_UNLESS_LARGE: Final = (
    f"CASE WHEN length(e.envelope) > {BULKY} THEN length(e.envelope) ELSE e.envelope END"
)


def _asking(envelope: str) -> tuple[str, str]:
    """The statements for one key and for many."""
    answer = (
        f"coalesce(t.q, m.born), t.floor, e.q, e.expires, e.used, e.id, {envelope}, {KILLER}"
        f" {_TENANT}"
    )
    # One key is asked for without the detour through JSON, which would cost as much as the rest.
    return (
        f"SELECT 0, {answer} LEFT JOIN entries e ON e.tenant = t.id AND e.key = ?",
        f"SELECT k.key, {answer} CROSS JOIN json_each(?) k"
        " LEFT JOIN entries e ON e.tenant = t.id AND e.key = k.value",
    )


_BRIEFLY: Final = _asking(_UNLESS_LARGE)
_WHOLLY: Final = _asking("e.envelope")
_COUNTER: Final = f"SELECT coalesce(t.q, m.born) {_TENANT}"
_STANDING: Final = (
    "SELECT coalesce(t.q, m.born), coalesce(t.floor, m.born), (SELECT max(d.q)"
    " FROM json_each(?) n CROSS JOIN tombstones d ON d.tenant = t.id AND d.name = n.value)"
    f" {_TENANT}"
)
# For each list of names, the latest number that one of them has.
_NAMED: Final = (
    "SELECT k.key, (SELECT max(d.q) FROM json_each(k.value) n"
    " CROSS JOIN tombstones d ON d.tenant = t.id AND d.name = n.value)"
    f" {_TENANT} CROSS JOIN json_each(?) k"
)
_CHANGED: Final = (
    "SELECT d.name, d.q FROM tenants t CROSS JOIN tombstones d ON d.tenant = t.id AND d.q > ?"
    " WHERE t.namespace = ? AND t.q > ? LIMIT ?"
)


class Notes:
    """What reads have noticed; filled by the reader's thread and emptied by the writer's."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._used: dict[int, int] = {}
        self._damaged: set[int] = set()

    def used(self, row: int, now: int) -> None:
        with self._lock:
            if len(self._used) < MOST_NOTES or row in self._used:
                self._used[row] = now

    def damaged(self, row: int) -> None:
        with self._lock:
            if len(self._damaged) < MOST_NOTES:
                self._damaged.add(row)

    @property
    def pressing(self) -> bool:
        return bool(self._damaged) or len(self._used) >= MANY_NOTES

    def take(self) -> tuple[list[tuple[int, int]], set[int]]:
        """When which rows were used, and which were damaged when they were read."""
        with self._lock:
            used, self._used = self._used, {}
            damaged, self._damaged = self._damaged, set()
        return [(now, row) for row, now in used.items()], damaged


class Reader:
    """The questions, for one namespace."""

    def __init__(self, options: Options, notes: Notes) -> None:
        self._options = options
        self._notes = notes
        self._ahead = ahead_of(options.clock)

    def read(
        self, connection: sqlite3.Connection, keys: Sequence[Key], *, brief: bool = False
    ) -> list[Found | Missing]:
        """What is there; `brief`: large values are told of only."""
        one, many = _BRIEFLY if brief else _WHOLLY
        now = self._options.clock.time()
        namespace = self._options.namespace
        if len(keys) == 1:
            (key,) = keys
            where = (namespace, quote(key.tenant), key.text)
            # fetchall: a cursor that is not read to its end would keep the snapshot open.
            (row,) = connection.execute(one, where).fetchall()
            return [self._judge(row, key, where[2], now, brief=brief)]
        answers: list[Any] = [None] * len(keys)
        for tenant, indexes in _by_tenant(keys).items():
            texts = [keys[index].text for index in indexes]
            asked = (namespace, tenant, as_json(texts))
            for row in connection.execute(many, asked).fetchall():
                at = row[0]
                index = indexes[at]
                answers[index] = self._judge(row, keys[index], texts[at], now, brief=brief)
        return answers

    def counters(self, connection: sqlite3.Connection, tenants: Iterable[str]) -> dict[str, int]:
        """The seq of each tenant (as it is, unquoted)."""
        counters = {}
        for tenant in tenants:
            where = (self._options.namespace, quote(tenant))
            ((counters[tenant],),) = connection.execute(_COUNTER, where).fetchall()
        return counters

    def named(self, connection: sqlite3.Connection, keys: Sequence[Key]) -> list[int]:
        """The number of the latest invalidation that named each key, as far as is remembered."""
        numbers = [0] * len(keys)
        for tenant, indexes in _by_tenant(keys).items():
            names = msgspec.json.encode([static_names(keys[index]) for index in indexes]).decode()
            where = (self._options.namespace, tenant, names)
            for place, latest in connection.execute(_NAMED, where).fetchall():
                numbers[indexes[place]] = latest or 0
        return numbers

    def standing(self, connection: sqlite3.Connection, leases: Sequence[Lease]) -> list[Filled]:
        """Whether the leases still stand, as a fill would find them."""
        answers = []
        for lease in leases:
            names = msgspec.json.encode([*static_names(lease.key), *lease.names]).decode()
            where = (names, self._options.namespace, quote(lease.key.tenant))
            ((seq, floor, latest),) = connection.execute(_STANDING, where).fetchall()
            stands = floor <= lease.seq <= seq and (latest is None or latest <= lease.seq)
            answers.append(Filled(stands, seq))
        return answers

    def usage(self, connection: sqlite3.Connection) -> Usage:
        ((entries, size, evictions),) = connection.execute(
            "SELECT entries, bytes, evictions FROM meta"
        ).fetchall()
        return Usage(entries, size, self._options.capacity_bytes, evictions)

    def _judge(
        self, row: tuple[Any, ...], key: Key, text: str, now: float, *, brief: bool
    ) -> Found | Missing:
        _, seq, floor, written, expires, used, ident, envelope, killer = row
        if written is None:
            return Missing(seq)
        if brief and type(envelope) is int and envelope > BULKY:
            return told_of(envelope, seq)
        if not is_legible(killer, written, expires, used, envelope):
            return self._corrupt(seq, ident)
        if killer is not None or written < floor:
            return Missing(seq, Why.INVALIDATED, killer)
        try:
            entry = unpack(envelope, home_in(self._options.namespace, text))
        except CorruptEntry:
            return self._corrupt(seq, ident)
        # By the envelope: the row's own time of expiry is for who tidies up.
        if entry.created > now or self._ahead.met:
            entry = self._ahead.dated(key, entry, now)
        if now >= entry.expires:
            return Missing(seq, Why.EXPIRED)
        if now - used >= USED_AFTER:
            self._notes.used(ident, int(now))
        return _found(Found, (entry, seq, b"", b""))

    def _corrupt(self, seq: int, row: int) -> Missing:
        self._notes.damaged(row)
        return Missing(seq, Why.CORRUPT)


def is_legible(
    killer: object, written: object, expires: object, used: object, envelope: object
) -> bool:
    """Whether a row's names and its seq, expires, used and envelope are what they should be.

    SQLite's columns take values of any type.
    """
    return killer != "" and (type(written), type(expires), type(used), type(envelope)) == _TYPES


def _by_tenant(keys: Sequence[Key]) -> dict[str, list[int]]:
    """Where the keys of each tenant (quoted) stand among these."""
    by_tenant: dict[str, list[int]] = {}
    for index, key in enumerate(keys):
        by_tenant.setdefault(key.tenant, []).append(index)
    return {quote(tenant): indexes for tenant, indexes in by_tenant.items()}


class Feed:
    """What was invalidated since a position, which is the database's latest number at that time."""

    def __init__(self, options: Options) -> None:
        self._namespace = options.namespace
        # The last answer, and SQLite's own number of the state it was given in.
        self._last: tuple[sqlite3.Connection, int, int] | None = None

    def changes(self, connection: sqlite3.Connection, since: int | None) -> Changes:
        """The changes; their position is below `since` where the database has gone back."""
        # Read before the rest: what is committed in between is then looked at twice, never missed.
        ((version,),) = connection.execute("PRAGMA data_version").fetchall()
        if since is not None and self._last == (connection, version, since):
            return Changes(since, (), lost=False)
        names: list[tuple[str, int]] = []
        connection.execute("BEGIN")  # the low-water mark must be of the same moment as the names
        try:
            ((seq, lost),) = connection.execute("SELECT q, lost FROM meta").fetchall()
            if since is not None and lost <= since < seq:
                asked = (since, self._namespace, since, MOST_CHANGES + 1)
                names = connection.execute(_CHANGED, asked).fetchall()
        finally:
            connection.execute("COMMIT")
        self._last = (connection, version, seq)
        if since is None or since == seq:
            return Changes(seq, (), lost=False)
        if not lost <= since < seq or len(names) > MOST_CHANGES:
            return Changes(seq, (), lost=True)
        names.sort(key=lambda change: change[1])
        return Changes(seq, tuple(names), lost=False)
