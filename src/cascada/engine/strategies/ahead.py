"""Prefetching: what is likely to be asked for next is brought into memory before anybody asks.

A read that memory cannot answer at once tells it here (`asked`), before it goes on. For types whose
policy says `prefetch=True` the tenant's learner (`prefetch.py`) sees the miss, and what it predicts
is brought: by a loader that belongs to nobody's request (that of a `@cached` function with plain
arguments, or `Policy.loader`), else from the tiers below. A load of this kind is one like any
other: it has its flight, so that callers join it, and its leases, so that what is invalidated
meanwhile is refused, and other processes do not load the same.

What was brought waits in memory with `due` in the past. So its first reader comes here, though
a hit looks at nothing but its record, and the learner hears of it.

It must never be heard of by a caller: it takes no slot that a caller may need soon, starts nothing
while the cache closes, and its failures are its own. A caller who has joined looks again.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import partial
from typing import Final, NamedTuple

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.kinds import Kind
from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.loaders import SingleLoader
from cascada.engine.reading import read
from cascada.engine.reading.load import start_load
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Loader, Request
from cascada.engine.stack import Stack, Way
from cascada.engine.strategies.prefetch import ROWS, Learner
from cascada.engine.tasks.background import end
from cascada.engine.tasks.singleflight import Flight, LoadTask
from cascada.model.clock import Clock
from cascada.model.keys import Key
from cascada.tiers.memory.record import Record

AT_ONCE: Final = 8
"""Fetches of this kind at once, of all tenants."""

WAITING: Final = 64
"""Predictions that wait for their turn; the oldest is dropped for the latest."""

TENANTS: Final = 64
"""Tenants that are learned of, the latest ones; together they have as many rows as one alone."""

WAYS: Final = 16_384
"""Keys of which it is remembered how to load them."""

RESTS: Final = 60.0
"""Seconds for which a key is left alone after its fetch ahead has failed."""

LOOKS: Final = 4
"""Of what was brought and not asked for yet, so many are looked at for each miss."""

RECENT: Final = 8
"""So many of the latest that were brought say what one weighs."""

PATIENCE: Final = 10_000
"""Misses of all tenants after which what was brought and not asked for counts as wasted."""


class _UnderWay:
    """A fetch under way. `wanted`: a caller has come for it meanwhile."""

    __slots__ = ("flight", "owner", "wanted")

    def __init__(self, owner: LoadTask, flight: Flight | None) -> None:
        self.owner = owner
        self.flight = flight
        self.wanted = False

    @property
    def was_overtaken(self) -> bool:
        """Whether its value was there, and an invalidation before it was stored."""
        flight = self.flight
        answer = None if flight is None else flight.answer
        return answer is not None and not answer.absent and not (flight and flight.proven)

    def is_needed(self) -> bool:
        """Whether closing is to let it come to its end: a caller waits, or it is being stored."""
        return self.owner.waiters > 0 or not self.owner.flying


class _Brought(NamedTuple):
    """A record that nobody has asked for. `due`: what the record's was; `since`: how many misses
    there had been."""

    record: Record
    due: float
    since: int


class Prefetcher:
    """What one cache brings ahead. `budget`: see `Limits.prefetch_budget`."""

    def __init__(
        self, stack: Stack, budget: float, clock: Clock, enter: Callable[[str], None]
    ) -> None:
        self._stack = stack
        self._budget = budget
        self._clock = clock
        self._enter = enter
        self._learners: OrderedDict[str, Learner[Key]] = OrderedDict()
        self._ways: OrderedDict[Key, Way] = OrderedDict()
        self._resting: dict[Key, float] = {}
        self._unused: OrderedDict[Key, _Brought] = OrderedDict()
        self._misses = 0
        self._room = self._weight = budget * stack.memory.capacity
        self.begin()

    # --- what the engine tells ------------------------------------------------------------------

    def begin(self) -> None:
        """On a new event loop: what was under way on the last one has gone with it."""
        self._under_way: dict[Key, _UnderWay] = {}
        self._queue: deque[Key] = deque(maxlen=WAITING)
        self._going = True
        self._begins = False
        # What waited to be asked for stays in memory: its hits are like all others from now on.
        while self._unused:
            self._take(next(iter(self._unused)))
        self._bytes = 0
        for learner in self._learners.values():
            learner.begin_anew()

    def after_fork(self) -> None:
        """Memory is empty, and what callers did was the parent's."""
        self._learners.clear()
        self._ways.clear()
        self.begin()

    def stop(self) -> None:
        """The cache closes: begin nothing more, and end what no caller waits for."""
        self._going = False
        self._queue.clear()
        for each in self._under_way.values():
            if each.owner.task is not None:
                end(each.owner.task, each.is_needed)

    def knows(self, key: Key, way: Way) -> None:
        """A caller on this loop asks for this key, and without him it may be loaded like this."""
        if self._is_learned(self._kind_of(key)):
            self._ways[key] = way
            self._ways.move_to_end(key)
            if len(self._ways) > WAYS:
                self._ways.popitem(last=False)

    def asked(self, requests: Sequence[Request]) -> None:
        """These are asked for, and memory has not answered at once."""
        if not self._going or sources.current(self._stack) is not None:
            return
        for request in requests:
            # What another key's value may answer, too, is not told by its own key alone.
            if len(request.candidates) == 1 and self._is_learned(request.kind):
                self._asked(request.key)

    def holds(self, key: Key) -> bool:
        """Whether what is there was brought ahead, and nobody has asked for it yet."""
        brought = self._unused.get(key)
        return brought is not None and not brought.record.gone

    # --- what is learned ------------------------------------------------------------------------

    def _is_learned(self, kind: Kind) -> bool:
        return kind.policy.prefetch and not self._stack.observing

    def _asked(self, key: Key) -> None:
        learner = self._learner(key.tenant)
        if (under_way := self._under_way.get(key)) is not None:
            if not under_way.wanted:
                under_way.wanted = True
                self._use(key, learner)
            return
        there = self._there(key)
        if key in self._unused:
            brought = self._take(key)
            if brought.record is there:
                self._use(key, learner)
                return
            self._waste(key, learner)
        # What is due or stale is there; who comes while it is loaded has missed it with others.
        if there is None and self._stack.flights.find(key) is None:
            self._misses += 1
            self._look_after()
            self._bring(learner.saw(key), learner)

    def _use(self, key: Key, learner: Learner[Key]) -> None:
        self._kind_of(key).prefetch_used += 1
        self._bring(learner.used(key), learner)

    def _waste(self, key: Key, learner: Learner[Key]) -> None:
        self._kind_of(key).prefetch_wasted += 1
        learner.wasted(key)

    def _take(self, key: Key) -> _Brought:
        """It waits for nobody any more: from now on its hits are like all others."""
        brought = self._unused.pop(key)
        brought.record.due = brought.due
        self._bytes -= brought.record.weight
        return brought

    def _look_after(self) -> None:
        """See what has become of the oldest that wait to be asked for."""
        for _ in range(min(LOOKS, len(self._unused))):
            key, brought = next(iter(self._unused.items()))
            if brought.record.gone or self._misses - brought.since > PATIENCE:
                self._take(key)
                self._waste(key, self._learner(key.tenant))
            else:
                self._unused.move_to_end(key)

    def _learner(self, tenant: str) -> Learner[Key]:
        learner = self._learners.get(tenant)
        if learner is None:
            if len(self._learners) >= TENANTS:
                self._learners.popitem(last=False)
            learner = self._learners[tenant] = Learner(self._budget)
            for each in self._learners.values():
                each.shrink(ROWS // len(self._learners))
        else:
            self._learners.move_to_end(tenant)
        return learner

    def _there(self, key: Key) -> Record | None:
        """What memory has of it and may serve, though a load goes on. To look is no use of it."""
        record = self._stack.memory.records.get(key)
        if record is None or not record.is_valid or record.is_over(self._clock):
            return None
        policy = self._kind_of(key).policy
        verdict = decide.judge(record, policy, self._stack.now(), generating=False)
        return None if verdict in (Verdict.FALLBACK, Verdict.UNFIT) else record

    def _kind_of(self, key: Key) -> Kind:
        return self._stack.kinds.of(key.tenant, key.data_type).of(key.tenant, key.resource_id)

    # --- what is brought ------------------------------------------------------------------------

    def _bring(self, predicted: Sequence[Key], learner: Learner[Key]) -> None:
        if predicted and learner.affords:
            self._queue.extend(predicted)
            self._go_on()

    def _go_on(self) -> None:
        """Begin what waits, in the next turn of the loop: who asks now goes first.

        In nobody's context: neither a load nor a request that has led here is its own.
        """
        if self._queue and self._going and not self._begins:
            self._begins = True
            asyncio.get_running_loop().call_soon(self._begin_all, context=Context())

    def _rest(self, key: Key) -> None:
        """Leave it alone for a while."""
        if len(self._resting) >= WAYS:
            self._resting.clear()
        self._resting[key] = self._stack.timer() + RESTS

    def _begin_all(self) -> None:
        self._begins = False
        while self._queue and self._going and len(self._under_way) < AT_ONCE:
            key = self._queue.popleft()
            self._begin(key, self._learner(key.tenant))

    def _begin(self, key: Key, learner: Learner[Key]) -> None:
        """Fetch it, if that is still to be done, and may be."""
        stack, kind = self._stack, self._kind_of(key)
        resting = self._resting.get(key)
        if (
            key in self._under_way
            or key in self._unused
            or self._there(key) is not None
            or stack.flights.find(key) is not None
            or not self._is_learned(kind)
            or not learner.affords
            or self._bytes + len(self._under_way) * self._weight >= self._room
            or (resting is not None and stack.timer() < resting)
        ):
            return
        context = Context()
        context.run(self._enter, key.tenant)
        made = context.run(self._way, key, kind)
        if made is not None and stack.limits.spares(key.data_type, len(self._under_way)):
            owner = context.run(self._load, *made)
        elif made is None and stack.lower:
            owner = context.run(self._move_up, Request(kind, (key,)))
        else:
            return
        if owner is not None and owner.task is not None:
            learner.fetched(key)
            kind.prefetch_fetched += 1
            self._under_way[key] = _UnderWay(owner, stack.flights.find(key))
            owner.task.add_done_callback(partial(self._over, key))

    def _way(self, key: Key, kind: Kind) -> tuple[Request, Loader] | None:
        """How it is loaded, if that is known."""
        if (way := self._ways.get(key)) is not None:
            return way()
        if (loader := kind.policy.loader) is None:
            return None
        return Request(kind, (key,)), SingleLoader(partial(loader, key), clock=self._clock)

    def _load(self, request: Request, loader: Loader) -> LoadTask | None:
        stack = self._stack
        lookup = Lookup(stack, [request], loading=True)
        lookup.in_memory()
        (item,) = lookup.items
        if item.answer is not None:
            return None
        owner = LoadTask(kept=True, ahead=True)
        item.flight = stack.flights.begin(request, owner)
        start_load(lookup, loader)
        return owner

    def _move_up(self, request: Request) -> LoadTask:
        owner = LoadTask(kept=True)
        work = self._find(request)
        owner.task = self._stack.background.run_aside(work, f"prefetch {request.key.data_type}")
        owner.flying = 1
        return owner

    async def _find(self, request: Request) -> None:
        await read.find(self._stack, request)

    def _over(self, key: Key, task: asyncio.Task[None]) -> None:
        """A fetch has come to its end, whatever that is."""
        under_way = self._under_way.get(key)
        if under_way is None or under_way.owner.task is not task:
            return  # of another event loop
        del self._under_way[key]
        learner = self._learner(key.tenant)
        record = self._there(key)
        if record is None:
            if not under_way.was_overtaken:
                self._rest(key)
            self._kind_of(key).prefetch_failed += 1
            if not under_way.wanted:
                self._waste(key, learner)
        elif not under_way.wanted:
            self._unused[key] = _Brought(record, record.due, self._misses)
            self._bytes += record.weight
            # What those under way will weigh is expected by this; at first each may weigh all.
            heavy = self._weight >= self._room
            self._weight += (record.weight - self._weight) / (1 if heavy else RECENT)
            record.due = -math.inf  # its first hit is told here
        self._go_on()
