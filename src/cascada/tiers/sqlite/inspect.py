"""What the database holds: under a key, valid or not, which keys, and how many bear a name."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from cascada.codecs.envelope import unpack
from cascada.model.errors import CorruptEntry
from cascada.model.keys import Key, quote, text_before
from cascada.tiers.capabilities import Ending, NameState, Stored
from cascada.tiers.contract import EntryCount
from cascada.tiers.sqlite.transaction import MADE, as_json, home_in
from cascada.tiers.walks import BEGINNING, STEP, keys_in

_ROW = (
    "SELECT e.tenant, t.floor, e.q, e.names, e.envelope FROM tenants t"
    " CROSS JOIN entries e ON e.tenant = t.id AND e.key = ? WHERE t.namespace = ? AND t.tenant = ?"
)
_TOMBSTONES = (
    "SELECT n.value, d.q FROM json_each(?) n"
    " LEFT JOIN tombstones d ON d.tenant = ? AND d.name = n.value ORDER BY n.key"
)

_LATEST = (
    "SELECT d.name, d.at FROM json_each(?) n CROSS JOIN tenants t CROSS JOIN tombstones d"
    " ON d.tenant = t.id AND d.name = n.value WHERE t.namespace = ? AND t.tenant = ?"
    " ORDER BY d.q DESC LIMIT 1"
)
_COUNTS = (
    "SELECT n.value, coalesce(c.rows, 0), coalesce(m.rows, 0) FROM json_each(?) n"
    " LEFT JOIN tenants t ON t.namespace = ? AND t.tenant = ?"
    " LEFT JOIN counts c ON c.tenant = t.id AND c.name = n.value"
    f" LEFT JOIN counts m ON m.tenant = t.id AND m.name = '{MADE}' || n.value ORDER BY n.key"
)
_KEYS = (
    "SELECT e.key FROM tenants t CROSS JOIN entries e ON e.tenant = t.id AND e.key > ?"
    f" WHERE t.namespace = ? AND t.tenant = ? ORDER BY e.key LIMIT {STEP}"
)


def ended(
    connection: sqlite3.Connection, namespace: str, tenant: str, names: Sequence[str], now: float
) -> Ending | None:
    """Which of these names was invalidated last; None if that was a `set`, or is forgotten."""
    found = connection.execute(_LATEST, (as_json(names), namespace, tenant)).fetchall()
    if not found or found[0][1] is None:
        return None
    ((name, at),) = found
    return Ending(name, max(0.0, now - at))


def count_entries(
    connection: sqlite3.Connection, namespace: str, tenant: str, names: Sequence[str]
) -> list[EntryCount]:
    """How many rows bear each name, a key's own row not counted."""
    found = connection.execute(_COUNTS, (as_json(names), namespace, tenant)).fetchall()
    return [EntryCount(own, made) for _, own, made in found]


def holding(connection: sqlite3.Connection, namespace: str, key: Key) -> Stored | None:
    rows = connection.execute(_ROW, (key.text, namespace, quote(key.tenant))).fetchall()
    if not rows:
        return None
    ((tenant, floor, seq, names, envelope),) = rows
    if type(seq) is not int or type(envelope) is not bytes:
        return None
    try:
        entry = unpack(envelope, home_in(namespace, key.text))
        msgspec.json.decode(names)
    except (CorruptEntry, msgspec.DecodeError, TypeError):
        return None
    stored = f"read at {seq}"
    marks = [NameState("the tenant's floor", stored, f"{floor}", floor <= seq)]
    for name, tombstone in connection.execute(_TOMBSTONES, (names, tenant)).fetchall():
        invalidated = "never" if tombstone is None else f"last invalidated at {tombstone}"
        marks.append(NameState(name, stored, invalidated, tombstone is None or tombstone <= seq))
    return Stored(entry, tuple(marks))


class WalksKeys:
    """A part of the tier: see `Walks`. The keys lie in the order of their texts."""

    _reader: Any
    _options: Any

    async def keys_of(self, tenant: str, data_type: str, place: str) -> tuple[list[Key], str]:
        before = text_before(tenant, data_type, None, None, None)
        where = (place or before, self._options.namespace, quote(tenant))
        rows = await self._reader.run(lambda c: c.execute(_KEYS, where).fetchall())
        texts = [text for (text,) in rows if text.startswith(before)]
        next_place = texts[-1] if len(texts) == STEP else BEGINNING
        return keys_in(texts, tenant, data_type), next_place
