"""Types that are never in the database, so that nobody has to tell it what ends their values.

All processes of a namespace must mean the same ones: an entry that one of them stores all the same
would be ended by none of the others. So the list is in the file, it only grows, and whoever stores
looks at it in his own transaction: of what is of such a type, or was made of it, nothing is kept.
What was there when a type came onto the list is void. (`docs/protocol.md` rule 49.)
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable

from cascada.model.names import type_named


def spared(connection: sqlite3.Connection, namespace: str) -> frozenset[str]:
    """The types of a namespace that are on the list, quoted."""
    rows = connection.execute("SELECT data_type FROM spared WHERE namespace = ?", (namespace,))
    return frozenset([data_type for (data_type,) in rows.fetchall()])


def spare(connection: sqlite3.Connection, namespace: str, types: Collection[str]) -> frozenset[str]:
    """Put types on the list; what is on it then. All rows of the namespace are void, if it grows:
    any may be of one of them, or made of one."""
    known = spared(connection, namespace)
    if more := sorted(frozenset(types) - known):
        connection.executemany("INSERT INTO spared VALUES (?, ?)", [(namespace, x) for x in more])
        ((seq,),) = connection.execute("UPDATE meta SET q = q + 1 RETURNING q").fetchall()
        connection.execute(
            "UPDATE tenants SET q = ?, floor = ?, sweep = ? WHERE namespace = ?",
            (seq, seq, seq, namespace),
        )
    return known.union(types)


def is_spared(names: Iterable[str], types: frozenset[str]) -> bool:
    """Whether an entry that bears these names is of one of the types, or was made of one."""
    return bool(types) and any(type_named(name) in types for name in names)
