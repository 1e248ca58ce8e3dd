"""Redelivery: an invalidation that a tier could not be told is told as soon as it can be.

This process remembers it (`defer`), and does not read the tier before it was told. Where the lowest
tier is durable and was told, it also keeps the names for all processes, in its outbox; each of them
looks there, and sends what it finds, so that a process that dies leaves nothing behind. Sending
twice harms nobody.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from cascada.engine.stack import Stack
from cascada.model.errors import TierUnavailable
from cascada.model.names import tenant_of
from cascada.tiers.breaker import Call
from cascada.tiers.capabilities import Outbox
from cascada.tiers.guarded import GuardedTier

REDELIVER_EVERY: Final = 0.2

PATIENCE: Final = 1.0
"""Seconds that one call of the outbox may take: a commit that waits for the disk, behind others."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks into the outbox; a tier that comes back is waited for by a look."""


async def defer(stack: Stack, tiers: Sequence[GuardedTier], names: Sequence[str]) -> bool:
    """These tiers could not be told of `names`. True if that outlives this process."""
    for depth, tier in enumerate(stack.lower):
        # Those above as well: others may fill them again from the one that has the old value.
        if not set(tiers).isdisjoint(stack.lower[depth:]):
            tier.defer(names)
    base = stack.lower[-1]
    if base in tiers or not isinstance(base.tier, Outbox):
        return False
    try:
        with Call(base.breaker, PATIENCE):
            await base.tier.post(names)
    except TierUnavailable as error:
        stack.trace.tier_failed(base.name, str(error))
        return False
    return True


async def keep_redelivering(stack: Stack) -> None:
    """Tell every tier what was deferred as soon as it can be told, for ever."""
    looked_at = stack.timer()
    while True:
        await asyncio.sleep(REDELIVER_EVERY)
        # The lowest first, and none before all below it are told: it would be filled again from
        # there. So what is deferred meanwhile has to wait for the next time.
        due = [(tier, dict(tier.deferred)) for tier in reversed(stack.lower)]
        remind(stack)
        with suppress(TierUnavailable):
            for tier, deferred in due:
                await tier.redeliver(deferred)
        look = stack.timer() - looked_at >= LOOK_EVERY
        if look or any(tier.behind for tier in stack.lower):
            looked_at = stack.timer()
            with suppress(TierUnavailable):
                await _empty_the_outbox(stack)


def remind(stack: Stack) -> None:
    """Say what still waits after the patience of an invalidation, once a minute."""
    now = stack.timer()
    for tier in stack.lower:
        waited = tier.deferred_for(now)
        if waited is not None and waited >= stack.invalidate_patience:
            stack.trace.still_pending(tier.name, len(tier.deferred), waited)


async def _empty_the_outbox(stack: Stack) -> None:
    base = stack.lower[-1]
    outbox = base.tier
    if len(stack.lower) < 2 or not isinstance(outbox, Outbox):
        return
    upper = stack.lower[:-1]
    behind = [tier for tier in upper if tier.behind]
    # It has to be there before the look: what is posted after the look is then posted by somebody
    # who could not reach it although this process does, and waits for the next look.
    for tier in behind:
        await tier.answers()
    while True:
        # One that never answers would else keep this process from all that is still to be told.
        with Call(base.breaker, PATIENCE):
            waiting = await outbox.posted()
        if not waiting:
            break
        # Together, tenant by tenant: one by one they would keep what the base was not told waiting.
        by_tenant: dict[str, dict[str, None]] = defaultdict(dict)
        for each in waiting:
            for name in each.names:
                by_tenant[tenant_of(name)][name] = None
        for names in by_tenant.values():
            for tier in upper:
                await tier.invalidate(list(names))
        with Call(base.breaker, PATIENCE):
            await outbox.sent(waiting)
    for tier in behind:
        tier.behind = False
