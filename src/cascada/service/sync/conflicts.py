"""Whose row it is, when the cache and others have changed it. No clock is asked, and no I/O done.

A value that was read from a row carries the row's version: its base. A row whose version is the
base has been changed by nobody since. Nor has a row whose version the sync itself wrote last, if
the base is of a version from which the sync has gone on without a break (`Last.since`): the value
lay in the cache meanwhile, with the version of before. Any other row others have changed, and the
strategy decides:

    database_wins     the row stays, and the cache forgets its value
    last_write_wins   what comes to the row last stands: it is written over; but a row that others
                      have deleted stays deleted, as under any UPDATE
    cache_wins        it is written over, and inserted where others have deleted it
    a merge function  gets both rows and returns the one to write; None: the row stays

What was set after a miss of the key is what the caller had read, so it is never written over a row,
whatever the strategy: equal it is a fill, else an old one, and the cache forgets it.

`tables` calls `decide` for each record of a batch, within the transaction that has locked the row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple

from cascada.model.door import arguments
from cascada.service.sync.records import Conflict, Fill, Outcome, Written

Row = Mapping[str, Any]
"""Of a table, by the fields of a value."""

Merge = Callable[[dict[str, Any], dict[str, Any] | None], dict[str, Any] | None]
"""Gets the cache's row and the database's (None: others have deleted it), both by field and with
the version; returns the fields to write, or None."""

Named = Literal["last_write_wins", "database_wins", "cache_wins"]
NAMED: Final = ("last_write_wins", "database_wins", "cache_wins")
Conflicts = Named | Merge


class Strategy(NamedTuple):
    """`merge` is there for a merge function alone."""

    name: str
    merge: Merge | None = None


def strategy(given: object, what: str = "conflicts") -> Strategy:
    """The strategy that a caller has named, or his merge function."""
    if callable(given) and not isinstance(given, type):
        accepted = "a plain function of two rows, the cache's and the database's"
        return Strategy("merge", arguments.plain_function(given, what, accepted))
    return Strategy(arguments.choice(given, what, NAMED))


DATABASE_WINS: Final = Strategy("database_wins")


class Current(NamedTuple):
    """The row as it is, locked. `version`: None where it has none."""

    fields: Row
    version: int | None


class Last(NamedTuple):
    """What the sync wrote of this key last: the version that the row has by that (None: it wrote
    none), and the oldest base that it follows."""

    version: int | None = None
    since: int | None = None


class Decision(NamedTuple):
    """`write`: the fields to write, as a new version if there is one; None: nothing is written.
    `last`: what is to be remembered. `unread`: the cache must not answer with what it has."""

    outcome: Outcome
    write: dict[str, Any] | None
    last: Last
    unread: bool = False


def decide(
    fields: dict[str, Any],
    base: int | None,
    *,
    after_miss: bool,
    row: Current | None,
    last: Last,
    versioned: bool,
    strategy: Strategy,
) -> Decision:
    """What becomes of a value of these fields. `base`: the version that it was made from."""
    if row is None:
        gone = versioned and (base is not None or last.version is not None)
        if not gone:
            return _written(fields, base, None, versioned=versioned)
    elif all(row.fields[name] == value for name, value in fields.items()):
        return Decision(Fill(), None, last if last.version == row.version else Last())
    if after_miss:
        return Decision(Fill(stale=True), None, last, unread=True)
    if row is not None and (not versioned or base == row.version or _followed(base, row, last)):
        since = last.since if last.version == row.version is not None else base
        return _written(fields, since, row, versioned=versioned)
    return _conflict(fields, base, row, last, strategy)


def _followed(base: int | None, row: Current, last: Last) -> bool:
    """Whether nobody but the sync has changed the row since the base."""
    if last.version is None or last.version != row.version:
        return False
    # A value without a version was inserted by the sync, and lies in the cache as it was set.
    return last.since is None if base is None else (last.since or 0) <= base <= last.version


def _written(
    fields: dict[str, Any],
    since: int | None,
    row: Current | None,
    *,
    versioned: bool,
    outcome: Outcome | None = None,
) -> Decision:
    version = None
    if versioned:
        before = since if row is None else row.version
        version = (before or 0) + 1
    return Decision(outcome or Written(), fields, Last(version, since))


def _conflict(
    fields: dict[str, Any], base: int | None, row: Current | None, last: Last, strategy: Strategy
) -> Decision:
    name = strategy.name
    if strategy.merge is not None:
        merged = strategy.merge(dict(fields), None if row is None else dict(row.fields))
        if merged is None:
            return Decision(Conflict("database", name), None, last, unread=True)
        decision = _written(merged, base, row, versioned=True, outcome=Conflict("merged", name))
        # What lies in the cache is not what was written: who goes on from there is in conflict.
        return decision._replace(last=Last(*[decision.last.version] * 2), unread=True)
    if name == "database_wins" or (row is None and name == "last_write_wins"):
        return Decision(Conflict("database", name), None, last, unread=True)
    return _written(fields, base, row, versioned=True, outcome=Conflict("cache", name))
