"""The invalidation path: the lowest tier first, memory last.

Lowest first, because a tier above could otherwise be refilled from one below that still holds the
old value. It runs in the engine's background: a caller that is cancelled while it is on its way
must not leave half of it undone.

A tier that is silent for a moment is waited for, since the caller's row is committed and nothing
but this call tells the others. What was sent is awaited, and sent again only when its connection
broke: nobody knows how much of it the tier has carried out by then, and to carry out an
invalidation twice harms nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from cascada.engine.reading import read
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.engine.writing import redelivery
from cascada.model.entry import Invalidated
from cascada.model.errors import CacheClosed, InvalidationPending, TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import key_name, tenant_of
from cascada.tiers.capabilities import L1_LEASE, Acknowledged
from cascada.tiers.contract import NOTHING, EntryCount, Invalidation
from cascada.tiers.guarded import GuardedTier

PAUSE: Final = 0.05
"""Seconds until a tier that could not be sent an invalidation is sent it again."""

_CLOSED: Final = (
    "this cache was closed while it told its tiers of an invalidation: nobody knows how many of "
    "them have heard of it, so say it once more"
)


class Voided(NamedTuple):
    """What an invalidation did, and what each of its names has reached."""

    told: Invalidated
    counts: tuple[EntryCount, ...]


async def invalidate(
    stack: Stack, names: Sequence[str], *, insist: bool = True, strict: bool = False
) -> Invalidated:
    """`void`, for those who need not know what each name has reached."""
    return (await void(stack, names, insist=insist, strict=strict)).told


async def delete(stack: Stack, key: Key, *, strict: bool) -> bool:
    """Void this key alone; whether there was a value."""
    # What has been loaded is there to who has loaded it, before any tier has it.
    flight = stack.flights.find(key)
    loaded = flight is not None and flight.brings_a_value
    return (await invalidate(stack, [key_name(key)], strict=strict)).keys > 0 or loaded


async def discard(stack: Stack, request: Request, answer: Answer, *, strict: bool) -> None:
    """Let go of what its reader could not use, unless it was replaced since.

    One caller after the other: of many who have met it, each would else end the others' new value.
    """
    found_at, was = answer.found_at or request.key, answer.entry
    async with stack.discarding.setdefault(found_at, asyncio.Lock()):
        (now,) = await read.get(stack, [request], counted=False)
        if isinstance(now, Answer) and (now.entry.created, now.entry.data) == (
            was.created,
            was.data,
        ):
            await invalidate(stack, [key_name(found_at)], strict=strict)


async def void(
    stack: Stack, names: Sequence[str], *, insist: bool = True, strict: bool = False
) -> Voided:
    """Void all that bears one of the names, which are all of one tenant.

    A tier that could not be told yet is told as soon as it can be, and not read here before; this
    process serves the old value no more either way. The answer is then `pending` if a durable tier
    keeps what is to be told; else only this process remembers, and InvalidationPending is raised
    (or warned of: `Cache(on_pending=)`). `insist`: wait for a tier that has fallen silent, for
    `invalidate_patience` from then on. `strict`: wait until no process serves the old value from
    its memory, either; what is pending is not waited for.
    """
    done: asyncio.Future[Voided] = asyncio.get_running_loop().create_future()
    stack.background.run(_carry_out(stack, names, insist, strict, done), "invalidate")
    return await asyncio.shield(done)


async def _carry_out(
    stack: Stack,
    names: Sequence[str],
    insist: bool,
    strict: bool,
    done: asyncio.Future[Voided],
) -> None:
    try:
        done.set_result(await _through_the_tiers(stack, names, insist=insist, strict=strict))
    except BaseException as error:
        closing = isinstance(error, asyncio.CancelledError)  # the caller himself is not cancelled
        done.set_exception(CacheClosed(_CLOSED) if closing else error)
        done.exception()  # retrieved: the caller may have been cancelled
        if not isinstance(error, TierUnavailable):
            raise


async def _through_the_tiers(
    stack: Stack, names: Sequence[str], *, insist: bool, strict: bool
) -> Voided:
    results: list[Invalidation] = []
    unreached: dict[GuardedTier, str] = {}
    numbered: Invalidation | None = None
    ends = asyncio.get_running_loop().time() + stack.invalidate_patience
    for tier in reversed(stack.lower):
        until = min(ends, tier.worth_waiting_until(stack.invalidate_patience))
        try:
            results.append(await _tell(stack, tier, names, until if insist else 0, strict=strict))
        except TierUnavailable as error:
            unreached[tier] = str(error)
        else:
            if tier is stack.authority:
                numbered = results[-1]
    if stack.authority is stack.memory:
        results.append(await stack.memory.invalidate(names))
    elif numbered is not None:
        stack.memory.apply(numbered.q, names, dated=True)
    else:
        stack.memory.void(names)
    # Marked as owed before anything is awaited again, so that it is not read in between.
    if unreached and not await redelivery.defer(stack, list(unreached), names):
        tier, why = next(iter(unreached.items()))
        sentence = (
            f"{tier.name} could not be told yet ({why}). It will be as soon as it answers; until "
            "then this process does not read it, another may"
        )
        if stack.on_pending == "raise":
            raise InvalidationPending(f"{', '.join(names[:3])}: {sentence}")
        stack.trace.pending(tier.name, sentence)
    if strict and numbered is not None:
        await _heard_by_all(stack, numbered)
    nobody = Invalidation(0, exact=False, q=0, counts=(NOTHING,) * len(names))
    most = max(results, key=lambda result: result.keys, default=nobody)
    stack.trace.invalidated(tenant_of(names[0]), names, most.keys)
    return Voided(Invalidated(most.keys, most.exact, pending=bool(unreached)), most.counts)


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


async def _tell(
    stack: Stack, tier: GuardedTier, names: Sequence[str], until: float, *, strict: bool
) -> Invalidation:
    """Send it, again and again until that moment (on the loop's clock); once at least.

    While it waits this process itself goes on without the old value.
    """
    now = asyncio.get_running_loop().time
    dropped = False

    def drop() -> None:
        nonlocal dropped
        if not dropped:
            dropped = True
            stack.memory.void(names)

    while now() < until:
        try:
            return await tier.invalidate(names, strict=strict, until=until, on_late=drop)
        except TierUnavailable:
            if now() + PAUSE >= until:
                raise
        drop()
        await asyncio.sleep(PAUSE)
    return await tier.invalidate(names, strict=strict)
