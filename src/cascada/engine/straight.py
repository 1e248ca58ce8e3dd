"""The short way of a read: memory has not got the value, the tier below it has, and it is fresh.

That is the usual read of a shared tier, and there is nothing to decide about it: one read, and
memory keeps what was found. What else there may be (a miss, something stale or damaged, a tier
that is away, a read inside a load) is left to the general fall, which takes along what the tier
has answered already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cascada.engine import decide, sources
from cascada.engine.answer import Answer, Question
from cascada.engine.decide import Verdict
from cascada.engine.stack import Stack
from cascada.model.entry import Entry
from cascada.model.errors import CorruptEntry, TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.base import Found, Missing

Answers = Mapping[Key, Found | Missing]


class Known:
    """What the authority has answered, or that it did not; `since` is memory's moment before.

    If memory was emptied since, its numbers may be those of another epoch: ask again.
    """

    __slots__ = ("answers", "since")

    def __init__(self, answers: Answers | TierUnavailable, since: int) -> None:
        self.answers = answers
        self.since = since

    def tells(self, questions: Sequence[Question]) -> bool:
        """Whether these questions were asked (or would have been, of a tier that is away)."""
        answers = self.answers
        return isinstance(answers, TierUnavailable) or all(
            question.key in answers for question in questions
        )

    def lacks(self, questions: Sequence[Question]) -> bool:
        """Whether none of the candidates of these questions was there in any form."""
        answers = self.answers
        return not isinstance(answers, TierUnavailable) and all(
            answers.get(key).__class__ is Missing
            for question in questions
            for key in question.candidates
        )


async def glimpse(
    stack: Stack, questions: Sequence[Question]
) -> tuple[list[Answer | None], Known | None]:
    """`look`, together with all others who look in this turn of the event loop."""
    if len(questions) != 1 or not stack.lower or sources.current(stack) is not None:
        return await look(stack, questions)
    answer, known = await stack.glimpses.ask(questions[0])
    return [answer], known


async def look_for_all(
    stack: Stack, questions: Sequence[Question]
) -> list[tuple[Answer | None, Known | None]]:
    """`look`, for callers who ask one question each."""
    answers, known = await look(stack, questions)
    return [(answer, known) for answer in answers]


async def look(
    stack: Stack, questions: Sequence[Question]
) -> tuple[list[Answer | None], Known | None]:
    """The answers that were found so, and what the authority said (None: it was not asked)."""
    answers: list[Answer | None] = [None] * len(questions)
    memory = stack.memory
    if not stack.lower or sources.current(stack) is not None:
        return answers, None
    asked = [
        (index, question)
        for index, question in enumerate(questions)
        # Which candidate may answer strictly needs a decision.
        if question.key not in memory.records and question.kind.policy.lookup != "strict"
    ]
    if not asked:
        return answers, None
    before = memory.moment()
    keys = [key for _, question in asked for key in question.candidates]
    try:
        known = dict(zip(keys, await stack.authority.read(keys), strict=True))
    except TierUnavailable as error:
        return answers, Known(error, before)
    found = _fresh(stack, asked, known)
    for index, answer, _, _ in found:
        answers[index] = answer
    _keep(stack, [(questions[index], entry, q) for index, _, entry, q in found], before)
    return answers, Known(known, before)


def _fresh(
    stack: Stack, asked: Sequence[tuple[int, Question]], known: Answers
) -> list[tuple[int, Answer, Entry, int]]:
    """What answers at once: where it was asked, the answer, and what memory may keep of it."""
    now, tier = stack.now(), stack.authority.name
    found: list[tuple[int, Answer, Entry, int]] = []
    for index, question in asked:
        first = _first_fresh(question, known, now)
        if first is None:
            continue
        key, entry, q = first
        try:
            value = stack.decode(entry, question.kind, question.want)
        except CorruptEntry:
            continue
        answer = Answer(entry, tier, value=value, found_at=key)
        if key is not question.key:
            looked_at = question.candidates[: question.candidates.index(key) + 1]
            entry = decide.as_general_answer(entry, looked_at, now)
            q = min(known[each].q for each in looked_at)
        found.append((index, answer, entry, q))
    return found


def _keep(stack: Stack, found: Sequence[tuple[Question, Entry, int]], before: int) -> None:
    memory = stack.memory
    kept = memory.keep([(question.key, entry, q) for question, entry, q in found], before)
    if stack.trace.observers or False in kept:
        for (question, _, _), accepted in zip(found, kept, strict=True):
            stack.trace.filled(question, memory.name, accepted=accepted)


def _first_fresh(question: Question, known: Answers, now: float) -> tuple[Key, Entry, int] | None:
    """The first candidate that is there, if it is fresh; anything else needs a decision."""
    for key in question.candidates:
        answer = known[key]
        if answer.__class__ is Missing:
            continue
        entry = answer.entry  # type: ignore[union-attr]
        verdict = decide.judge(entry, question.kind.policy, now, generating=question.generating)
        return (key, entry, answer.q) if verdict is Verdict.FRESH else None
    return None
