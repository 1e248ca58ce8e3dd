"""The contract that every tier fulfils, and what its calls answer.

One idea keeps the tiers equal, the LEASE: permission to fill a key, taken before the value is
obtained from further down, and void as soon as anything that names the key is invalidated. Every
call is batch first; answers stand in the order of the keys.

`seq` is the number of a tenant's latest invalidation. A tier with a feed of its own (Redis, the
database) draws it; `read` and `lease` tell the seq that they saw, so that the memory tier above can
compare what it keeps with the invalidations that it hears of.

The contract in words, which `tests/contracts` holds against every tier (`docs/protocol.md` rules 13
to 17 say against which interleavings):

- What `read` finds is valid now: no invalidation that returned before the read began names it.
- `fill` is refused if any of the entry's names (static or dynamic) was invalidated after its lease
  was granted, whatever happened to the metadata in between (eviction, expiry, pruning).
- `lease(force=True)` + `fill` is `set`: it also voids every other lease of that key, so that of
  crossing loads and sets no older value survives. A set whose lease is void leaves nothing there,
  but for a value that equals its own (`docs/protocol.md` rules 2 to 6).
- `lease(once=True)` + `fill` stores where no value is, and voids nothing (rule 7). Under a lease
  that `adds` it does what a `set` does, if it stores at all (rule 40).
- `touch` gives the entry of one key another life, and voids nothing that was made of it; what a
  load brings that began before is not stored.
- A tier that cannot answer raises `TierUnavailable`; one that lost its metadata answers Missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from enum import Enum, StrEnum, auto
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from cascada.model.entry import Entry, Flag
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key


class NotPermitted(TierUnavailable):
    """The tier answers, but this process may not use it (another layout, missing rights).

    It has not failed: what it still takes (invalidations) is sent to it.
    """


class Full(NotPermitted):
    """The tier answers, and takes nothing more that needs room."""


class Why(StrEnum):
    """Why a tier has no value for a key."""

    ABSENT = "absent"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    CORRUPT = "corrupt"
    UNAVAILABLE = "unavailable"


class Found(NamedTuple):
    """A valid entry, and the seq at which it is known to be valid.

    `epoch` says whose numbers these are, where a tier's numbering may begin anew. `mark` is a
    tier's own, to tell this very entry from one that has replaced it.
    """

    entry: Entry
    seq: int
    epoch: bytes = b""
    mark: bytes = b""


class Missing(NamedTuple):
    """No valid entry; `by` is the name whose invalidation killed it, where that is known.

    `mark`: as in `Found`, of what is there and cannot be served.
    """

    seq: int
    why: Why = Why.ABSENT
    by: str | None = None
    epoch: bytes = b""
    mark: bytes = b""


class Fence(NamedTuple):
    """What a tier had numbered last (seq, of `epoch`) before a value was made that is stored later.

    The default is from before everything: nothing can be stored behind it. `mark`: as in `Missing`.
    """

    seq: int = -1
    epoch: bytes = b""
    mark: bytes = b""


NEVER: Final = Fence()
"""From before everything."""

Seen = Found | Missing | Fence | None


class Lease:
    """Permission to fill one key. `token` is the granting tier's own.

    `forced`: of a set. `once`: for a value that is stored only where none is; what was `seen`
    before it was made is none. `adds`: of a lease that is `once`, a token of the caller's own: who
    has read that nothing is there has to hear of the value, so that it takes the next seq, and
    ends all other leases of the key and what was made of it. A tier that can tell answers to the
    same token as it did before. `names`: the dynamic ones of what was made, if it is not stored; a
    release then says whether one of them was invalidated, too. `meanwhile`: seconds for which
    memory may keep it while the tier below is away (None: it is not).
    """

    __slots__ = ("adds", "forced", "key", "meanwhile", "names", "once", "seen", "seq", "token")

    def __init__(
        self,
        key: Key,
        seq: int,
        token: Any = None,
        *,
        forced: bool = False,
        once: bool = False,
        seen: Seen = None,
    ) -> None:
        self.key = key
        self.seq = seq
        self.token = token
        self.meanwhile: float | None = None
        self.forced = forced
        self.once = once
        self.seen = seen
        self.adds = b""
        self.names: tuple[str, ...] = ()

    def may_replace(self, entry: Entry) -> bool:
        """Whether a value that is stored once may take the place of this valid entry."""
        if entry.flags & Flag.ABSENT:
            return True
        seen = self.seen.entry if isinstance(self.seen, Found) else None
        # Seen, and not served: it was too old, or of another version of its policy.
        return seen is not None and (seen.created, seen.data) == (entry.created, entry.data)


class Busy(msgspec.Struct, frozen=True, eq=False):
    """Another process holds the lease; ask again after `retry_after` seconds.

    Or as soon as `released` is set, where the tier hears of that.
    """

    retry_after: float
    released: asyncio.Event | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Busy) and other.retry_after == self.retry_after

    def __hash__(self) -> int:
        return hash(self.retry_after)

    async def over(self) -> None:
        """Wait until it is worth asking again; the caller bounds this by `retry_after`."""
        if self.released is None:
            await asyncio.sleep(self.retry_after)
        else:
            await self.released.wait()


class Outcome(Enum):
    """What a fill found. PLAIN: what its answer says, and nothing else.

    EQUAL: accepted, because this very value was there already. NOTHING: refused, and there was
    nothing that it could have replaced. OLDER: refused, since a newer version is known, which stays
    as it is. FULL: refused, since a journal has no room for it; nothing was done. NO_ROOM: refused,
    though the lease stood: the key has no value there any more, and the tiers above may have this
    one.
    """

    PLAIN = auto()
    EQUAL = auto()
    NOTHING = auto()
    OLDER = auto()
    FULL = auto()
    NO_ROOM = auto()


class Filled(NamedTuple):
    """Whether the value is there now, and the seq that its key has (a `set` and what is added
    advance it). `why`: of NO_ROOM, where it is not for the tier's size."""

    accepted: bool
    seq: int
    outcome: Outcome = Outcome.PLAIN
    why: str = ""


Renewed = Callable[[Entry, int], Entry | None]
"""What a valid entry becomes whose payload has so many bytes: the same with another life, or None
where it is left alone. It may be called in another thread, and more than once."""


class Touched(NamedTuple):
    """The entry as it was and as it is now; None if there was none to be touched. `seq` as in
    `Filled`. `waits`: the tier below does not have it yet, and is told of it with this life."""

    seq: int
    was: Entry | None = None
    entry: Entry | None = None
    waits: bool = False


class EntryCount(NamedTuple):
    """How many entries a name reaches, at most: what has expired may still be among them.

    `own`: which it says what they are (of a key: the entry itself). `made`: from what it names.
    """

    own: int
    made: int


NOTHING: Final = EntryCount(0, 0)


def with_keys(
    names: Sequence[str], counted: Sequence[EntryCount], found: Sequence[Found | Missing]
) -> list[EntryCount]:
    """`counted`, with the keys' own entries added: those that were found, in their order."""
    answers = iter(found)
    return [
        EntryCount(isinstance(next(answers), Found), each.made) if name.startswith("k:") else each
        for name, each in zip(names, counted, strict=True)
    ]


class Invalidation(msgspec.Struct, frozen=True):
    """`keys` entries went (at most, if not `exact`); `seq` is the number of this invalidation.

    `receivers` processes were sent it; `epoch` says whose number seq is, as in `Found`. `counts`:
    what each name has reached, in the order of the names. `journaled`: if one of the names forgets
    somebody (`names.FORGETS`), the greatest number in all journals of the tier at that moment, or 0
    where none can be: what is journaled later has a greater one.
    """

    keys: int
    exact: bool
    seq: int
    receivers: int = 0
    epoch: bytes = b""
    counts: tuple[EntryCount, ...] = ()
    journaled: int = 0


class Usage(msgspec.Struct, frozen=True):
    """How full a tier is. `capacity_bytes` 0 is unbounded."""

    entries: int
    size_bytes: int
    capacity_bytes: int
    evictions: int


class Tier(Protocol):
    """See the module's text for what the calls promise together."""

    @property
    def name(self) -> str:
        """What answers, counts, events and metrics call it by; no two tiers of a cache share it."""
        ...

    async def read(self, keys: Sequence[Key]) -> list[Found | Missing]:
        """What is there and valid now, stale entries included, expired ones not."""
        ...

    async def lease(
        self,
        keys: Sequence[Key],
        seen: Sequence[Seen],
        *,
        force: bool = False,
        once: bool = False,
        digests: Sequence[bytes] = (),
    ) -> list[Lease | Found | Busy]:
        """Permission to fill each key.

        `seen` is what `read` answered for it (None: not read): the lease is then as old as that
        answer, so that nothing invalidated since it slips in. Found: somebody stored a value in
        the meantime, newer than the stale one in `seen`. Fence: the value has been made already,
        so that the lease must be no younger. `force` takes over another's lease, and makes a fence
        of every answer; `digests` are then those of the entries to come, so that sets of equal
        values, crossing, do not take over from each other. `once`: the value was made after `seen`,
        perhaps long ago; nobody's lease is taken over, and nobody is kept waiting.
        """
        ...

    async def fill(self, leases: Sequence[Lease], entries: Sequence[Entry | None]) -> list[Filled]:
        """Store each entry under its lease; None releases the lease and stores nothing.

        An entry that has no life (`Entry.nothing`) stores nothing, and what is there goes, as what
        it would replace does; all else is as of any entry.
        A refusal means that the lease was void: what was loaded under it may be outdated. That
        answer is given for a release as well. Under a lease that was granted `once`, also that a
        value is there. A void set leaves what equals it, for as long as the shorter-lived of the
        two says, and nothing else; either way it has ended what the old value was made into.
        """
        ...

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Keep the leases alive while a load runs."""
        ...

    async def invalidate(self, names: Sequence[str]) -> Invalidation:
        """Void everything that bears one of the names, all of one tenant, in one atomic step."""
        ...

    async def touch(self, key: Key, renewed: Renewed, *, below: bool = False) -> Touched:
        """Let the entry of this key have the life that `renewed` gives it, in one atomic step.

        Only what is valid, and not replaced meanwhile. What is on its way here with the old life is
        void: all leases of the key but those of sets, and, by the feed, what others have read
        before. They are told a number, and `entry_name` of the key, which no entry lists: what was
        made of the key's value stays. `below`: a tier below had the entry; then all this is done
        though there is none here. Else nothing is done where nothing is.
        """
        ...

    async def count_entries(self, names: Sequence[str]) -> list[EntryCount]:
        """What `invalidate` of these names would reach."""
        ...

    async def usage(self) -> Usage: ...

    async def aclose(self) -> None: ...
