"""The short way of a read: memory has not got the value, the tier below it has, and it is fresh.

That is the usual read of a shared tier, and there is nothing to decide about it: one read, and
memory keeps what was found. What else there may be (a miss, something stale or damaged, a tier
that is away, a read inside a load) is left to the general fall, which takes along what the tier
has answered already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from cascada.engine import decide
from cascada.engine.decide import Verdict
from cascada.engine.loading import dependencies as sources
from cascada.engine.request import Answer, Request
from cascada.engine.stack import Stack
from cascada.model.entry import Entry, Flag
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.contract import Found, Missing
from cascada.tiers.large_values import told_of_only

_ABSENT: Final = int(Flag.ABSENT)  # calculating with the enum's member takes half a microsecond

Answers = Mapping[Key, Found | Missing]


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


async def look_for_all(
    stack: Stack, requests: Sequence[Request]
) -> list[tuple[Answer | None, SharedRead | None]]:
    """`look`, for callers who ask one question each."""
    answers, known = await look(stack, requests)
    return [(answer, known) for answer in answers]


async def look(
    stack: Stack, requests: Sequence[Request]
) -> tuple[list[Answer | None], SharedRead | None]:
    """The answers that were found so, and what the authority said (None: it was not asked)."""
    answers: list[Answer | None] = [None] * len(requests)
    memory = stack.memory
    if not stack.lower or sources.current(stack) is not None:
        return answers, None
    asked = [
        (index, request)
        for index, request in enumerate(requests)
        # Which candidate may answer strictly needs a decision.
        if request.key not in memory.records and request.kind.policy.lookup != "strict"
    ]
    if not asked:
        return answers, None
    before = memory.moment()
    keys = [key for _, request in asked for key in request.candidates]
    try:
        seen = await stack.lower[0].glance(keys)
    except TierUnavailable as error:
        return answers, SharedRead(keys, error, before)
    memory.end_meanwhile()
    found: list[tuple[Request, Entry, int]] = []
    now, start = stack.now(), 0
    for index, request in asked:
        end = start + len(request.candidates)
        if (answered := _answer(stack, request, seen[start:end], now)) is not None:
            answers[index], entry, q = answered
            found.append((request, entry, q))
        start = end
    _keep(stack, found, before)
    return answers, SharedRead(keys, seen, before)


def _answer(
    stack: Stack, request: Request, seen: Sequence[Found | Missing], now: float
) -> tuple[Answer, Entry, int] | None:
    """The answer, and what memory may keep of it at which q, if the first that is there is fresh.

    Anything else needs a decision.
    """
    kind = request.kind
    for at, each in enumerate(seen):
        if isinstance(each, Missing):
            continue
        entry, q = each.entry, each.q
        verdict = decide.judge(entry, kind.policy, now, generating=request.generating)
        if verdict is not Verdict.FRESH or entry.flags & _ABSENT:
            return None
        if told_of_only(each):
            return None
        try:
            value = stack.decode(entry, kind, request.want)
        except CorruptEntry:
            return None
        key = request.candidates[at]
        answer = Answer(entry, stack.authority.name, value=value, found_at=key)
        if at:
            entry = decide.as_general_answer(entry, request.candidates[: at + 1], now)
            q = min(looked_at.q for looked_at in seen[: at + 1])
        return answer, entry, q
    return None


def _keep(stack: Stack, found: Sequence[tuple[Request, Entry, int]], before: int) -> None:
    memory = stack.memory
    kept = memory.keep([(request.key, entry, q) for request, entry, q in found], before)
    if stack.trace.observers or False in kept:
        for (request, _, _), accepted in zip(found, kept, strict=True):
            stack.trace.filled(request, memory.name, accepted=accepted)
