"""A cascade: several rows of the table of dependencies, as one invalidation, and their counts."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cascada.engine.stack import Stack
from cascada.engine.writing.invalidate import count_entries, invalidate
from cascada.model.dependencies import Reach
from cascada.model.entry import Invalidated
from cascada.tiers.contract import NOTHING, EntryCount


class Cascade(msgspec.Struct, frozen=True):
    """What a cascade did, or would do.

    counts: how many entries of each row went, at most (one that has expired may be counted).
    made: how many more went because they were made from those. pending: as of `Invalidated`.
    """

    counts: dict[str, int]
    made: int = 0
    pending: bool = False

    @property
    def keys(self) -> int:
        """All entries together."""
        return sum(self.counts.values()) + self.made


async def cascade(
    stack: Stack, rows: Sequence[Reach], *, dry_run: bool = False, strict: bool = False
) -> Cascade:
    """Void what all rows reach, in one atomic step; `dry_run` only says what would go.

    Rows with the same label are counted together. InvalidationPending as of an invalidation.
    """
    counts = dict.fromkeys((row.label for row in rows), 0)
    names = list(dict.fromkeys(name for row in rows for name in row.all))
    if not names:  # of an empty list of ids
        return Cascade(counts)
    told = Invalidated(0)
    if dry_run:
        reached = await count_entries(stack, names)
    else:
        told, reached = await invalidate(stack, names, strict=strict)
    by_name = dict(zip(names, reached, strict=True)) if reached else {}
    made = 0
    for row in rows:
        counts[row.label] += _own(row, by_name)
        made += _made(row, by_name)
    return Cascade(counts, made, told.pending)


def _own(row: Reach, by_name: dict[str, EntryCount]) -> int:
    """How many entries bear one of a row's names: the sum, less what bears two of them."""
    borne = sum(by_name.get(name, NOTHING).own for name in row.names)
    return max(0, borne - sum(by_name.get(name, NOTHING).own for name in row.twice))


def _made(row: Reach, by_name: dict[str, EntryCount]) -> int:
    """How many were made from what a row reaches. Who names a resource bears its key's name, too:
    of these two the greater one counts."""
    made: dict[str, int] = {}
    for name in row.names:
        _, _, named = name.partition(":")
        made[named] = max(made.get(named, 0), by_name.get(name, NOTHING).made)
    return sum(made.values())
