"""What some tiers can do beyond the contract, each a small protocol.

The engine asks a tier for each by `isinstance`, and does without where it has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, runtime_checkable

from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.tiers.contract import Invalidation

L1_LEASE: Final = 0.5
"""Seconds that memory may be trusted after the start of the last successful look at the feed."""


@dataclass(slots=True, frozen=True)
class NameState:
    """One name that an entry bears: what it was stored under, and what holds now.

    What is compared is the tier's own (a nonce, a number), as text for people. `valid` says whether
    the entry still counts as far as this name goes.
    """

    name: str
    stored: str
    current: str
    valid: bool


@dataclass(slots=True, frozen=True)
class Stored:
    """What a tier physically holds under a key, valid or not."""

    entry: Entry
    marks: tuple[NameState, ...]


@runtime_checkable
class Inspectable(Protocol):
    """A tier that shows what it holds, for people who ask why."""

    async def holding(self, key: Key) -> Stored | None:
        """The entry and the marks that decide about it; None for nothing, or nothing legible."""
        ...


class Ending(NamedTuple):
    """The invalidation of a name, so many seconds ago."""

    name: str
    ago: float


@runtime_checkable
class Remembers(Protocol):
    """A tier that knows for a while what was invalidated when, though nothing of it is left."""

    async def ended(self, names: Sequence[str]) -> Ending | None:
        """The latest invalidation of one of the names, of one tenant; a `set` is none."""
        ...


@runtime_checkable
class Acknowledged(Protocol):
    """A tier that can tell when other processes have applied an invalidation."""

    async def invalidate(self, names: Sequence[str], *, strict: bool = False) -> Invalidation:
        """As in `Tier`; `strict` asks whoever hears of it to say so."""
        ...

    async def acknowledged(self, told: Invalidation) -> None:
        """Wait until all have applied it, or nobody can trust a memory that has not."""
        ...


@dataclass(slots=True, frozen=True)
class Changes:
    """Invalidations since a position, for a process that polls: (name, q) in the order made.

    `lost` says that some are no longer known, so that all memory of before must go.
    """

    position: int
    names: tuple[tuple[str, int], ...]
    lost: bool


@runtime_checkable
class FeedSource(Protocol):
    """A shared tier that can tell what was invalidated since."""

    async def changes(self, since: int | None) -> Changes:
        """What came after `since`; None asks for the present position alone."""
        ...


@dataclass(slots=True, frozen=True)
class Posted:
    """Names that a tier above could not be told, of one tenant."""

    number: int
    names: tuple[str, ...]


@runtime_checkable
class Outbox(Protocol):
    """A durable tier that keeps, for all processes, what a tier above could not be told."""

    async def post(self, names: Sequence[str]) -> None:
        """Keep these names until they are sent."""
        ...

    async def posted(self) -> Sequence[Posted]:
        """What waits, the oldest first; perhaps not all of it at once."""
        ...

    async def sent(self, posted: Sequence[Posted]) -> None:
        """Forget what was sent."""
        ...
