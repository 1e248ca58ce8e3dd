"""What some tiers can do beyond the contract, each a small protocol.

The engine asks a tier for each by `isinstance`, and does without where it has none. Only a feed
is a must for the first tier below memory.

| capability | who has it | who asks |
|---|---|---|
| `FeedSource` | Redis, SQLite | `Engine`, of the first tier below memory |
| `Acknowledged` | Redis | `engine/writing/invalidate`, for `strict=True` |
| `Outbox` | SQLite | `engine/writing/redelivery`, of the lowest tier |
| `KeepsJournal` | Redis, SQLite | `engine/build`: for WRITE_BEHIND, and of the lowest |
| `TakesChanges` | SQLite | `engine/build`, for WRITE_BEHIND, of the lowest tier |
| `Spares` | SQLite | `engine/sparing`, of the lowest tier, if another is above it |
| `LoadsByTurns` | SQLite | `engine/build`, of the lowest tier |
| `Inspectable`, `Remembers` | memory, Redis, SQLite | `engine/reading/explain` |
| `Connected` | Redis | `engine/home/lifecycle`, on each event loop |
| `Tended` | Redis | `engine/home/lifecycle`, on each event loop |
| `Begun`, `Forgetful` | SQLite; Redis, too, is `Forgetful` | `engine/home`; after a fork |

Three more lie beside what they are about: `datastore.KeepsData` (lists and counters),
`large_values.Glances` (large values told of before they are brought) and `walks.Walks` (the keys).

`InvalidationSink` goes the other way: it is what memory is to a feed. So no tier knows another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, IntEnum, auto
from typing import Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from cascada.model.clock import Clock
from cascada.model.entry import Entry, Flag
from cascada.model.freshness import Freshness
from cascada.model.keys import Key
from cascada.tiers.contract import Filled, Invalidation, Lease

L1_LEASE: Final = 0.5
"""Seconds that memory may be trusted after the start of the last successful look at the feed."""


MOST_BYTES: Final = 64 * 2**20
"""Of all records of a journal together: where no more fit, a change is not taken."""


_ABSENT: Final = int(Flag.ABSENT)


class InvalidationSink(Protocol):
    """What a feed tells of other processes' invalidations: memory. Called on the event loop."""

    def apply(self, seq: int, names: Sequence[str], *, dated: bool = False) -> int:
        """Void what bears one of the names (of one tenant) and is older than `seq`.

        `dated`: people may be told when that was (`Remembers`).
        """
        ...

    def flush(self) -> None:
        """Forget everything: what was missed is not known, or the numbers begin anew."""
        ...


class Feed(Freshness, Protocol):
    """How memory hears of other processes' invalidations, and until when it may be trusted.

    `run` belongs to the engine's background. A feed outlives the event loop that it ran on.
    """

    async def poll(self) -> bool:
        """The first look, for who waits until memory may be trusted; False if it failed."""
        ...

    async def run(self) -> None:
        """Listen for ever."""
        ...

    def forget(self) -> None:
        """Start anew, as after a fork."""
        ...


@runtime_checkable
class FeedSource(Protocol):
    """A shared tier that makes the feed of its invalidations."""

    def make_feed(
        self,
        sink: InvalidationSink,
        clock: Clock,
        *,
        timeout: float | None = None,
        on_error: Callable[[str], None] = lambda why: None,
    ) -> Feed:
        """A feed that tells `sink`, and is trusted by `clock`.

        `timeout` is for one question, where it has to ask; `on_error` is told why one failed.
        """
        ...


class NameState(msgspec.Struct, frozen=True):
    """One name that an entry bears: what it was stored under, and what holds now.

    What is compared is the tier's own (a nonce, a number), as text for people. `valid` says whether
    the entry still counts as far as this name goes.
    """

    name: str
    stored: str
    current: str
    valid: bool


class Stored(msgspec.Struct, frozen=True):
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


class Posted(msgspec.Struct, frozen=True):
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


class Put(IntEnum):
    """How a journal takes an entry. (`docs/protocol.md` rules 53 to 57.)

    FENCED: as `fill` would, under the lease of a set. CHANGE: whatever was named meanwhile, since
    it is what is to be. AFTER_MISS: its caller has missed the key, so that it may be what he has
    read where the changes go: as `fill` would, and never over a change or a removal that waits
    (`Outcome.OLDER`). FETCHED: the same, and known to be no change: it is not journaled.
    """

    FENCED = 0
    CHANGE = 1
    AFTER_MISS = 2
    FETCHED = 3


class Change(msgspec.Struct, frozen=True):
    """What was set of a key, and has to be written elsewhere.

    `number` is the journal's, and rises from change to change. `fence`: the number that the lowest
    tier had when the set began; what names the entry there since has ended it. `fault`: why its
    record cannot be read; the entry is then an empty one. `after_miss`: it was put so.
    """

    number: int
    key: Key
    entry: Entry
    fence: int
    fault: str = ""
    after_miss: bool = False

    @property
    def removed(self) -> bool:
        """Whether it says that there is nothing any more."""
        return bool(int(self.entry.flags) & _ABSENT)


class SetAside(NamedTuple):
    """A change that could not be written, and why."""

    change: Change
    why: str


class Backlog(NamedTuple):
    """What waits in a journal: changes, their bytes, those that were set aside because they could
    not be written, and the numbers of the oldest and the newest (0: there is none). `last`: no
    change that was ever put there has a greater number, and each that is put from now on has."""

    changes: int
    size_bytes: int
    set_aside: int
    oldest: int
    newest: int
    last: int


class Journal(Protocol):
    """Changes that a slower store does not have yet, kept by all processes together.

    Of each key it keeps the latest change alone. Any process may claim what waits, and write it; a
    claim ends by itself, so that whoever writes has to compare the numbers (`TakesChanges`).
    Nothing that happens to entries (invalidation, expiry, eviction) takes a change away.
    """

    async def refusal(self) -> str | None:
        """Why nothing may be put here, in one sentence; None: it may."""
        ...

    async def put(
        self,
        leases: Sequence[Lease],
        entries: Sequence[Entry],
        fences: Sequence[int],
        most: int,
        *,
        puts: Sequence[Put] = (),
        most_bytes: int = MOST_BYTES,
    ) -> list[Filled]:
        """`fill` under the leases of sets, and the changes journaled, all in one atomic step.

        Only what is accepted is journaled, and no `Outcome.EQUAL` of what is FENCED (so are all, if
        `puts` does not say how). `Outcome.FULL`: `most` changes wait, or their bytes are so many,
        or somebody bars the key. What was set aside counts.
        """
        ...

    async def waiting(self, keys: Sequence[Key]) -> frozenset[Key]:
        """Those of these keys that have a change here."""
        ...

    async def claim(self, most: int, seconds: float) -> list[Change]:
        """The oldest changes that nobody is at work on; nobody else is given them for so long."""
        ...

    async def of(self, keys: Sequence[Key]) -> list[Change]:
        """The changes of these keys, claimed or not."""
        ...

    async def done(self, changes: Sequence[Change]) -> None:
        """Forget these, but for those whose key has a later one."""
        ...

    async def release(self, changes: Sequence[Change]) -> None:
        """Let others claim these at once."""
        ...

    async def standing(self, keys: Sequence[Key]) -> list[Change]:
        """The changes of these keys that a reader may be given, whose entry has expired or was
        evicted: no AFTER_MISS, and nothing that was named since."""
        ...

    async def set_aside(self, change: Change, why: str) -> None:
        """Keep it apart, since it can never be written; people may look at it."""
        ...

    async def aside(self, most: int) -> list[SetAside]:
        """Some of what was set aside, in order."""
        ...

    async def retry(self, keys: Sequence[Key] | None = None) -> int:
        """Let what was set aside (of these keys) wait once more, unless a later change of its key
        does; how many do."""
        ...

    async def backlog(self) -> Backlog: ...


@runtime_checkable
class Bars(Protocol):
    """A journal of what the tier below does not have yet, though that decides who has added."""

    async def bar(self, key: Key, token: bytes, seconds: float) -> list[Change]:
        """Journal no change of this key until `unbar`, or for so long; the answer is the one that
        is here."""
        ...

    async def unbar(self, key: Key, token: bytes) -> None: ...


@runtime_checkable
class KeepsJournal(Protocol):
    """A shared tier that has journals beside its entries, each with a name; "" is that of what is
    written behind."""

    def journal_of(self, name: str) -> Journal: ...


class Fate(Enum):
    """What became of a change. STORED: it is there. KNOWN: it, or a later one, was there already.
    VOID: something has named the entry since, so that nothing from before the change is left."""

    STORED = auto()
    KNOWN = auto()
    VOID = auto()


@runtime_checkable
class TakesChanges(Protocol):
    """A durable tier that changes are written to, however late and however often they come."""

    async def apply(self, changes: Sequence[Change]) -> list[Fate]:
        """Write each, once, unless a later one of its key was written or its fence is void."""
        ...


@runtime_checkable
class Spares(Protocol):
    """A tier that remembers, for all processes, of which types it keeps nothing."""

    async def spare(self, types: frozenset[str]) -> frozenset[str]:
        """From now on nothing is kept of these (quoted) types, nor of what is made of them: who
        does not know it stores in vain. The answer is all that are so."""
        ...


@runtime_checkable
class LoadsByTurns(Protocol):
    """A tier that lets one process at a time load a key, unless `somebody_above` does so."""

    somebody_above: Callable[[], bool]


@runtime_checkable
class Connected(Protocol):
    """A tier with a connection that is kept up while the engine runs."""

    async def up(self) -> None: ...

    async def run(self) -> None: ...


@runtime_checkable
class Tended(Protocol):
    """A tier that has something to look after while the engine runs."""

    async def tend(self) -> None:
        """Look after it, for ever."""
        ...


@runtime_checkable
class Begun(Protocol):
    """A tier that keeps nothing open after `aclose` before it is told that it is used again."""

    def begin(self) -> None: ...


@runtime_checkable
class Forgetful(Protocol):
    """A tier that can drop its connections without closing them (they are the parent's)."""

    def forget(self) -> None: ...
