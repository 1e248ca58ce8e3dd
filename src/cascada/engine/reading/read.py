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
from cascada.engine.reading.answers import account
from cascada.engine.reading.fast_path import SharedRead, hits
from cascada.engine.reading.item import is_absence
from cascada.engine.reading.lookup import Lookup
from cascada.engine.reading.snapshots import Snapshot
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Hit


async def get_one(stack: Stack, request: Request) -> Hit[Any] | Answer | Snapshot:
    """`get` of one, together with all who ask in this turn of the event loop.

    But for values of a declared type: its own code makes them, and may look at its caller's context
    (whose tenant this is, say), so that nobody else makes them.
    """
    if not stack.lower or sources.current(stack) is not None or is_typed(request):
        return (await get(stack, [request]))[0]
    started = stack.timer()
    if stack.flights:
        await _until_stored(stack, [request])
    hit, shared = await stack.shared_reads.ask(request)
    if hit is None:
        (found,) = await _look_up(stack, [request], shared)
        account(stack, [request], [found], started)
        return found
    stack.trace.answered([request], [hit], stack.timer() - started)
    return hit  # type: ignore[no-any-return]


async def get(
    stack: Stack, requests: Sequence[Request], *, at_once: bool = False
) -> list[Hit[Any] | Answer | Snapshot]:
    """What the tiers have: mostly hits, else what a decision has found; else a snapshot.

    `at_once`: all of one moment.
    """
    started = stack.timer()
    if stack.flights:
        await _until_stored(stack, requests)
    found: list[Hit[Any] | Answer | Snapshot]
    if not stack.lower:
        lookup = Lookup(stack, requests)
        lookup.in_memory()
        found, _ = _outcome(lookup)
    elif at_once:
        found = await _look_up(stack, requests, None, at_once=True)
    else:
        read, shared = await hits(stack, requests)
        open_ = [request for request, hit in zip(requests, read, strict=True) if hit is None]
        rest = iter(await _look_up(stack, open_, shared) if open_ else ())
        found = [next(rest) if hit is None else hit for hit in read]
    account(stack, requests, found, started)
    return found


async def find(stack: Stack, request: Request) -> Answer | None:
    """What the tiers have, for who asks about a value and not for it: nobody is told of that.

    Nor is a miss remembered, by which its caller would store something.
    """
    if stack.flights:
        await _until_stored(stack, [request])
    lookup = Lookup(stack, [request])
    await lookup.run()
    return lookup.items[0].answer


async def get_hidden(
    stack: Stack, requests: Sequence[Request], *, at_once: bool = False
) -> list[Snapshot]:
    """Read and count as `get` does, for callers who are not given what is found.

    So all of them may store what they read themselves.
    """
    started = stack.timer()
    lookup = Lookup(stack, requests, at_once=at_once)
    await lookup.run()
    missed = [snapshots.remember(stack, item) for item in lookup.items]
    await snapshots.complete(stack, missed)
    account(stack, requests, [item.answer for item in lookup.items], started)
    return missed


async def snapshot_now(stack: Stack, request: Request) -> Snapshot:
    """The snapshot of a miss at this moment, whatever the tiers have."""
    lookup = Lookup(stack, [request])
    await lookup.run()
    now = snapshots.remember(stack, lookup.items[0])
    await snapshots.complete(stack, [now])
    snapshots.take(stack, request.key)  # it serves this caller alone
    return now


async def _until_stored(stack: Stack, requests: Sequence[Request]) -> None:
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
    shared: SharedRead | None,
    *,
    at_once: bool = False,
) -> list[Hit[Any] | Answer | Snapshot]:
    """What the tiers have; what they lack leaves a snapshot."""
    lookup = Lookup(stack, requests, at_once=at_once)
    await lookup.run(shared if shared is not None and shared.tells(requests) else None)
    found, missed = _outcome(lookup)
    await snapshots.complete(stack, missed)
    return found


def _outcome(lookup: Lookup) -> tuple[list[Hit[Any] | Answer | Snapshot], list[Snapshot]]:
    """The answers, or snapshots where there are none; and all snapshots, those of absences too."""
    found: list[Hit[Any] | Answer | Snapshot] = []
    missed: list[Snapshot] = []
    for item in lookup.items:
        answer = item.answer
        if answer is None or is_absence(answer):
            snapshot = snapshots.remember(lookup.stack, item)
            missed.append(snapshot)
            if answer is None:
                found.append(snapshot)
                continue
            answer.snapshot = snapshot
        found.append(answer)
    return found, missed
