"""The outbox: invalidations that a tier above the database could not be told yet.

They are kept here and not in the memory of the process that made them, so that any process sends
them, also when that one has died. In a long outage they become many: then the tenants that they
belong to go whole, so that one row for each is left.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec

from cascada.model.names import tenant_of
from cascada.tiers.capabilities import Posted

MOST: Final = 10_000
"""Rows of all namespaces before they are taken together."""

LOOK_EVERY: Final = 1000
"""Rows posted between two looks at how many there are: a look reads all of them."""

_POST: Final = "INSERT INTO outbox (namespace, names) VALUES (?, ?)"
_DELETE: Final = "DELETE FROM outbox WHERE id = ?"


def post(connection: sqlite3.Connection, namespace: str, names: Sequence[str]) -> None:
    posted = connection.execute(_POST, (namespace, msgspec.json.encode(names).decode()))
    if (posted.lastrowid or 0) % LOOK_EVERY == 0:
        _take_together(connection)


def _take_together(connection: sqlite3.Connection) -> None:
    rows = connection.execute("SELECT id, namespace, names FROM outbox").fetchall()
    if len(rows) <= MOST:
        return
    by_tenant: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, namespace, text in rows:
        tenants = set(map(tenant_of, msgspec.json.decode(text, type=list[str])))
        if len(tenants) == 1:  # what several tenants share a row for stays as it is
            by_tenant[namespace, tenants.pop()].append(number)
    for (namespace, tenant), numbers in by_tenant.items():
        if len(numbers) > 1:
            # In a row of its own: whoever sends the others now deletes them by their numbers, and
            # may have begun before the last of them was posted.
            connection.executemany(_DELETE, [(number,) for number in numbers])
            connection.execute(_POST, (namespace, msgspec.json.encode([f"t:{tenant}"]).decode()))


def posted(connection: sqlite3.Connection, namespace: str) -> list[Posted]:
    rows = connection.execute(
        "SELECT id, names FROM outbox WHERE namespace = ? ORDER BY id LIMIT 1000", (namespace,)
    )
    return [
        Posted(number, msgspec.json.decode(names, type=tuple[str, ...])) for number, names in rows
    ]


def sent(connection: sqlite3.Connection, posted: Sequence[Posted]) -> None:
    connection.executemany(_DELETE, [(each.number,) for each in posted])
