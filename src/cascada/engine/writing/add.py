"""`add`: stored if nothing is there, and of all callers of all processes one alone is told so.

The lowest tier decides. It is read, and then filled as after a miss: what is stored first voids
that miss for everybody else. So nobody holds anything that others would have to wait for, and who
is killed in between leaves nothing behind. What was stored is told of as a `set` is, since others
may remember that there is nothing. The tiers above follow; what they do decides nothing.
(`docs/protocol.md` rule 40.)

The engine calls it. It must never take over a lease, nor void what another caller has added: so who
is cancelled ends nothing, and what he has begun is carried out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Final

from cascada.engine.loading import fitness
from cascada.engine.loading.loaders import PLAIN, Terms
from cascada.engine.placement import Places, of_write
from cascada.engine.reading import snapshots
from cascada.engine.reading.read import until_stored
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.writing import redelivery
from cascada.model.entry import Entry, Flag
from cascada.model.errors import TierUnavailable, Unanswered
from cascada.model.names import key_name
from cascada.tiers.contract import Filled, Found, Full, Lease, Missing, Outcome, Tier
from cascada.tiers.guarded import PATIENCE, GuardedTier

TOKEN: Final = 16
"""Bytes by which a tier knows an add again."""

_ABSENT: Final = int(Flag.ABSENT)

Answers = Mapping[Tier, Found | Missing]
"""What the tiers had that answer."""


async def add(
    stack: Stack,
    request: Request,
    entry: Entry,
    stored: Terms = PLAIN,
) -> bool:
    """Whether this caller has stored it. TierUnavailable if the lowest tier does not answer;
    Unanswered, which is one, if it may have stored it all the same.

    False if a value is there, stale or not (a known absence is none), if a newer version is known,
    or if a source is not any more what was read of it.
    """
    # A later `set` of this task must not be held to a miss from before this.
    snapshots.take(stack, request.key)
    await until_stored(stack, [request])
    if not stack.lower:
        return await carry_out(stack, request, entry, stored)
    adding = stack.background.answer(carry_out(stack, request, entry, stored), "add")
    try:
        return await asyncio.shield(adding)
    except asyncio.CancelledError:
        adding.add_done_callback(_unheard)
        raise


def _unheard(adding: asyncio.Task[bool]) -> None:
    """Nobody waits for its answer any more."""
    if not adding.cancelled():
        adding.exception()


async def carry_out(
    stack: Stack,
    request: Request,
    entry: Entry,
    stored: Terms,
) -> bool:
    """Where sets are written behind, none is meanwhile: the lowest tier, which decides, would not
    know of it."""
    behind = stack.behind
    if behind is None or behind.base not in stack.lower_of(request):
        return await _carry_out(stack, request, entry, stored)
    async with behind.barred(request.key):
        return await _carry_out(stack, request, entry, stored)


async def _carry_out(
    stack: Stack,
    request: Request,
    entry: Entry,
    stored: Terms,
) -> bool:
    """Again and again, as long as something is named in between: whoever did that got on."""
    now = asyncio.get_running_loop().time
    ends = now() + PATIENCE
    while True:
        # From before all else: what memory forgets meanwhile, it forgets together with its numbers.
        in_memory = stack.memory.grant(request.key)
        seen = await _read(stack, request)
        if any(is_value(request, answer) for answer in seen.values()):
            return False
        # The lowest tier has what is added in any case, and so must have what it is made of.
        if stored.sources and any(await fitness.compared(stack, stored.sources)):
            stack.trace.unstored(request.kind, request.key, fitness.CHANGED)
            return False
        filled = await _decide(stack, request, entry, seen)
        if filled.accepted:
            stack.trace.stored(request.kind, request.key, entry, stack.timer())
            if stack.lower:
                places = of_write(
                    stack, request.kind.policy, entry, stored.priority, (stack.memory, *seen)
                )
                await _tell_above(stack, request, entry, seen, filled, in_memory, places)
                return True
            # What is larger than all of memory finds no place.
            return stack.memory.records.get(request.key) is not None
        if filled.outcome is Outcome.OLDER:
            return False
        if filled.outcome is Outcome.NO_ROOM:
            # "No" would say that somebody else has added it.
            raise Full(f"{request.key} could not be added: {stack.tiers[-1].name} has no room")
        if now() >= ends:
            raise TierUnavailable(
                f"{request.key} could not be added: it was named again and again meanwhile"
            )
        await asyncio.sleep(0)


async def _read(stack: Stack, request: Request) -> Answers:
    """What the tiers have that are asked. Memory is not, unless it is alone: it may not have heard
    yet of what has ended its value."""
    if not stack.lower:
        return {stack.memory: stack.memory.look(request.key)}
    seen: dict[Tier, Found | Missing] = {}
    *above, lowest = stack.lower_of(request)
    for tier in above:
        try:
            (seen[tier],) = await tier.read([request.key])
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
    (seen[lowest],) = await lowest.read_for_certain([request.key])
    return seen


def is_value(request: Request, answer: Found | Missing) -> bool:
    """Whether it stands against what is to be added, as a `get` would find it or its like."""
    if not isinstance(answer, Found) or answer.entry.flags & _ABSENT:
        return False
    return answer.entry.flags >> 8 == request.kind.policy.version


async def _decide(stack: Stack, request: Request, entry: Entry, seen: Answers) -> Filled:
    """What the lowest tier says."""
    lower = stack.lower_of(request)
    lowest: Tier = lower[-1] if lower else stack.memory
    lease = await once_lease(lowest, request, seen)
    if isinstance(lowest, GuardedTier):
        try:
            filled = await lowest.fill_for_certain(lease, entry)
        except Unanswered:
            # If it is there all the same, those above must not go on without it.
            if above := stack.lower_of(request)[:-1]:
                await redelivery.defer(stack, above, [key_name(request.key)])
            raise
    else:
        (filled,) = await lowest.fill([lease], [entry])
    stack.trace.verdict(request, lowest.name, filled)
    return filled


async def once_lease(tier: Tier, request: Request, seen: Answers) -> Lease:
    (lease,) = await tier.lease([request.key], [seen[tier]], once=True)
    assert isinstance(lease, Lease)  # it takes over nothing and waits for nobody
    lease.adds = os.urandom(TOKEN)
    return lease


async def _tell_above(
    stack: Stack,
    request: Request,
    entry: Entry,
    seen: Answers,
    filled: Filled,
    in_memory: Lease,
    places: Places | None,
) -> None:
    """The tiers above the lowest: they have the value as well, or nothing, and memory is the last.
    Those that are no place of it have nothing. The lowest, which decides, has it in any case.

    What one of them cannot be told it is told later, and not read before.
    """
    memory, names = stack.memory, [key_name(request.key)]
    *above, lowest = stack.lower_of(request)
    numbered = filled.seq if lowest is stack.authority else None
    kept = filled.outcome is Outcome.PLAIN
    unreached: list[GuardedTier] = []
    for tier in reversed(above):
        kept = kept and tier in seen
        here = places is None or tier in places
        try:
            if kept and here:
                (filled,) = await tier.fill([await once_lease(tier, request, seen)], [entry])
                stack.trace.verdict(request, tier.name, filled)
                kept, seq = filled.accepted, filled.seq
            if not (kept and here):
                # It was named since it was read: there may be an absence from before this.
                seq = (await tier.invalidate(names)).seq
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
            unreached.append(tier)
            kept = False
        else:
            if tier is stack.authority:
                numbered = seq
    if unreached:
        await redelivery.defer(stack, unreached, names)
    if numbered is None:
        memory.void(names)
        return
    memory.end_meanwhile()
    memory.apply(numbered, names)
    if kept and (places is None or memory in places):
        in_memory.seq = numbered
        accepted = memory.fill_one(in_memory, entry).accepted
        stack.trace.filled(request, memory.name, accepted=accepted)
