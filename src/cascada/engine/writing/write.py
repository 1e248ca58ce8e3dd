"""The write paths: `set` is a lease that takes over, and a fill, the lowest tier first.

`fill` stores what was made after a miss, where no value is. (`docs/protocol.md`.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from cascada.codecs.envelope import digest_of
from cascada.engine.loading import fitness
from cascada.engine.loading.encode import absence, encoded, entry_names, over
from cascada.engine.loading.loaders import Terms
from cascada.engine.reading import snapshots
from cascada.engine.reading.read import snapshot_now
from cascada.engine.reading.snapshots import Snapshot
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.background import Unfinished
from cascada.engine.writing import redelivery
from cascada.engine.writing.invalidate import invalidate, void
from cascada.model.entry import Entry, Flag
from cascada.model.errors import BadInput, InvalidationPending, TierUnavailable
from cascada.model.keys import Key
from cascada.model.made_of import MadeOf, source_names
from cascada.model.names import MAX_NAMES, key_name
from cascada.model.ttl import seconds
from cascada.tiers.contract import Filled, Lease, Outcome, Seen, Tier, Why
from cascada.tiers.guarded import GuardedTier

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond

MOMENT: Final = 1.0
"""Seconds that a versioned "there is nothing" may live until it is voided."""


def to_be_set(
    stack: Stack,
    request: Request,
    value: object,
    stored: Terms,
    version: int | None,
) -> Entry | None:
    """What `write` or `fill` is to store; BadInput (SerializationError) if it may not be.

    Before anything is sent, and in every mode: what is refused is refused everywhere. Nothing at
    all for a value of None, unless the type remembers what is not there; or for a moment, by which
    the tiers learn its version.
    """
    key, policy = request.key, request.kind.policy
    ttl, tags, sources = stored
    named = source_names(key.tenant, sources) if sources else ()
    names = entry_names(request, tags, named)
    if len(names) > MAX_NAMES:
        raise BadInput(f"{key} would bear {len(names)} tags and sources; at most {MAX_NAMES} may")
    if policy.sources == "required" and not sources:
        raise BadInput(
            f"sources is (), but {key.data_type} has Policy(sources={policy.sources!r}); pass the "
            "hits, or the types and ids, that the value was made from"
        )
    if value is None:
        if policy.none_ttl is None and version is None:
            return None
        lasts = MOMENT if policy.none_ttl is None else seconds(policy.none_ttl)
        return absence(policy, stack.now(), lasts, names, version)
    entry = encoded(stack, request, value, ttl, names, version)
    if (size := len(entry.data)) > stack.max_value_bytes:
        raise BadInput(f"value has {size} bytes, {over(stack.max_value_bytes)}")
    return entry


async def write(
    stack: Stack, request: Request, entry: Entry | None, sources: Sequence[MadeOf] = ()
) -> bool:
    """Store it in every tier. False if something newer stood against it, or a tier was away.

    A tier that fails is not the caller's business, but it may still hold the old value: its
    invalidation is deferred, and it is not read until it has that. Without an entry the old value
    goes, and that is all; so it does if one of the sources is not any more what was read of it.
    """
    key = request.key
    miss = snapshots.take(stack, key)
    if sources and any(source.data is not None for source in sources):
        # From this moment on the leases tell of every change, so that the look may come before.
        miss = miss or await snapshot_now(stack, request)
        if await _unfit(stack, request, sources):
            await void(stack, [key_name(key)])
            return False
    if entry is None:
        return await _nothing(stack, key)
    stack.trace.stored(request.kind, key, len(entry.data), stack.timer())
    seen: Mapping[str, Seen] = {} if miss is None else miss.seen
    if stack.lower:
        kept = await _set(stack, request, entry, seen)
    else:
        lease = stack.memory.grant(key, seen.get(stack.memory.name), force=True)
        # What is larger than all of memory is let in and finds no place.
        kept = _keep(stack, request, lease, entry) and stack.memory.records.get(key) is not None
    if entry.flags & _ABSENT and request.kind.policy.none_ttl is None:
        # All tiers know its version by now: who comes with an older row brings none back. If they
        # know a newer one, that stays.
        return kept and await _nothing(stack, key)
    return kept


async def _set(stack: Stack, request: Request, entry: Entry, seen: Mapping[str, Seen]) -> bool:
    """Hold the key in all lower tiers, then fill them from below, and memory last.

    If one refuses, or the lowest does not answer, the key is invalidated in all of them instead:
    the tiers must agree, and none may go on with the old value. Not if the lowest knows a newer
    version: then there is nothing old to go on with. The same if the caller is cancelled: some
    tiers may have the new value by then, others the old one, whose row is written already.
    """
    memory, names = stack.memory, [key_name(request.key)]
    in_memory, meanwhile = memory.grant(request.key), None
    if stack.goes_on_without(request):
        meanwhile = memory.lease_meanwhile(
            request.key, seen.get(memory.name), stack.degraded_l1_ttl
        )
    with Unfinished(stack.background, partial(void, stack, names)):
        held = await _hold(stack, request, entry, seen)
        filled, agreed = await _fill_from_below(stack, request, entry, held)
        lowest = filled.get(stack.lower[-1])
        if lowest is not None and lowest.outcome is Outcome.OLDER:
            return False
        unreached = [tier for tier in stack.lower if tier not in filled]
        if held and len(stack.lower) > 1 and not agreed:
            await void(stack, names)
        elif unreached:
            await redelivery.defer(stack, unreached, names)
    numbered = filled.get(stack.authority)
    if numbered is None:
        _keep_meanwhile(stack, request, entry, meanwhile)
    else:
        memory.end_meanwhile()
        memory.apply(numbered.seq, names)
        # Where an equal value was there, that one stays, which may live less long.
        if agreed and numbered.outcome is Outcome.PLAIN:
            in_memory.seq = numbered.seq
            _keep(stack, request, in_memory, entry)
    # What a tier could not be told others may still read there.
    return agreed and not unreached


async def _hold(
    stack: Stack, request: Request, entry: Entry, seen: Mapping[str, Seen]
) -> dict[GuardedTier, Lease]:
    """The leases of the tiers that answer. `seen`: what each has answered to the miss before."""
    held, digests = {}, [digest_of(entry)]
    for tier in stack.lower:
        miss = seen.get(tier.name)
        try:
            (lease,) = await tier.lease([request.key], [miss], force=True, digests=digests)
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
        else:
            assert isinstance(lease, Lease)  # it takes over: it is neither Found nor Busy
            held[tier] = lease
    return held


async def _fill_from_below(
    stack: Stack, request: Request, entry: Entry, held: Mapping[GuardedTier, Lease]
) -> tuple[dict[Tier, Filled], bool]:
    """What those say that answer, as long as they agree, and whether all of them do.

    They do if what was asked, the lowest tier first of all, has the value. Or has nothing, where
    the lowest has had an equal value before this one came: then the tiers above are filled by who
    reads it there.
    """
    filled: dict[Tier, Filled] = {}
    agreed = old = equal = False
    for tier in reversed(stack.lower):
        if tier in held:
            try:
                # Of an old value the lease is given back: others wait for it.
                (answer,) = await tier.fill([held[tier]], [None if old else entry])
            except TierUnavailable as error:
                stack.trace.tier_failed(tier.name, str(error))
            else:
                if not old:
                    if not filled:
                        agreed, old = answer.accepted, answer.outcome is Outcome.OLDER
                        equal = answer.outcome is Outcome.EQUAL
                    elif not answer.accepted:
                        agreed = agreed and equal and answer.outcome is Outcome.NOTHING
                    filled[tier] = answer
                    stack.trace.filled(request, tier.name, accepted=answer.accepted)
        if not agreed and not old:
            break
    return filled, agreed


def _keep(stack: Stack, request: Request, lease: Lease, entry: Entry) -> bool:
    """Store it in memory; whether it is let in."""
    accepted = stack.memory.fill_one(lease, entry).accepted
    stack.trace.filled(request, stack.memory.name, accepted=accepted)
    return accepted


def _keep_meanwhile(stack: Stack, request: Request, entry: Entry, lease: Lease | None) -> None:
    """No tier below has taken it: memory drops the old value, and keeps the new one for a while if
    nothing named the key since this lease. Nothing else of this process comes in between."""
    memory, key = stack.memory, request.key
    unnamed = lease is not None and memory.fill_one(lease, None).accepted
    memory.void([key_name(key)])
    if unnamed:
        _keep(stack, request, memory.lease_meanwhile(key, None, stack.degraded_l1_ttl), entry)


async def _unfit(stack: Stack, request: Request, sources: Sequence[MadeOf]) -> bool:
    if not sources or not await fitness.changed(stack, sources):
        return False
    stack.trace.unstored(request.kind, request.key, fitness.CHANGED)
    return True


async def _nothing(stack: Stack, key: Key) -> bool:
    """Let nobody read the old value; whether every tier has been told."""
    try:
        return not (await invalidate(stack, [key_name(key)])).told.pending
    except InvalidationPending:
        return False


# --- after a miss, where no value is ----------------------------------------------------------


async def fill_anew(stack: Stack, request: Request, entry: Entry | None) -> bool:
    """`fill` for who has no miss to pass on: by that of this task, else of now.

    Without an entry what is there goes, as in `write`.
    """
    if entry is None:
        return await write(stack, request, None)
    miss = snapshots.take(stack, request.key) or await snapshot_now(stack, request)
    return await fill(stack, miss, entry)


async def fill(
    stack: Stack, miss: Snapshot, entry: Entry | None, sources: Sequence[MadeOf] = ()
) -> bool:
    """Store what was made after this miss, the lowest tier first, as a load would.

    False if the key was named since or has a value, or a tier fails on the way: then those above it
    are not filled. Tiers that could not be read at the miss are passed over, as by a load. What
    was stored on the way stays: it is as good as what a load has stored.
    """
    request, authority = miss.request, stack.authority
    if entry is None or await _unfit(stack, request, sources):
        return False
    stack.trace.stored(request.kind, request.key, len(entry.data), stack.timer())
    numbered = miss.seen.get(authority.name)
    tiers = [tier for tier in stack.lower if _was_there(miss, tier)]
    if numbered is None or not (tiers or _was_there(miss, authority)):
        return False
    # Memory hears of invalidations by the numbers of the tier that makes them.
    in_memory = stack.memory.grant(request.key, miss.seen.get(stack.memory.name), once=True)
    in_memory.seq = numbered.seq
    for tier in reversed(tiers):
        try:
            (lease,) = await tier.lease([request.key], [miss.seen[tier.name]], once=True)
            assert isinstance(lease, Lease)  # it takes over nothing and waits for nobody
            (filled,) = await tier.fill([lease], [entry])
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
            return False
        stack.trace.filled(request, tier.name, accepted=filled.accepted)
        if not filled.accepted:
            return False
    if not _was_there(miss, authority):
        return True
    accepted = _keep(stack, request, in_memory, entry)
    return bool(tiers) or (accepted and stack.memory.records.get(request.key) is not None)


def _was_there(miss: Snapshot, tier: Tier) -> bool:
    """Whether a tier has answered the read that missed."""
    answer = miss.seen.get(tier.name)
    return answer is not None and getattr(answer, "why", None) is not Why.UNAVAILABLE
