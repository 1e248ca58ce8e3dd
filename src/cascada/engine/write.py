"""The write path: `set` is a lease that takes over, and a fill, the lowest tier first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from cascada.engine import debts, fence
from cascada.engine.answer import Question
from cascada.engine.invalidate import invalidate
from cascada.engine.stack import Stack
from cascada.engine.store import encoded, entry_names
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, InvalidationPending, TierUnavailable
from cascada.model.keys import Key
from cascada.model.names import MAX_NAMES, key_name, source_names
from cascada.model.ttl import Duration
from cascada.tiers.base import Filled, Lease, Tier, TierName
from cascada.tiers.guarded import GuardedTier


async def write(
    stack: Stack,
    question: Question,
    value: object,
    *,
    ttl: Duration | None = None,
    tags: Sequence[str] = (),
    sources: Sequence[str] = (),
    version: int | None = None,
) -> bool:
    """Store `value` in every tier. False if something newer stood against it, or a tier was away.

    SerializationError if it cannot be stored. A tier that fails is not the caller's business, but
    it may still hold the old value: it is owed an invalidation, and not read until it has that.
    """
    key = question.key
    named = [name for source in sources for name in source_names(key.tenant, source)]
    names = entry_names(question, tags, named)
    if len(names) > MAX_NAMES:
        raise BadInput(f"{key} would bear {len(names)} tags and sources; at most {MAX_NAMES} may")
    entry = encoded(stack, question, value, ttl, names, version)
    stack.trace.stored(question.kind, key, len(entry.data), stack.timer())
    miss = fence.take(stack, key)
    if stack.authority is stack.memory:
        lease = await _hold(stack.memory, question, miss)
        return (await _fill(stack, stack.memory, question, lease, entry)).accepted
    (memory_lease,) = await stack.memory.lease([key], [None])
    assert isinstance(memory_lease, Lease)
    try:
        filled = await _store_below(stack, question, entry, miss)
    except asyncio.CancelledError:
        # Some tiers may have the new value, others the old one, whose row is written already.
        stack.background.run(_void(stack, key), "invalidate")
        raise
    numbered = filled.get(stack.authority.name)
    if numbered is None:
        stack.memory.void([key_name(key)])
    else:
        stack.memory.apply(numbered.q, [key_name(key)])
        if _agreed(filled):
            memory_lease.q = numbered.q
            await _fill(stack, stack.memory, question, memory_lease, entry)
    # What a tier could not be told others may still read there.
    return _agreed(filled) and len(filled) == len(stack.lower)


async def _void(stack: Stack, key: Key) -> None:
    with suppress(InvalidationPending):
        await invalidate(stack, [key_name(key)], insist=False)


async def _store_below(
    stack: Stack, question: Question, entry: Entry, miss: fence.Fence
) -> dict[TierName, Filled]:
    """Hold the key in all lower tiers, then fill them from below: what those say that answer.

    If one refuses, or the lowest does not answer, the key is invalidated in all of them instead:
    the tiers must agree, and none may go on with the old value.
    """
    held: dict[GuardedTier, Lease] = {}
    for tier in stack.lower:
        with _failing(stack, tier):
            held[tier] = await _hold(tier, question, miss)
    filled: dict[TierName, Filled] = {}
    for tier in reversed(stack.lower):
        if tier in held:
            with _failing(stack, tier):
                filled[tier.name] = await _fill(stack, tier, question, held[tier], entry)
        if not _agreed(filled):
            break
    unreached = [tier for tier in stack.lower if tier not in held or tier.name not in filled]
    if held and len(stack.lower) > 1 and not _agreed(filled):
        await _void(stack, question.key)
    elif unreached:
        await debts.owe(stack, unreached, [key_name(question.key)])
    return filled


def _agreed(filled: Mapping[TierName, Filled]) -> bool:
    """Whether what was asked so far, the lowest tier first of all, has stored the value."""
    return bool(filled) and all(each.accepted for each in filled.values())


@contextmanager
def _failing(stack: Stack, tier: Tier) -> Iterator[None]:
    """A tier that fails is not the caller's business."""
    try:
        yield
    except TierUnavailable as error:
        stack.trace.tier_failed(tier.name, str(error))


async def _hold(tier: Tier, question: Question, miss: fence.Fence) -> Lease:
    (lease,) = await tier.lease([question.key], [miss.get(tier.name)], force=True)
    assert isinstance(lease, Lease)  # a forced lease takes over: it is neither Found nor Busy
    return lease


async def _fill(stack: Stack, tier: Tier, question: Question, lease: Lease, entry: Entry) -> Filled:
    (filled,) = await tier.fill([lease], [entry])
    stack.trace.filled(question, tier.name, accepted=filled.accepted)
    return filled
