"""The hand-written pattern, made safe: get, a miss, read the row, store.

What is stored so was read after the miss, but perhaps before an invalidation that came after it. So
a miss carries a snapshot, the answers that the tiers gave, and what is stored by it takes its
leases as of then: it is refused if anything named the key in between. A miss whose tier could not
be read leaves one that always refuses. (`docs/protocol.md` rules 1 and 2.)

`fill` is given the miss itself. `set` finds it by its task: snapshots belong to the task, not to
the context: contexts are copied into tasks, and two requests that share one would each rob the
other of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from cascada.engine.reading.item import Item, is_absence
from cascada.engine.request import Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.callers import Notes, notes_of_tasks
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.contract import Fence, Found, Lease, Missing, Tier, Why

MAX_SNAPSHOTS: Final = 256
"""Misses that one task may leave behind without setting them. The oldest are forgotten, unless the
task still holds what `get` has answered: who reads many, and sets them all, holds their misses."""

Answered = Found | Missing | Fence
"""What a tier answered to the read that missed."""


class Snapshot:
    """What a miss remembers: `request` found nothing, or nothing to be given, in this `stack`.

    `meanwhile`: by which memory keeps what is made, if the tier that numbers its news was away.
    """

    __slots__ = ("__weakref__", "meanwhile", "request", "seen", "stack")

    def __init__(self, stack: Stack, request: Request, seen: dict[str, Answered]) -> None:
        self.stack = stack
        self.request = request
        self.seen = seen
        self.meanwhile: Lease | None = None


def remember(stack: Stack, item: Item) -> Snapshot:
    """This read of the current task found nothing, or nothing that it is given."""
    # Of the key itself. What was found and may not be served (kept in case its source fails) is a
    # miss, too, and what is made may take its place. Not a value that is only hidden from this
    # caller.
    hidden = item.answer is not None and not is_absence(item.answer)
    seen: dict[str, Answered] = {}
    for tier, (each, *_) in item.seen.items():
        seen[tier] = Fence(each.seq, each.epoch) if hidden and isinstance(each, Found) else each
    snapshot = Snapshot(stack, item.request, seen)
    numbered = seen.get(stack.authority.name)
    away = isinstance(numbered, Missing) and numbered.why is Why.UNAVAILABLE
    if away and stack.goes_on_without(item.request):
        # Now, since without numbers only a lease from before tells of an invalidation.
        key, longest = item.request.key, stack.degraded_l1_ttl
        snapshot.meanwhile = stack.memory.lease_meanwhile(key, None, longest)
    if item.request.apart:
        for at in range(1, len(item.request.candidates)):
            _note(_of_candidate(stack, item, at))
    _note(snapshot)
    return snapshot


def _of_candidate(stack: Stack, item: Item, at: int) -> Snapshot:
    """The same of another candidate, which was missed with the first. A tier that was asked for the
    first alone (memory) has numbered nothing else at that moment."""
    kind, key = item.request.kind, item.request.candidates[at]
    seen: dict[str, Answered] = {
        tier: answers[at] if at < len(answers) else Fence(answers[0].seq, answers[0].epoch)
        for tier, answers in item.seen.items()
    }
    return Snapshot(stack, Request(kind, (key,)), seen)


def _note(snapshot: Snapshot) -> None:
    """Let a later `set` of this task find it."""
    task = asyncio.current_task()
    if task is None:
        return
    notes = notes_of_tasks.get(task)
    if notes is None:
        notes = notes_of_tasks[task] = Notes()
    where = id(snapshot.stack), snapshot.request.key
    notes.take(where)  # a later `set` is held to the latest alone, and that is the youngest
    notes[where] = snapshot
    if len(notes) > MAX_SNAPSHOTS:
        notes.push_out()


async def complete(stack: Stack, snapshots: Sequence[Snapshot]) -> None:
    """Ask the tiers that these reads have not: a tier above may have ended them.

    Their caller reads its row after this, so that what the tiers say now is early enough.
    """
    for tier in stack.lower:
        unasked = [
            each
            for each in snapshots
            if tier.name not in each.seen and tier in stack.lower_of(each.request)
        ]
        if unasked:
            await _ask(tier, unasked)


async def _ask(tier: Tier, unasked: Sequence[Snapshot]) -> None:
    try:
        answers = await tier.read([snapshot.request.key for snapshot in unasked])
    except TierUnavailable:
        answers = [Missing(-1, Why.UNAVAILABLE)] * len(unasked)
    for snapshot, answer in zip(unasked, answers, strict=True):
        hidden = isinstance(answer, Found)
        snapshot.seen[tier.name] = Fence(answer.seq, answer.epoch) if hidden else answer


def take(stack: Stack, key: Key) -> Snapshot | None:
    """The snapshot that a miss of `key` in this task has left; it serves one `set`."""
    task = asyncio.current_task()
    if task is None or (notes := notes_of_tasks.get(task)) is None:
        return None
    taken: Snapshot | None = notes.take((id(stack), key))
    return taken


def spend(snapshot: Snapshot) -> None:
    """It has served: a later `set` in this task is not held to it."""
    task = asyncio.current_task()
    notes = None if task is None else notes_of_tasks.get(task)
    where = id(snapshot.stack), snapshot.request.key
    if notes is not None and snapshot in (notes.get(where), notes.held.get(where)):
        notes.take(where)
