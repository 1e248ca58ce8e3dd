"""The stream path: a value that is made piece by piece, and read while it is made.

It is a load whose loader is the caller's generator, and whose followers need not wait for its end.
What is stored, under the load's own leases, is the list of all pieces; a caller who finds it is
given them again, one by one. A generator that is under way is followed LIVE: a follower takes what
has passed, then what comes, at its own pace (`live`), and its place is a place on the flight
(`flight`), so that leaving harms nobody, and a stream that nobody follows is cancelled.

Who may follow a generator that was started before he asked? A load's late followers wait for the
fill, which proves that nothing named the key meanwhile. Here the end may be a minute away; so the
running stream is taken for what it is, this process's own copy, and it is as good as a record in
memory: good while memory is trusted, and has heard of nothing since the generator was started that
names the key, or what it bears so far. Where memory cannot tell (it was emptied, it hears nothing),
and inside a load, which memory above another tier is not good enough for, the follower waits for
the fill after all.

What is known to be void, or too long to be kept, is FORSAKEN: its followers have it to its end, but
its place and its leases are free, and the next caller, in any process, starts anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

from cascada.codecs.values import Encoded
from cascada.engine.loading import dependencies as sources
from cascada.engine.reading.answers import account, suits, value_of
from cascada.engine.reading.load import at_hand, look_past_refreshes, start_load
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import UNSTORED, Answer, LoadResult, Request
from cascada.engine.selfcheck import SelfCheck
from cascada.engine.stack import Stack
from cascada.engine.streaming.pieces import Pieces
from cascada.engine.tasks.limits import Ticket
from cascada.engine.tasks.replay import Live, TooLong
from cascada.engine.tasks.singleflight import Flight, LoadTask, Waiter
from cascada.model.bills.bill import UNKNOWN
from cascada.model.bills.cost import Cost, cost_of_failure, packed
from cascada.model.entry import SOURCE, Entry
from cascada.model.errors import BadInput, LoadError
from cascada.tiers.memory.watch import Watch

TURNS: Final = 3
"""Turns of the event loop in which a push that has arrived is read, so that memory is trusted."""


async def follow(
    stack: Stack, request: Request, source: Pieces, check: SelfCheck
) -> AsyncGenerator[Any]:
    """The pieces, from a tier, from a stream that is under way, or from the source."""
    started = stack.timer()
    found = await _open(stack, request, source)
    if isinstance(found, Follower):
        async with aclosing(_live(stack, request, source, found, started)) as pieces:
            async for piece in pieces:
                yield piece
        return
    account(stack, [request], [found], started)
    if found.tier != SOURCE:
        request.kind.replayed += found.saves
    if check.armed:
        check.sample([request], [found], source)
    for piece in replayed(request, value_of(stack, request, found)):
        yield piece


async def load_uncached(stack: Stack, request: Request, source: Pieces) -> AsyncGenerator[Any]:
    """What the source says, past all tiers; only the bound on its concurrency is kept."""
    data_type, ticket = request.key.data_type, Ticket(urgent=sources.current(stack) is not None)
    cost, spent, since = None, 0.0, stack.timer()
    if not stack.limits.enter(data_type, ticket):
        await stack.limits.wait(data_type, ticket)
    try:
        sources.note(stack, request, Answer(UNSTORED, "source"))
        async with aclosing(source.items()) as items:
            async for item in items:
                if isinstance(item, Cost):
                    cost = item
                    continue
                spent += stack.timer() - since  # not what the reader takes between two items
                yield source.as_asked(item)
                since = stack.timer()
        spent += stack.timer() - since
    except Exception as error:
        cost = cost_of_failure(error) or cost
        raise
    finally:
        request.kind.spent += packed(spent, cost, stack.prices)
        stack.limits.leave(data_type, ticket)


async def observe(
    stack: Stack, request: Request, source: Pieces, check: SelfCheck
) -> AsyncGenerator[Any]:
    """What the source says; the tiers are read, filled, counted and compared with it."""
    started = stack.timer()
    found = await _open(stack, request, source)
    if isinstance(found, Follower) and found.own:
        async with aclosing(_live(stack, request, source, found, started)) as pieces:
            async for piece in pieces:
                yield piece
        return
    if isinstance(found, Follower):
        found.leave()
        stack.trace.answered([request], [found.answer], stack.timer() - started)
        served = None
    else:
        account(stack, [request], [found], started)
        served = found
    said, spent, since = source.live(), 0.0, stack.timer()
    async with aclosing(load_uncached(stack, request, source)) as items:
        async for item in items:
            spent += stack.timer() - since  # not what the reader takes between two items
            if served is not None:
                piece, size = source.encode(item)
                if said.has_room(size):
                    said.add(piece, size)
                else:
                    served = None
            yield item
            since = stack.timer()
    spent += stack.timer() - since
    if served is not None:
        truth = Answer(UNSTORED, "source", value=source.produced(said).value, origin="loader")
        check.observe([request], [served], [truth], source, spent)


class Follower(Waiter):
    """One reader's place on a stream.

    `live` is the stream that it may follow, as soon as it may; `own`: it has started it itself.
    """

    __slots__ = ("_asked", "_following", "_in_a_load", "_stack", "live", "own")

    def __init__(self, lookup: Lookup, flight: Flight, asked: int, *, own: bool) -> None:
        parent = None if lookup.context is None else lookup.context.owner
        super().__init__(flight, asked, parent, own=own, refused=lookup.refused)
        self._stack = stack = lookup.stack
        self._asked = asked
        self._in_a_load = sources.must_ask_below(stack)  # later it is asked in another context
        self._following = False
        self.own = own
        self.live: Live | None = None
        self._join()

    def _join(self) -> None:
        live = self.flight.live
        if self.live is None and live is not None and self._may_follow(live):
            self.live = live
            live.join(self)

    def _may_follow(self, live: Live) -> bool:
        if live.watch is None or live.began is None or live.began > self._asked:
            return True  # all that it reads, it reads after this caller has asked
        return (
            not _is_lost(live)
            and live.watch.can_tell
            and _trusted(self._stack)
            and not self._in_a_load
        )

    @property
    def flows(self) -> bool:
        """Whether there are pieces for this reader; else `result` says what there is instead."""
        # Whether it may follow can change: a push that has not been read yet is, a turn later.
        self._join()
        if self.live is None or not self.live.passed:
            return False
        # What a tier had is served first, and refreshed meanwhile; unless nobody finds it there.
        return not self.flight.found or self._looked or self._is_refused

    @property
    def is_settled(self) -> bool:
        if self._following:
            return self._is_over or (self.live is not None and self.live.has_more(self))
        if self.flows or super().is_settled:
            return True
        live = self.flight.live
        return self.live is None and live is not None and _is_lost(live)  # it has to look again

    @property
    def _is_over(self) -> bool:
        # Not as soon as the generator has ended: to leave would be to cancel what remains to do.
        flight = self.flight
        return flight.error is not None or flight.ended or (flight.has_result and not flight.found)

    @property
    def answer(self) -> Answer:
        """What this reader is given, as far as it is known by now."""
        assert self.live is not None
        answer = self.live.so_far()
        return answer if self.own else answer.for_follower()

    async def take(self) -> Encoded | None:
        """The next piece; None at the end of a stream that ended well. Raises what it raised."""
        live = self.live
        assert live is not None
        self._following = True
        while (piece := live.take(self)) is None:
            if self._is_over:
                error = self.flight.error
                if error is not None and not isinstance(error, TooLong):
                    raise self.flight.failure()
                if live.error is not None:
                    raise live.error
                if not live.complete:
                    raise LoadError(f"the stream of {self.flight.request.key} was broken off")
                return None
            if not self.is_settled:
                await self.turn()
        return piece

    def leave(self) -> None:
        if self.live is not None:
            self.live.part(self)
        super().leave()


class Feeding:
    """The loader of a stream that is followed: its items pass to the readers as they come."""

    generating = False

    def __init__(self, stack: Stack, source: Pieces, flight: Flight, live: Live) -> None:
        self._stack = stack
        self._source = source
        self._flight = flight
        self._live = live

    async def load(self, requests: Sequence[Request]) -> list[LoadResult]:
        stack, live, source = self._stack, self._live, self._source
        context = sources.current(stack)
        assert context is not None
        live.so_far = lambda: Answer(
            Entry(b"", names=source.names(list(context.names))),
            "source",
            stale=context.stale,
            unfit=context.unfit,
            origin="loader",
        )
        live.watch = Watch(stack.memory, self._flight.request.key, live.seen)
        live.began = stack.flights.moment()
        try:
            async with aclosing(source.items()) as items:
                async for item in items:
                    if isinstance(item, Cost):
                        live.cost = item
                    else:
                        await self._pass(*source.encode(item))
        except Exception as error:
            live.error = error
            raise
        live.complete = True
        if live.overlong:
            raise TooLong(f"{self._flight.request.key} is too long to be had as one value")
        return [source.produced(live)]

    async def _pass(self, piece: Encoded, size: int) -> None:
        live, flight = self._live, self._flight
        if not live.has_room(size):
            if not live.overlong:
                live.overlong = True
                self._source.refuse()
                _forsake(self._stack, flight)
            await live.make_room(size)
        live.add(piece, size)
        flight.wake()


async def _open(stack: Stack, request: Request, source: Pieces) -> Answer | Follower:
    """A value that is there, or a place on a stream whose pieces this caller may have."""
    asked = stack.flights.moment()
    while True:
        lookup = Lookup(stack, [request], loading=True)
        found = at_hand(lookup, source)
        waited = await look_past_refreshes(lookup, found)
        if found[0] is not None:
            return found[0]
        place = _join(lookup, source, asked, waited=waited)
        flows = False
        try:
            for _ in range(TURNS):
                if place.is_settled:
                    break
                await asyncio.sleep(0)
            if not place.is_settled:
                await place.turn()
            if flows := place.flows:
                return place
            answer = place.result()
        except TooLong:
            continue  # it cannot be had as one value; the next one is followed
        finally:
            if not flows:
                place.leave()
        if answer is not None and suits(stack, request, answer, place.flight):
            return answer


def _join(lookup: Lookup, source: Pieces, asked: int, *, waited: bool) -> Follower:
    """A place on the key's flight, if there is one that is still good; else on a new one."""
    stack, (item,) = lookup.stack, lookup.items
    request = item.request
    flight = stack.flights.find(request.key)
    if flight is not None and flight.live is not None and _is_lost(flight.live):
        _forsake(stack, flight)
        flight = None
    if flight is not None:
        return Follower(lookup, flight, asked, own=False)
    flight = stack.flights.begin(request, LoadTask())
    flight.live = live = source.live()
    place = Follower(lookup, flight, asked, own=True)
    item.flight = flight
    start_load(lookup.again([item]) if waited else lookup, Feeding(stack, source, flight, live))
    return place


def _is_lost(live: Live) -> bool:
    """Whether it is known that this stream can never be stored."""
    void = live.watch is not None and live.watch.is_void(live.so_far().entry.names)
    return live.overlong or void


def _trusted(stack: Stack) -> bool:
    """Whether memory has heard of all invalidations that it could have heard of by now."""
    now, freshness = stack.timer(), stack.memory.freshness
    return now < freshness.until or freshness.extend(now)


def _forsake(stack: Stack, flight: Flight) -> None:
    """Let the next caller, in any process, start anew; who follows this one has it to its end."""
    stack.flights.remove([flight])
    if flight.live is not None and flight.live.release is not None:
        stack.background.run(flight.live.release(), f"release {flight.request.key}")
        flight.live.release = None


async def _live(
    stack: Stack, request: Request, source: Pieces, place: Follower, started: float
) -> AsyncGenerator[Any]:
    """The pieces of a stream under way; its reader's place is given up at the end, however."""
    try:
        stack.trace.answered([request], [place.answer], stack.timer() - started)
        while (piece := await place.take()) is not None:
            # At each piece: a load that has read enough of them leaves before the end.
            if sources.current(stack) is not None:
                sources.note(stack, request, place.answer)
            yield source.decode(piece)
        sources.note(stack, request, place.answer)
        if not place.own and (whole := place.flight.answer) is not None:
            request.kind.shared += whole.saves - UNKNOWN  # that it is one is counted
    finally:
        place.leave()


def replayed(request: Request, value: object) -> list[Any]:
    """The pieces of a value that is there; BadInput if it was not stored by a stream."""
    if not isinstance(value, list):
        raise BadInput(
            f"{request.key} holds {type(value).__name__}, no stream, which would be a list; "
            "read it with load or get, or give streams a data type of their own"
        )
    return value
