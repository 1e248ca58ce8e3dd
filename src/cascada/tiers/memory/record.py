"""What the memory tier keeps: records, and the marks that tell whether they are still valid."""

from __future__ import annotations

import sys
from typing import Any, Final

from cascada.model.clock import Clock
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.model.names import is_own
from cascada.tiers.capabilities import NameState
from cascada.tiers.contract import EntryCount

VOID: Final = sys.maxsize
"""The q of a cell or clock that nothing is valid under any more."""

STEP: Final = 0.01
"""Seconds by which the wall clock has been set; less is how clocks go."""


class Cell:
    """The latest invalidation of one name.

    `live` records bear it, `made` of them because they were made from what it names. `pair`: see
    `_store`.
    """

    __slots__ = ("__weakref__", "live", "made", "name", "pair", "q")

    def __init__(self, name: str, q: int) -> None:
        self.pair: tuple[Cell, ...] | None = None
        self.name = name
        self.q = q
        self.live = self.made = 0

    @property
    def counts(self) -> EntryCount:
        return EntryCount(self.live - self.made, self.made)

    @property
    def told(self) -> str:
        if self.q == VOID:
            return "invalidated without a number"
        return f"last invalidated at {self.q}" if self.q else "never"


class TenantSeq:
    """The latest invalidation of anything of one tenant."""

    __slots__ = ("__weakref__", "q")

    def __init__(self, q: int) -> None:
        self.q = q


class Record(Entry):
    """An entry as memory holds it; monotonic seconds.

    `born` is when it was loaded, `due` when a hit on it needs a decision.
    """

    __slots__ = (
        "born", "cells", "clock", "due", "gone", "key", "kind", "q", "score", "used", "weight",
    )  # fmt: skip

    key: Key
    cells: tuple[Cell, ...]
    clock: TenantSeq
    kind: Any
    q: int
    born: float
    due: float
    used: float
    score: float
    weight: int
    gone: bool

    @property
    def marks(self) -> tuple[NameState, ...]:
        """Its names, for people: the number that it was read at, and the latest of each name."""
        return tuple(
            NameState(cell.name, f"read at {self.q}", cell.told, cell.q <= self.q)
            for cell in self.cells
        )

    @property
    def made_of(self) -> list[Cell]:
        """The cells of what it was made from."""
        if not self.names:
            return []
        made = {name for name in self.names if not is_own(self.key, name)}
        return [cell for cell in self.cells if cell.name in made]

    def __init__(self, key: Key, kind: Any, entry: Entry, q: int) -> None:
        self.data = entry.data
        self.codec = entry.codec
        self.flags = entry.flags
        self.created = entry.created
        self.fresh_until = entry.fresh_until
        self.expires = entry.expires
        self.names = entry.names
        self.version = entry.version
        self.value = entry.value
        self.key = key
        self.kind = kind
        self.q = q
        self.gone = False

    def is_over(self, clock: Clock) -> bool:
        """Whether its life has ended. When the wall clock is set, its times move along."""
        now = clock.time()
        step = now - clock.monotonic() - (self.created - self.born)
        if abs(step) > STEP:
            self.created += step
            self.fresh_until += step
            self.expires += step
        return now >= self.expires

    def __lt__(self, other: Any) -> bool:
        return bool(self.score < other.score)


class MemoryToken:
    """What a memory lease watches: its cells, and how often memory was flushed.

    `flushes` counts what was invalidated without a number as well, `cleared` does not; -1 is from
    before the latest.
    """

    __slots__ = ("cells", "cleared", "clock", "flushes")

    def __init__(
        self, cells: tuple[Cell, ...], clock: TenantSeq, flushes: int, cleared: int
    ) -> None:
        self.cells = cells
        self.clock = clock
        self.flushes = flushes
        self.cleared = cleared
