"""Who makes room in the database, and with what: expired rows first, then by tenant, then by use.

Each tenant may fill its share of the file, an equal part for all that have rows; what one leaves
over the others have. So of too much the largest give, down to one level (max-min fairness:
Bertsekas and Gallager, "Data Networks", 6.5.2), and no tenant empties another's part. Of a tenant's
rows the LOW ones go first, then those that were not used for longest.

One step is a bounded number of rows and bytes, within a transaction of the upkeep (`maintenance`).
Lists, counters and what waits in the outbox are no rows of entries: they have no share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from cascada.tiers.sqlite.transaction import Transaction

EXPIRED: Final = 200
"""Expired rows that one step removes: one or two milliseconds."""

VICTIMS: Final = 1000
"""Rows that one step evicts: more than one group of fills brings, so that evicting keeps pace."""

BYTES: Final = 32 * 2**20
"""Bytes of rows after which a step ends: SQLite walks through all pages of a large one."""

TENANTS: Final = 64
"""The largest, which give in one step."""

COLUMNS: Final = "e.key, e.q, e.expires, e.size, e.version, e.names"
"""Of a row that is to be removed."""

_EXPIRED: Final = (
    f"SELECT e.tenant, {COLUMNS} FROM entries e"
    " WHERE e.expires <= ? AND e.expires < 1e300 ORDER BY e.expires LIMIT ?"
)
_LARGEST: Final = "SELECT id, bytes FROM tenants WHERE bytes > 0 ORDER BY bytes DESC LIMIT ?"
_LEAST_USED: Final = (
    f"SELECT e.tenant, {COLUMNS} FROM entries e WHERE e.tenant = ?"
    " ORDER BY e.priority > 0, e.used LIMIT ?"
)
_SIZE: Final = 4
"""Where the size stands in what these find."""

Found = Sequence[tuple[Any, ...]]
Remove = Callable[[Transaction, Iterable[tuple[Any, ...]]], None]


def make_room(transaction: Transaction, capacity: int, remove: Remove) -> bool:
    """Remove some of what is to go; whether there is more.

    A hundredth more than needed goes, so that a full database does not evict at every write.
    """
    ask = transaction.connection.execute
    expired = ask(_EXPIRED, (transaction.now, EXPIRED)).fetchall()
    remove(transaction, expired)
    if len(expired) == EXPIRED:
        return True
    if not 0 < capacity < transaction.bytes:
        return False
    transaction.settle()  # tenants are looked at as they are stored
    over = transaction.bytes - (capacity - capacity // 100)
    largest = ask(_LARGEST, (TENANTS,)).fetchall()
    victims: list[tuple[Any, ...]] = []
    left = BYTES
    for tenant, excess in shares_of(largest, over):
        for columns in ask(_LEAST_USED, (tenant, VICTIMS - len(victims))).fetchall():
            if excess <= 0 or left <= 0:
                break
            victims.append(columns)
            excess -= columns[_SIZE]
            left -= columns[_SIZE]
    remove(transaction, victims)
    transaction.evictions += len(victims)
    if not victims:
        transaction.count_anew()
    return bool(victims) and capacity < transaction.bytes


def shares_of(largest: Sequence[tuple[int, int]], over: int) -> list[tuple[int, float]]:
    """Which tenants give how many bytes, so that `over` bytes go and the largest come down to one
    level. `largest`: tenants and their bytes, the largest first."""
    together, level, count = 0, 0.0, 0
    for count, (_, size) in enumerate(largest, 1):
        together += size
        level = max(0.0, (together - over) / count)
        if count == len(largest) or largest[count][1] <= level:
            break
    return [(tenant, size - level) for tenant, size in largest[:count] if size > level]
