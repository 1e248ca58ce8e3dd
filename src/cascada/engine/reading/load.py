"""The task that brings values nobody has yet, for one or more keys.

It falls through the tiers, runs the loader for what none of them has, hands the values to the
callers as soon as they are there, and then stores them. It belongs to the engine's background, so
that callers come and go without harming it (`flight` says who may take which value).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from cascada.engine.loading import fitness
from cascada.engine.loading.dependencies import LoadContext, loading
from cascada.engine.loading.encode import entry_of, over
from cascada.engine.reading.fast_path import SharedRead
from cascada.engine.reading.lookup import Lookup, look_up, rise, still_there
from cascada.engine.request import Loader, LoadResult
from cascada.engine.stack import Stack
from cascada.engine.tasks.replay import TooLong
from cascada.engine.tasks.singleflight import Flight
from cascada.model.entry import Entry
from cascada.model.errors import LoadError, LoadTimeout, TierUnavailable
from cascada.model.names import MAX_NAMES
from cascada.tiers.contract import Lease, Tier

RENEW_EVERY: Final = 1.5
"""Seconds after which a running load renews its leases (they live for 5 in Redis)."""

COOL_DOWN: Final = 1.0
"""Seconds after a failed load in which what may be served instead is, and no other load begins."""

Leg = tuple[Flight, Lookup]
Good = tuple[Flight, Lookup, LoadResult, Entry]


async def run_load(
    stack: Stack, flights: Sequence[Flight], loader: Loader, known: SharedRead | None = None
) -> None:
    """Bring all flights to their end; whatever happens, every one of them lands and ends.

    `known`: the authority had none of their keys a moment ago. The lease tells if it has by now.
    """
    try:
        falling = list(flights)
        while falling:
            requests = [flight.request for flight in falling]
            descents = await look_up(stack, requests, loading=True, known=known)
            known = None
            legs = list(zip(falling, descents, strict=True))
            waiting = [leg for leg in legs if leg[1].has_to_wait]
            # The others are loaded first. Two batches in two processes would else wait for each
            # other's leases, each with some of its own in hand.
            await _go_on(stack, [leg for leg in legs if leg not in waiting], loader)
            if waiting:
                await _until_over(waiting)
            falling = [flight for flight, _ in waiting]
    except BaseException as error:
        awaited, cause = any(flight.owner.waiters for flight in flights), error
        if isinstance(error, asyncio.CancelledError) and awaited:
            cause = LoadError("the load was cancelled: the cache is closing, or its loader did it")
        for flight in flights:
            flight.fail(cause)
        # Who waits raises it where he stands. Raised here as well, what ends a process (SystemExit)
        # would end the loop before any of them could catch it, and with it everybody else's work.
        interrupted = isinstance(error, KeyboardInterrupt) and not awaited
        if interrupted or isinstance(error, asyncio.CancelledError):
            raise
    finally:
        stack.flights.remove(flights)
        for flight in flights:
            # Found in a tier before they asked: callers who came later look again.
            flight.end(proven=False)


async def _until_over(waiting: Sequence[Leg]) -> None:
    """Until another process's load has ended, or long enough to ask again all the same.

    The first one's, if there are several: they are mostly one batch there as well.
    """
    busy = waiting[0][1].busy
    assert busy is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(busy.retry_after):
            await busy.over()


async def _go_on(stack: Stack, legs: Sequence[Leg], loader: Loader) -> None:
    """Land what a tier had, and load the rest, unless another process refreshes it."""
    loads = [leg for leg in legs if leg[1].answer is None and leg[1].busy is None]
    resting = [leg for leg in loads if _may_rest(stack, leg)]
    for leg in legs:
        flight, descent = leg
        # A spare, which is for a source that fails, is found like the rest while that is known.
        spare = descent.spare if leg in resting else None
        if (answer := descent.answer or descent.servable or spare) is not None:
            flight.set_result(answer, found=True)
    if resting:
        loads = [leg for leg in loads if leg not in resting]
        await _release(stack, resting)
    if loads:
        await _load(stack, loads, loader)


def _may_rest(stack: Stack, leg: Leg) -> bool:
    """Whether there is something to serve, and loading it has failed a moment ago."""
    flight, descent = leg
    something = descent.servable is not None or descent.spare is not None
    return something and stack.flights.cooling(flight.request.key, stack.timer())


async def _load(stack: Stack, legs: Sequence[Leg], loader: Loader) -> None:
    """Run the loader for these legs; what it fails for falls back on stale values that may be
    served, once all the rest is stored."""
    first = legs[0][0]
    kind, key = first.request.kind, first.request.key
    context = LoadContext(stack, first.owner, key.tenant)
    started = stack.timer()
    if first.live is not None:
        first.live.release = partial(_release, stack, legs)
        if (lease := legs[0][1].leases.get(stack.memory)) is not None:
            first.live.seen = lease.q
    try:
        async with stack.limits.slot(key.data_type, first.owner.ticket):
            produced = await _run(stack, legs, loader, context)
        good: list[Good] = [
            (flight, descent, result, entry_of(stack, flight.request, result, context))
            for (flight, descent), result in zip(legs, produced, strict=True)
            if result.error is None
        ]
    except TooLong as error:
        # It ended well for those who follow it; nobody else can have it.
        stack.trace.loaded(kind, [key], stack.timer() - started)
        stack.flights.cool(key, stack.timer() + COOL_DOWN)
        await _release(stack, legs)
        first.fail(error)
        return
    except Exception as error:  # noqa: BLE001 - the caller's own code may raise anything
        await _fail(stack, [(leg, error) for leg in legs])
        return
    except BaseException as error:
        # Cancelled, or something that ends the process (SystemExit, a test's own `fail`): others
        # would wait for a load that nobody runs. Here, not in a task of its own, which nobody would
        # wait for when all is cancelled.
        if not isinstance(error, asyncio.CancelledError):
            stack.trace.load_failed(kind, key, error, refresh=legs[0][1].servable is not None)
            for flight, _ in legs:
                stack.flights.cool(flight.request.key, stack.timer() + COOL_DOWN)
        await _release(stack, legs)
        raise
    if good:
        keys = [flight.request.key for flight, *_ in good]
        stack.trace.loaded(kind, keys, stack.timer() - started)
        await _keep(stack, good, context)
    failed = [
        (leg, result.error)
        for leg, result in zip(legs, produced, strict=True)
        if result.error is not None
    ]
    if failed:
        await _fail(stack, failed)


async def _keep(stack: Stack, good: Sequence[Good], context: LoadContext) -> None:
    """Hand the values to their callers, then store them."""
    keep: list[Entry | None] = []
    for flight, _, result, entry in good:
        stale = context.stale or any(source.stale for source in result.sources)
        flight.set_result(result.answer(entry, stale=stale, foreign=context.foreign))
        flight.seal()
    # Between the leases and the fills: what changes from here on, the leases tell.
    changed = await fitness.changed(stack, [each for *_, made, _ in good for each in made.sources])
    for flight, descent, result, entry in good:
        why = fitness.unfit(flight.request.kind.policy, result.sources, context, changed)
        if why is not None:
            stack.trace.unfit(flight.request.kind, flight.request.key, why)
        stored = result.store and why is None and _fits(stack, flight, entry)
        if stored and not result.absent:
            request = flight.request
            stack.trace.stored(request.kind, request.key, len(entry.data), stack.timer())
        keep.append(entry if stored else None)
        if not stored:
            # Followers of what is not stored are held to the names that it bears as well: who asks
            # when one of them was invalidated must not get it.
            for lease in descent.leases.values():
                lease.names = entry.names
    if stack.lower:
        # The callers go on first: making and sending what other tiers store takes a while.
        await asyncio.sleep(0)
    proofs = await rise(stack, [descent for _, descent, *_ in good], keep)
    for (flight, descent, *_), proven in zip(good, proofs, strict=True):
        # Who would get the stale value that landed first looks again: the new one is there now.
        stale = flight.answer is not None and flight.answer.stale
        flight.end(proven=proven and not stale and descent.servable is None)


def _fits(stack: Stack, flight: Flight, entry: Entry) -> bool:
    """Whether the entry says something to store, bears no more names than one may, and is not too
    large. If not, its callers have it all the same."""
    if (size := len(entry.data)) > stack.max_value_bytes:
        request, why = flight.request, f"it has {size} bytes, {over(stack.max_value_bytes)}"
        stack.trace.too_large(request.kind, request.key, why)
        return False
    if len(entry.names) > MAX_NAMES:
        request, why = (
            flight.request,
            f"it bears {len(entry.names)} names of at most {MAX_NAMES:,}",
        )
        stack.trace.unstored(request.kind, request.key, why)
        return False
    return entry.expires > entry.created


async def _run(
    stack: Stack, legs: Sequence[Leg], loader: Loader, context: LoadContext
) -> list[LoadResult]:
    """The loader itself, within its time, with its leases kept alive."""
    renewals: list[asyncio.Task[None]] = []

    def start_renewing() -> None:
        renewals.append(stack.background.keep_running(partial(_renew, legs), "renew"))

    waiting = asyncio.get_running_loop().call_later(RENEW_EVERY, start_renewing)
    stack.watchers += 1
    try:
        with loading(context):
            async with asyncio.timeout(stack.load_timeout) as limit:
                return await loader.load([flight.request for flight, _ in legs])
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise LoadTimeout(
            f"loading {legs[0][0].request.key} took longer than load_timeout={stack.load_timeout} s"
        ) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # The loader cancelled itself (a cancel scope of its own): to its callers that is a failure.
        raise LoadError(f"the loader of {legs[0][0].request.key} was cancelled") from error
    finally:
        stack.watchers -= 1
        waiting.cancel()
        for renewal in renewals:
            renewal.cancel()


async def _renew(legs: Sequence[Leg]) -> None:
    """Keep the leases of a long load alive."""
    leases: dict[Tier, list[Lease]] = {}
    for _, descent in legs:
        for tier, lease in descent.leases.items():
            leases.setdefault(tier, []).append(lease)
    while True:
        for tier, held in leases.items():
            # A lease that could not be renewed is found void at the fill: nothing is lost here.
            with suppress(TierUnavailable):
                await tier.renew(held)
        await asyncio.sleep(RENEW_EVERY)


async def _fail(stack: Stack, failed: Sequence[tuple[Leg, BaseException]]) -> None:
    """The source failed: who may be served something stale is, everybody else gets the error.

    What was invalidated meanwhile is never served again, not even when the source fails, so a spare
    is looked for once more. The leases could not tell: they know neither the names that only the
    entry bears, nor, where memory had it above the tier that granted them, what memory had not
    heard of yet. Who comes after that look cannot rely on it.
    """
    legs = [leg for leg, _ in failed]
    (first, _), error = failed[0]
    kind, key = first.request.kind, first.request.key
    refresh = all(descent.servable for _, descent in legs)
    stack.trace.load_failed(kind, key, error, refresh=refresh)
    for flight, _ in legs:
        flight.seal()
    # All of them, before anybody hears of it: who hears leaves, and the last one ends this task.
    await _release(stack, legs)
    for (flight, descent), error in failed:
        stack.flights.cool(flight.request.key, stack.timer() + COOL_DOWN)
        begun = flight.live is not None and flight.live.passed  # then a spare cannot be its end
        if (
            descent.spare is not None
            and not begun
            and await still_there(stack, [descent.spare]) == [True]
        ):
            flight.set_result(descent.spare)
            flight.end(proven=True)
        flight.fail(error)


async def _release(stack: Stack, legs: Sequence[Leg]) -> None:
    await rise(stack, [descent for _, descent in legs], [None] * len(legs))
