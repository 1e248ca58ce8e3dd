"""Single flight: one load per key, whoever asks, and nobody harmed when somebody leaves.

A FLIGHT is one key's way through the tiers and, if none has it, the loader. A LOAD TASK
carries one or more flights (`load_many` loads all its missing keys in one call); it belongs
to the engine, not to the caller that started it, so that cancelling any caller ends only that
caller's waiting. When the last one has left, the task is cancelled, unless its value is there
already: storing it is the load's own work.

Whose value may a caller take? Let it have asked at moment a, and the flight have begun at b.

- a < b: the flight read everything after the caller asked; its value is the caller's as soon as
  it lands, before it is stored.
- b < a: the flight may have read the old row before an invalidation that returned before a. So the
  caller waits until the value is stored: a fill that the tiers accept AFTER a proves that nothing
  named the key since b. `sealed` marks when the fill is sent; who comes later has no such proof,
  and looks again. Refused: the caller looks again too, and the next flight begins after a.

Where a tier had the value, stale but fit to be served, the flight goes on to refresh it. Who comes
meanwhile does not wait for that, but looks into the tiers; only if nothing is there any more (it
was invalidated) the refresh is waited for, and then looked again.

So nobody waits for more than two flights, and 500 callers with an invalidation in the middle of
their load cause two loads.

Waiting in circles: a loader may load other keys. Before a loader waits for a flight, the tasks
are followed from there along "whose loader waits for whom"; if that leads back, LoadCycle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from itertools import count
from types import TracebackType
from typing import Final

from cascada.engine.request import Answer, Request
from cascada.engine.tasks.background import end
from cascada.engine.tasks.callers import CallerLeft
from cascada.engine.tasks.limits import Ticket
from cascada.engine.tasks.replay import Live
from cascada.model.errors import LoadCycle
from cascada.model.keys import Key

MAX_COOLING: Final = 4096
"""Keys whose refresh failed that are remembered; beyond it the pauses are given up, not memory."""


class LoadTask(Ticket):
    """The task that carries flights, the callers that wait, and whom its own loader waits for.

    It is its own right to run.
    """

    def __init__(self, *, kept: bool = False, ahead: bool = False) -> None:
        """`kept`: it goes on although nobody waits. `ahead`: nobody has asked for it; if it fails,
        in whatever way, that is no answer to who has joined it."""
        super().__init__()
        self.ahead = ahead
        self.task: asyncio.Task[None] | None = None
        self.renewing: asyncio.TimerHandle | asyncio.Task[None] | None = None
        self.waiters = 0
        self.waits_for: dict[LoadTask, int] = {}
        self.flying = 0
        self.kept = kept

    def stop_renewing(self) -> None:
        """Its leases are to be filled now, or to go."""
        if self.renewing is not None:
            self.renewing.cancel()

    def wait_for(self, other: LoadTask) -> None:
        """Its loader waits for the other one from now on."""
        self.waits_for[other] = self.waits_for.get(other, 0) + 1

    def wait_no_more(self, other: LoadTask) -> None:
        self.waits_for[other] -= 1
        if not self.waits_for[other]:
            del self.waits_for[other]

    def reaches(self, goal: LoadTask) -> bool:
        """Whether this task waits, directly or through others, for `goal`."""
        seen = {self}
        ahead = [self]
        while ahead:
            owner = ahead.pop()
            if owner is goal:
                return True
            further = owner.waits_for.keys() - seen
            ahead += further
            seen |= further
        return False


class Flight:
    """One key under way. `began` is the moment at which it did; `live`: as a stream."""

    def __init__(self, request: Request, began: int, owner: LoadTask) -> None:
        self.request = request
        self.began = began
        self.owner = owner
        self.live: Live | None = None
        self.answer: Answer | None = None
        self.error: BaseException | None = None
        self._traceback: TracebackType | None = None
        self.has_result = False
        self.found = False
        # The fill is about to be sent: who comes from then on cannot rely on its verdict.
        self.sealed = False
        self.ended = False
        self.proven = False
        self.waiting: dict[Waiter, asyncio.Future[None]] = {}
        self._over: asyncio.Event | None = None

    def set_result(self, answer: Answer, *, found: bool = False) -> None:
        """The value is there; those who asked before the flight began may have it.

        `found`: a tier had it, so that later callers can look there, too, and need not wait.
        """
        if not self.has_result:
            self.has_result, self.answer, self.found = True, answer, found
            self.owner.flying -= 1
            # All values are there: what is left, storing them, is the task's own work.
            self.owner.kept = self.owner.kept or not self.owner.flying
            self.wake()

    def fail(self, error: BaseException) -> None:
        if not self.has_result:
            self.has_result, self.error, self._traceback = True, error, error.__traceback__
            self.wake()

    def failure(self) -> BaseException:
        """The error to raise, without the frames of those who have raised it before."""
        assert self.error is not None
        return self.error.with_traceback(self._traceback)

    def end(self, *, proven: bool) -> None:
        """All is stored; `proven` says that nothing named the key since the flight began."""
        if not self.ended:
            self.ended, self.proven = True, proven
            if self._over is not None:
                self._over.set()
            if self.waiting:
                self.wake()

    @property
    def is_being_stored(self) -> bool:
        """Whether its callers have a value that no tier may have yet."""
        return self.answer is not None and not self.found and not self.ended

    @property
    def brings_a_value(self) -> bool:
        """Whether what is being stored is a value, as its callers have it."""
        answer = self.answer
        return self.is_being_stored and answer is not None and answer.storable and not answer.absent

    async def over(self) -> None:
        """Wait until it has ended, as somebody who wants nothing of it but that."""
        if not self.ended:
            self._over = self._over or asyncio.Event()
            await self._over.wait()

    def wake(self) -> None:
        """Wake those whose waiting is over."""
        for waiter, turn in self.waiting.items():
            if not turn.done() and waiter.is_settled:
                turn.set_result(None)


class Waiter:
    """One caller's place on a flight. `asked` is the moment at which the caller asked.

    `refused` are the tiers whose values the caller may not have.
    """

    __slots__ = ("_after_seal", "_early", "_looked", "_own", "_parent", "_refused", "flight")

    def __init__(
        self,
        flight: Flight,
        asked: int,
        parent: LoadTask | None,
        *,
        own: bool,
        refused: frozenset[str] = frozenset(),
    ) -> None:
        owner = flight.owner
        if parent is not None and owner.reaches(parent):
            raise LoadCycle(
                f"the loader of {flight.request.key} waits, directly or through other loaders, "
                "for its own result; load what it needs under another key"
            )
        self.flight = flight
        self._early = flight.began > asked
        self._own = own
        self._refused = refused
        self._after_seal = flight.sealed
        self._looked = flight.found
        self._parent = parent
        owner.waiters += 1
        if parent is not None:
            parent.wait_for(owner)
            owner.hurry()

    @property
    def is_settled(self) -> bool:
        """Whether it is known by now what becomes of this caller."""
        flight = self.flight
        if self._early or flight.error is not None:
            # To look again while it still flies would be to find it again, without end.
            return flight.ended if self._refused and self._is_refused else flight.has_result
        return flight.ended or (flight.found and not self._looked)

    def turn(self) -> asyncio.Future[None]:
        """What is done as soon as `is_settled`, if it is not yet; one at a time.

        Each caller waits on a future of its own: cancelling one touches no other.
        """
        turn = self.flight.waiting[self] = asyncio.get_running_loop().create_future()
        return turn

    def result(self) -> Answer | None:
        """Once it is settled: the flight's answer, if this caller may have it; None: look again.

        Raises what the loader raised.
        """
        flight = self.flight
        if flight.error is not None:
            if isinstance(flight.error, CallerLeft) and not self._own:
                return None  # with its loader has gone who brought it: this one has its own
            raise flight.failure()
        if self._refused and self._is_refused:
            return None
        may_have = self._early or (flight.proven and not flight.found and not self._after_seal)
        if not may_have or flight.answer is None:
            return None
        return flight.answer if self._own else flight.answer.for_follower()

    @property
    def _is_refused(self) -> bool:
        answer = self.flight.answer
        return answer is not None and answer.tier in self._refused and not answer.above

    def leave(self) -> None:
        """The caller no longer waits (it has its answer, or was cancelled)."""
        owner = self.flight.owner
        self.flight.waiting.pop(self, None)
        owner.waiters -= 1
        if self._parent is not None:
            self._parent.wait_no_more(owner)
        if not owner.waiters and not owner.kept and owner.task is not None:
            # It may have its value before it is ended: then it is to be stored.
            end(owner.task, lambda: owner.kept)


class Flights(dict[Key, Flight]):
    """All flights of one event loop, by key."""

    def __init__(self) -> None:
        self._cooling: dict[Key, float] = {}
        # A point in time, later than all before it.
        self.moment = count(1).__next__

    def find(self, key: Key) -> Flight | None:
        """The flight that a caller may join: none that is over, though others of its task still
        fly, and none whose last caller has left."""
        flight = self.get(key)
        if flight is not None and (flight.ended or flight.error is not None):
            return None
        if flight is not None and flight.owner.task is not None:
            owner = flight.owner
            if not owner.waiters and not owner.kept:
                return None
        return flight

    def begin(self, request: Request, owner: LoadTask) -> Flight:
        """Enter a flight of this task, which is about to start, into the table."""
        flight = self[request.key] = Flight(request, self.moment(), owner)
        owner.flying += 1
        return flight

    def cool(self, key: Key, until: float) -> None:
        """A refresh failed: hits start no other one until then (monotonic seconds)."""
        if len(self._cooling) >= MAX_COOLING:
            self._cooling.clear()
        self._cooling[key] = until

    def cooling(self, key: Key, now: float) -> bool:
        until = self._cooling.get(key)
        if until is None:
            return False
        if now < until:
            return True
        del self._cooling[key]
        return False

    def remove(self, flights: Iterable[Flight]) -> None:
        for flight in flights:
            # A cancelled flight's place may have been taken by its successor.
            if self.get(flight.request.key) is flight:
                del self[flight.request.key]
