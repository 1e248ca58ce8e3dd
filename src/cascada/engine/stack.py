"""The tiers of one cache, top to bottom, and what all paths share while they use them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import Context
from typing import Any, Final, Protocol
from weakref import WeakValueDictionary

from cascada.codecs.values import ValueCodec
from cascada.engine.kinds import Kind, Kinds
from cascada.engine.left_behind import LeftBehind
from cascada.engine.request import Loader, Request
from cascada.engine.tasks.background import Background
from cascada.engine.tasks.limits import LoadLimits
from cascada.engine.tasks.singleflight import Flights
from cascada.engine.telling.log_lines import LogLines
from cascada.engine.telling.trace import TOGETHER, Trace
from cascada.engine.write_behind import WriteBehind
from cascada.model.bills.cost import Price
from cascada.model.clock import Clock
from cascada.model.dependencies import Dependencies
from cascada.model.entry import UNSET, Entry, Flag
from cascada.model.errors import SerializationError
from cascada.model.forgotten import Whom
from cascada.model.freshness import Freshness
from cascada.model.keys import Key, quote
from cascada.model.limits import Limits
from cascada.tiers.coalesce import Coalescer
from cascada.tiers.contract import Tier
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_journal import GuardedJournals
from cascada.tiers.memory.tier import MemoryTier

logger = logging.getLogger("cascada")

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond


_LEVELS: Final = {"l1": 1, "l2": 2, "l3": 3}

_NO_PRICES: Final[Mapping[str, Price]] = {}


Way = Callable[[], tuple[Request, Loader] | None]
"""How a key is loaded when no caller has brought a loader; None: not any more."""


class Ahead(Protocol):
    """Who brings what is likely to be asked for next (`engine/strategies/ahead.py`)."""

    def asked(self, requests: Sequence[Request]) -> None:
        """These are asked for, and memory has not answered at once."""

    def knows(self, key: Key, way: Way) -> None:
        """A caller asks for this key, and without him it may be loaded like this."""

    def holds(self, key: Key) -> bool:
        """Whether what is there was brought ahead, and nobody has asked for it yet."""

    def begin(self) -> None:
        """A new event loop."""

    def stop(self) -> None:
        """The cache closes."""

    def after_fork(self) -> None:
        """All of it was the parent's."""


class Stack:
    """Memory, the tiers below it, and the tools of the paths. It decides nothing.

    `background`, `flights`, `limits` and `shared_reads` belong to one event loop, renewed with it,
    and so does `discarding`: of what is there and of no use, who lets go of it.
    `behind` is what tells the database later what was set, or `left_behind` what others have left
    to be told; `journals` have what others tell later.
    `watchers` counts what makes a hit in memory more than an answer: loaders that run now (it may
    be a source), observers, and open `bypass()` blocks (`bypasses` of them). While it is 0, a hit
    looks at none of them. `observing`: the mode is observe.
    """

    background: Background
    flights: Flights
    limits: LoadLimits
    shared_reads: Coalescer[Request, Any]
    discarding: WeakValueDictionary[Key, asyncio.Lock]
    ahead: Ahead

    def __init__(
        self,
        memory: MemoryTier,
        lower: Sequence[GuardedTier],
        *,
        kinds: Kinds,
        codec: ValueCodec,
        clock: Clock,
        trace: Trace,
        limits: Limits,
        dependencies: Dependencies | None = None,
        prices: Mapping[str, Price] = _NO_PRICES,
        reads_around: bool = False,
        writes_around: bool = False,
        observing: bool = False,
        watched: bool = False,
        debug: bool = False,
    ) -> None:
        self.memory = memory
        self.lower = tuple(lower)
        self.tiers: tuple[Tier, ...] = (memory, *self.lower)
        self.authority: Tier = self.tiers[min(1, len(self.lower))]
        # Which place each tier stands for, whichever others are there (`engine/placement`).
        self.levels: dict[Tier, int] = {
            tier: _LEVELS.get(tier.name, min(depth, 3)) for depth, tier in enumerate(self.tiers, 1)
        }
        # Types of which the lowest tier has nothing, and never will (`engine/sparing`), quoted.
        self.spared: frozenset[str] = frozenset()
        self.reads_around = reads_around
        self.writes_around = writes_around
        self.kinds = kinds
        self.codec = codec
        self.behind: WriteBehind | None = None
        self.left_behind: LeftBehind | None = None
        self.journals: GuardedJournals | None = None
        self.now = clock.time
        self.timer = clock.monotonic
        self.trace = trace
        self.load_timeout = limits.load_timeout
        self.degraded_l1_ttl = limits.degraded_l1_ttl
        self.invalidate_patience = limits.invalidate_patience
        self.on_pending = limits.on_pending
        self.max_value_bytes = limits.max_value_bytes
        self._eviction = limits.eviction
        self.dependencies = dependencies or Dependencies()
        self.prices = prices
        self.observing = observing
        self.debug = debug
        self._always_watching = bool(trace.observers) + watched
        self.watchers = self._always_watching
        self.hits_are_told_together = False
        self.bypasses = 0
        # Of faces: what they note of a tenant beside his values, they let go of.
        self.on_forgotten: list[Callable[[str], None]] = []
        self.forgetting: set[Whom] = set()
        trace.on_debugging = self._write_lines
        self._lines: LogLines | None = None
        # Does a step on the thread that the cache is at home on, wherever it is asked for.
        self.at_home: Callable[[Callable[[], None]], None] = lambda step: step()

    def after_fork(self) -> None:
        """Begin with nothing that another thread of the parent's may have held or known."""
        self.kinds.after_fork()
        self.memory.after_fork()
        self.ahead.after_fork()

    def listen(self, freshness: Freshness) -> None:
        """Let `freshness` say until when memory may be trusted."""
        self.memory.freshness = freshness

    def settle(self, limits: LoadLimits, look: Callable[[list[Request]], Awaitable[Any]]) -> None:
        """Start on an event loop, with nothing under way."""
        self.background = Background(self.trace.failed_aside)
        # What is read for many callers is read in the context of none.
        self.shared_reads = Coalescer(
            look, start=lambda work: self.background.answer(work, "reads", Context())
        )
        self.flights = Flights()
        self.limits = limits
        self.discarding = WeakValueDictionary()
        self.ahead.begin()
        # The first use, which settles, may be inside a `bypass()`.
        self.trace.mind_level()
        self.watchers = self._always_watching + self.bypasses
        self.hits_are_told_together = False

    def _write_lines(self, on: bool) -> None:
        """Write lines of reads while somebody listens to their level."""
        observers, records = self.trace.observers, self.memory.records
        alone = not observers
        if on:
            why = f"to stay within {self.memory.capacity} bytes ({self._eviction})"
            self._lines = LogLines(self.timer, lambda: (records.evictions, why))
            observers.append(self._lines)
        elif self._lines is not None:
            observers.remove(self._lines)
            alone = not observers
        if alone:  # the first observer, or none any more
            self._always_watching += 1 if on else -1
            self.watchers += 1 if on else -1

    def watch(self, by: int) -> None:
        """So many more look at each hit."""
        self.watchers += by

    def tell_hit(self, kind: Kind, key: Key, seconds: float) -> None:
        """Tell the observers of one hit in memory; of the next ones together, if there are many."""
        if not self.trace.hit_in_memory(kind, key, seconds):
            # From now on: there may be a thousand more in this turn of the loop.
            self.hits_are_told_together = True
            self.watchers -= 1
            self.background.run(self._tell_hits_together(), "tell hits")

    async def _tell_hits_together(self) -> None:
        """For a while, hits are only counted, as if nobody watched; then their counts are told."""
        try:
            await asyncio.sleep(TOGETHER)
        finally:
            self.watchers += 1
            self.hits_are_told_together = False
            self.trace.hits_in_memory(self.kinds.all())

    def decode(self, entry: Entry, kind: Kind, want: Any = None) -> Any:
        """The value of an entry, the caller's own unless it may be shared. CorruptEntry."""
        if entry.flags & _ABSENT:
            return None
        if entry.value is not UNSET and want is None:
            if self.debug and kind.policy.shared:
                self._check_shared(entry, kind)
            return entry.value
        wanted = kind.policy.type if want is None else want
        value = self.codec.decode(entry.data, entry.codec, entry.flags, type=wanted)
        # For memory, which is about to keep the entry. Its own records it has weighed already.
        if kind.policy.shared and want is None and entry.__class__ is Entry:
            entry.value = value
        return value

    def _check_shared(self, entry: Entry, kind: Kind) -> None:
        """Replace a shared value that somebody has changed, and say so."""
        policy = kind.policy
        with suppress(SerializationError):  # what cannot be stored any more has changed
            now = self.codec.encode(
                entry.value,
                type=policy.type,
                vectors=kind.vectors,
                exact_floats=policy.codec == "f64",
            )
            if now.data == entry.data:
                return
        logger.error(
            "a value of %s was changed by who got it, although its policy says shared=True; "
            "change a copy, or leave shared out",
            kind.data_type,
        )
        entry.value = self.codec.decode(entry.data, entry.codec, entry.flags, type=policy.type)

    def goes_on_without(self, request: Request) -> bool:
        """Whether memory keeps what is loaded and set while the tier below it is away.

        Not where another one is below that, which has it; nor for a type that is served from memory
        only as long as nothing can have ended it.
        """
        alone = len(self.lower_of(request)) == 1 and self.degraded_l1_ttl > 0
        return alone and not request.kind.policy.strict

    def lower_of(self, request: Request) -> tuple[GuardedTier, ...]:
        """The tiers below memory that have to do with this request's type."""
        if self.spared and quote(request.key.data_type) in self.spared:
            return self.lower[:-1]
        return self.lower

    def keys_for(self, tier: Tier, candidates: tuple[Key, ...]) -> tuple[Key, ...]:
        """Which candidates a tier is asked for.

        Memory above another tier answers for the full key alone: a general value in memory says
        nothing about a more specific one that another process has stored below.
        """
        return candidates if tier is self.authority or tier is not self.memory else candidates[:1]
