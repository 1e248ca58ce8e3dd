"""From an answer of the engine to what its caller gets: a value of his own, a `Hit` or a `Miss`.

`Engine` and the streams call it, at the end of a read. It reads no tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.engine.loading import dependencies as sources
from cascada.engine.reading.item import is_absence
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.engine.tasks.singleflight import Flight
from cascada.model.entry import UNSET, Hit, Miss
from cascada.model.errors import CorruptEntry


def value_of(stack: Stack, request: Request, answer: Answer) -> object:
    """The answer's value as this caller's own: the object at hand once, then fresh decodings."""
    if answer.absent:
        return None
    if answer.value is not UNSET:
        value = answer.value
        if answer.storable:  # else there is no other one to be had
            answer.value = UNSET
        return value
    return stack.decode(answer.entry, request.kind, request.want)


def hit_of(stack: Stack, request: Request, answer: Answer, default: Any = None) -> Hit[Any] | Miss:
    """The answer as its caller gets it."""
    if answer.absent:
        return Miss(default)
    absent = is_absence(answer)
    value = default if absent else value_of(stack, request, answer)
    age = 0.0 if answer.tier == "source" else max(0.0, stack.now() - answer.entry.created)
    origin = sources.origin_of(request, answer.found_at or request.key, answer.entry)
    stale, coalesced = answer.stale, answer.coalesced
    return Hit(value, answer.tier, age, stale, coalesced, origin, absent, answer.snapshot)


def suits(stack: Stack, request: Request, answer: Answer, flight: Flight) -> bool:
    """Whether a flight's answer is one to this caller; it is decoded for him. Else he looks again:
    he has asked for another type, or has a generator, which the flight had not."""
    if answer.absent and request.generating and not flight.request.generating:
        return False
    if answer.value is UNSET and not answer.absent:
        try:
            answer.value = stack.decode(answer.entry, request.kind, request.want)
        except CorruptEntry:
            return False
    return True


def account(
    stack: Stack,
    requests: Sequence[Request],
    answers: Sequence[Hit[Any] | Answer | Miss],
    started: float,
    *,
    timed: bool = False,
) -> None:
    """Count the answers, and tell the load that this runs in what it depends on."""
    stack.trace.answered(requests, answers, stack.timer() - started, timed=timed)
    if sources.current(stack) is not None:
        for request, answer in zip(requests, answers, strict=True):
            sources.note(stack, request, answer if isinstance(answer, Answer) else None)
