"""`load`, as its callers see it: what is at hand, else a place on a flight until it has a result.

The engine calls it. The work itself is a task of the engine's (`load_task`); a caller only waits,
and leaves whenever it likes. Streams use the same steps, with places of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.encode import encoded, is_typed
from cascada.engine.reading.answers import account, suits
from cascada.engine.reading.fast_path import SharedRead, look
from cascada.engine.reading.item import Item
from cascada.engine.reading.load_task import run_load
from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Answer, Loader, Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.limits import Ticket
from cascada.engine.tasks.singleflight import LoadTask, Waiter
from cascada.model.bills.cost import cost_of_failure, packed
from cascada.model.entry import Entry
from cascada.model.errors import SerializationError
from cascada.tiers.deadline import AT_ONCE

Place = tuple[int, Waiter]
"""Which request waits, and its place on a flight."""


async def load(stack: Stack, requests: Sequence[Request], loader: Loader) -> list[Answer]:
    """What the tiers have, else what the loader brings; one load per key, whoever asks."""
    started = stack.timer()
    asked = stack.flights.moment()
    if requests and requests[0].kind.learns:
        stack.ahead.asked(requests)
    answers: list[Answer | None] = [None] * len(requests)
    # Of one request alone the tiers are asked by its flight: its callers may be many, and share it.
    unread = len(requests) > 1
    while None in answers:
        open_ = [index for index, answer in enumerate(answers) if answer is None]
        lookup = Lookup(stack, [requests[index] for index in open_], loading=True)
        found, shared = at_hand(lookup, loader), None
        waited = await look_past_refreshes(lookup, found) if stack.flights else False
        if unread:
            waited, unread, shared = True, False, await _read_together(lookup, found)
        lacking = []
        for index, item, answer in zip(open_, lookup.items, found, strict=True):
            answers[index] = answer
            if answer is None:
                lacking.append((index, item))
        if not lacking:
            break
        places = _join(lookup, lacking, loader, asked, shared, waited=waited)
        await _wait(stack, requests, places, answers)
    all_of_them = cast("list[Answer]", answers)
    account(stack, requests, all_of_them, started, timed=stack.observing)
    return all_of_them


async def _wait(
    stack: Stack, requests: Sequence[Request], places: Sequence[Place], answers: list[Answer | None]
) -> None:
    """Add what the flights bring, as far as it is for these callers, and leave them."""
    try:
        for done, (index, waiter) in enumerate(places, 1):
            if not waiter.is_settled:
                await waiter.turn()
            elif done % AT_ONCE == 0:
                await asyncio.sleep(0)
            answer = waiter.result()
            if answer is not None and suits(stack, requests[index], answer, waiter.flight):
                answers[index] = answer
    finally:
        for _, waiter in places:
            waiter.leave()


def at_hand(lookup: Lookup, loader: Loader) -> list[Answer | None]:
    """What memory may serve. What is due or stale starts its refresh, unless somebody loads it, or
    that has just failed."""
    flights, timer = lookup.stack.flights, lookup.stack.timer
    found: list[Answer | None] = []
    lookup.in_memory()
    for item in lookup.items:
        found.append(item.answer or item.servable)
        key = item.request.key
        if item.servable and flights.find(key) is None and not flights.cooling(key, timer()):
            item.flight = flights.begin(item.request, LoadTask(kept=True))
            start_load(lookup.of([item]), loader)
    return found


async def look_past_refreshes(lookup: Lookup, found: list[Answer | None]) -> bool:
    """Add what the tiers have of keys whose flights go on to refresh it: nobody waits for that.

    False if there are none, and so nothing was awaited.
    """
    flights = lookup.stack.flights
    refreshed = [
        index
        for index, (item, answer) in enumerate(zip(lookup.items, found, strict=True))
        if answer is None
        and (flight := flights.find(item.request.key)) is not None
        and flight.found
    ]
    if not refreshed:
        return False
    anew = Lookup(lookup.stack, [lookup.items[index].request for index in refreshed])
    for index, item in zip(refreshed, await anew.run(), strict=True):
        found[index] = item.answer
    return True


def start_load(lookup: Lookup, loader: Loader, shared: SharedRead | None = None) -> None:
    """Run the load of these items, each of which has its flight, in a task of the engine's."""
    first = lookup.items[0]
    first.flight.owner.task = lookup.stack.background.run(
        run_load(lookup, loader, shared), f"load {first.request.key.data_type}"
    )


async def load_uncached(stack: Stack, requests: Sequence[Request], loader: Loader) -> list[Answer]:
    """What the source says, past all tiers; only the bound on its concurrency is kept."""
    if not requests:
        return []
    data_type, ticket = requests[0].key.data_type, Ticket(urgent=sources.current(stack) is not None)
    started, kind = stack.timer(), requests[0].kind
    if not stack.limits.enter(data_type, ticket):
        await stack.limits.wait(data_type, ticket)
    try:
        produced = await loader.load(requests)
    except BaseException as error:
        kind.spent += packed(stack.timer() - started, cost_of_failure(error), stack.prices)
        raise
    finally:
        stack.limits.leave(data_type, ticket)
    each = (stack.timer() - started) / len(produced)
    bills = [packed(each, made.cost, stack.prices) for made in produced]
    stack.trace.spent(requests, bills)
    answers = []
    for request, made, cost in zip(requests, produced, bills, strict=True):
        if made.error is not None:
            raise made.error
        if is_typed(request) and not made.absent:
            try:
                entry = encoded(stack, request, made.value, None, (), None)
            except SerializationError as error:
                if stack.debug:
                    raise
                stack.trace.unstorable(request.kind, request.key, str(error))
            else:
                made.value = stack.decode(entry, request.kind, request.want)
        answers.append(made.answer(Entry(b"", cost=cost)))
        sources.note(stack, request, answers[-1])
    return answers


async def _read_together(lookup: Lookup, found: list[Answer | None]) -> SharedRead | None:
    """Add what the tier below memory has of many, without a flight for each."""
    open_ = [index for index, answer in enumerate(found) if answer is None]
    answers = await look(lookup.stack, [lookup.items[index].request for index in open_])
    shared = None
    for index, answer in zip(open_, answers, strict=True):
        if isinstance(answer, SharedRead):
            shared = answer
        else:
            found[index] = answer
    return shared


def _join(
    lookup: Lookup,
    lacking: Sequence[tuple[int, Item]],
    loader: Loader,
    asked: int,
    shared: SharedRead | None,
    *,
    waited: bool,
) -> list[Place]:
    """A place on a flight for every open request; those without a flight share a new task.

    `waited`: something was awaited since memory was asked. What it had then must not be what these
    flights find: who has asked since, perhaps after an invalidation, may join them as one who came
    before they began.
    """
    stack = lookup.stack
    parent = None if lookup.context is None else lookup.context.owner
    refused, owner = lookup.refused, LoadTask()
    places: list[Place] = []
    mine: list[Item] = []
    try:
        for index, item in lacking:
            flight = stack.flights.find(item.request.key)
            if own := flight is None:
                item.flight = flight = stack.flights.begin(item.request, owner)
                mine.append(item)
            places.append((index, Waiter(flight, asked, parent, own=own, refused=refused)))
    except BaseException:
        for _, waiter in places:
            waiter.leave()
        stack.flights.remove([item.flight for item in mine])
        raise
    if not mine:
        return places
    # For the same reason only what the tier below had not is taken over from then.
    nothing = shared
    if shared is not None and not shared.lacks([item.request for item in mine]):
        nothing = None
    lookup.items = mine  # from here on they are the task's
    start_load(lookup.again(mine) if waited else lookup, loader, nothing)
    return places
