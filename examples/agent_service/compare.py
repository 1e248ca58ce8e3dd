"""Whether two runs of one workload answered alike: every answer, for the same state of the data.

The first run, without a cache, says what is right. A read that no write was going on beside has
one right answer; one beside a write may have the answer before it or the one after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from examples.agent_service.drive import Answered
from examples.agent_service.workload import State

Answer = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing gave.

    compared: answers of the second run. wrong: sentences on those that are not right. told_apart:
    how many answers changed when a write changed what they are of; with 0 of them the comparison
    could not have seen a stale answer.
    """

    compared: int
    wrong: list[str]
    told_apart: int


def compare(first: Iterable[Answered], second: Iterable[Answered]) -> Comparison:
    first, second = list(first), list(second)
    right: dict[tuple[str, State], Answer] = {}
    for answered in first:
        if len(answered.read.states) == 1:
            place = (answered.read.wish.key, answered.read.states[0])
            right.setdefault(place, _answer(answered))
    wrong = [*_wrong("first", first, right), *_wrong("second", second, right)]
    return Comparison(len(second), wrong, _told_apart(right))


def _wrong(name: str, run: list[Answered], right: dict[tuple[str, State], Answer]) -> Iterator[str]:
    for answered in run:
        key, states = answered.read.wish.key, answered.read.states
        allowed = [right.get((key, state)) for state in states]
        if None in allowed:
            yield f"{name} run, {key}: nothing is known of its answer in one of {states}"
        elif _answer(answered) not in allowed:
            yield (
                f"{name} run, {key} at {answered.at:.2f} s: {answered.status} "
                f"{answered.body[:200]!r} is not the answer in {states}: {allowed[0]!r:.200}"
            )


def _told_apart(right: dict[tuple[str, State], Answer]) -> int:
    answers: dict[str, set[Answer]] = defaultdict(set)
    for (key, _), answer in right.items():
        answers[key].add(answer)
    return sum(len(different) - 1 for different in answers.values())


def _answer(answered: Answered) -> Answer:
    return answered.status, answered.body
