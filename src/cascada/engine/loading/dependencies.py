"""What a loader reads through the cache while it runs, so that its result depends on it.

A context variable holds the frame of the load under way in this task (and in the tasks that it
starts). Every read through the same cache adds the names of what it found, or looked for, to it;
they become names of the result. So whatever invalidates a source invalidates what was made of it.

What is read inside a load is read from the lowest tier alone, or from the source. A tier above may
not have been told yet of an invalidation that the lowest one knows. For a reader that is bounded;
but what is made of the old value would be stored below under a newer number, and would stay. So
what has its place above is read there, and what is made of it is not stored in the lowest tier.

Three things make a result unfit to be stored: something it was made of was served stale, or belongs
to another tenant (whose invalidations are numbered apart, so that it could not be voided by them);
or its loader did something that a hit would not do again (`acts`).
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from contextvars import ContextVar
from typing import Any, Final

from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model import running
from cascada.model.entry import Entry, Origin
from cascada.model.keys import Key
from cascada.model.names import static_names

FOREIGN: Final = "made of what another tenant has"

_origin: Final = tuple.__new__
"""An Origin without its constructor, which is a Python function: twice as fast."""


class LoadContext:
    """One load under way: what it has read so far. `owner` is its task.

    `above`: something was read that the lowest tier has not got. `with` it, a loader runs inside
    it, once.
    """

    __slots__ = ("_outer", "above", "cache", "names", "owner", "stale", "tenant", "unfit")

    def __init__(self, cache: object, owner: Any, tenant: str) -> None:
        self.cache = cache
        self.owner = owner
        self.tenant = tenant
        self.names: dict[str, None] = {}
        self.stale = self.above = False
        self.unfit: str | None = None

    def __enter__(self) -> None:
        self._outer = _frame.set(self)

    def __exit__(self, *error: object) -> None:
        _frame.reset(self._outer)

    def note(self, question_keys: Iterable[Key], entry: Entry | None) -> None:
        """A read looked at these keys and found `entry` (None: nothing)."""
        for key in question_keys:
            if key.tenant != self.tenant:
                self.unfit = FOREIGN
                return
            self.names.update(dict.fromkeys(static_names(key)))
        if entry is not None:
            self.names.update(dict.fromkeys(entry.names))

    def join(self, other: LoadContext) -> None:
        """What was read for the other load was read for this one, too."""
        self.names.update(other.names)
        self.stale = self.stale or other.stale
        self.above = self.above or other.above
        self.unfit = self.unfit or other.unfit


_frame: Final[ContextVar[LoadContext | None]] = running.load


def current(cache: object) -> LoadContext | None:
    """The load of the same cache that this code runs in."""
    context = _frame.get()
    return context if context is not None and context.cache is cache else None


def must_ask_below(stack: Stack) -> bool:
    """Whether this read is part of a load, so that memory is not recent enough for it."""
    return stack.authority is not stack.memory and current(stack) is not None


def note_key(cache: object, key: Key, entry: Entry) -> None:
    """A hit in memory, seen from inside a load."""
    if (context := current(cache)) is not None:
        context.note((key,), entry)


def note(cache: object, request: Request, answer: Answer | None) -> None:
    """An answer of the slow path: it depends on every candidate that was looked at before it."""
    if (context := current(cache)) is None:
        return
    if answer is None:
        context.note(request.candidates, None)
        return
    looked_at = request.candidates
    if answer.found_at is not None:
        looked_at = looked_at[: looked_at.index(answer.found_at) + 1]
    context.note(looked_at, answer.entry)
    context.stale = context.stale or answer.stale
    context.unfit = context.unfit or answer.unfit
    context.above = context.above or answer.above


def acts(why: str) -> None:
    """What runs now has effects, or may have: the result of the load that it runs in, of whatever
    cache, is not stored, since who got it from a tier would believe them made."""
    if (context := _frame.get()) is not None:
        context.unfit = context.unfit or why


def origin_of(request: Request, found_at: Key, entry: Entry) -> Origin:
    """The key at which the entry was found, and all else that what is made of it depends on."""
    if found_at == request.key:
        lifetime = entry.fresh_until - entry.created
        return _origin(Origin, (found_at, entry.names, entry.data, lifetime, entry.cost))
    # A more specific value, once it is there, answers in its place.
    passed = request.candidates[: request.candidates.index(found_at)]
    names = [name for key in passed for name in static_names(key)]
    return Origin(found_at, (*entry.names, *names), entry.data, entry.lifetime, entry.cost)


def forget_load() -> None:
    """What the rest of this task reads is part of no load, wherever the task was started."""
    _frame.set(None)


def outlived_by(running: Future[Any]) -> None:
    """The load under way in this task has given up a plain function that goes on in its thread."""
    if (context := _frame.get()) is not None:
        context.owner.threads.append(running)
