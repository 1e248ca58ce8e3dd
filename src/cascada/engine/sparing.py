"""Types with `durable=False`: the database has nothing of them, and need not be asked or told.

That is safe only if no other process stores them there, so that the database has agreed first
(`capabilities.Spares`): until then it is told of them as of all others. It is asked again now and
then, in case that it is another database by now. Tags, tenants and context parts reach it always.
The lifecycle runs `agree`, the paths ask `Stack.lower_of` and `reaching`. (`docs/protocol.md` rule
49.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from cascada.engine.stack import Stack
from cascada.model.errors import TierUnavailable
from cascada.model.keys import quote
from cascada.model.names import type_named
from cascada.tiers.breaker import Call
from cascada.tiers.capabilities import Spares
from cascada.tiers.contract import NOTHING, Invalidation, Tier

AGAIN: Final = 1.0
"""Seconds until a database that has not answered is asked again."""

LOOK_EVERY: Final = 5.0
"""Seconds between two looks at what is agreed."""


def may_spare(stack: Stack) -> bool:
    """Whether some type is to be spared, and a tier above the database numbers what ends it."""
    wanted = stack.kinds.never_durable
    return bool(wanted) and len(stack.lower) > 1 and isinstance(stack.lower[-1].tier, Spares)


async def agree(stack: Stack) -> None:
    """See that the database keeps nothing of these types, for ever."""
    base = stack.lower[-1]
    assert isinstance(base.tier, Spares)
    wanted = frozenset(map(quote, stack.kinds.never_durable))
    while True:
        try:
            with Call(base.breaker, max(base.timeout, AGAIN)):
                stack.spared = wanted & await base.tier.spare(wanted)
        except TierUnavailable as error:
            stack.trace.tier_failed(base.name, str(error))
            await asyncio.sleep(AGAIN)
        else:
            await asyncio.sleep(LOOK_EVERY)


def reaching(stack: Stack, tier: Tier, names: Sequence[str]) -> Sequence[str]:
    """Those of these names that something in this tier may bear."""
    if not stack.spared or tier is not stack.lower[-1]:
        return names
    return [name for name in names if type_named(name) not in stack.spared]


def of_all(names: Sequence[str], told_of: Sequence[str], told: Invalidation) -> Invalidation:
    """What a tier says that was told of some of these names, with nothing for the others."""
    counts = dict(zip(told_of, told.counts, strict=True))
    return replace(told, counts=tuple([counts.get(name, NOTHING) for name in names]))
