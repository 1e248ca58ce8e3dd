"""The outbox: invalidations that a tier above the database could not be told yet.

They are kept here and not in the memory of the process that made them, so that any process sends
them, also when that one has died.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from cascada.tiers.base import Posted


def post(connection: sqlite3.Connection, namespace: str, names: Sequence[str]) -> None:
    connection.execute(
        "INSERT INTO outbox (namespace, names) VALUES (?, ?)",
        (namespace, msgspec.json.encode(names).decode()),
    )


def posted(connection: sqlite3.Connection, namespace: str) -> list[Posted]:
    rows = connection.execute(
        "SELECT id, names FROM outbox WHERE namespace = ? ORDER BY id LIMIT 1000", (namespace,)
    )
    return [
        Posted(number, msgspec.json.decode(names, type=tuple[str, ...])) for number, names in rows
    ]


def sent(connection: sqlite3.Connection, posted: Sequence[Posted]) -> None:
    connection.executemany("DELETE FROM outbox WHERE id = ?", [(each.number,) for each in posted])
