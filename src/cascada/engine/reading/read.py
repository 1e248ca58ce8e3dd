"""`get`: what the tiers have, and of what they lack a snapshot, by which it may be stored later.

The engine calls it. The usual hit never gets here: memory answers it inside the caller's own
coroutine. It asks no source, and takes no lease of a shared tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.encode import is_typed
from cascada.engine.reading import snapshots
from cascada.engine.reading.answers import account, hit_of
from cascada.engine.reading.fast_path import UNASKED, SharedRead, hits
from cascada.engine.reading.item import Item, is_absence
from cascada.engine.reading.lookup import Lookup
from cascada.engine.reading.snapshots import Snapshot
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Hit, Miss
from cascada.model.errors import TierUnavailable


async def get_one(stack: Stack, request: Request, default: Any) -> Hit[Any] | Miss:
    """`get` of one, together with all who ask in this turn of the event loop.

    But for values of a declared type: its own code makes them, and may look at its caller's context
    (whose tenant this is, say), so that nobody else makes them.
    """
    if not stack.lower or sources.current(stack) is not None or is_typed(request):
        return (await get(stack, [request], default))[0]
    started = stack.timer()
    if request.kind.policy.prefetch:
        stack.ahead.asked([request])
    if stack.flights:
        await until_stored(stack, [request])
    hit: Hit[Any] | SharedRead = await stack.shared_reads.ask(request)
    if isinstance(hit, SharedRead):
        found = await _look_up(stack, [request], default, hit)
        return _told(stack, [request], found, default, started)[0]
    stack.trace.answered([request], [hit], stack.timer() - started)
    return hit


async def get(
    stack: Stack, requests: Sequence[Request], default: Any, *, at_once: bool = False
) -> list[Hit[Any] | Miss]:
    """What the tiers have; a miss remembers what it saw. `at_once`: all of one moment."""
    started = stack.timer()
    if requests and requests[0].kind.learns:
        stack.ahead.asked(requests)
    if stack.flights:
        await until_stored(stack, requests)
    found: list[Hit[Any] | Answer | Miss]
    if not stack.lower or at_once:
        found = await _look_up(stack, requests, default, at_once=at_once)
    else:
        read = await hits(stack, requests)
        open_ = [
            (request, said)
            for request, said in zip(requests, read, strict=True)
            if isinstance(said, SharedRead)
        ]
        rest = iter(
            await _look_up(stack, [request for request, _ in open_], default, open_[0][1])
            if open_
            else ()
        )
        found = [next(rest) if isinstance(hit, SharedRead) else hit for hit in read]
    return _told(stack, requests, found, default, started)


async def find(stack: Stack, request: Request) -> Answer | None:
    """What the tiers have, for who asks about a value and not for it: nobody is told of that.

    Nor is a miss remembered, by which its caller would store something.
    """
    if stack.flights:
        await until_stored(stack, [request])
    (item,) = await Lookup(stack, [request]).run()
    return item.answer


async def get_hidden(
    stack: Stack, requests: Sequence[Request], default: Any, *, at_once: bool = False
) -> list[Miss]:
    """Read and count as `get` does, for callers who are not given what is found.

    So all of them may store what they read themselves.
    """
    started = stack.timer()
    items = await Lookup(stack, requests, at_once=at_once).run()
    missed = [snapshots.remember(stack, item) for item in items]
    await snapshots.complete(stack, missed)
    misses = [Miss(default, snapshot) for snapshot in missed]
    found = [item.answer or miss for item, miss in zip(items, misses, strict=True)]
    account(stack, requests, found, started)
    return misses


async def snapshot_now(stack: Stack, request: Request) -> Snapshot:
    """The snapshot of a miss at this moment, whatever the tiers have."""
    return (await snapshots_now(stack, [request]))[0]


async def snapshots_now(stack: Stack, requests: Sequence[Request]) -> list[Snapshot]:
    """The same of many, in one lookup."""
    now = []
    for item in await Lookup(stack, requests).run():
        now.append(snapshots.remember(stack, item))
        snapshots.take(stack, item.request.key)  # it serves this caller alone
    await snapshots.complete(stack, now)
    return now


async def until_stored(stack: Stack, requests: Sequence[Request]) -> None:
    """Who has just been given the value of a load may look for it before a tier has it.

    So a value that is being stored is waited for, which its tiers bound. What is then found there
    is valid by their rules, whenever this caller has asked.
    """
    for request in requests:
        for key in request.candidates:
            flight = stack.flights.find(key)
            if flight is not None and flight.is_being_stored:
                await flight.over()


async def _look_up(
    stack: Stack,
    requests: Sequence[Request],
    default: Any,
    shared: SharedRead = UNASKED,
    *,
    at_once: bool = False,
) -> list[Hit[Any] | Answer | Miss]:
    """What the tiers have; what they lack, or have as an absence, leaves a snapshot."""
    lookup = Lookup(stack, requests, at_once=at_once)
    lookup.in_memory()
    if stack.lower:
        await lookup.below(shared if shared.tells(requests) else None)
    if stack.journals is not None and requests and requests[0].journal is not None:
        await from_journal(stack, requests[0].journal, lookup.pending())
    found: list[Hit[Any] | Answer | Miss] = []
    missed: list[Snapshot] = []
    for item in lookup.items:
        answer = item.answer
        if answer is None:
            snapshot = snapshots.remember(stack, item)
            missed.append(snapshot)
            found.append(Miss(default, snapshot))
            continue
        if is_absence(answer):
            answer.snapshot = snapshots.remember(stack, item)
            missed.append(answer.snapshot)
        found.append(answer)
    if stack.lower:
        await snapshots.complete(stack, missed)
    return found


async def from_journal(stack: Stack, name: str, items: Sequence[Item]) -> None:
    """Let those that the tiers lack have what waits of their keys to be written elsewhere: their
    callers would else read there what is older."""
    if not items or stack.journals is None:
        return
    by_key = {item.request.key: item for item in items}
    try:
        changes = await stack.journals.of(name).standing([*by_key])
    except TierUnavailable as error:
        stack.trace.tier_failed(stack.journals.tier.name, str(error))
        return
    for change in changes:
        if not change.removed and not change.fault:
            tier = stack.journals.tier.name
            by_key[change.key].answer = Answer(change.entry, tier, found_at=change.key)


def _told(
    stack: Stack,
    requests: Sequence[Request],
    found: Sequence[Hit[Any] | Answer | Miss],
    default: Any,
    started: float,
) -> list[Hit[Any] | Miss]:
    """What was found, once it is counted, as its callers get it."""
    account(stack, requests, found, started)
    told: list[Hit[Any] | Miss] = []
    for request, each in zip(requests, found, strict=True):
        told.append(hit_of(stack, request, each, default) if isinstance(each, Answer) else each)
    return told
