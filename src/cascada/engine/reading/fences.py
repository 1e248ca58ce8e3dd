"""The hand-written pattern, made safe: get, a miss, read the row, store.

What is stored so was read after the miss, but perhaps before an invalidation that came after it. So
a miss carries a fence, the answers that the tiers gave, and what is stored by it takes its leases
as of then: it is refused if anything named the key in between. A miss whose tier could not be read
leaves a fence that always refuses. (`docs/protocol.md` rules 1 and 2.)

`fill` is given the miss itself. `set` finds it by its task: fences belong to the task, not to the
context: contexts are copied into tasks, and two requests that share a fence would each rob the
other of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from cascada.engine.reading.lookup import Lookup
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Flag
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.contract import Fence as TierFence
from cascada.tiers.contract import Found, Missing, Tier, Why

MAX_FENCES: Final = 256
"""Misses that one task may leave behind without setting them; the oldest are forgotten."""

Answered = Found | Missing | TierFence
"""What a tier answered to the read that missed."""


class Fence:
    """What a miss remembers: `request` found nothing, or nothing to be given, in this `stack`."""

    __slots__ = ("request", "seen", "stack")

    def __init__(self, stack: Stack, request: Request, seen: dict[str, Answered]) -> None:
        self.stack = stack
        self.request = request
        self.seen = seen


_fences: WeakKeyDictionary[asyncio.Task[Any], dict[tuple[int, Key], Fence]] = WeakKeyDictionary()


async def remember(stack: Stack, descents: Sequence[Lookup]) -> list[Fence]:
    """These reads of the current task found nothing, or nothing that they are given."""
    fences = [Fence(stack, descent.request, _seen_by(descent)) for descent in descents]
    task = asyncio.current_task()
    if task is not None and fences:
        of_task = _fences.setdefault(task, {})
        for fence in fences:
            of_task[id(stack), fence.request.key] = fence
            if len(of_task) > MAX_FENCES:
                del of_task[next(iter(of_task))]
    # A read that is hidden from its caller may have been ended by a tier above. The caller reads
    # its row after this, so that what the others say now is early enough.
    for tier in stack.lower:
        unasked = [fence for fence in fences if tier.name not in fence.seen]
        if unasked:
            await _ask(tier, unasked)
    return fences


def _seen_by(descent: Lookup) -> dict[str, Answered]:
    """What the tiers have answered, of the key itself.

    What was found and may not be served (kept in case its source fails) is a miss, too, and what is
    made may take its place. Not that of a value that is only hidden from this caller.
    """
    seen: dict[str, Answered] = {tier: answers[0] for tier, answers in descent.seen.items()}
    if descent.answer is None or is_absence(descent.answer):
        return seen
    return {
        tier: TierFence(each.q, each.epoch) if isinstance(each, Found) else each
        for tier, each in seen.items()
    }


def is_absence(answer: Answer) -> bool:
    """Whether it is known that there is nothing."""
    return bool(answer.entry.flags & Flag.ABSENT)


async def _ask(tier: Tier, unasked: Sequence[Fence]) -> None:
    try:
        answers = await tier.read([fence.request.key for fence in unasked])
    except TierUnavailable:
        answers = [Missing(-1, Why.UNAVAILABLE)] * len(unasked)
    for fence, answer in zip(unasked, answers, strict=True):
        hidden = isinstance(answer, Found)
        fence.seen[tier.name] = TierFence(answer.q, answer.epoch) if hidden else answer


def take(stack: Stack, key: Key) -> Fence | None:
    """The fence that a miss of `key` in this task has left; it serves one `set`."""
    task = asyncio.current_task()
    if task is None or (fences := _fences.get(task)) is None:
        return None
    return fences.pop((id(stack), key), None)


def spend(fence: Fence) -> None:
    """It has served: a later `set` in this task is not held to it."""
    task = asyncio.current_task()
    fences = None if task is None else _fences.get(task)
    where = id(fence.stack), fence.request.key
    if fences is not None and fences.get(where) is fence:
        del fences[where]
