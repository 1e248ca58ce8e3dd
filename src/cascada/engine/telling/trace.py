"""The one place where the engine counts and tells observers.

The hit path counts on its own (one addition); everything else passes here. Observers are called
synchronously and must return at once; what they raise is logged, once each, and harms nobody.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import Any, Final

from cascada.engine.kinds import Kind
from cascada.engine.request import Answer, Request
from cascada.engine.telling.tier_trace import TierTrace
from cascada.model.bills.bill import UNKNOWN, count_of
from cascada.model.dependencies import BY_CONTEXT, unreached
from cascada.model.door.secret import without_values
from cascada.model.entry import MEMORY, SOURCE, Entry, Hit, Miss
from cascada.model.events import Event, EventKind, Observer
from cascada.model.keys import Key
from cascada.model.names import tenant_of
from cascada.model.policy import BULKY
from cascada.telemetry.custom import Tracked
from cascada.telemetry.heat import Heat
from cascada.telemetry.latency import Latencies
from cascada.telemetry.named import Named
from cascada.telemetry.restores import Restores
from cascada.telemetry.throttle import Warned
from cascada.tiers.contract import Filled, Outcome

logger = logging.getLogger("cascada")

MAX_UNSTORED: Final = 1024
"""Keys of which `explain` can tell why their last value was not stored."""
SINGLY: Final = 16
"""Hits in memory that observers are told of one by one, each with its key, before the next ones are
told together."""

TOGETHER: Final = 0.1
"""Seconds whose hits in memory are told together, and in which so few are told one by one."""

MAX_SAID: Final = 1000
"""Data types and causes that are warned of once; callers may make up any number of types."""


class Trace(TierTrace):
    """Counts and events of one engine."""

    def __init__(
        self,
        observers: Sequence[Observer],
        timer: Callable[[], float],
        tiers: Sequence[str] = (),
    ) -> None:
        """`tiers`: the names of those below memory."""
        super().__init__(timer)
        self.observers = list(observers)
        self.done = Named()
        self.restarts = Named()
        self.tracked = Tracked()
        self.latencies = Latencies((*tiers, SOURCE))
        self.synced, self.rounds = Named(), Latencies(())
        self.heat: Heat[Key] = Heat()
        self.restores = Restores()
        self._broken: set[int] = set()
        self._told: set[str] = set()
        self._warned: Warned[Key] = Warned()
        self._unstored: dict[Key, str] = {}
        self._unreached: set[str] = set()
        self._many_since, self._singly = -math.inf, 0
        self.debugging = False
        self.hides_all = False
        # Told when somebody begins to listen to lines of level DEBUG, or ends to.
        self.on_debugging: Callable[[bool], None] = lambda on: None

    def mind_level(self) -> None:
        """Levels change while a program runs; the usual hit must not look."""
        if logger.isEnabledFor(logging.DEBUG) != self.debugging:
            self.debugging = not self.debugging
            self.on_debugging(self.debugging)

    @property
    def invalidations(self) -> int:
        return self.done["invalidations"]

    @property
    def invalidated_entries(self) -> int:
        return self.done["invalidated_entries"]

    def answered(
        self,
        requests: Sequence[Request],
        answers: Sequence[Hit[Any] | Answer | Miss],
        seconds: float,
        *,
        timed: bool = False,
    ) -> None:
        """A read of the slow path got its answers, or none. `timed`: what they would have saved is
        counted by itself, once their sources have been asked as well."""
        self.mind_level()
        below: dict[tuple[str, str], int] = {}
        for request, answer in zip(requests, answers, strict=True):
            kind = request.kind
            kind.answer_seconds += seconds
            if isinstance(answer, Miss):
                kind.misses += 1
                continue
            kind.stale += answer.stale
            tier = answer.tier
            if tier != SOURCE or answer.coalesced:
                _save(kind, answer, timed=timed)
            if tier == MEMORY:
                kind.told += 1
                continue
            if tier != SOURCE:
                kind.hit_below(tier)
                if len(request.candidates) == 1:
                    self.heat.note(request.key)
            elif answer.coalesced:
                kind.coalesced += 1
                continue
            else:
                kind.misses += 1
            by = tier, kind.data_type
            below[by] = below.get(by, 0) + 1
        for (name, data_type), times in below.items():
            self.latencies.add(name, data_type, seconds, times)
        if self.observers:
            self._tell(requests, answers, seconds)

    def _tell(
        self,
        requests: Sequence[Request],
        answers: Sequence[Hit[Any] | Answer | Miss],
        seconds: float,
    ) -> None:
        for request, answer in zip(requests, answers, strict=True):
            what, tier, stale = _outcome(answer)
            self._emit(what, request.kind, request.key, tier, stale=stale, seconds=seconds)

    def hit_in_memory(self, kind: Kind, key: Key, seconds: float) -> bool:
        """A hit on the fast path, which counts itself; only called if anybody observes.

        False: there are so many at present that those to come are told together
        (`hits_in_memory`), or telling them would take thrice as long as they do.
        """
        kind.told += 1
        self._emit("hit", kind, key, MEMORY, seconds=seconds)
        now = self._timer()
        if now - self._many_since >= TOGETHER:
            self._many_since, self._singly = now, 0
        self._singly += 1
        return self._singly < SINGLY

    def hits_in_memory(self, kinds: Iterable[Kind]) -> None:
        """Tell how many hits there were that nobody was told of, by type."""
        self._many_since = -math.inf
        for kind in kinds:
            if (count := kind.l1 - kind.told) > 0:
                kind.told += count
                self._send(Event("hit", MEMORY, kind.tenant, kind.data_type, count=count))

    def loaded(self, kind: Kind, key: Key, seconds: float, spent: int) -> None:
        """Values were loaded together, which took that; `key` is the first one's."""
        count = count_of(spent)
        kind.loads += count
        kind.load_seconds += seconds
        kind.spent += spent
        if self.observers:
            self._emit("load", kind, key, seconds=seconds, count=count)

    def spent(self, requests: Sequence[Request], bills: Sequence[int]) -> None:
        """What their source was asked for, past all tiers."""
        for request, bill in zip(requests, bills, strict=True):
            request.kind.spent += bill

    def made(self, kind: Kind, entry: Entry | None) -> None:
        """A caller has made a value by himself; it is spent if he says what it cost."""
        if entry is not None and entry.cost != UNKNOWN:
            kind.spent += entry.cost

    def load_failed(
        self, kind: Kind, key: Key, error: BaseException, *, refresh: bool, spent: int
    ) -> None:
        kind.load_failures += 1
        kind.spent += spent
        if refresh:
            logger.warning("refreshing %s failed: %s", key, without_values(error))
        if self.observers:
            what: EventKind = "refresh_failed" if refresh else "load_failed"
            self._emit(what, kind, key, detail=without_values(error))

    def filled(self, request: Request, tier: str, *, accepted: bool) -> None:
        if not accepted:
            request.kind.refused += 1
        if self.observers:
            self._emit("fill" if accepted else "refused", request.kind, request.key, tier)

    def verdict(self, request: Request, tier: str, said: Filled) -> None:
        """What a tier below memory has said to a value. If it has no room, others may have it."""
        if said.outcome is not Outcome.NO_ROOM:
            self.filled(request, tier, accepted=said.accepted)
            return
        kind = request.kind
        kind.no_room += 1
        if self._said.due(f"{tier} has no room for {kind.data_type}", self._timer()):
            full = "has no room for", "it holds what L2_CACHE_SIZE_MB allows"
            verb, why = ("does not take", said.why) if said.why else full
            logger.warning(
                "%s %s values of %s: %s; they are not stored there",
                tier,
                verb,
                kind.data_type,
                why,
            )
        self._emit("refused", kind, request.key, tier, detail=said.why or "no room")

    def corrupt(self, kind: Kind, key: Key, tier: str, why: str) -> None:
        kind.corrupt += 1
        logger.warning("%s in %s does not decode, so it is a miss: %s", key, tier, why)
        self._emit("corrupt", kind, key, tier, detail=why)

    def inconsistent(self, kind: Kind, key: Key) -> None:
        """A value that was found to differ from its source has gone on to do so."""
        logger.warning("%s is cached with another value than its source says, for 10 s now", key)
        self._emit("inconsistent", kind, key)

    def unstored(self, kind: Kind, key: Key, why: str) -> None:
        """What was loaded must not be stored: `why_unstored` says so until a value of it is."""
        self._unstored.pop(key, None)
        self._unstored[key] = why
        if len(self._unstored) > MAX_UNSTORED:
            del self._unstored[next(iter(self._unstored))]
        self._emit("unstored", kind, key, detail=why)

    def unstorable(self, kind: Kind, key: Key, why: str) -> None:
        """A loaded value cannot be stored: every read of it asks its source, for ever."""
        kind.unstorable += 1
        if self.hides_all or kind.policy.sensitive:
            why = "a part of it is of a type that cannot (as it is sensitive, it is not said which)"
        self._only_for_callers(kind, key, "cannot be", why)

    def unfit(self, kind: Kind, key: Key, why: str) -> None:
        """A loaded value must not be stored, for what it was made from."""
        kind.unfit += 1
        if kind.policy.sources == "required":
            self._only_for_callers(kind, key, "must not be", why)
        else:
            self.unstored(kind, key, why)

    def why_unstored(self, key: Key) -> str | None:
        return self._unstored.get(key)

    def too_large(self, kind: Kind, key: Key, why: str) -> None:
        """A loaded value that is not stored for its size; said once a type."""
        kind.oversized += 1
        self._only_for_callers(kind, key, "is too large to be", why)

    def _only_for_callers(self, kind: Kind, key: Key, how: str, why: str) -> None:
        """Of each type and cause it is said once."""
        said = f"{how} {kind.data_type}"
        if said not in self._told and len(self._told) < MAX_SAID:
            self._told.add(said)
            logger.warning(
                "%s goes to its callers, but %s stored: %s; of this type it is said once",
                key,
                how,
                why,
            )
        self.unstored(kind, key, why)

    def stored(self, kind: Kind, key: Key, entry: Entry, now: float) -> None:
        """An entry is given to the tiers to be stored; `now` is monotonic."""
        size = len(entry.data)
        self.restores.note(kind.data_type, key, now + entry.expires - entry.created, now)
        if self._unstored:
            self._unstored.pop(key, None)
        kind.stored += 1
        kind.stored_bytes += size
        if kind.data_type in BY_CONTEXT:
            self._tell_unreached(key)
        policy = kind.policy
        if not policy.is_bulky(size):
            return
        kind.bulky += 1
        why = f"{size} bytes, over bulky_bytes={policy.bulky_bytes or BULKY}"
        if self._warned.due(key, now):
            most = policy.bulky_for
            kept = "" if most is None else f", so it is kept for at most {most}"
            logger.warning("%s has %s%s", key, why, kept)
        self._emit("bulky", kind, key, detail=why)

    def _tell_unreached(self, key: Key) -> None:
        if key.data_type in self._unreached or (why := unreached(key)) is None:
            return
        self._unreached.add(key.data_type)
        logger.warning("%s %s; of this type it is said once", key, why)

    def invalidated(self, names: Sequence[str], keys: int) -> None:
        self.done["invalidations"] += 1
        self.done["invalidated_entries"] += keys
        if self.observers:
            tenant, detail = tenant_of(names[0]), " ".join(names[:8])
            self._send(Event("invalidate", tenant=tenant, count=keys, detail=detail))

    def track(
        self, metric: str, data_type: str, tenant: str, value: float, metadata: Mapping[str, Any]
    ) -> None:
        """A measurement of the application's own."""
        self.tracked.add(metric, data_type, tenant, value, metadata)
        if self.observers:
            said = f"{metric}={value:g}"
            self._send(Event("tracked", tenant=tenant, data_type=data_type, detail=said))

    def counted(self, counter: str, amount: int, metadata: object) -> None:
        """A counter was changed, and the caller says what for; it is stored nowhere."""
        logger.debug("counter %s: %+d, %r", counter, amount, metadata)

    def failed_aside(self, name: str) -> None:
        """Work that goes on for ever has failed, and begins again."""
        self.restarts[name] += 1

    def _emit(
        self,
        what: EventKind,
        kind: Kind,
        key: Key,
        tier: str | None = None,
        *,
        stale: bool = False,
        seconds: float = 0.0,
        count: int = 1,
        detail: str | None = None,
    ) -> None:
        if self.observers:
            self._send(
                Event(
                    what, tier, kind.tenant, kind.data_type, key.text, stale, seconds, count, detail
                )
            )

    def _send(self, event: Event) -> None:
        for observer in self.observers:
            try:
                observer(event)
            except KeyboardInterrupt:
                raise  # a key was pressed while it ran
            except BaseException as error:  # noqa: BLE001 - an observer may raise anything
                if id(observer) not in self._broken:
                    self._broken.add(id(observer))
                    # Without its traceback, which ends in the error's own words.
                    # Nor with its repr, which may hold what it was made with.
                    why = without_values(error)
                    called = isinstance(observer, FunctionType | MethodType)
                    name = (observer if called else type(observer)).__qualname__
                    logger.warning("observer %s failed; it is told of later events: %s", name, why)


def _save(kind: Kind, answer: Hit[Any] | Answer, *, timed: bool) -> None:
    """Count what an answer saves that its source was not asked for."""
    saved = UNKNOWN
    if not timed:
        saved = answer.saves if isinstance(answer, Answer) else answer.origin.cost
    if answer.tier == SOURCE:
        kind.shared += saved
    elif answer.tier == MEMORY:
        kind.cells[0] = kind.in_memory = kind.in_memory + saved
    else:
        kind.saved_below += saved


def _outcome(answer: Hit[Any] | Answer | Miss) -> tuple[EventKind, str | None, bool]:
    """What became of a question, the tier that hit, and whether it is stale."""
    if isinstance(answer, Miss):
        return "miss", None, False
    if answer.tier != "source":
        return "hit", answer.tier, answer.stale
    return "coalesced" if answer.coalesced else "miss", None, answer.stale
