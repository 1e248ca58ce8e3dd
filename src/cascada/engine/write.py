"""The write path: `set` is a lease that takes over, and a fill, the lowest tier first."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from cascada.engine import debts, fence
from cascada.engine.answer import Question
from cascada.engine.invalidate import invalidate
from cascada.engine.stack import Stack
from cascada.engine.store import absence, encoded, entry_names, over
from cascada.model.entry import Entry
from cascada.model.errors import BadInput, InvalidationPending, TierUnavailable
from cascada.model.keys import Key
from cascada.model.made_of import MadeOf, source_names
from cascada.model.names import MAX_NAMES, key_name
from cascada.model.ttl import Duration, seconds
from cascada.tiers.base import Filled, Lease, Tier, TierName
from cascada.tiers.guarded import GuardedTier


def to_be_set(
    stack: Stack,
    question: Question,
    value: object,
    *,
    ttl: Duration | None,
    tags: Sequence[str],
    sources: Sequence[MadeOf],
    version: int | None,
) -> Entry | None:
    """What `write` is to store; BadInput (SerializationError) if it may not be.

    Before anything is sent, and in every mode: what is refused is refused everywhere. Nothing at
    all for a value of None, unless the type remembers what is not there.
    """
    key = question.key
    names = entry_names(question, tags, source_names(key.tenant, sources))
    if len(names) > MAX_NAMES:
        raise BadInput(f"{key} would bear {len(names)} tags and sources; at most {MAX_NAMES} may")
    if value is None:
        policy = question.kind.policy
        if policy.none_ttl is None:
            return None
        return absence(policy, stack.now(), seconds(policy.none_ttl), names, version)
    entry = encoded(stack, question, value, ttl, names, version)
    if (size := len(entry.data)) > stack.max_value_bytes:
        raise BadInput(f"value has {size} bytes, {over(stack.max_value_bytes)}")
    return entry


async def write(stack: Stack, question: Question, entry: Entry | None) -> bool:
    """Store it in every tier. False if something newer stood against it, or a tier was away.

    A tier that fails is not the caller's business, but it may still hold the old value: it is owed
    an invalidation, and not read until it has that. Without an entry the old value goes, and that
    is all.
    """
    key = question.key
    if entry is None:
        fence.take(stack, key)
        return await _nothing(stack, key)
    stack.trace.stored(question.kind, key, len(entry.data), stack.timer())
    miss = fence.take(stack, key)
    if stack.authority is stack.memory:
        lease = await _hold(stack.memory, question, miss)
        kept = await _fill(stack, stack.memory, question, lease, entry)
        # What is larger than all of memory is let in and finds no place.
        return kept.accepted and key in stack.memory.records
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


async def _nothing(stack: Stack, key: Key) -> bool:
    """Let nobody read the old value; whether every tier has been told."""
    try:
        return not (await invalidate(stack, [key_name(key)])).pending
    except InvalidationPending:
        return False


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
