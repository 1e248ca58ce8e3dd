"""Whether a value may be stored, as far as its sources go. Loads, `set` and `fill` ask.

A source that was read before its load began may have changed before the load took its leases. The
leases then know nothing of that. So a hit that a caller passes as a source is compared with what
the lowest tier has that has it, once the leases are held; from then on they tell of every change.
What no tier below memory has any more cannot be compared, and counts as changed: it was
invalidated, has expired, or was never stored. The caller gets his value all the same.
(`docs/protocol.md` rules 10 and 48.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from cascada.engine.loading.dependencies import LoadContext
from cascada.engine.stack import Stack
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.model.made_of import MadeOf
from cascada.model.policy import Policy, candidates
from cascada.tiers.contract import Found

BEING_STORED: Final = 0.5
"""Seconds that a source which is being stored is waited for."""

STALE = "made of something that was served stale"
NO_SOURCE = 'it has no source, and its policy says sources="required"'
CHANGED = "a source that was passed has changed since it was read, or is not stored any more"


class Compared(NamedTuple):
    """`changed`: those sources that are not, now, what was read of them, or were old already.

    `above`: one of the others is not in the lowest tier, so that what is made of it must not be.
    """

    changed: frozenset[MadeOf] = frozenset()
    above: bool = False


async def compared(stack: Stack, sources: Iterable[MadeOf]) -> Compared:
    """These sources, and what the tiers have of them."""
    hits = [each for each in sources if each.data is not None]
    asked = {each: _where(stack, each) for each in hits if not each.stale}
    old = frozenset(each for each in hits if each.stale)
    if not asked:
        return Compared(old)
    keys = list(dict.fromkeys(key for where in asked.values() for key in where))
    for key in keys:
        flight = stack.flights.find(key)
        if flight is not None and flight.is_being_stored:
            # Its callers have the value already: who passes it on would find it missing here.
            # Not for ever: it may be this very load, or one that waits for it.
            with suppress(TimeoutError):
                async with asyncio.timeout(BEING_STORED):
                    await flight.over()
    differ, above = old, False
    # From below, as all that is read for a load; and no further than where it is.
    for tier in reversed(stack.lower or stack.tiers):
        wanted = list(dict.fromkeys(key for where in asked.values() for key in where))
        try:
            found = dict(zip(wanted, await tier.read(wanted), strict=True))
        except TierUnavailable:
            break
        there = {each: _data([found[key] for key in where]) for each, where in asked.items()}
        there = {each: data for each, data in there.items() if data is not None}
        above = above or (bool(there) and tier is not stack.tiers[-1])
        differ |= {each for each, data in there.items() if data != each.data}
        asked = {each: where for each, where in asked.items() if each not in there}
        if not asked:
            break
    return Compared(differ | frozenset(asked), above)


def _where(stack: Stack, source: MadeOf) -> tuple[Key, ...]:
    """The keys that may have it: memory keeps a general value under the key that was asked for."""
    key = source.key
    policy = stack.kinds.of(key.tenant, key.data_type).policy
    return candidates(policy, key.tenant, key.data_type, key.scope, key.resource_id, nearest=True)


def _data(answers: Sequence[object]) -> bytes | None:
    return next((each.entry.data for each in answers if isinstance(each, Found)), None)


def unfit(
    policy: Policy, sources: Sequence[MadeOf], context: LoadContext, changed: frozenset[MadeOf]
) -> str | None:
    """Why what was made of these sources, and of what its loader read, must not be stored."""
    if context.stale or (sources and any(source.stale for source in sources)):
        return STALE
    if context.unfit is not None:
        return context.unfit
    if changed and not changed.isdisjoint(sources):
        return CHANGED
    if not sources and not context.names and policy.sources == "required":
        return NO_SOURCE
    return None
