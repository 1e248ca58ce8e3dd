"""The write path: `set` is a lease that takes over, and a fill, the lowest tier first."""

from __future__ import annotations

from collections.abc import Sequence

from cascada.engine import fence
from cascada.engine.answer import Question
from cascada.engine.invalidate import invalidate
from cascada.engine.stack import Stack
from cascada.engine.store import encoded, entry_names
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, TierUnavailable
from cascada.model.names import MAX_NAMES, key_name, source_names
from cascada.model.ttl import Duration
from cascada.tiers.base import Filled, Lease, Missing, Tier


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
    """Store `value` in every tier. False if something newer stood against it.

    SerializationError if it cannot be stored. A tier that fails is not the caller's business, but
    it may still hold the old value: it is owed an invalidation, and not read until it has that.
    """
    key = question.key
    named = [name for source in sources for name in source_names(key.tenant, source)]
    names = entry_names(question, tags, named)
    if len(names) > MAX_NAMES:
        raise BadInput(f"{key} would bear {len(names)} tags and sources; at most {MAX_NAMES} may")
    entry = encoded(stack, question, value, ttl, names, version)
    miss = fence.take(stack, key)
    if stack.authority is stack.memory:
        lease = await _hold(stack, stack.memory, question, miss)
        return (await _fill(stack, stack.memory, question, lease, entry)).accepted
    (memory_lease,) = await stack.memory.lease([key], [None])
    assert isinstance(memory_lease, Lease)
    try:
        filled = await _store_below(stack, question, entry, miss)
    except TierUnavailable as error:
        stack.trace.tier_failed("set", str(error))
        for tier in stack.lower:
            tier.owe([key_name(key)])
        stack.memory.flush()
        return False
    stack.memory.apply(filled.q, [key_name(key)])
    if filled.accepted:
        memory_lease.q = filled.q
        await _fill(stack, stack.memory, question, memory_lease, entry)
    return filled.accepted


async def _store_below(
    stack: Stack, question: Question, entry: Entry, miss: Missing | None
) -> Filled:
    """Hold the key in all lower tiers, then fill them from below; a refusal ends in voiding it."""
    held = [(tier, await _hold(stack, tier, question, miss)) for tier in stack.lower]
    verdict = Filled(accepted=True, q=0)
    for tier, lease in reversed(held):
        verdict = await _fill(stack, tier, question, lease, entry)
        if not verdict.accepted and len(held) > 1:
            # The tiers must agree: where one holds nothing, none may hold the old value.
            await invalidate(stack, [key_name(question.key)])
            break
    return verdict


async def _hold(stack: Stack, tier: Tier, question: Question, miss: Missing | None) -> Lease:
    seen = miss if tier is stack.authority else None
    (lease,) = await tier.lease([question.key], [seen], force=True)
    assert isinstance(lease, Lease)  # a forced lease takes over: it is neither Found nor Busy
    return lease


async def _fill(stack: Stack, tier: Tier, question: Question, lease: Lease, entry: Entry) -> Filled:
    (filled,) = await tier.fill([lease], [entry])
    stack.trace.filled(question, tier.name, accepted=filled.accepted)
    return filled
