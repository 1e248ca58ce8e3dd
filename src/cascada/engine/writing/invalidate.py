"""The invalidation path: the lowest tier first, memory last.

Lowest first, because a tier above could otherwise be refilled from one below that still holds the
old value. The caller does it himself; if he is cancelled in the middle, all of it is done once more
in the background, since half of it must not be left undone. To carry out an invalidation twice
harms nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from operator import attrgetter
from typing import Final, NamedTuple

from cascada.engine.reading import read
from cascada.engine.request import Answer, Request
from cascada.engine.sparing import of_all, reaching
from cascada.engine.stack import Stack
from cascada.engine.tasks.background import Unfinished
from cascada.engine.writing import redelivery
from cascada.model.entry import Invalidated
from cascada.model.errors import CacheClosed, InvalidationPending, TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.tiers.capabilities import L1_LEASE, Acknowledged
from cascada.tiers.contract import NOTHING, EntryCount, Invalidation
from cascada.tiers.guarded import GuardedTier

_CLOSED: Final = (
    "this cache was closed while it told its tiers of an invalidation: nobody knows how many of "
    "them have heard of it, so say it once more"
)


class Result(NamedTuple):
    """What an invalidation did, and what each of its names has reached, in whichever tier."""

    told: Invalidated
    counts: tuple[EntryCount, ...]


async def invalidate(
    stack: Stack,
    names: Sequence[str],
    *,
    insist: bool = True,
    strict: bool = False,
    tiers: Sequence[GuardedTier] | None = None,
    journaled: dict[str, int] | None = None,
) -> Result:
    """Void all that bears one of the names, which are all of one tenant.

    A tier that could not be told yet is told as soon as it can be, and not read here before; this
    process serves the old value no more either way. The answer is then `pending` if a durable tier
    keeps what is to be told; else only this process remembers, and InvalidationPending is raised
    (or warned of: `Limits.on_pending`). `insist`: wait for a tier that has fallen silent, for
    `invalidate_patience` from then on. `strict`: wait until no process serves the old value from
    its memory, either; what is pending is not waited for. `tiers`: of the lower ones these alone,
    where those below have what is to be found. `journaled`: where it is noted which number each
    tier has answered.
    """
    if not stack.lower:
        alone = stack.memory.invalidate_now(names)
        stack.trace.invalidated(names, alone.keys)
        return Result(Invalidated(alone.keys, alone.exact), alone.counts)
    results: list[Invalidation] = []
    unreached: dict[GuardedTier, str] = {}
    with Unfinished(stack.background, partial(void, stack, names, insist=insist, tiers=tiers)):
        numbered: Invalidation | None = None
        ends = asyncio.get_running_loop().time() + stack.invalidate_patience
        for tier in reversed(stack.lower if tiers is None else tiers):
            if not (borne := reaching(stack, tier, names)):
                continue  # it has nothing, and never will have, that one of them names
            until = min(ends, tier.worth_waiting_until(stack.invalidate_patience))
            drop = partial(stack.memory.void, names)
            try:
                told = await tier.invalidate(
                    borne, strict=strict, until=until if insist else None, on_late=drop
                )
            except TierUnavailable as error:
                unreached[tier] = str(error)
                continue
            if journaled is not None:
                journaled[tier.name] = told.journaled
            results.append(told if borne is names else of_all(names, borne, told))
            if tier is stack.authority:
                numbered = told
        if numbered is not None:
            stack.memory.apply(numbered.seq, names, dated=True)
        else:
            stack.memory.void(names)
        if unreached:
            await _defer(stack, unreached, names)
        if strict and numbered is not None:
            await _heard_by_all(stack, numbered)
    nobody = Invalidation(0, exact=False, seq=0, counts=(NOTHING,) * len(names))
    most = max(results, key=attrgetter("keys"), default=nobody)
    stack.trace.invalidated(names, most.keys)
    counts = _most([each.counts for each in (*results, nobody) if each.counts])
    return Result(Invalidated(most.keys, most.exact, pending=bool(unreached)), counts)


def _most(counts: Sequence[tuple[EntryCount, ...]]) -> tuple[EntryCount, ...]:
    """Of each name the most that a tier has had: each lacks what it alone has evicted."""
    if len(counts) == 2:  # of one tier, and of nobody
        return counts[0]
    return tuple([
        name[0] if len(set(name)) == 1 else EntryCount(*map(max, zip(*name, strict=True)))
        for name in zip(*counts, strict=True)
    ])  # fmt: skip


async def void(
    stack: Stack,
    names: Sequence[str],
    *,
    insist: bool = False,
    tiers: Sequence[GuardedTier] | None = None,
) -> None:
    """`invalidate` for who cannot be told that it is pending."""
    with suppress(InvalidationPending, CacheClosed):
        await invalidate(stack, names, insist=insist, tiers=tiers)


async def _defer(stack: Stack, unreached: dict[GuardedTier, str], names: Sequence[str]) -> None:
    """These tiers, which say why, are told later. InvalidationPending if that is not durable."""
    # Marked before anything is awaited again, so that they are not read in between.
    if await redelivery.defer(stack, list(unreached), names):
        return
    if stack.background.closed:
        raise CacheClosed(_CLOSED)
    tier, why = next(iter(unreached.items()))
    sentence = (
        f"{tier.name} could not be told yet ({why}). It will be as soon as it answers; until "
        "then this process does not read it, another may"
    )
    if stack.on_pending == "raise":
        raise InvalidationPending(f"{', '.join(names[:3])}: {sentence}")
    stack.trace.pending(tier.name, sentence)


async def delete(stack: Stack, key: Key, *, strict: bool) -> bool:
    """Void this key alone; whether there was a value."""
    return (await delete_all(stack, [key], strict=strict))[0]


async def delete_all(stack: Stack, keys: Sequence[Key], *, strict: bool) -> list[bool]:
    """Void these keys alone, in one atomic step; of each, whether there was a value."""
    # What has been loaded is there to who has loaded it, before any tier has it.
    flights = map(stack.flights.find, keys)
    there = [flight is not None and flight.brings_a_value for flight in flights]
    names = dict.fromkeys(map(key_name, keys))
    if names:
        gone = (await invalidate(stack, list(names), strict=strict)).counts
        own = dict(zip(names, gone, strict=True))
        there = [was or own[key_name(key)].own > 0 for was, key in zip(there, keys, strict=True)]
    return there


async def discard(stack: Stack, request: Request, answer: Answer, *, strict: bool) -> None:
    """Let go of what its reader could not use, unless it was replaced since.

    One caller after the other: of many who have met it, each would else end the others' new value.
    """
    found_at, was = answer.found_at or request.key, answer.entry
    async with stack.discarding.setdefault(found_at, asyncio.Lock()):
        now = await read.find(stack, request)
        if now and (now.entry.created, now.entry.data) == (was.created, was.data):
            await invalidate(stack, [key_name(found_at)], strict=strict)


async def count_entries(stack: Stack, names: Sequence[str]) -> tuple[EntryCount, ...]:
    """What an invalidation of these names would reach now, as the tier says that knows of most.

    TierUnavailable if none answers.
    """
    answers: list[list[EntryCount]] = []
    failed: TierUnavailable | None = None
    for tier in stack.tiers:
        try:
            answers.append(await tier.count_entries(names))
        except TierUnavailable as error:
            failed = error
    if failed is not None and len(answers) == 1:
        raise failed  # memory alone knows what this process has read, no more
    return tuple(max(answers, key=lambda answer: sum(map(sum, answer))))


async def _heard_by_all(stack: Stack, told: Invalidation) -> None:
    authority = stack.authority.tier if isinstance(stack.authority, GuardedTier) else None
    if isinstance(authority, Acknowledged):
        await authority.acknowledged(told)
    else:
        # Polled: by then every process has looked since, or trusts its memory no more.
        await asyncio.sleep(L1_LEASE)
