"""The hand-written pattern, made safe: get, miss, read the row, set.

What such a `set` stores was read after the miss, but perhaps before an invalidation that came
after it. So a miss leaves a fence in its task, the answer that the tier gave, and the `set` of the
same key takes its lease as of then: it is refused if anything named the key in between. A miss
whose tier could not be read leaves a fence that always refuses. A refused `set` stores nothing, but
the old value goes all the same: its caller may have written the row that it stands for.
(`coherence.md` section 4.)

Fences belong to the task, not to the context: contexts are copied into tasks, and two requests
that share a fence would each rob the other of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from weakref import WeakKeyDictionary

from cascada.engine.descent import Descent
from cascada.engine.stack import Stack
from cascada.model.keys import Key
from cascada.tiers.base import Found, Missing
from cascada.tiers.memory import Record

MAX_FENCES: Final = 256
"""Misses that one task may leave behind without setting them; the oldest are forgotten."""

_fences: WeakKeyDictionary[asyncio.Task[Any], dict[tuple[int, Key], Missing]] = WeakKeyDictionary()


def remember(stack: Stack, descents: Sequence[Descent]) -> None:
    """These reads of the current task found nothing, or nothing that they may be given."""
    task = asyncio.current_task()
    if task is None or not descents:
        return
    fences = _fences.setdefault(task, {})
    for descent in descents:
        fences[id(stack), descent.question.key] = _fence(stack, descent)
        if len(fences) > MAX_FENCES:
            del fences[next(iter(fences))]


def _fence(stack: Stack, descent: Descent) -> Missing:
    if (below := descent.seen.get(stack.authority.name)) is not None:
        seen = below[0]
        return seen if isinstance(seen, Missing) else Missing(seen.q)
    # Memory ended the read. What it has heard of says less than the number that its record bears.
    (found,) = descent.seen[stack.memory.name]
    assert isinstance(found, Found)
    assert isinstance(found.entry, Record)
    return Missing(found.entry.q)


def take(stack: Stack, key: Key) -> Missing | None:
    """The fence that a miss of `key` in this task has left; it serves one `set`."""
    task = asyncio.current_task()
    if task is None or (fences := _fences.get(task)) is None:
        return None
    return fences.pop((id(stack), key), None)
