"""Whether a table of the application is what its `Mapping` says, before anything is written to it.

Its key columns have to be unique: the sync reads a row by them and then writes it, and where the
application inserts the same row at that moment, nothing else would tell that there are two. And its
version has to be a number where it lies: SQLite takes a number into a TEXT, and gives a text back.
A view has keys that nobody can see; it is trusted. Called by `tables`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from cascada.service.sync import fields
from cascada.service.sync.mapping import Mapping
from cascada.service.sync.records import SyncFailed

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

NO_TABLE: Final = "%r: there is no such table; make it, or correct the mapping"
NO_COLUMN: Final = "%r: the table has no column %s; correct the mapping"
NOT_UNIQUE: Final = (
    "%r: nothing keeps two rows of the same %s out of the table %s, so that one could not be told "
    "from the other; run: %s"
)
NO_NUMBER: Final = (
    "%r: its version_column %s is %s, and a version is a whole number; make it an INTEGER or BIGINT"
)

_LONGEST: Final = 63


def found(connection: Connection, mapping: Mapping) -> Table:
    """The table, with the types of its columns. SyncFailed if rows cannot be written to it."""
    from sqlalchemy import JSON, MetaData, Table
    from sqlalchemy.exc import NoSuchTableError

    try:
        table = Table(mapping.table, MetaData(), schema=mapping.schema, autoload_with=connection)
    except NoSuchTableError as error:
        raise SyncFailed("schema", NO_TABLE % mapping) from error
    wanted = [mapping.key_column, mapping.tenant_column, mapping.version_column]
    if mapping.on_delete == "soft":
        wanted.append(mapping.deleted_column)
    wanted += mapping.columns.values()
    missing = [name for name in wanted if name is not None and name not in table.columns]
    if missing:
        said = NO_COLUMN % (mapping, ", ".join(missing))
        if mapping.key_column in missing:
            said += " (ids are looked for in its key_column)"
        raise SyncFailed("schema", said)
    for column in table.columns:
        if isinstance(column.type, JSON):
            column.type.none_as_null = True  # else None were the text null, and not NULL
    if mapping.writes:
        _see_that_versions_are_numbers(mapping, table)
        _see_that_rows_are_unique(connection, mapping, table)
    return table


def _see_that_versions_are_numbers(mapping: Mapping, table: Table) -> None:
    if mapping.version_column is not None:
        kind = table.columns[mapping.version_column].type
        # SQLite gives back what it was given where a column has no type; SQLAlchemy calls that one
        # an object.
        if fields.python_type(kind) not in (int, object, None):
            raise SyncFailed("schema", NO_NUMBER % (mapping, mapping.version_column, kind))


def _see_that_rows_are_unique(connection: Connection, mapping: Mapping, table: Table) -> None:
    from sqlalchemy import Index, inspect
    from sqlalchemy.schema import CreateIndex

    keys = [name for name in (mapping.tenant_column, mapping.key_column) if name is not None]
    if any(each <= {*keys} for each in _unique(table)):
        return
    if mapping.table not in inspect(connection).get_table_names(mapping.schema):
        return
    name = f"one_row_of_{mapping.table}".encode()[:_LONGEST].decode(errors="ignore")
    made = CreateIndex(Index(name, *[table.columns[key] for key in keys], unique=True))
    statement = str(made.compile(dialect=connection.dialect))
    where = mapping.table if mapping.schema is None else f"{mapping.schema}.{mapping.table}"
    raise SyncFailed("schema", NOT_UNIQUE % (mapping, " and ".join(keys), where, statement))


def _unique(table: Table) -> Iterator[set[str]]:
    """Sets of columns of which no two rows have the same."""
    from sqlalchemy import PrimaryKeyConstraint, UniqueConstraint

    for constraint in table.constraints:
        if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint) and constraint.columns:
            yield {column.name for column in constraint.columns}
    for index in table.indexes:
        expressions: list[Any] = list(index.expressions)
        of_some = any(given.get("where") is not None for given in index.dialect_options.values())
        # One over an expression has fewer columns than that.
        if index.unique and not of_some and len(expressions) == len(index.columns):
            yield {column.name for column in index.columns}
