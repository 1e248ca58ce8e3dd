"""A table of the application, written by a `Mapping`.

`target` calls it, within a transaction of the database. First `applied` takes the numbers: that
locks the keys against others that sync, and tells which changes are known. Then the rows are read
and locked against everybody, `conflicts` decides on each, and what it decided is written. So no
row is written by what was decided about another state of it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping as Values
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from cascada.model.door.plain import whole_of
from cascada.service.sync import fields, schema
from cascada.service.sync.causes import RowsFault
from cascada.service.sync.conflicts import Current, Decision, Last, Strategy, decide
from cascada.service.sync.entries import without_nul
from cascada.service.sync.mapping import Mapping
from cascada.service.sync.numbered import write_numbered
from cascada.service.sync.records import (
    Conflict,
    Known,
    Outcome,
    Poison,
    Record,
    Skipped,
    SyncFailed,
    Written,
)
from cascada.service.sync.statements import APPLIED, Dialect, known, remember

if TYPE_CHECKING:
    from sqlalchemy import Table
    from sqlalchemy.ext.asyncio import AsyncConnection

TURN: Final = 50
"""Rows that are made, or decided on, before others have a turn on the event loop."""

NOT_MERGED: Final = (
    "the merge function returned a %s without any of the fields %s; "
    "return a dict of those to write, or None for the row to stay"
)
OTHER_ID: Final = (
    "%s has its row by another spelling of the id or the tenant, such as in capitals; "
    "set it by that"
)
NO_ROW: Final = "its value is %s, and a row of %s is a dict of fields"


class Item(NamedTuple):
    """A record as a row: its id and its fields as the columns take them."""

    record: Record
    owner: tuple[str, str]
    identity: tuple[Any, ...]
    fields: dict[str, Any]
    base: int | None


class Mapped:
    """The rows of one mapping. `only`: the tenant of a table without a column for it."""

    at_once: Final = 250
    """Rows of one transaction. They are locked until it ends; and to make its statements takes
    SQLAlchemy milliseconds, in which nobody else has a turn."""

    def __init__(
        self, mapping: Mapping, namespace: str, service: str, strategy: Strategy, only: str | None
    ) -> None:
        self.mapping = mapping
        self._owner = (without_nul(namespace), without_nul(service))
        self._strategy = mapping.conflicts or strategy
        self._only = mapping.tenant or only
        self._table: Table | None = None
        self._converters: dict[str, fields.Convert] = {}

    # --- the table ----------------------------------------------------------------------------

    @property
    def is_found(self) -> bool:
        return self._table is not None

    async def find(self, connection: AsyncConnection) -> None:
        """Look which types its columns have. SyncFailed if it cannot be written to (`schema`)."""
        mapping = self.mapping
        table = await connection.run_sync(lambda plain: schema.found(plain, mapping))
        self._converters = {
            field: fields.converter(table.columns[column].type)
            for field, column in mapping.columns.items()
        }
        self._table = table

    async def prepared(self, records: Sequence[Record]) -> list[Item | Poison | Skipped]:
        """Each as a row; what is none of this table is told so."""
        items: list[Item | Poison | Skipped] = []
        for place, record in enumerate(records, 1):
            items.append(self._item(record))
            if place % TURN == 0:
                await asyncio.sleep(0)
        return items

    def _item(self, record: Record) -> Item | Poison | Skipped:
        mapping, table = self.mapping, self._table
        assert table is not None
        if not mapping.writes or (record.removed and mapping.on_delete == "keep"):
            return Skipped()
        if mapping.tenant_column is None and record.tenant != self._only:
            said = f"{mapping.table} has no column for tenants, and belongs to another one"
            return Poison("permission", said)
        texts = [record.key[len(mapping.prefix) :], record.tenant]
        found: list[Any] = []
        for column, text in zip(self._columns(), texts, strict=False):
            try:
                found.append(fields.identity(text, column.type))
            except ValueError:
                what = "its tenant" if found else "the rest of its key"
                where = f"{mapping.table}.{column.name}"
                said = f"{what} is no {column.type} of {where}, as the database writes one"
                return Poison("constraint", said)
        identity = tuple(found)
        owner = (without_nul(record.tenant), without_nul(record.key))
        if record.removed:
            return Item(record, owner, identity, {}, None)
        value = record.value
        if not isinstance(value, Values):
            return Poison("constraint", NO_ROW % (type(value).__name__, mapping.table))
        base = None if mapping.version_field is None else value.get(mapping.version_field)
        if base is not None and (base := whole_of(base)) is None:
            said = f"its field {mapping.version_field} is no whole number, as a version is"
            return Poison("constraint", said)
        try:
            row = self._converted(value)
        except (ValueError, ArithmeticError, TypeError) as error:
            return Poison("constraint", f"a field does not fit its column: {type(error).__name__}")
        if not row:
            said = f"its value has no field of {mapping.table}: {', '.join(mapping.columns)}"
            return Poison("constraint", said)
        return Item(record, owner, identity, row, base)

    def _converted(self, value: Values[Any, Any]) -> dict[str, Any]:
        return {
            field: None if value[field] is None else convert(value[field])
            for field, convert in self._converters.items()
            if field in value
        }

    # --- a batch ------------------------------------------------------------------------------

    async def write(
        self, connection: AsyncConnection, dialect: Dialect, items: Sequence[Item]
    ) -> list[Outcome]:
        """Each, unless it or a later one is known."""
        rows = [
            (*self._owner, *item.owner, item.record.number, None, None, False) for item in items
        ]
        told = await write_numbered(connection, dialect, APPLIED, rows)
        lasts = {(tenant, key): Last(*last) for tenant, key, *last in told}
        fresh = [item for item in items if item.owner in lasts]
        current = await self._current(connection, fresh)
        decisions: dict[tuple[str, str], Decision] = {}
        for place, item in enumerate(fresh, 1):
            row, last = current.get(item.identity), lasts[item.owner]
            decisions[item.owner] = self._decision(item, row, last)
            if place % TURN == 0:
                await asyncio.sleep(0)
        await self._carry_out(connection, fresh, current, decisions)
        await self._remember(connection, dialect, lasts, decisions)
        before = [item for item in items if item.owner not in lasts]
        unread = await self._known(connection, dialect, before)
        return [
            decisions[item.owner].outcome
            if item.owner in decisions
            else Known(unread=(*item.owner, item.record.number) in unread)
            for item in items
        ]

    def _columns(self) -> list[Any]:
        """Those that say which row it is."""
        mapping, table = self.mapping, self._table
        assert table is not None
        names = [mapping.key_column, mapping.tenant_column]
        return [table.columns[name] for name in names if name is not None]

    async def _current(
        self, connection: AsyncConnection, items: Sequence[Item]
    ) -> dict[tuple[Any, ...], Current]:
        """The rows, by what they are; locked, in one order everywhere."""
        from sqlalchemy import select, tuple_

        if not items:
            return {}
        mapping, table = self.mapping, self._table
        assert table is not None
        keys = self._columns()
        read = [fields.readable(table.columns[column]) for column in mapping.columns.values()]
        version = [] if mapping.version_column is None else [table.columns[mapping.version_column]]
        asked = [item.identity for item in items]
        expected = {*asked}
        where = tuple_(*keys).in_(asked)
        query = select(*keys, *version, *read).where(where).order_by(*keys).with_for_update()
        found = {}
        for row in (await connection.execute(query)).fetchall():
            values = row[len(keys) + len(version) :]
            number = row[len(keys)] if version else None
            if number is not None and whole_of(number) is None:
                said = f"{mapping!r}: {mapping.version_column} holds no whole number"
                raise SyncFailed("schema", said)
            identity = tuple(
                fields.identified(value, key.type)
                for value, key in zip(row[: len(keys)], keys, strict=True)
            )
            if identity not in expected:  # it would be taken for one that is not there
                raise RowsFault(Poison("constraint", OTHER_ID % mapping.table))
            read_as = dict(zip(mapping.columns, values, strict=True))
            found[identity] = Current(read_as, number)
        return found

    def _decision(self, item: Item, row: Current | None, last: Last) -> Decision:
        if item.record.removed:
            return Decision(Written(), None, Last())
        try:
            decided = decide(
                item.fields,
                item.base,
                after_miss=item.record.after_miss,
                row=row,
                last=last,
                versioned=self.mapping.version_column is not None,
                strategy=self._strategy,
            )
        except Exception as error:
            if self._strategy.merge is None:
                raise
            said = f"the merge function raised {type(error).__name__}"
            raise RowsFault(Poison("constraint", said)) from error
        if isinstance(decided.outcome, Conflict) and decided.outcome.kept == "merged":
            merged: Any = decided.write
            row_of = self._converted(merged) if isinstance(merged, Values) else {}
            if not row_of:  # else the row were a new version without what was set
                said = NOT_MERGED % (type(merged).__name__, ", ".join(self.mapping.columns))
                raise RowsFault(Poison("constraint", said))
            return decided._replace(write=row_of)
        return decided

    async def _carry_out(
        self,
        connection: AsyncConnection,
        items: Sequence[Item],
        current: Values[tuple[Any, ...], Current],
        decisions: Values[tuple[str, str], Decision],
    ) -> None:
        """Write what was decided: rows with the same columns in one statement."""
        from sqlalchemy import bindparam, insert, update

        table = self._table
        assert table is not None
        new: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        old: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
        gone: list[tuple[Any, ...]] = []
        for item in items:
            identity, decision = item.identity, decisions[item.owner]
            if item.record.removed and identity in current:
                gone.append(identity)
            if decision.write is None:
                continue
            row = self._row(decision)
            if identity in current:
                at = {f"at_{place}": value for place, value in enumerate(identity)}
                old[tuple(row)].append({f"to_{name}": value for name, value in row.items()} | at)
            else:
                names = [column.name for column in self._columns()]
                whole = row | dict(zip(names, identity, strict=True))
                new[tuple(whole)].append(whole)
        if gone:
            await self._remove(connection, gone)
        for rows in new.values():
            await connection.execute(insert(table), rows)
        keys = self._columns()
        for columns, rows in old.items():
            here = [key == bindparam(f"at_{place}") for place, key in enumerate(keys)]
            values: dict[str, Any] = {name: bindparam(f"to_{name}") for name in columns}
            await connection.execute(update(table).where(*here).values(values), rows)

    def _row(self, decision: Decision) -> dict[str, Any]:
        """What is written, by column."""
        columns, version = self.mapping.columns, self.mapping.version_column
        row = {columns[field]: value for field, value in (decision.write or {}).items()}
        return row if version is None else row | {version: decision.last.version}

    async def _remove(
        self, connection: AsyncConnection, identities: Sequence[tuple[Any, ...]]
    ) -> None:
        import datetime

        from sqlalchemy import delete, func, tuple_, update

        mapping, table = self.mapping, self._table
        assert table is not None
        keys = self._columns()
        where = tuple_(*keys).in_(identities)
        if mapping.on_delete == "delete":
            await connection.execute(delete(table).where(where))
            return
        column = table.columns[mapping.deleted_column]
        timed = fields.python_type(column.type) in (datetime.datetime, datetime.date)
        values: dict[str, Any] = {column.name: func.now() if timed else True}
        if mapping.version_column is not None:
            version = table.columns[mapping.version_column]
            values[version.name] = func.coalesce(version, 0) + 1
        await connection.execute(update(table).where(where).values(values))

    # --- what was applied ---------------------------------------------------------------------

    async def _remember(
        self,
        connection: AsyncConnection,
        dialect: Dialect,
        lasts: Values[tuple[str, str], Last],
        decisions: Values[tuple[str, str], Decision],
    ) -> None:
        changed = [
            (*decision.last, decision.unread, *self._owner, *owner)
            for owner, decision in decisions.items()
            if decision.last != lasts[owner] or decision.unread  # a fill has changed nothing
        ]
        if changed:
            await connection.exec_driver_sql(remember(dialect), changed)

    async def _known(
        self, connection: AsyncConnection, dialect: Dialect, items: Sequence[Item]
    ) -> set[tuple[Any, ...]]:
        """Which of these changes are unread, by key and number: who wrote one may have died before
        he told the cache that its value is not the row's."""
        if not items:
            return set()
        asked = known(dialect, self._owner, [item.owner for item in items])
        found: Sequence[Any] = (await connection.exec_driver_sql(*asked)).fetchall()
        return {(tenant, key, number) for tenant, key, number, unread in found if unread}
