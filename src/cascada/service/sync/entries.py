"""The table that cascada owns: values without a mapping, one row of each key, as JSON.

`target` calls it, within a transaction. Nobody else writes there, so there is no conflict, and the
journal's number alone decides. What is sensitive is written sealed, as [codec, flags, bytes] in
msgpack. What JSON has not is written as `serialize_for_cache` writes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cascada.codecs.public import serialize_for_cache
from cascada.model.errors import SerializationError
from cascada.service.sync.numbered import write_all, write_numbered
from cascada.service.sync.records import Known, Outcome, Poison, Record, Written
from cascada.service.sync.statements import ENTRIES, Dialect

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

TURN: Final = 128 * 1024
"""Bytes that are written as JSON before others have a turn on the event loop. Less, and the next
batch, which is read meanwhile, would have most turns, while the database has nothing to do."""

ROW: Final = 512
"""Bytes that a row counts for beside its value: at most 256 rows are made in one turn."""

_VALUE, _DATA = [[*ENTRIES.columns].index(name) for name in ("value", "data")]

_PLAIN: Final = (dict, list, str, int, bool, type(None))
"""Whose parts compare as a whole."""

_TAG: Final = b"$cascada"
"""What the public form marks with what JSON has not."""

_NUL: Final = "\\u0000"

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Entries:
    """Of one service in one namespace."""

    at_once: Final = 1000
    """Rows of one transaction, and one statement: SQLite takes 32,766 values in one."""

    def __init__(self, namespace: str, service: str) -> None:
        self._owner = (without_nul(namespace), without_nul(service))

    async def prepared(self, records: Sequence[Record]) -> list[tuple[Any, ...] | Poison]:
        """The row of each; a value that has no public form is none."""
        rows: list[tuple[Any, ...] | Poison] = []
        size = 0
        for record in records:
            if size >= TURN:
                size = 0
                await asyncio.sleep(0)
            try:
                row = self._row(record)
            except SerializationError as error:
                rows.append(Poison("constraint", str(error)))
            else:
                rows.append(row)
                size += len(row[_VALUE] or row[_DATA] or b"")
            size += ROW
        return rows

    def _row(self, record: Record) -> tuple[Any, ...]:
        name = (*self._owner, without_nul(record.tenant), without_nul(record.key))
        if record.removed:
            return (*name, record.number, None, None, True)
        if record.sealed is not None:
            return (*name, record.number, None, record.sealed, False)
        text = as_json(record.value)
        plain = text.decode()
        if _NUL in plain:  # a character that PostgreSQL's JSON cannot hold
            return (*name, record.number, None, text, False)
        return (*name, record.number, plain, None, False)

    async def write(
        self, connection: AsyncConnection, dialect: Dialect, rows: Sequence[tuple[Any, ...]]
    ) -> list[Outcome]:
        """All of them; SomeAreKnown if a later one is there of any."""
        await write_all(connection, dialect, ENTRIES, rows)
        return [Written()] * len(rows)

    async def write_each(
        self, connection: AsyncConnection, dialect: Dialect, rows: Sequence[tuple[Any, ...]]
    ) -> list[Outcome]:
        """Each, unless a later one is there."""
        told = await write_numbered(connection, dialect, ENTRIES, rows)
        written = {(tenant, key) for tenant, key in told}
        return [Written() if row[2:4] in written else Known() for row in rows]


def as_json(value: Any) -> bytes:
    """The value as JSON that gives it back. Mostly that is seen by reading it again, which is much
    quicker than looking at each part of it."""
    if type(value) in _PLAIN:
        try:
            text = _encode(value)
            if _TAG not in text and _decode(text) == value:
                return text
        except (msgspec.MsgspecError, ValueError, TypeError):
            pass  # with the place in it, below
    return msgspec.json.encode(serialize_for_cache(value, "service"))


def without_nul(text: str) -> str:
    """The text without NUL, which PostgreSQL has not; and no two texts become one."""
    if "\0" not in text and "%" not in text:
        return text
    return text.replace("%", "%25").replace("\0", "%00")


def with_nul(text: str) -> str:
    """Of which text `without_nul` has made this."""
    return text.replace("%00", "\0").replace("%25", "%")
