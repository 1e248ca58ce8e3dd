"""The short way of a read: memory has not got the value, the tier below it has, and it is fresh.

That is the usual read of a shared tier, and there is nothing to decide about it: one read, and
memory keeps what was found. What else there may be (a miss, something stale or damaged, a tier
that is away, a read inside a load) is left to the general fall, which takes along what the tier
has answered already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.dependencies import origin_of
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Entry, Flag, Hit, priority_bits
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.model.policy import CachePriority
from cascada.tiers.contract import Found, Missing
from cascada.tiers.deadline import AT_ONCE
from cascada.tiers.large_values import told_of_only

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond

_LOW: Final = priority_bits(CachePriority.LOW)

Answers = Mapping[Key, Found | Missing]
T = TypeVar("T")
Read = Coroutine[Any, Any, list["T | SharedRead"]]
"""For each question what was found so, or what the authority said instead."""


class SharedRead:
    """What the authority has answered, or that it did not; `since` is memory's moment before.

    If memory was emptied since, its numbers may be those of another epoch: ask again.
    """

    __slots__ = ("_answers", "_keys", "since")

    def __init__(
        self, keys: Sequence[Key], answers: Sequence[Found | Missing] | TierUnavailable, since: int
    ) -> None:
        self._keys = keys
        self._answers: Answers | Sequence[Found | Missing] | TierUnavailable = answers
        self.since = since

    @property
    def answers(self) -> Answers | TierUnavailable:
        """By key: worked out when somebody asks, as mostly nobody does."""
        if isinstance(self._answers, Sequence):
            self._answers = {
                key: answer
                for key, answer in zip(self._keys, self._answers, strict=True)
                if not told_of_only(answer)
            }
        return self._answers

    def tells(self, requests: Sequence[Request]) -> bool:
        """Whether these questions were asked (or would have been, of a tier that is away)."""
        answers = self.answers
        return isinstance(answers, TierUnavailable) or all(
            key in answers for request in requests for key in request.candidates
        )

    def lacks(self, requests: Sequence[Request]) -> bool:
        """Whether none of the candidates of these questions was there in any form."""
        answers = self.answers
        return not isinstance(answers, TierUnavailable) and all(
            answers.get(key).__class__ is Missing
            for request in requests
            for key in request.candidates
        )


UNASKED: Final = SharedRead((), (), 0)
"""Nobody has asked, so that it tells nothing."""


def hits(stack: Stack, requests: Sequence[Request]) -> Read[Hit[Any]]:
    """The hits that were found so."""
    tier, time = stack.authority.name, stack.now

    def hit(request: Request, value: object, entry: Entry, found_at: Key) -> Hit[Any]:
        age, origin = time() - entry.created, origin_of(request, found_at, entry)
        return Hit(value, tier, age if age > 0 else 0.0, False, False, origin)

    return _read(stack, requests, hit)


def look(stack: Stack, requests: Sequence[Request]) -> Read[Answer]:
    """The same for loads, whose answers go through more hands."""
    tier = stack.authority.name

    def answer(request: Request, value: object, entry: Entry, found_at: Key) -> Answer:
        return Answer(entry, tier, value=value, found_at=found_at)

    return _read(stack, requests, answer)


async def _read(
    stack: Stack, requests: Sequence[Request], made: Callable[[Request, object, Entry, Key], T]
) -> list[T | SharedRead]:
    """What the authority has for these questions, if that is fresh; memory keeps it.

    Inside a load the authority may not be recent enough, so that nobody asks here.
    """
    memory = stack.memory
    asked: list[int] = []
    keys: list[Key] = []
    if stack.lower and sources.current(stack) is None:
        for index, request in enumerate(requests):
            # Which candidate may answer strictly needs a decision.
            if memory.records.get(request.key) is None and request.kind.policy.lookup != "by_level":
                asked.append(index)
                keys += request.candidates
    if not asked:
        return [UNASKED] * len(requests)
    before = memory.moment()
    try:
        seen = await stack.lower[0].glance(keys)
    except TierUnavailable as error:
        return [SharedRead(keys, error, before)] * len(requests)
    memory.end_meanwhile()
    found: list[T | SharedRead] = [SharedRead(keys, seen, before)] * len(requests)
    at = 0
    for first in range(0, len(asked), AT_ONCE):
        if first:
            await asyncio.sleep(0)
        now, served, kept = stack.now(), list[Request](), list[tuple[Key, Entry, int]]()
        for index in asked[first : first + AT_ONCE]:
            request = requests[index]
            there = _fresh(stack, request, seen, at, now)
            at += len(request.candidates)
            if there is not None:
                value, entry, found_at, keep = there
                found[index] = made(request, value, entry, found_at)
                served.append(request)
                kept.append(keep)
        _keep(stack, served, kept, before)
    return found


def _fresh(
    stack: Stack, request: Request, seen: Sequence[Found | Missing], first: int, now: float
) -> tuple[object, Entry, Key, tuple[Key, Entry, int]] | None:
    """What is served if the first candidate that is there is fresh: anything else needs a decision.

    The value, its entry, where it was found, and what memory may keep of it. The answers for the
    request's candidates begin at the place `first`.
    """
    candidates, kind, at = request.candidates, request.kind, first
    last = first + len(candidates) - 1
    while (found := seen[at]).__class__ is Missing and at < last:
        at += 1
    if isinstance(found, Missing):
        return None
    entry, seq = found.entry, found.seq
    verdict = decide.judge(entry, kind.policy, now, generating=request.generating)
    if verdict is not Verdict.FRESH or entry.flags & _ABSENT or told_of_only(found):
        return None
    if entry.flags & _LOW == _LOW:  # has no place in memory
        return None
    try:
        value = stack.decode(entry, kind, request.want)
    except CorruptEntry:
        return None
    kept = entry
    if at > first:
        kept = decide.as_general_answer(entry, candidates[: at - first + 1], now)
        seq = min(each.seq for each in seen[first : at + 1])
    return value, entry, candidates[at - first], (request.key, kept, seq)


def _keep(
    stack: Stack, served: Sequence[Request], kept: Sequence[tuple[Key, Entry, int]], since: int
) -> None:
    """Let memory keep what was served, as read after the moment `since`."""
    if not kept or stack.reads_around:
        return
    accepted = stack.memory.keep(kept, since)
    if stack.trace.observers or False in accepted:
        for request, each in zip(served, accepted, strict=True):
            stack.trace.filled(request, stack.memory.name, accepted=each)
