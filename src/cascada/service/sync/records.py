"""What the sync is given of a change, and what came of it.

`loop` makes records of the journal's changes, `target` writes them and says the outcome of each.
Nothing here reads a clock, a cache or a database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import msgspec

from cascada.model.errors import CascadaError

Cause = Literal["connection", "permission", "constraint", "timeout", "schema"]
"""Why a database did not take what it was given. schema: a table or a column is not there."""


class Record(msgspec.Struct, frozen=True):
    """One change of one key. `number` is the journal's, and rises from change to change of a key.

    `after_miss`: it was set after a miss of the key in the same task, so that it may be what the
    caller had just read. `removed`: the row is to go; `value` is None then. `sealed`: of what is
    sensitive, its value encrypted, for a table of cascada's own.
    """

    number: int
    tenant: str
    key: str
    value: Any
    after_miss: bool = False
    removed: bool = False
    sealed: bytes | None = None


class Written(NamedTuple):
    """The database has it now."""


class Known(NamedTuple):
    """The database had it, or a later change of the key, already. `unread`: and what the database
    has is not what was set, so that the cache must not answer with it."""

    unread: bool = False


class Fill(NamedTuple):
    """It is what the row holds, and nothing was written. `stale`: it is what the row once held, so
    that it goes from the cache, too."""

    stale: bool = False


class Skipped(NamedTuple):
    """Its mapping says that nothing of it is written."""


class Conflict(NamedTuple):
    """Others have changed the row since the value was made. `kept`: whose the row is now;
    `strategy`: what decided that."""

    kept: Literal["database", "cache", "merged"]
    strategy: str


class Poison(NamedTuple):
    """It can never be written; `sentence` says why, and holds no value."""

    cause: Cause
    sentence: str


ENDS: Final = (Written, Known, Fill, Skipped, Conflict)
"""Outcomes after which a change goes from the journal."""

Outcome = Written | Known | Fill | Skipped | Conflict | Poison


def is_unread(outcome: Outcome) -> bool:
    """Whether the database has something else than the cache."""
    match outcome:
        case Known(unread=unread):
            return unread
        case Fill(stale=stale):
            return stale
        case Conflict(kept=kept):
            return kept != "cache"
    return False


class SyncFailed(CascadaError):
    """A database did not take a batch, and may take it later. `cause`: of which kind it is."""

    def __init__(self, cause: Cause, sentence: str) -> None:
        super().__init__(sentence)
        self.cause: Cause = cause
        self.sentence = sentence


Answer = Outcome | SyncFailed


class Part(NamedTuple):
    """Those for one table: where they stand among all, and as its rows; None: to be made when they
    are written."""

    writer: Any
    places: list[int]
    prepared: Sequence[Any] | None


class Rows(NamedTuple):
    """Records, ready to be written. `answers`: of those of which nothing is, by their place."""

    records: Sequence[Record] = ()
    answers: Mapping[int, Answer] = {}
    parts: Sequence[Part] = ()
