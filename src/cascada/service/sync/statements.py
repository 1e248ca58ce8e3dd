"""The SQL of the tables that cascada owns, for PostgreSQL and for SQLite.

    entries   a service's values where no mapping says otherwise: a row of each key
    applied   of each key of a mapped table the last change that was written there

Both compare the journal's number in the statement that writes: a claim of the journal ends by
itself, so that two may be at work on a key, and the one that was stopped for a while has the older
change (`docs/protocol.md`). What was removed stays for a day as a row without a value, for its
number.

A row of a tenant with an empty key, which no key is, says that he was forgotten: up to its number
nothing of his is written any more. Who writes asks for it in his transaction (`numbered`).

In PostgreSQL they lie in a schema of their own; in SQLite, which has none, their names begin so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Literal, NamedTuple

Dialect = Literal["postgresql", "sqlite"]

KEY: Final = ("namespace", "service", "tenant", "key")


class Owned(NamedTuple):
    """A table: its name, its columns with their types in PostgreSQL, which of its rows are there
    for their number alone, what a write answers, and what an update leaves as it is."""

    name: str
    columns: Mapping[str, str]
    idle: str
    answers: Sequence[str] = ("tenant", "key")
    left: Sequence[str] = ()


ENTRIES: Final = Owned(
    "service_entries",
    {
        **dict.fromkeys(KEY, "text"),
        "number": "bigint",
        "value": "jsonb",
        "data": "bytea",
        "removed": "boolean",
    },
    idle="removed",
)
APPLIED: Final = Owned(
    "applied",
    {
        **dict.fromkeys(KEY, "text"),
        "number": "bigint",
        "version": "bigint",
        "since": "bigint",
        "unread": "boolean",
    },
    idle="version IS NULL",
    answers=("tenant", "key", "version", "since"),
    left=("version", "since"),
)

_IN_SQLITE: Final = {
    "text": "TEXT",
    "bigint": "INTEGER",
    "jsonb": "JSON",
    "bytea": "BLOB",
    "boolean": "BOOLEAN",
}


def named(dialect: Dialect, table: Owned) -> str:
    if dialect == "postgresql":
        return f'"cascada"."{table.name}"'
    return f'"cascada_{table.name}"'


def made(dialect: Dialect, table: Owned) -> str:
    """What creates it."""
    in_postgres = dialect == "postgresql"
    columns = [
        f'"{name}" {kind if in_postgres else _IN_SQLITE[kind]}'
        f"{' NOT NULL' if name in (*KEY, 'number') else ''}"
        for name, kind in table.columns.items()
    ]
    now = "timestamptz DEFAULT now()" if in_postgres else "TEXT DEFAULT CURRENT_TIMESTAMP"
    columns += [f'"written_at" {now}', f"PRIMARY KEY ({', '.join(KEY)})"]
    return f"CREATE TABLE IF NOT EXISTS {named(dialect, table)} ({', '.join(columns)})"


@lru_cache(maxsize=1024)
def _upsert(dialect: Dialect, name: str, rows: int, asked: bool) -> str:
    table = ENTRIES if name == ENTRIES.name else APPLIED
    columns = [*table.columns]
    head = f"INSERT INTO {named(dialect, table)} AS t ({', '.join(columns)})"
    if dialect == "postgresql":
        arrays = ", ".join(
            f"${place}::{'text' if kind == 'jsonb' else kind}[]"
            for place, kind in enumerate(table.columns.values(), 1)
        )
        chosen = ", ".join(
            f"u.{name}::jsonb" if kind == "jsonb" else f"u.{name}"
            for name, kind in table.columns.items()
        )
        body = f"SELECT {chosen} FROM unnest({arrays}) AS u({', '.join(columns)})"
    else:
        values = ",".join([f"({','.join('?' * len(columns))})"] * rows)
        body = f"VALUES {values}"
    new = [each for each in columns if each not in (*KEY, *table.left)]
    now = "now()" if dialect == "postgresql" else "CURRENT_TIMESTAMP"
    changed = ", ".join([f"{each} = excluded.{each}" for each in new] + [f"written_at = {now}"])
    answer = f" RETURNING {', '.join(table.answers)}" if asked else ""
    return (
        f"{head} {body} ON CONFLICT ({', '.join(KEY)}) DO UPDATE SET {changed} "
        f"WHERE t.number < excluded.number{answer}"
    )


def upsert(
    dialect: Dialect, table: Owned, rows: Sequence[Sequence[Any]], *, asked: bool = True
) -> tuple[str, tuple[Any, ...]]:
    """The statement that writes these rows, each unless a later one is there, and its arguments.

    `asked`: it answers those that were written. An array per column where the server has arrays:
    one statement for any number of rows, which it parses once.
    """
    if dialect == "postgresql":
        return _upsert(dialect, table.name, 0, asked), tuple(map(list, zip(*rows, strict=True)))
    return _upsert(dialect, table.name, len(rows), asked), tuple(chain.from_iterable(rows))


def forgotten(
    dialect: Dialect, table: Owned, owner: tuple[str, str], tenants: Sequence[str]
) -> tuple[str, tuple[Any, ...]]:
    """The statement that tells which of these tenants were forgotten, and up to which number, and
    its arguments."""
    where, them = "namespace = ? AND service = ?", f"IN ({','.join('?' * len(tenants))})"
    given: tuple[Any, ...] = (*owner, *tenants)
    if dialect == "postgresql":
        where, them, given = "namespace = $1 AND service = $2", "= ANY($3)", (*owner, [*tenants])
    name = named(dialect, table)
    return f"SELECT tenant, number FROM {name} WHERE {where} AND tenant {them} AND key = ''", given


TIME: Final[dict[Dialect, str]] = {
    "postgresql": "CAST(extract(epoch FROM clock_timestamp()) AS float8)",
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
}
"""The database's own clock, in seconds."""


def forget(
    dialect: Dialect, table: Owned, owner: tuple[str, str], below: int, seconds: int, most: int
) -> tuple[str, tuple[Any, ...]]:
    """The statement that deletes rows that are there for their number alone, which nothing has
    changed for so long, and its arguments: at most so many, of numbers below that one."""
    place, ago, marks = "rowid", f"datetime('now', '{-seconds:+d} seconds')", ["?"] * 4
    if dialect == "postgresql":
        place, marks = "ctid", ["$1", "$2", "$3", "$4"]
        ago = f"now() - interval '{seconds} seconds'"
    name = named(dialect, table)
    found = (
        f"SELECT {place} FROM {name} WHERE namespace = {marks[0]} AND service = {marks[1]}"
        f" AND number < {marks[2]} AND {table.idle} AND written_at < {ago} LIMIT {marks[3]}"
    )
    return f"DELETE FROM {name} WHERE {place} IN ({found})", (*owner, below, most)


def latest(
    dialect: Dialect, table: Owned, owner: tuple[str, str], service: str | None
) -> tuple[str, tuple[str, ...]]:
    """The statement that tells the greatest number of the rows of a tenant in a namespace, by their
    service (None: all that have some), and its arguments."""
    first, second, third = ("$1", "$2", "$3") if dialect == "postgresql" else ["?"] * 3
    where = f"namespace = {first} AND tenant = {second}"
    one = () if service is None else (service,)
    if one:
        where = f"{where} AND service = {third}"
    asked = f"SELECT service, max(number) FROM {named(dialect, table)} WHERE {where}"
    return f"{asked} GROUP BY service", (*owner, *one)


def erase(
    dialect: Dialect, table: Owned, owner: tuple[str, str, str], until: int, most: int
) -> tuple[str, tuple[Any, ...]]:
    """The statement that deletes a tenant's rows up to this number, and its arguments: at most so
    many, and not the one that says that he was forgotten."""
    in_postgres, name = dialect == "postgresql", named(dialect, table)
    place, marks = ("ctid", ["$4", "$5"]) if in_postgres else ("rowid", ["?", "?"])
    found = (
        f"SELECT {place} FROM {name} WHERE {_of_tenant(dialect)} AND key <> ''"
        f" AND number <= {marks[0]} LIMIT {marks[1]}"
    )
    return f"DELETE FROM {name} WHERE {place} IN ({found})", (*owner, until, most)


def _of_tenant(dialect: Dialect) -> str:
    marks = ["$1", "$2", "$3"] if dialect == "postgresql" else ["?"] * 3
    return " AND ".join(f"{each} = {mark}" for each, mark in zip(KEY[:3], marks, strict=True))


def remember(dialect: Dialect) -> str:
    """The statement that notes what was written of one key: version, since, unread, and the key."""
    marks = [f"${n}" for n in range(1, 8)] if dialect == "postgresql" else ["?"] * 7
    names = ("version", "since", "unread")
    changed = ", ".join(f"{name} = {mark}" for name, mark in zip(names, marks, strict=False))
    where = " AND ".join(f"{name} = {mark}" for name, mark in zip(KEY, marks[3:], strict=True))
    return f"UPDATE {named(dialect, APPLIED)} SET {changed} WHERE {where}"


def known(
    dialect: Dialect, owner: tuple[str, str], keys: Sequence[tuple[str, str]]
) -> tuple[str, tuple[Any, ...]]:
    """The statement that tells of these keys (tenant and key) which change was written, and whether
    it is unread, and its arguments."""
    answers = f"SELECT t.tenant, t.key, t.number, t.unread FROM {named(dialect, APPLIED)} AS t"
    if dialect == "postgresql":
        tenants, texts = map(list, zip(*keys, strict=True))
        here = "t.namespace = $1 AND t.service = $2"
        asked = "unnest($3::text[], $4::text[]) AS u(tenant, key)"
        sql = f"{answers}, {asked} WHERE {here} AND t.tenant = u.tenant AND t.key = u.key"
        return sql, (*owner, tenants, texts)
    asked = ",".join(["(?,?)"] * len(keys))
    where = f"namespace = ? AND service = ? AND (tenant, key) IN (VALUES {asked})"
    return f"{answers} WHERE {where}", (*owner, *[text for key in keys for text in key])
