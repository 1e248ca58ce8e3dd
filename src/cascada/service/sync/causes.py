"""Which kind of failure an error of a database is, and whether a row or the database is to blame.

A server names its errors by SQLSTATE, a class of two characters and three more; SQLite by a name.
What concerns one row is the row's fault, so that it is looked for and set aside; anything else
concerns all rows, which wait. Sentences hold no value: a server's message may quote one, so of what
is a row's fault only the first line is kept, without what stands in quotes and parentheses.
"""

from __future__ import annotations

import re
from typing import Final

from cascada.service.sync.records import Cause, Poison, SyncFailed

_OF_CLASS: Final[dict[str, Cause]] = {
    "08": "connection",
    "25": "permission",  # a transaction that may only read
    "28": "permission",
    "3D": "connection",  # there is no such database
    "3F": "schema",
    "40": "timeout",  # a deadlock, or what could not be serialised: once more
    "42": "schema",
    "53": "connection",  # no memory, no disk, no more connections
    "55": "timeout",  # a lock that is not to be had
    "57": "connection",
    "58": "connection",
    "XX": "connection",
}
_OF_STATE: Final[dict[str, Cause]] = {
    "25P03": "timeout",  # who stood still in the midst of a transaction
    "42501": "permission",
    "57014": "timeout",
}
_ROWS_FAULT: Final = ("09", "21", "22", "23", "27", "38", "39", "44", "54", "P0")
_SERVERS_OWN: Final = frozenset(
    {
        "00",
        "01",
        "02",
        "03",
        "08",
        "0A",
        "0B",
        "0F",
        "0L",
        "0P",
        "0Z",
        "20",
        "24",
        "25",
        "26",
        "28",
        "2B",
        "2D",
        "2F",
        "34",
        "3B",
        "3D",
        "3F",
        "40",
        "42",
        "53",
        "55",
        "57",
        "58",
        "72",
        "F0",
        "HV",
        "XX",
    }
)
"""Classes that PostgreSQL has names for. One of no such class is a trigger's of the application."""

_POLICY: Final = "ExecWithCheckOptions"
"""Where the server refuses a row by a policy (RLS); its sentence may be in any language."""

_OF_TYPES: Final = ("42804", "42846", "42883")
"""A value whose type does not go into the column."""

_OF_SQLITE: Final[tuple[tuple[str, Cause], ...]] = (
    ("SQLITE_BUSY", "timeout"),
    ("SQLITE_LOCKED", "timeout"),
    ("SQLITE_READONLY", "permission"),
    ("SQLITE_PERM", "permission"),
    ("SQLITE_AUTH", "permission"),
    ("SQLITE_CANTOPEN", "permission"),
    ("SQLITE_SCHEMA", "schema"),
)
_SQLITE_ROW: Final = (
    "SQLITE_CONSTRAINT",
    "SQLITE_MISMATCH",
    "SQLITE_TOOBIG",
    "SQLITE_RANGE",
)
_VALUE: Final = re.compile(r"\"[^\"]*\"|'[^']*'|\([^)]*\)|: .*")


class RowsFault(Exception):
    """A row of the batch cannot be written, whichever it is."""

    def __init__(self, poison: Poison) -> None:
        super().__init__(poison.sentence)
        self.poison = poison


def told(error: BaseException) -> SyncFailed | RowsFault:
    """What the error means for the batch."""
    origin = _origin(error)
    state = _state(origin)
    name = str(getattr(origin, "sqlite_errorname", "") or "")
    if isinstance(error, TimeoutError):
        return SyncFailed("timeout", "the database did not answer in time")
    if state:
        if state[:2] in _ROWS_FAULT or state in _OF_TYPES:
            return RowsFault(Poison("constraint", _without_values(origin)))
        if getattr(origin, "server_source_function", None) == _POLICY:
            return RowsFault(Poison("permission", _without_values(origin)))
        if state[:2] not in _SERVERS_OWN:
            return RowsFault(Poison("constraint", _without_values(origin)))
        cause = _OF_STATE.get(state, _OF_CLASS.get(state[:2], "connection"))
        return SyncFailed(cause, _first_line(origin))
    if name:
        if name.startswith(_SQLITE_ROW):
            return RowsFault(Poison("constraint", _sqlite_row(origin)))
        if name == "SQLITE_ERROR":
            return SyncFailed("schema", _first_line(origin))
        of = (cause for start, cause in _OF_SQLITE if name.startswith(start))
        return SyncFailed(next(of, "connection"), _first_line(origin))
    if isinstance(origin, (OSError, EOFError)) or _is_about_a_connection(error):
        return SyncFailed("connection", _first_line(origin))
    # Neither a server nor a socket: a driver that cannot put a value into its place.
    return RowsFault(Poison("constraint", _without_values(origin)))


def _is_about_a_connection(error: BaseException) -> bool:
    names = {kind.__name__ for each in (error, _origin(error)) for kind in type(each).__mro__}
    lost = bool(getattr(error, "connection_invalidated", False))
    return lost or bool(
        names
        & {
            "ConnectionDoesNotExistError",
            "ConnectionFailureError",
            "InternalClientError",
            "OperationalError",
            "PoolTimeout",
        }
    )


def _origin(error: BaseException) -> BaseException:
    """What the driver itself has raised: the adapters of SQLAlchemy stand before it."""
    orig = getattr(error, "orig", None)
    if isinstance(orig, BaseException):
        return orig.__cause__ if isinstance(orig.__cause__, Exception) else orig
    return error


def _state(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) and len(state) == 5 else ""


def _first_line(error: BaseException) -> str:
    """What it says, without what may be a password."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no reason given'}"


def _without_values(error: BaseException) -> str:
    said = _first_line(error).removeprefix(f"{type(error).__name__}: ")
    column = getattr(error, "column_name", None) or getattr(error, "constraint_name", None)
    where = f" ({column})" if isinstance(column, str) else ""
    return f"{type(error).__name__}: {_VALUE.sub('…', said)}{where}"


def _sqlite_row(error: BaseException) -> str:
    # Such as "UNIQUE constraint failed: campaigns.name": names, never values.
    return _first_line(error)
