"""What the database holds under a key, valid or not, and which tombstones stand against it."""

from __future__ import annotations

import sqlite3

import msgspec

from cascada.codecs.envelope import unpack
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key, quote
from cascada.tiers.base import Holding, Mark

_ROW = (
    "SELECT e.tenant, t.floor, e.q, e.names, e.envelope FROM tenants t"
    " CROSS JOIN entries e ON e.tenant = t.id AND e.key = ? WHERE t.namespace = ? AND t.tenant = ?"
)
_TOMBSTONES = (
    "SELECT n.value, d.q FROM json_each(?) n"
    " LEFT JOIN tombstones d ON d.tenant = ? AND d.name = n.value ORDER BY n.key"
)


def holding(connection: sqlite3.Connection, namespace: str, key: Key) -> Holding | None:
    rows = connection.execute(_ROW, (key.text, namespace, quote(key.tenant))).fetchall()
    if not rows:
        return None
    ((tenant, floor, q, names, envelope),) = rows
    try:
        entry, _ = unpack(envelope)
        msgspec.json.decode(names)
    except (CorruptEntry, msgspec.DecodeError):
        return None
    stored = f"read at {q}"
    marks = [Mark("the tenant's floor", stored, f"{floor}", floor <= q)]
    for name, tombstone in connection.execute(_TOMBSTONES, (names, tenant)).fetchall():
        invalidated = "never" if tombstone is None else f"last invalidated at {tombstone}"
        marks.append(Mark(name, stored, invalidated, tombstone is None or tombstone <= q))
    return Holding(entry, tuple(marks))
