"""The hand-written pattern, made safe: get, miss, read the row, set.

What such a `set` stores was read after the miss, but perhaps before an invalidation that came
after it. So a miss leaves a fence in its task, the answers that the tiers gave, and the `set` of
the same key takes its leases as of then: it is refused if anything named the key in between. A miss
whose tier could not be read leaves a fence that always refuses. A refused `set` stores nothing, but
the old value goes all the same: its caller may have written the row that it stands for.
(`coherence.md` section 4.)

Fences belong to the task, not to the context: contexts are copied into tasks, and two requests
that share a fence would each rob the other of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from cascada.engine.descent import Descent
from cascada.engine.stack import Stack
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.base import Found, Missing, Tier, Why

MAX_FENCES: Final = 256
"""Misses that one task may leave behind without setting them; the oldest are forgotten."""

Fence = Mapping[str, Found | Missing]
"""What each tier answered to the read that missed, by the tier's name."""

_fences: WeakKeyDictionary[asyncio.Task[Any], dict[tuple[int, Key], Fence]] = WeakKeyDictionary()


async def remember(stack: Stack, descents: Sequence[Descent]) -> None:
    """These reads of the current task found nothing, or nothing that they may be given."""
    task = asyncio.current_task()
    if task is None or not descents:
        return
    # What was found and may not be served (kept in case its source fails) is a miss, too.
    misses: list[dict[str, Found | Missing]] = [
        {tier: seen[0] for tier, seen in descent.seen.items()} for descent in descents
    ]
    fences = _fences.setdefault(task, {})
    for descent, miss in zip(descents, misses, strict=True):
        fences[id(stack), descent.question.key] = miss
        if len(fences) > MAX_FENCES:
            del fences[next(iter(fences))]
    # A read that is hidden from its caller may have been ended by a tier above. The caller reads
    # its row after this, so that what the others say now is early enough.
    for tier in stack.lower:
        unasked = [
            (descent.question.key, miss)
            for descent, miss in zip(descents, misses, strict=True)
            if tier.name not in miss
        ]
        if unasked:
            await _ask(tier, unasked)


async def _ask(tier: Tier, unasked: Sequence[tuple[Key, dict[str, Found | Missing]]]) -> None:
    try:
        answers = await tier.read([key for key, _ in unasked])
    except TierUnavailable:
        answers = [Missing(-1, Why.UNAVAILABLE)] * len(unasked)
    for (_, miss), answer in zip(unasked, answers, strict=True):
        miss[tier.name] = answer


def take(stack: Stack, key: Key) -> Fence:
    """The fence that a miss of `key` in this task has left; it serves one `set`."""
    task = asyncio.current_task()
    if task is None or (fences := _fences.get(task)) is None:
        return {}
    return fences.pop((id(stack), key), {})
