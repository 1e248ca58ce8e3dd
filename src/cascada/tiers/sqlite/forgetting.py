"""Tenants that came once and have nothing any more: in the end they leave nothing behind.

A tenant without rows still has a counter and tombstones. They refuse what was read before its
latest invalidation, however late that comes to be stored. When both are dropped, `born` must refuse
it in their place: a tenant that is not known counts from there. So `born` rises above every number
that is forgotten. The price: a load of another unknown tenant that began before that is refused as
well, once, and its key is loaded again.

To keep the price low, a tenant that was invalidated among the newest (`KEPT`) is never forgotten,
and `born` rises once in a round. A round begins when many tenants have come or many rows have gone,
and looks at all tenants, a few at a time. `maintenance` takes its steps.

A tenant that has rows, or changes that wait, keeps its counter. Its tombstones are swept when they
are as old.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from cascada.tiers.sqlite.transaction import Transaction

KEPT: Final = 10_000
"""Invalidations, of all tenants together, whose tombstones no round touches."""

NEWS: Final = 5_000
"""A round begins after so many tenants have come or rows have gone; or after as many as half of all
tenants, if that is more."""

CHUNK: Final = 200
"""Tenants that one step looks at."""

TOMBSTONES: Final = 1000
"""Tombstones that go with their tenant; more are swept first, little by little."""

_NEWEST: Final = "SELECT coalesce(max(id), 0) FROM tenants"
_TENANTS: Final = (
    "SELECT t.id, t.q, t.tombstones, t.sweep,"
    " EXISTS (SELECT 1 FROM entries e WHERE e.tenant = t.id)"
    " OR EXISTS (SELECT 1 FROM changes c WHERE c.tenant = t.id)"
    " FROM tenants t WHERE t.id > ? ORDER BY t.id LIMIT ?"
)
_LEFT: Final = (
    "DELETE FROM tombstones WHERE tenant = ?",
    "DELETE FROM counts WHERE tenant = ?",
    "DELETE FROM applied WHERE tenant = ?",
    "DELETE FROM tenants WHERE id = ?",
)


class Forgetting:
    """The rounds of one process. Several processes may have one under way."""

    def __init__(self) -> None:
        self._at: int | None = None
        self._limit = 0
        self._newest = self._removed = self._left = 0

    def is_due(self, connection: sqlite3.Connection) -> bool:
        if self._at is not None:
            return True
        ((newest,),) = connection.execute(_NEWEST).fetchall()
        self._newest = min(self._newest, newest)  # it is another file, or the newest has gone
        return bool(newest - self._newest + self._removed > max(NEWS, self._left // 2))

    def step(self, transaction: Transaction) -> bool:
        """Look at some more tenants; True if there are others."""
        self._removed += transaction.removed
        if not self.is_due(transaction.connection):
            return False
        oldest_kept = transaction.seq - KEPT
        if self._at is None:
            self._at, self._left, self._removed = 0, 0, 0
            self._limit = oldest_kept
        # The file may have been replaced meanwhile, and its numbers with it.
        limit = max(transaction.born, min(self._limit, oldest_kept))
        found = transaction.connection.execute(_TENANTS, (self._at, CHUNK)).fetchall()
        gone = []
        for tenant, seq, tombstones, sweep, has_rows in found:
            if seq > limit:
                continue
            if not has_rows and tombstones <= TOMBSTONES:
                gone.append((tenant, seq))
            elif tombstones and not sweep:
                transaction.state_of(tenant).sweep = seq
        self._forget(transaction, gone, limit)
        self._left += len(found) - len(gone)
        if len(found) == CHUNK:
            self._at = found[-1][0]
            return True
        self._at = None
        ((self._newest,),) = transaction.connection.execute(_NEWEST).fetchall()
        return False

    def _forget(self, transaction: Transaction, gone: list[tuple[int, int]], limit: int) -> None:
        if not gone:
            return
        for statement in _LEFT:
            transaction.connection.executemany(statement, [(tenant,) for tenant, _ in gone])
        last = max(seq for _, seq in gone)
        # Whoever polls the feed and has not heard of these must be told that he missed some.
        transaction.lost = max(transaction.lost, last)
        if last > transaction.born:
            transaction.born = limit
