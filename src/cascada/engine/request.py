"""What is asked of the engine and what it answers, before a face gives it its public shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Protocol

from cascada.engine.kinds import Kind
from cascada.model.bills.bill import UNKNOWN
from cascada.model.bills.cost import Cost
from cascada.model.entry import UNSET, Entry
from cascada.model.keys import Key
from cascada.model.made_of import MadeOf
from cascada.model.ttl import Duration
from cascada.tiers.contract import Fence

Fences = Mapping[str, Fence]
"""What each tier had numbered last, by the tier's name."""

Origin = Literal["loader", "generator", "nothing"]
UNSTORED: Final = Entry(b"")
"""Stands for the entry of what went past the tiers."""


class Request:
    """One value that a caller wants.

    `candidates` are the keys that may answer, `key` (the first) is where a load is stored.
    `context` are names of context parts that the key leaves out; `want` is the type asked for.
    `since`: its value is being made already, since the tiers gave these answers. `stale_for`:
    seconds for which this caller takes a value past its ttl while it is refreshed, and for which
    what is loaded for him may be taken so (None: as the policy says). `apart`: its candidates are
    values of their own, each of which its caller may store once all of them are missed. `journal`:
    the one that a set of it is noted in, for who writes it elsewhere later; `fetched`: what is set
    was read there, and is no change (False: it is one, whatever was missed before). `durably`: a
    set of it is kept as soon as the lowest tier has it, though others cannot be told yet.
    """

    __slots__ = (
        "apart", "candidates", "context", "durably", "fetched", "generating", "journal", "key",
        "kind", "since", "stale_for", "want",
    )  # fmt: skip

    def __init__(
        self,
        kind: Kind,
        candidates: tuple[Key, ...],
        context: Sequence[str] = (),
        want: Any = None,
        *,
        generating: bool = False,
        since: Fences | None = None,
        stale_for: float | None = None,
        apart: bool = False,
        journal: str | None = None,
        fetched: bool | None = None,
        durably: bool = False,
    ) -> None:
        self.kind = kind
        self.key = candidates[0]
        self.candidates = candidates
        self.context = context
        self.want = want
        self.generating = generating
        self.since = since
        self.stale_for = stale_for
        self.apart = apart
        self.journal = journal
        self.fetched = fetched
        self.durably = durably


class Answer:
    """A value on its way to its callers.

    `value` is an object that exactly one caller may have as its own (a fresh decoding); whoever
    comes later decodes `entry` again. `unfit`: why nothing that is made of it may be stored.
    `above`: a load may have it, though not from the lowest tier (`Lookup`). `in_vain`: its source
    was asked as well, and failed, so that it has saved nothing.
    `snapshot`: of a known absence, which is a miss to who can make the value. `absent`: a loader
    found nothing just now (a remembered absence is a hit).
    """

    __slots__ = (
        "above", "absent", "coalesced", "entry", "found_at", "generator_seconds", "in_vain",
        "loader_seconds", "origin", "snapshot", "stale", "storable", "tier", "unfit", "value",
    )  # fmt: skip

    def __init__(
        self,
        entry: Entry,
        tier: str,
        *,
        value: object = UNSET,
        stale: bool = False,
        unfit: str | None = None,
        found_at: Key | None = None,
        origin: Origin | None = None,
        loader_seconds: float = 0.0,
        generator_seconds: float = 0.0,
    ) -> None:
        self.entry = entry
        self.tier = tier
        self.value = value
        self.stale = stale
        self.unfit = unfit
        self.found_at = found_at
        self.origin = origin
        self.absent = origin == "nothing"
        self.coalesced = self.in_vain = self.above = False
        self.storable = True
        self.snapshot: object = None
        self.loader_seconds = loader_seconds
        self.generator_seconds = generator_seconds

    @property
    def saves(self) -> int:
        """What who gets it from a tier, or from another caller's load, need not spend."""
        return UNKNOWN if self.in_vain else self.entry.cost

    def for_follower(self) -> Answer:
        """The same answer for a caller whose own loader did not run."""
        shared = Answer(
            self.entry,
            self.tier,
            # Of what has no bytes there are no copies: all who share the load get the one object.
            value=UNSET if self.storable else self.value,
            stale=self.stale,
            unfit=self.unfit,
            found_at=self.found_at,
            origin=self.origin,
        )
        shared.storable, shared.in_vain, shared.above = self.storable, self.in_vain, self.above
        shared.coalesced = True
        return shared


class LoadResult:
    """What a source made for one question; `absent` means that there is nothing. `cost`: what its
    loader has said of that.

    `error`: this one question failed, though others of the same call did not.
    """

    __slots__ = (
        "absent", "cost", "error", "generator_seconds", "loader_seconds", "origin", "sources",
        "storable", "store", "tags", "ttl", "value", "version",
    )  # fmt: skip

    def __init__(
        self,
        value: object,
        *,
        absent: bool = False,
        origin: Origin = "loader",
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
        sources: Sequence[MadeOf] = (),
        version: int | None = None,
        store: bool = True,
        cost: Cost | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.value = value
        self.cost = cost
        self.error = error
        self.absent = absent
        self.origin: Origin = "nothing" if absent else origin
        self.ttl = ttl
        self.tags = tags
        self.sources = sources
        self.version = version
        self.store = store
        self.storable = True
        self.loader_seconds = 0.0
        self.generator_seconds = 0.0

    def answer(
        self, entry: Entry = UNSTORED, *, stale: bool = False, unfit: str | None = None
    ) -> Answer:
        """This result as the answer of the load that made it; `entry` is what followers decode."""
        answer = Answer(
            entry,
            "source",
            value=self.value,
            stale=stale,
            unfit=unfit,
            origin=self.origin,
            loader_seconds=self.loader_seconds,
            generator_seconds=self.generator_seconds,
        )
        answer.storable = self.storable
        return answer


class Loader(Protocol):
    """Where values come from when no tier has them: the caller's own code."""

    @property
    def generating(self) -> bool: ...

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        """One answer for each question, in their order; raises what the caller's code raises."""
        ...
