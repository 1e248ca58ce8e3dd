"""A set that is to be written elsewhere, too: it is one with its change in the journal.

The tier that keeps the journal decides, and its step is the whole set: what it has taken is kept,
whatever becomes of the others. The tiers above follow; one that refuses or fails is told to let go
of the key, and nothing is voided below. So what is read below is never older than a change that
waits. (`docs/protocol.md` rules 53 to 57.)

The engine calls it for requests that name a journal. It must never say True of what is not in the
journal, nor store in any tier what the journal has not taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

from cascada.engine.loading.encode import absence, entry_names
from cascada.engine.loading.loaders import PLAIN, Terms
from cascada.engine.placement import of_write
from cascada.engine.reading import snapshots
from cascada.engine.reading.snapshots import Snapshot
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.background import Unfinished
from cascada.engine.writing import redelivery
from cascada.engine.writing import write as sets_of_all
from cascada.engine.writing.invalidate import void
from cascada.engine.writing.write import OneSet
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.model.names import key_name
from cascada.model.policy import CachePriority
from cascada.tiers.capabilities import Change, Put
from cascada.tiers.contract import Lease, Outcome, Tier
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.guarded import GuardedTier
from cascada.tiers.guarded_journal import GuardedJournal


def write(
    stack: Stack, request: Request, entry: Entry | None, stored: Terms = PLAIN
) -> Coroutine[Any, Any, bool]:
    """`write` of a request that names a journal: store and journal it. Of others, and in memory
    alone, as ever.

    False if the journal has not taken it. That is: it is full or does not answer, or what its
    caller has missed was set, removed or invalidated since, or is still to be written. Without an
    entry the key is invalidated, and nothing is journaled.
    """
    if request.journal is None or stack.journals is None:
        return sets_of_all.write(stack, request, entry, stored)
    return _write(stack, request, entry, stored)


def write_all(
    stack: Stack,
    requests: Sequence[Request],
    entries: Sequence[Entry | None],
    stored: Terms = PLAIN,
) -> Coroutine[Any, Any, list[bool]]:
    """`write` of many keys of one tenant and one journal, none of them twice."""
    if stack.journals is None or not requests or requests[0].journal is None:
        return sets_of_all.write_all(stack, requests, entries, stored)
    journal = stack.journals.of(requests[0].journal)
    return _write_all(stack, journal, requests, entries, stored)


def removal(stack: Stack, request: Request) -> Entry:
    """What is set of a key that is to be removed elsewhere: that there is nothing."""
    policy = request.kind.policy
    lasts, _ = policy.lifetimes(None, stack.kinds.default_ttl)
    return absence(policy, stack.now(), lasts, entry_names(request, (), ()))


async def let_go_above(stack: Stack, journal: GuardedJournal, changes: Sequence[Change]) -> None:
    """Let the tiers above the journal's go of what they may have of these keys, if who has put the
    changes may have been killed before he told them."""
    above = [tier for tier in stack.lower if tier is not journal.tier]
    if not above:
        return
    by_tenant: dict[str, list[str]] = {}
    for key in journal.untold(changes):
        by_tenant.setdefault(key.tenant, []).append(key_name(key))
    for names in by_tenant.values():
        await void(stack, names, tiers=above)


async def _write(stack: Stack, request: Request, entry: Entry | None, stored: Terms) -> bool:
    return (await write_all(stack, [request], [entry], stored))[0]


async def _write_all(
    stack: Stack,
    journal: GuardedJournal,
    requests: Sequence[Request],
    entries: Sequence[Entry | None],
    stored: Terms,
) -> list[bool]:
    kept: dict[Request, bool] = {}
    sets: list[_Set] = []
    for request, entry in zip(requests, entries, strict=True):
        if entry is None:
            kept[request] = await sets_of_all.write(stack, request, None)
        else:
            sets.append(_Set(stack, request, entry, snapshots.take(stack, request.key)))
    if sets:
        await _set(stack, journal, sets, stored.priority)
        kept.update((each.request, each.kept) for each in sets)
    return [kept[request] for request in requests]


class _Set(OneSet):
    """One key of such a set. `put`: how the journal is to take it. `unknown`: it did not answer."""

    __slots__ = ("put", "unknown")

    def __init__(self, stack: Stack, request: Request, entry: Entry, miss: Snapshot | None) -> None:
        if request.fetched is False:
            miss = None  # a change, its caller says, whatever he had missed before
        super().__init__(stack, request, entry, {} if miss is None else miss.seen)
        self.meanwhile = None  # what is not journaled is nowhere
        self.unknown = False
        self.put = Put.CHANGE if miss is None else Put.AFTER_MISS
        if request.fetched:
            self.put = Put.FETCHED


async def _set(
    stack: Stack, journal: GuardedJournal, sets: Sequence[_Set], priority: CachePriority | None
) -> None:
    keeper = journal.tier
    above = [tier for tier in stack.lower if tier is not keeper]
    names = [key_name(each.request.key) for each in sets]
    with Unfinished(stack.background, partial(void, stack, names, tiers=above)):
        await sets_of_all.hold(stack, sets, above)
        await _put(stack, journal, sets)
        for each in sets:
            there: set[Tier] = {*each.held, keeper}
            if stack.authority in there:
                there.add(stack.memory)
            policy = each.request.kind.policy
            each.places = of_write(stack, policy, each.entry, priority, there)
        for tier in reversed(above):
            await _follow(stack, tier, [each for each in sets if tier in each.held])
        await _settle(stack, sets, names, above)
        for index, (each, name) in enumerate(zip(sets, names, strict=True)):
            if not each.old:
                sets_of_all.end_in_memory(stack, each, [name])
            if above and each.kept:
                journal.told(each.request.key, each.filled[keeper].seq)
            if index % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)


async def _put(stack: Stack, journal: GuardedJournal, sets: Sequence[_Set]) -> None:
    """Let the journal's tier take them. Of what it has not taken, no tier is told: what is there
    is what was before (`old`)."""
    keeper = journal.tier
    fenced = [each for each in sets if each.put is not Put.CHANGE]
    await sets_of_all.hold(stack, fenced, [keeper])
    asked = []
    for each in sets:
        if each.put is Put.CHANGE:
            each.held[keeper] = Lease(each.request.key, -1, forced=True)
        if keeper in each.held:
            asked.append(each)
        else:
            each.old = True
    if not asked:
        return
    leases, entries = [each.held[keeper] for each in asked], [each.entry for each in asked]
    try:
        answers = await journal.put(leases, entries, [each.put for each in asked])
    except TierUnavailable as error:
        # It may be carried out later. Then it is found there, and above it is nothing older.
        stack.trace.tier_failed(keeper.name, str(error))
        for each in asked:
            each.unknown = True
        return
    for each, answer in zip(asked, answers, strict=True):
        each.old = answer.outcome in (Outcome.OLDER, Outcome.FULL)
        if not each.old:
            each.filled[keeper] = answer
            each.kept = each.agreed = answer.accepted
        stack.trace.verdict(each.request, keeper.name, answer)


async def _follow(stack: Stack, tier: GuardedTier, sets: Sequence[_Set]) -> None:
    """Fill a tier above with what the journal has taken, and give back its leases of the rest."""
    if not sets:
        return
    try:
        answers = await tier.fill(
            [each.held[tier] for each in sets],
            [each.for_tier(tier) if each.kept else None for each in sets],
        )
    except TierUnavailable as error:
        stack.trace.tier_failed(tier.name, str(error))
        return
    for each, answer in zip(sets, answers, strict=True):
        if each.kept:
            each.filled[tier] = answer
            stack.trace.verdict(each.request, tier.name, answer)
            if not answer.accepted and answer.outcome is not Outcome.NO_ROOM:
                each.agreed = False


async def _settle(
    stack: Stack, sets: Sequence[_Set], names: Sequence[str], above: Sequence[GuardedTier]
) -> None:
    """Let the tiers above go of what they may have that is older than what the journal's has."""
    void_them: list[str] = []
    owed: dict[tuple[GuardedTier, ...], list[str]] = {}
    for each, name in zip(sets, names, strict=True):
        if each.old:
            continue
        unreached = tuple([tier for tier in above if tier not in each.filled])
        if not each.agreed:
            void_them.append(name)
        elif unreached:
            owed.setdefault(unreached, []).append(name)
    if void_them:
        await void(stack, void_them, tiers=above)
    for tiers, them in owed.items():
        await redelivery.defer(stack, tiers, them)
