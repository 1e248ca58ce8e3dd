"""The write paths: `set` is a lease that takes over, and a fill, the lowest tier first.

Many are set as one is, in steps that are taken for all of them together. A tier that is no place of
a value (`engine/placement`) is filled with nothing in its stead. (`docs/protocol.md`.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from cascada.codecs.envelope import digest_of
from cascada.engine.loading import fitness
from cascada.engine.loading.encode import absence, encoded, entry_names, over
from cascada.engine.loading.loaders import PLAIN, Terms
from cascada.engine.placement import Places, of_write
from cascada.engine.reading import snapshots
from cascada.engine.reading.read import snapshots_now
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
from cascada.model.policy import CachePriority
from cascada.model.ttl import seconds
from cascada.tiers.contract import Filled, Lease, Outcome, Seen, Tier
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.guarded import GuardedTier

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond

_UNSEEN: Final[Mapping[str, Seen]] = {}

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
    ttl, tags, sources, priority = stored
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
        return absence(policy, stack.now(), lasts, names, version, priority=priority)
    entry = encoded(stack, request, value, ttl, names, version, priority)
    if (size := len(entry.data)) > stack.max_value_bytes:
        raise BadInput(f"value has {size} bytes, {over(stack.max_value_bytes)}")
    return entry


async def write(
    stack: Stack,
    request: Request,
    entry: Entry | None,
    stored: Terms = PLAIN,
) -> bool:
    """Store it in every tier, or in those of its place. False if something newer stood against it,
    a tier was away, or none below memory had room for it; then this process alone may have it.

    A tier that fails is not the caller's business, but it may still hold the old value: its
    invalidation is deferred, and it is not read until it has that. Without an entry the old value
    goes, and that is all; so it does if one of the sources is not any more what was read of it.
    """
    if stack.lower or entry is None or stored.sources:
        return (await write_all(stack, [request], [entry], stored))[0]
    miss = snapshots.take(stack, request.key)
    kept = _set_alone(stack, request, entry, _UNSEEN if miss is None else miss.seen)
    if entry.flags & _ABSENT and kept and _is_of_a_moment(request, entry):
        return await _nothing(stack, [request.key])
    return kept


async def write_all(
    stack: Stack,
    requests: Sequence[Request],
    entries: Sequence[Entry | None],
    stored: Terms = PLAIN,
) -> list[bool]:
    """`write` of many keys of one tenant, none of them twice, each with its own answer.

    A tier is asked once for each step of all of them.
    """
    sources, lasting = stored.sources, True
    misses: Sequence[Snapshot | None] = [snapshots.take(stack, each.key) for each in requests]
    if sources and any(source.data is not None for source in sources):
        # From this moment on the leases tell of every change, so that the look may come before.
        now = await snapshots_now(stack, requests)
        misses = [miss or instead for miss, instead in zip(misses, now, strict=True)]
        compared = await compare_sources(stack, requests, sources)
        if compared.changed:
            await void(stack, [key_name(request.key) for request in requests])
            return [False] * len(requests)
        lasting = not compared.above
    kept: dict[Request, bool] = {}
    sets: list[OneSet] = []
    for request, entry, miss in zip(requests, entries, misses, strict=True):
        if entry is not None:
            seen = _UNSEEN if miss is None else miss.seen
            if stack.lower:
                sets.append(OneSet(stack, request, entry, seen))
            else:
                kept[request] = _set_alone(stack, request, entry, seen)
    if sets:
        await _set(stack, sets, stored.priority, lasting=lasting)
        kept.update((each.request, each.kept) for each in sets)
    nothing = [
        request
        for request, entry in zip(requests, entries, strict=True)
        if entry is None or (kept[request] and _is_of_a_moment(request, entry))
    ]
    if nothing:
        told = await _nothing(stack, [request.key for request in nothing])
        kept.update(dict.fromkeys(nothing, told))
    return [kept[request] for request in requests]


def _is_of_a_moment(request: Request, entry: Entry) -> bool:
    """Whether it said no more than that there is nothing, of a version that all tiers know by now.

    Who comes with an older row brings none back. If they know a newer one, that stays.
    """
    return bool(entry.flags & _ABSENT) and request.kind.policy.none_ttl is None


def _set_alone(stack: Stack, request: Request, entry: Entry, seen: Mapping[str, Seen]) -> bool:
    """A set where memory is all there is."""
    memory, key = stack.memory, request.key
    stack.trace.stored(request.kind, key, entry, stack.timer())
    lease = memory.grant(key, seen.get(memory.name), force=True)
    # What is larger than all of memory is let in and finds no place.
    return keep(stack, request, lease, entry) and memory.records.get(key) is not None


class OneSet:
    """One key of a `set` on its way through the tiers below memory.

    `seen`: what each tier has answered to the miss before. `held`, `filled`: the leases of those
    that answer, and what these said. `places`: of these the value's own (None: all); the others are
    told to let go of what they have. `agreed`: whether all of its own have it, or have nothing
    where the lowest has had an `equal` one before this came; None: none of them has spoken.
    `homeless`: none of them had room. `old`: a newer version is known. `in_memory`, `meanwhile`:
    memory's leases, with the tier below it and without.
    """

    __slots__ = (
        "agreed", "entry", "equal", "filled", "held", "homeless", "in_memory", "kept", "meanwhile",
        "old", "places", "request", "seen",
    )  # fmt: skip

    def __init__(
        self, stack: Stack, request: Request, entry: Entry, seen: Mapping[str, Seen]
    ) -> None:
        memory, key = stack.memory, request.key
        stack.trace.stored(request.kind, key, entry, stack.timer())
        self.request = request
        self.entry = entry
        self.seen = seen
        self.held: dict[GuardedTier, Lease] = {}
        self.filled: dict[Tier, Filled] = {}
        self.places: Places | None = None
        self.agreed: bool | None = None
        self.equal = self.homeless = self.old = self.kept = False
        self.in_memory = memory.grant(key)
        self.meanwhile: Lease | None = None
        if stack.goes_on_without(request):
            before = seen.get(memory.name)
            self.meanwhile = memory.lease_meanwhile(key, before, stack.degraded_l1_ttl)

    def belongs_in(self, *tiers: Tier) -> bool:
        """Whether these tiers are the value's own."""
        return self.places is None or self.places.issuperset(tiers)

    def for_tier(self, tier: Tier) -> Entry | None:
        """What the tier is to do. Of an old value the lease is given back: others wait for it."""
        if self.old:
            return None
        return self.entry if self.belongs_in(tier) else self.entry.nothing()


async def _set(
    stack: Stack, sets: Sequence[OneSet], priority: CachePriority | None, *, lasting: bool
) -> None:
    """Hold the keys in all lower tiers, then fill them from below, and memory last.

    If one refuses, or the lowest does not answer, the key is invalidated in all of them instead:
    the tiers must agree, and none may go on with the old value. Not if the lowest knows a newer
    version: then there is nothing old to go on with. The same if the caller is cancelled: some
    tiers may have the new value by then, others the old one, whose row is written already.
    """
    names = [key_name(each.request.key) for each in sets]
    with Unfinished(stack.background, partial(void, stack, names)):
        await hold(stack, sets, stack.lower_of(sets[0].request))
        # Not before: a tier that is away is passed over like one that there is not.
        for each in sets:
            there: set[Tier] = {*each.held}
            if stack.behind is not None:
                there.add(stack.behind.base)  # it need not be there
            if stack.authority in there:
                there.add(stack.memory)
            policy = each.request.kind.policy
            each.places = of_write(stack, policy, each.entry, priority, there, lasting=lasting)
        await _fill_from_below(stack, sets)
        await _settle(stack, sets, names)
        for index, (each, name) in enumerate(zip(sets, names, strict=True)):
            if not each.old:
                end_in_memory(stack, each, [name])
            if index % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)


async def hold(stack: Stack, sets: Sequence[OneSet], tiers: Sequence[GuardedTier]) -> None:
    """The leases of those of the tiers that answer."""
    keys, digests = [each.request.key for each in sets], [digest_of(each.entry) for each in sets]
    for tier in tiers:
        misses = [each.seen.get(tier.name) for each in sets]
        try:
            leases = await tier.lease(keys, misses, force=True, digests=digests)
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
        else:
            for each, lease in zip(sets, leases, strict=True):
                assert isinstance(lease, Lease)  # it takes over: it is neither Found nor Busy
                each.held[tier] = lease


async def _fill_from_below(stack: Stack, sets: Sequence[OneSet]) -> None:
    """Fill the tiers, the lowest first, as long as they agree.

    All are held by now. So who is passed over lets go of what a crossing set has stored before,
    and a set that crosses after it finds its own lease void elsewhere: of two values with two
    places one is in a tier that the other's set has told to let go.
    """
    going, behind = sets, stack.behind
    if behind is not None:
        # What is told the database later has its place above as well.
        later, now = list[OneSet](), list[OneSet]()
        for each in behind.provable(sets):
            (later if each.belongs_in(behind.upper, behind.base) else now).append(each)
        going = [*now, *await behind.put(later)]
    lower = stack.lower_of(sets[0].request)
    for tier in reversed(lower):
        if asked := [each for each in going if tier in each.held]:
            leases = [each.held[tier] for each in asked]
            entries = [each.for_tier(tier) for each in asked]
            try:
                answers = await tier.fill(leases, entries)
            except TierUnavailable as error:
                stack.trace.tier_failed(tier.name, str(error))
            else:
                for each, answer in zip(asked, answers, strict=True):
                    if not each.old:
                        _note(each, tier, answer, alone=lower[-1] is stack.authority)
                        if each.belongs_in(tier):
                            stack.trace.verdict(each.request, tier.name, answer)
        going = [each for each in going if each.agreed is not False or each.old]


def _note(each: OneSet, tier: Tier, answer: Filled, *, alone: bool) -> None:
    """What a tier has said. It agrees if it has the value; or if it has nothing, for want of room,
    or where the lowest has had an equal one: then those above are filled by who reads it there.

    One that is passed over has let go of what it had, whatever it says; what has voided its lease
    is told to the value's own tiers as well, unless it is `alone` below memory.
    """
    first, newer = not each.filled, answer.outcome is Outcome.OLDER
    each.filled[tier] = answer
    if first:
        each.old = newer
    if not (each.belongs_in(tier) or alone or newer):
        return
    passed_over = answer.outcome is Outcome.NO_ROOM
    each.homeless = passed_over and (each.agreed is None or each.homeless)
    if each.agreed is None:
        each.agreed = answer.accepted or passed_over
        each.equal = answer.outcome is Outcome.EQUAL
    elif not answer.accepted and not passed_over:
        each.agreed = each.agreed and each.equal and answer.outcome is Outcome.NOTHING


async def _settle(stack: Stack, sets: Sequence[OneSet], names: Sequence[str]) -> None:
    """Void what the tiers do not agree about, and owe the rest to those that were not reached."""
    void_them: list[str] = []
    owed: dict[tuple[GuardedTier, ...], list[str]] = {}
    lower = stack.lower_of(sets[0].request)
    for each, name in zip(sets, names, strict=True):
        lowest = each.filled.get(lower[-1])
        # What was refused as old by a tier above the lowest, which has not answered, is no news.
        each.old = lowest is not None and lowest.outcome is Outcome.OLDER
        if each.old:
            continue
        unreached = tuple([tier for tier in lower if tier not in each.filled])
        # What a tier was not told, others may read there. What none had room for, they do not find.
        told = not unreached or (each.request.durably and lowest is not None)
        each.kept = each.agreed is True and told and not each.homeless
        if each.held and len(lower) > 1 and not each.agreed:
            void_them.append(name)
        elif unreached:
            owed.setdefault(unreached, []).append(name)
    if void_them:
        await void(stack, void_them)
    for tiers, them in owed.items():
        await redelivery.defer(stack, tiers, them)


def end_in_memory(stack: Stack, each: OneSet, names: Sequence[str]) -> None:
    """What memory has of a key when the tiers below have said what becomes of it."""
    memory, numbered = stack.memory, each.filled.get(stack.authority)
    if numbered is None:
        _keep_meanwhile(stack, each.request, each.entry, each.meanwhile)
        return
    memory.end_meanwhile()
    memory.apply(numbered.seq, names)
    # Where an equal value was there, that one stays, which may live less long.
    plain = numbered.outcome in (Outcome.PLAIN, Outcome.NO_ROOM)
    if each.agreed and plain and each.belongs_in(memory):
        each.in_memory.seq = numbered.seq
        keep(stack, each.request, each.in_memory, each.entry)


def keep(stack: Stack, request: Request, lease: Lease, entry: Entry) -> bool:
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
        keep(stack, request, memory.lease_meanwhile(key, None, stack.degraded_l1_ttl), entry)


async def compare_sources(
    stack: Stack, requests: Sequence[Request], sources: Sequence[MadeOf]
) -> fitness.Compared:
    """What was read of the sources before, with what is there: between leases and fills."""
    if not sources:
        return fitness.Compared()
    compared = await fitness.compared(stack, sources)
    if compared.changed:
        for request in requests:
            stack.trace.unstored(request.kind, request.key, fitness.CHANGED)
    return compared


async def _nothing(stack: Stack, keys: Sequence[Key]) -> bool:
    """Let nobody read the old values; whether every tier has been told."""
    try:
        return not (await invalidate(stack, list(map(key_name, keys)))).told.pending
    except InvalidationPending:
        return False
