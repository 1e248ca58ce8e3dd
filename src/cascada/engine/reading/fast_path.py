"""The short way of a read: memory has not got the value, the tier below it has, and it is fresh.

That is the usual read of a shared tier, and there is nothing to decide about it: one read, and
memory keeps what was found. What else there may be (a miss, something stale or damaged, a tier
that is away, a read inside a load) is left to the general fall, which takes along what the tier
has answered already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.loading import dependencies as sources
from cascada.engine.loading.dependencies import origin_of
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Entry, Flag, Hit
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.contract import Found, Missing
from cascada.tiers.deadline import AT_ONCE, take_turns
from cascada.tiers.large_values import told_of_only

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond

Answers = Mapping[Key, Found | Missing]
T = TypeVar("T")


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


async def hits_for_all(
    stack: Stack, requests: Sequence[Request]
) -> list[tuple[Hit[Any] | None, SharedRead | None]]:
    """`hits`, for callers who ask one question each."""
    found, known = await hits(stack, requests)
    return [(hit, known) for hit in found]


async def hits(
    stack: Stack, requests: Sequence[Request]
) -> tuple[list[Hit[Any] | None], SharedRead | None]:
    """The hits that were found so, and what the authority said (None: it was not asked)."""
    tier, time = stack.authority.name, stack.now

    def hit(request: Request, value: object, entry: Entry, found_at: Key) -> Hit[Any]:
        age, origin = time() - entry.created, origin_of(request, found_at, entry)
        return Hit(value, tier, age if age > 0 else 0.0, False, False, origin)

    return await _read(stack, requests, hit)


async def look(
    stack: Stack, requests: Sequence[Request]
) -> tuple[list[Answer | None], SharedRead | None]:
    """The same for loads, whose answers go through more hands."""
    tier = stack.authority.name

    def answer(request: Request, value: object, entry: Entry, found_at: Key) -> Answer:
        return Answer(entry, tier, value=value, found_at=found_at)

    return await _read(stack, requests, answer)


async def _read(
    stack: Stack, requests: Sequence[Request], made: Callable[[Request, object, Entry, Key], T]
) -> tuple[list[T | None], SharedRead | None]:
    """What the authority has for these questions, if that is fresh; memory keeps it."""
    memory = stack.memory
    found: list[T | None] = [None] * len(requests)
    if not stack.lower or sources.current(stack) is not None:
        return found, None
    asked = [
        index
        for index, request in enumerate(requests)
        # Which candidate may answer strictly needs a decision.
        if request.key not in memory.records and request.kind.policy.lookup != "by_level"
    ]
    if not asked:
        return found, None
    before = memory.moment()
    keys = [key for index in asked for key in requests[index].candidates]
    try:
        seen = await stack.lower[0].glance(keys)
    except TierUnavailable as error:
        return found, SharedRead(keys, error, before)
    memory.end_meanwhile()
    at = 0
    for first in take_turns(len(asked)):
        if first:
            await asyncio.sleep(0)
        serving = _Serving(stack)
        for index in asked[first : first + AT_ONCE]:
            request = requests[index]
            if (served := serving.of(request, seen, at)) is not None:
                found[index] = made(request, *served)
            at += len(request.candidates)
        serving.keep(before)
    return found, SharedRead(keys, seen, before)


class _Serving:
    """Some answers that are served at one moment, and kept in memory together."""

    __slots__ = ("_kept", "_now", "_requests", "_stack")

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._now = stack.now()
        self._requests: list[Request] = []
        self._kept: list[tuple[Key, Entry, int]] = []

    def of(
        self, request: Request, seen: Sequence[Found | Missing], first: int
    ) -> tuple[object, Entry, Key] | None:
        """The value, its entry and where it was found, if the first that is there is fresh.

        The answers for the request's candidates begin at the place `first`. Anything else needs a
        decision.
        """
        candidates, at = request.candidates, first
        last = first + len(candidates) - 1
        while (found := seen[at]).__class__ is Missing and at < last:
            at += 1
        if isinstance(found, Missing):
            return None
        stack, kind = self._stack, request.kind
        entry, q, now = found.entry, found.q, self._now
        verdict = decide.judge(entry, kind.policy, now, generating=request.generating)
        if verdict is not Verdict.FRESH or entry.flags & _ABSENT or told_of_only(found):
            return None
        try:
            value = stack.decode(entry, kind, request.want)
        except CorruptEntry:
            return None
        kept = entry
        if at > first:
            looked_at = candidates[: at - first + 1]
            kept = decide.as_general_answer(entry, looked_at, now)
            q = min(each.q for each in seen[first : at + 1])
        self._requests.append(request)
        self._kept.append((request.key, kept, q))
        return value, entry, candidates[at - first]

    def keep(self, since: int) -> None:
        """Let memory keep what was served, as read after the moment `since`."""
        memory, trace = self._stack.memory, self._stack.trace
        accepted = memory.keep(self._kept, since)
        if trace.observers or False in accepted:
            for request, each in zip(self._requests, accepted, strict=True):
                trace.filled(request, memory.name, accepted=each)
