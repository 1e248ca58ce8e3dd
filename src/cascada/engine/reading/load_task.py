"""The task that brings values nobody has yet, for one or more keys.

It looks them up in the tiers, runs the loader for what none of them has, hands the values to the
callers as soon as they are there, and then stores them. `load` starts it; it belongs to the
engine's background, so that callers come and go without harming it (`singleflight` says who may
take which value). Whatever happens, each of its flights has a result and ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from cascada.engine.kinds import Kind
from cascada.engine.loading import fitness
from cascada.engine.loading.dependencies import LoadContext
from cascada.engine.loading.encode import entry_of, over
from cascada.engine.placement import of_load
from cascada.engine.reading.backfill import backfill, release, still_there
from cascada.engine.reading.fast_path import SharedRead
from cascada.engine.reading.item import Item
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Loader, LoadResult, Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.callers import CallerLeft
from cascada.engine.tasks.replay import TooLong
from cascada.engine.tasks.singleflight import Flight
from cascada.model.bills.cost import cost_of_failure, packed
from cascada.model.entry import Entry
from cascada.model.errors import LoadError, LoadTimeout, TierUnavailable
from cascada.model.made_of import MadeOf
from cascada.model.names import MAX_NAMES
from cascada.tiers.contract import Lease, Tier
from cascada.tiers.deadline import AT_ONCE

RENEW_EVERY: Final = 1.5
"""Seconds after which a running load renews its leases (they live for 5 in Redis)."""

COOL_DOWN: Final = 1.0
"""Seconds after a failed load in which what may be served instead is, and no other load begins."""

Good = tuple[Item, LoadResult, Entry]

UNCOMPARED: Final = fitness.Compared()


async def run_load(lookup: Lookup, loader: Loader, shared: SharedRead | None = None) -> None:
    """Bring all flights of a lookup to their end; memory has been asked.

    `shared`: the authority had none of their keys a moment ago. The lease tells if it has by now.
    """
    stack = lookup.stack
    flights = [item.flight for item in lookup.items]
    try:
        while True:
            if stack.lower:
                await lookup.below(shared)
            shared = None
            loads, resting, waiting = _hand_out(stack, lookup.items)
            if resting:
                await release(stack, resting)
            # Those are loaded before anybody is waited for. Two batches in two processes would else
            # wait for each other's leases, each with some of its own in hand.
            if loads:
                await _load(stack, loads, loader)
            if not waiting:
                return
            await _until_over(waiting)
            lookup = lookup.again(waiting)
    except BaseException as error:
        if _fail_all(flights, error):
            raise
    finally:
        stack.flights.remove(flights)
        for flight in flights:
            # Found in a tier before they asked: callers who came later look again.
            flight.end(proven=False)


def _fail_all(flights: Sequence[Flight], error: BaseException) -> bool:
    """Tell all who wait; whether it is to be raised by the task as well.

    Who waits raises it where he stands. Raised in the task as well, what ends a process
    (SystemExit) would end the loop before any of them could catch it, and with it everybody else's
    work.
    """
    awaited, cause = any(flight.owner.waiters for flight in flights), error
    cancelled = isinstance(error, asyncio.CancelledError)
    if cancelled and awaited:
        cause = LoadError("the load was cancelled: the cache is closing, or its loader did it")
    for flight in flights:
        flight.fail(cause)
    return cancelled or (isinstance(error, KeyboardInterrupt) and not awaited)


async def _until_over(waiting: Sequence[Item]) -> None:
    """Until another process's load has ended, or long enough to ask again all the same.

    The first one's, if there are several: they are mostly one batch there as well.
    """
    busy = waiting[0].busy
    assert busy is not None
    with suppress(TimeoutError):
        async with asyncio.timeout(busy.retry_after):
            await busy.over()


def _hand_out(stack: Stack, items: Sequence[Item]) -> tuple[list[Item], list[Item], list[Item]]:
    """Hand out what a tier had; what is to be loaded, what is not, since that has failed a moment
    ago, and what has to wait, since another process loads it."""
    loads: list[Item] = []
    resting: list[Item] = []
    waiting: list[Item] = []
    for item in items:
        answer = item.answer or item.servable
        if item.answer is None and item.busy is None:
            # A fallback, which is for a source that fails, serves like the rest while it has just
            # failed.
            something = item.servable or item.fallback
            if something and stack.flights.cooling(item.request.key, stack.timer()):
                answer = something
                resting.append(item)
            else:
                loads.append(item)
        elif answer is None:
            waiting.append(item)
        if answer is not None:
            item.flight.set_result(answer, found=True)
    return loads, resting, waiting


async def _load(stack: Stack, items: Sequence[Item], loader: Loader) -> None:
    """Run the loader for these items; what it fails for falls back on stale values that may be
    served, once all the rest is stored."""
    first = items[0].flight
    kind, key = first.request.kind, first.request.key
    context = LoadContext(stack, first.owner, key.tenant)
    started = stack.timer()
    if first.live is not None:
        first.live.release = partial(release, stack, items)
        if (lease := items[0].leases.get(stack.memory)) is not None:
            first.live.seen = lease.seq
    try:
        produced = await _run(stack, items, loader, context)
        # All values are there: what is left, storing them, is the task's own work.
        first.owner.kept = True
        good = await _encoded(stack, items, produced, context)
    except TooLong as error:
        # It ended well for those who follow it; nobody else can have it.
        seconds = stack.timer() - started
        cost = None if first.live is None else first.live.cost
        stack.trace.loaded(kind, key, seconds, packed(seconds, cost, stack.prices))
        stack.flights.cool(key, stack.timer() + COOL_DOWN)
        await release(stack, items)
        first.fail(error)
        return
    except Exception as error:  # noqa: BLE001 - the caller's own code may raise anything
        await _fail(stack, [(item, error) for item in items], stack.timer() - started)
        return
    except BaseException as error:
        # Cancelled, or something that ends the process (SystemExit, a test's own `fail`): others
        # would wait for a load that nobody runs. Here, not in a task of its own, which nobody would
        # wait for when all is cancelled.
        spent = packed(stack.timer() - started, None, stack.prices)
        if isinstance(error, asyncio.CancelledError):
            kind.spent += spent
        else:
            refresh = items[0].servable is not None
            stack.trace.load_failed(kind, key, error, refresh=refresh, spent=spent)
            for item in items:
                stack.flights.cool(item.request.key, stack.timer() + COOL_DOWN)
        await release(stack, items)
        raise
    finally:
        # Not before: to encode many values takes a while, in which the leases must not end.
        first.owner.stop_renewing()
    if good:
        _count(stack, good, stack.timer() - started)
        await _keep(stack, good, context)
    if len(good) < len(items):
        results = zip(items, produced, strict=True)
        failed = [(item, made.error) for item, made in results if made.error is not None]
        # Where others are good, theirs is the time.
        await _fail(stack, failed, 0.0 if good else stack.timer() - started)


def _count(stack: Stack, good: Sequence[Good], seconds: float) -> None:
    """Together they took that."""
    for of_kind in _by_kind(good):
        request, took = of_kind[0][0].request, seconds * len(of_kind) / len(good)
        stack.trace.loaded(request.kind, request.key, took, _billed(stack, of_kind, took))


def _by_kind(good: Sequence[Good]) -> Iterable[Sequence[Good]]:
    """Those of each kind: all of one type are mostly of one, unless a policy is on trial."""
    kind = good[0][0].request.kind
    if len(good) == 1 or all(item.request.kind is kind for item, *_ in good):
        return (good,)
    kinds: dict[Kind, list[Good]] = {}
    for each in good:
        kinds.setdefault(each[0].request.kind, []).append(each)
    return kinds.values()


def _billed(stack: Stack, good: Sequence[Good], seconds: float) -> int:
    """Let each entry say what it took, to whoever will get it; together they took that."""
    each = seconds / len(good)
    total = 0
    for _, result, entry in good:
        entry.cost = packed(each, result.cost, stack.prices)
        total += entry.cost
    return total


async def _encoded(
    stack: Stack, items: Sequence[Item], produced: Sequence[LoadResult], context: LoadContext
) -> list[Good]:
    """What is stored of those for which the source did not fail."""
    good: list[Good] = []
    for item, result in zip(items, produced, strict=True):
        if result.error is None:
            good.append((item, result, entry_of(stack, item.request, result, context)))
            if len(good) % AT_ONCE == 0:
                await asyncio.sleep(0)
    return good


async def _keep(stack: Stack, good: Sequence[Good], context: LoadContext) -> None:
    """Hand the values to their callers, then store them."""
    passed: list[MadeOf] = []
    for item, result, entry in good:
        stale = context.stale
        if result.sources:
            passed += result.sources
            stale = stale or any(source.stale for source in result.sources)
        item.flight.set_result(result.answer(entry, stale=stale, unfit=context.unfit))
        item.flight.sealed = True
    # Between the leases and the fills: what changes from here on, the leases tell.
    changed, above = await fitness.compared(stack, passed) if passed else UNCOMPARED
    lasting = not (above or context.above)
    keep: list[Entry | None] = []
    for item, result, entry in good:
        request = item.request
        why = fitness.unfit(request.kind.policy, result.sources, context, changed)
        if why is not None:
            stack.trace.unfit(request.kind, request.key, why)
        if result.store and why is None and _fits(stack, item, entry):
            keep.append(entry)
            policy = request.kind.policy
            item.places = of_load(stack, policy, entry, item.leases, lasting=lasting)
            if not result.absent:
                stack.trace.stored(request.kind, request.key, entry, stack.timer())
            continue
        keep.append(None)
        # Followers of what is not stored are held to the names that it bears as well: who asks when
        # one of them was invalidated must not get it.
        for lease in item.leases.values():
            lease.names = entry.names
    if stack.lower:
        # The callers go on first: making and sending what other tiers store takes a while.
        await asyncio.sleep(0)
    proofs = await backfill(stack, [item for item, *_ in good], keep)
    for (item, *_), proven in zip(good, proofs, strict=True):
        # Who would get the stale value that came first looks again: the new one is there now.
        stale = item.flight.answer is not None and item.flight.answer.stale
        item.flight.end(proven=proven and not stale and item.servable is None)


def _fits(stack: Stack, item: Item, entry: Entry) -> bool:
    """Whether the entry says something to store, bears no more names than one may, and is not too
    large. If not, its callers have it all the same."""
    request = item.request
    if (size := len(entry.data)) > stack.max_value_bytes:
        why = f"it has {size} bytes, {over(stack.max_value_bytes)}"
        stack.trace.too_large(request.kind, request.key, why)
        return False
    if len(entry.names) > MAX_NAMES:
        why = f"it bears {len(entry.names)} names of at most {MAX_NAMES:,}"
        stack.trace.unstored(request.kind, request.key, why)
        return False
    return entry.expires > entry.created


async def _run(
    stack: Stack, items: Sequence[Item], loader: Loader, context: LoadContext
) -> list[LoadResult]:
    """The loader itself: with a slot, in its context, within its time, with its leases kept."""
    owner, requests = items[0].flight.owner, [item.request for item in items]
    key = requests[0].key
    if not stack.limits.enter(key.data_type, owner):
        await stack.limits.wait(key.data_type, owner)
    if stack.lower:  # the leases of memory last as long as they are held
        later = asyncio.get_running_loop().call_later
        owner.renewing = later(RENEW_EVERY, _start_renewing, stack, items)
    stack.watchers += 1
    try:
        with context:
            if stack.load_timeout is None:
                return await loader.load(requests)
            return await _in_time(stack.load_timeout, requests, loader)
    except asyncio.CancelledError as error:
        if owner.task is not None and owner.task.cancelling():
            raise
        # The loader cancelled itself (a cancel scope of its own): to its callers that is a failure.
        raise LoadError(f"the loader of {key} was cancelled") from error
    finally:
        stack.watchers -= 1
        stack.limits.leave(key.data_type, owner)


async def _in_time(seconds: float, requests: Sequence[Request], loader: Loader) -> list[LoadResult]:
    """What the loader makes within its time."""
    try:
        async with asyncio.timeout(seconds) as limit:
            return await loader.load(requests)
    except TimeoutError as error:
        if not limit.expired():
            raise
        why = f"loading {requests[0].key} took longer than load_timeout={seconds} s"
        raise LoadTimeout(why) from error


def _start_renewing(stack: Stack, items: Sequence[Item]) -> None:
    """A load takes long: what it ends at its end is a task from here on, no timer any more."""
    renewing = stack.background.keep_running(partial(_renew, items), "renew")
    items[0].flight.owner.renewing = renewing


async def _renew(items: Sequence[Item]) -> None:
    """Keep the leases of a long load alive."""
    leases: dict[Tier, list[Lease]] = {}
    for item in items:
        for tier, lease in item.leases.items():
            leases.setdefault(tier, []).append(lease)
    while True:
        for tier, held in leases.items():
            # A lease that could not be renewed is found void at the fill: nothing is lost here.
            with suppress(TierUnavailable):
                await tier.renew(held)
        await asyncio.sleep(RENEW_EVERY)


async def _fail(stack: Stack, failed: Sequence[tuple[Item, BaseException]], seconds: float) -> None:
    """The source failed: who may be served something stale is, everybody else gets the error.

    What was invalidated meanwhile is never served again, not even when the source fails, so a
    fallback is looked for once more. The leases could not tell: they know neither the names that
    only the entry bears, nor, where memory had it above the tier that granted them, what memory had
    not heard of yet. Who comes after that look cannot rely on it.
    """
    items = [item for item, _ in failed]
    first, error = failed[0]
    refresh = all(item.servable for item in items)
    spent = packed(seconds, cost_of_failure(error), stack.prices)
    kind, key = first.request.kind, first.request.key
    stack.trace.load_failed(kind, key, error, refresh=refresh, spent=spent)
    for item in items:
        item.flight.sealed = True
    # All of them, before anybody hears of it: who hears leaves, and the last one ends this task.
    await release(stack, items)
    for item, error in failed:
        flight = item.flight
        left = isinstance(error, CallerLeft)
        if left or flight.owner.ahead:
            # Their source has not failed: whoever has joined tries his own loader.
            flight.fail(error if left else CallerLeft(f"{flight.request.key} was loaded ahead"))
            continue
        stack.flights.cool(item.request.key, stack.timer() + COOL_DOWN)
        begun = flight.live is not None and flight.live.passed  # then a fallback is not its end
        if (
            item.fallback is not None
            and not begun
            and await still_there(stack, [item.fallback]) != [None]
        ):
            item.fallback.in_vain = True
            flight.set_result(item.fallback)
            flight.end(proven=True)
        flight.fail(error)
