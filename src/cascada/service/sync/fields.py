"""Fields of a value as what a column takes, and back.

What went through JSON or a cache has texts where a table has ids and times: a text becomes what the
column is of. Anything else is left to the database, which refuses what does not fit. Called by
`tables`; the types are those that SQLAlchemy has found in the table.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any, Final

Convert = Callable[[Any], Any]


def _as_it_is(value: Any) -> Any:
    return value


def _uuid(value: Any) -> Any:
    return uuid.UUID(value) if type(value) is str else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def _date(value: Any) -> Any:
    return datetime.date.fromisoformat(value) if type(value) is str else value


def _time(value: Any) -> Any:
    return datetime.time.fromisoformat(value) if type(value) is str else value


def _aware(value: Any) -> Any:
    """A moment; without a zone it is taken for UTC."""
    if type(value) is str:
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=datetime.UTC)
    return value


def _naive(value: Any) -> Any:
    """A moment in UTC, for a column that holds no zone."""
    if type(value) is str:
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    return value


def _decimal(value: Any) -> Any:
    if type(value) in (int, float, str):
        return decimal.Decimal(str(value))
    return value


def _float(value: Any) -> Any:
    return float(value) if type(value) is int else value


_OF_PYTHON: Final[dict[type, Convert]] = {
    uuid.UUID: _uuid,
    str: _text,
    datetime.date: _date,
    datetime.time: _time,
    decimal.Decimal: _decimal,
    float: _float,
}


def converter(column_type: Any) -> Convert:
    """What makes a value one for a column of this type (of SQLAlchemy)."""
    python = python_type(column_type)
    if python is datetime.datetime:
        return _aware if getattr(column_type, "timezone", False) else _naive
    return _OF_PYTHON.get(python or object, _as_it_is)


def python_type(column_type: Any) -> type | None:
    try:
        found = column_type.python_type
    except NotImplementedError:
        return None
    return found if isinstance(found, type) else None


def identity(text: str, column_type: Any) -> Any:
    """The id in a key as what the column holds. ValueError where it is none, or is written in
    another way than the database would: two keys would be one row."""
    python = python_type(column_type)
    found: Any = text
    if _is_padded(column_type) and text.endswith(" "):
        raise ValueError("the database takes such spaces for none")
    if python is int:
        found = int(text)
    elif python is uuid.UUID:
        found = uuid.UUID(text)
    if str(found) != text:
        raise ValueError("another key means the same row")
    return found


def identified(value: Any, column_type: Any) -> Any:
    """An id that was read, as `identity` would have it."""
    return value.rstrip(" ") if _is_padded(column_type) and isinstance(value, str) else value


def _is_padded(column_type: Any) -> bool:
    """Whether it is CHAR, which a server fills up with spaces."""
    from sqlalchemy import CHAR

    return isinstance(column_type, CHAR)


def readable(column: Any) -> Any:
    """The column as it is selected: an enum as its text, since it may have got another value after
    the table was looked at."""
    from sqlalchemy import Enum, Text, cast

    return cast(column, Text) if isinstance(column.type, Enum) else column
