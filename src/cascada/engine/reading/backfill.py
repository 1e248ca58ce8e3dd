"""The way back up: what was found, or loaded, fills the tiers that were passed.

The lowest tier is filled first. A tier above is filled only if the one below accepted: a refusal
says that the value may be outdated. `Lookup` calls it for what the tiers had, a load for what its
source brought. It asks no source, and fills no tier without a lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

from cascada.engine import decide
from cascada.engine.placement import of_read
from cascada.engine.reading.item import Item
from cascada.engine.request import Answer
from cascada.engine.stack import Stack
from cascada.model.entry import Entry
from cascada.model.errors import TierUnavailable
from cascada.tiers.contract import NEVER, Busy, Found, Lease, Missing, Outcome, Tier, Why
from cascada.tiers.deadline import AT_ONCE

_UNASKED = [Missing(0, Why.UNAVAILABLE)]


async def lease(stack: Stack, tier: Tier, items: Sequence[Item]) -> list[tuple[Item, Found]]:
    """Ask a tier below memory for permission to fill these items.

    What it has by now, newer than what it was seen to have, comes back.
    """
    asking = []
    for item in items:
        answer = item.seen.get(tier.name, _UNASKED)[0]
        if isinstance(answer, Found) or answer.why is not Why.UNAVAILABLE:
            since = item.request.since
            asking.append((item, answer if since is None else since.get(tier.name, NEVER)))
    if not asking:
        return []
    try:
        granted = await tier.lease(
            [item.request.key for item, _ in asking], [seen for _, seen in asking]
        )
    except TierUnavailable as error:
        stack.trace.tier_failed(tier.name, str(error))
        return []
    there = []
    for (item, _), each in zip(asking, granted, strict=True):
        match each:
            case Lease():
                item.leases[tier] = each
            case Found():
                there.append((item, each))
            case Busy():
                item.busy = each
    return there


async def backfill(
    stack: Stack, items: Sequence[Item], entries: Sequence[Entry | None]
) -> list[bool]:
    """Fill the tiers that were passed, or release their leases (None). A tier without room for it
    is passed over.

    The answers say whether nothing named the key since the authority's lease was granted, nor
    anything that a value bears which is not stored (`Lease.names`).
    """
    proven = [False] * len(items)
    refused: set[int] = set()
    for tier in reversed(stack.lower):
        passed = [index for index, item in enumerate(items) if tier in item.leases]
        if not passed:
            continue
        leases = [items[index].leases[tier] for index in passed]
        sent = [
            None if index in refused else _sent(items[index], tier, entries[index])
            for index in passed
        ]
        try:
            verdicts = await tier.fill(leases, sent)
        except TierUnavailable as error:
            stack.trace.tier_failed(tier.name, str(error))
            # Whether it was stored is unknown; memory must not keep what nobody vouches for.
            refused.update(passed)
            continue
        for index, entry, verdict in zip(passed, sent, verdicts, strict=True):
            if entry is not None:
                stack.trace.verdict(items[index].request, tier.name, verdict)
            # Without room its lease stood: it is good, for the tiers above and for who joined.
            if not verdict.accepted and verdict.outcome is not Outcome.NO_ROOM:
                refused.add(index)
            if tier is stack.authority:
                proven[index] = index not in refused
    for index, item in enumerate(items):
        entry = None if index in refused else entries[index]
        proven[index] = _fill_memory(stack, item, entry) or proven[index]
        if index % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
    return proven


def _sent(item: Item, tier: Tier, entry: Entry | None) -> Entry | None:
    """What a tier is sent of a value. One that is no place of it proves it all the same, to who has
    joined its load: by all the names that the value bears."""
    stored = item.for_tier(tier, entry)
    if stored is None and entry is not None:
        item.leases[tier].names = entry.names
    return stored


def _fill_memory(stack: Stack, item: Item, entry: Entry | None) -> bool:
    """Fill memory, or release its lease; whether it is the authority, and proves the value."""
    memory = stack.memory
    if (held := item.leases.get(memory)) is None:
        return False
    if entry is not None and (stored := item.for_tier(memory, entry)) is not entry:
        if stored is not None and (record := memory.records.get(item.request.key)) is not None:
            memory.records.drop(record)
        entry = None
    accepted = memory.fill_one(held, entry).accepted
    if entry is not None and (stack.trace.observers or not accepted):
        stack.trace.filled(item.request, memory.name, accepted=accepted)
    return accepted and memory is stack.authority


async def release(stack: Stack, items: Sequence[Item]) -> None:
    """Let go of the leases: others would wait for a load that nobody runs."""
    await backfill(stack, items, [None] * len(items))


async def backfill_found(stack: Stack, found: Sequence[Item], *, loading: bool) -> None:
    """Let the tiers that were passed have what one below them had, as far as it goes there."""
    for item in found:
        if item.answer is not None:
            item.places = of_read(stack, item.answer.entry, item.answer.tier)
    await backfill(stack, found, [_for_tiers_above(stack, item) for item in found])
    if loading or stack.reads_around:
        return
    # A `get` takes no leases of shared tiers on its way down: most of them find nothing, and others
    # would have to wait for a load that nobody runs.
    deep = {tier.name for tier in stack.lower[1:]}
    if deep and (passed := [each for each in found if each.answer and each.answer.tier in deep]):
        # Not here: a caller that is cancelled would leave leases behind that nobody releases.
        stack.background.run(_backfill_shared(stack, passed), "backfill")


async def _backfill_shared(stack: Stack, found: Sequence[Item]) -> None:
    """Store what a `get` has found in the shared tiers above the one that had it.

    As the value was read before these leases are granted, it is looked for once more.
    """
    for depth, tier in enumerate(stack.lower[:-1]):
        below = {lower.name for lower in stack.lower[depth + 1 :]}
        passed = [
            item
            for item in found
            if (answer := item.answer) is not None
            and answer.tier in below
            # A shared tier would hand a general value to processes that know nothing of the more
            # specific candidates.
            and answer.found_at == item.request.key
        ]
        await lease(stack, tier, passed)
        held = [each for each in passed if tier in each.leases]
        answers = [each.answer for each in held if each.answer is not None]
        # With the life that it has by now: it may have been touched before the lease was granted.
        entries = await still_there(stack, answers)
        with suppress(TierUnavailable):
            await tier.fill([each.leases[tier] for each in held], entries)


async def still_there(stack: Stack, answers: Sequence[Answer]) -> list[Entry | None]:
    """What the tiers that had these answers have of them now; None: not any more."""
    there: dict[int, Entry] = {}
    for tier in stack.tiers:
        asked = [index for index, answer in enumerate(answers) if answer.tier == tier.name]
        keys = [key for index in asked if (key := answers[index].found_at) is not None]
        try:
            found = await tier.read(keys) if keys else []
        except TierUnavailable:
            continue
        for index, now in zip(asked, found, strict=True):
            was = answers[index].entry
            if isinstance(now, Found) and (now.entry.created, now.entry.data) == (
                was.created,
                was.data,
            ):
                there[index] = now.entry
    return [there.get(index) for index in range(len(answers))]


def _for_tiers_above(stack: Stack, item: Item) -> Entry | None:
    """What the tiers that were passed get of an answer that was found below them."""
    answer, request = item.answer, item.request
    assert answer is not None
    assert answer.found_at is not None
    if answer.found_at == request.key:
        return answer.entry
    looked_at = request.candidates[: request.candidates.index(answer.found_at) + 1]
    # Only memory keeps a general answer for the context that was asked: a shared tier would hand
    # it to processes that know nothing of the more specific candidates.
    if set(item.leases) <= {stack.memory}:
        return decide.as_general_answer(answer.entry, looked_at, stack.now())
    return None
