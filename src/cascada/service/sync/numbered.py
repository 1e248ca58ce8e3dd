"""Writing rows to the tables that cascada owns, each unless it may not be there any more.

`entries` and `tables` call it, within a transaction. A row is left out if a later change of its key
was written, or if its tenant was forgotten since it was set. Who forgets one has waited for all who
write, or they see in their transaction that he was (`target.transaction`).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from cascada.service.sync.statements import KEY, Dialect, Owned, forgotten, upsert

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

Row = tuple[Any, ...]
"""As the table has it: the parts of KEY, the number, and the rest."""

_TENANT: Final = KEY.index("tenant")
_NAME: Final = slice(_TENANT, len(KEY))
_NUMBER: Final = len(KEY)
_by_name: Final = itemgetter(_NAME)


class SomeAreKnown(Exception):
    """Not all of them were written, and it was not asked which: the transaction is for nothing."""


async def write_numbered(
    connection: AsyncConnection, dialect: Dialect, table: Owned, rows: Sequence[Row]
) -> list[Row]:
    """What `table.answers` says of those that were written."""
    if not (rows := await _ordered(connection, dialect, table, rows)):
        return []
    return [*await fetched(connection, *upsert(dialect, table, rows))]


async def write_all(
    connection: AsyncConnection, dialect: Dialect, table: Owned, rows: Sequence[Row]
) -> None:
    """Write all of them, or SomeAreKnown. For each row that a database answers its driver waits for
    the interpreter: that took as long as to write them."""
    sound = await _ordered(connection, dialect, table, rows)
    if len(sound) < len(rows):
        raise SomeAreKnown
    if await changed(connection, *upsert(dialect, table, sound, asked=False)) < len(rows):
        raise SomeAreKnown


async def _ordered(
    connection: AsyncConnection, dialect: Dialect, table: Owned, rows: Sequence[Row]
) -> list[Row]:
    """Those whose tenants were not forgotten, in one order everywhere: two who write the same rows
    do not wait for each other."""
    owner, tenants = rows[0][:_TENANT], sorted({row[_TENANT] for row in rows})
    them = await fetched(connection, *forgotten(dialect, table, owner, tenants))
    until: dict[str, int] = {tenant: number for tenant, number in them}
    if until:
        rows = [row for row in rows if row[_NUMBER] > until.get(row[_TENANT], 0)]
    return sorted(rows, key=_by_name)


async def fetched(
    connection: AsyncConnection, statement: str, arguments: tuple[Any, ...] = ()
) -> Sequence[Any]:
    """What a statement answers. In SQLite past SQLAlchemy, which would go to the driver's thread
    and back four times for it: on a busy machine that took longer than all else."""
    raw = await connection.get_raw_connection()
    ask = getattr(raw.driver_connection, "execute_fetchall", None)
    if ask is not None:
        return [*await ask(statement, arguments)]
    answer = await connection.exec_driver_sql(statement, arguments)
    return answer.fetchall() if answer.returns_rows else []


async def changed(connection: AsyncConnection, statement: str, arguments: tuple[Any, ...]) -> int:
    """How many rows a statement has changed."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    if not hasattr(driver, "execute_fetchall"):
        return (await connection.exec_driver_sql(statement, arguments)).rowcount
    # It has ended: closing it would only go to the driver's thread once more.
    cursor = await driver.execute(statement, arguments)
    return int(cursor.rowcount)
