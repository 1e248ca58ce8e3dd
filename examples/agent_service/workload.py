"""The workload: what is read and written, in which order, the same for every run of one seed.

It is a list of phases. In a phase reads run side by side; a write either stands before them all
(whoever reads later must see it) or falls into their midst (a read may then see either state, and
nothing else). Each read carries the states of the data in which its answer is right, so that the
answers of two runs can be compared one by one.

So that this comparison says something, every write changes a thing that is read, and the reads
that a write in the midst touches are asked before it and after it as well: both states then have
a known answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle
from random import Random
from typing import Final

from examples.agent_service.world import (
    Request,
    Thing,
    Wish,
    World,
    agent_body,
    document_body,
)

State = tuple[int, ...]
"""How often each of the things that an answer is made of has been changed."""

_OTHER_READS: Final = 0.5  # share of the reads that are no questions
_PROBES: Final = 3  # reads that are asked before, during and after a write in the midst
_REPEATS: Final = 4  # how often each of them is asked during it
_MIDST_EVERY: Final = 4  # one write in so many falls into the midst of the reads
# What is written, in turn: mostly things are said, sometimes agents and documents change.
_WRITES: Final = ("say", "agent", "say", "document", "say", "tool", "say", "withdraw")


@dataclass(frozen=True, slots=True)
class Read:
    """A read, and the states in which its answer may be given (two while a write is going on)."""

    wish: Wish
    states: tuple[State, ...]


@dataclass(frozen=True, slots=True)
class Phase:
    """A write and the reads that follow it, or that it falls into the midst of."""

    write: Request | None
    in_the_midst: bool
    reads: tuple[Read, ...]


def make_phases(
    world: World, skew: float, reads: int, seed: int, reads_in_phase: int = 125
) -> list[Phase]:
    """About `reads` reads in phases, popular things more often by Zipf's law with that skew."""
    return list(_Planner(world, skew, Random(seed)).phases(reads, reads_in_phase))


class _Planner:
    """Draws reads and writes, and remembers how often each thing was changed."""

    def __init__(self, world: World, skew: float, random: Random) -> None:
        self._world = world
        self._random = random
        self._changes: Counter[Thing] = Counter()
        self._present = {thing: list(texts) for thing, texts in world.asked.items()}
        self._kinds = cycle(_WRITES)
        self._weights = [
            list(accumulate((rank + 1) ** -skew for rank in range(len(wishes))))
            for wishes in (world.questions, world.others)
        ]

    def phases(self, reads: int, in_phase: int) -> Iterator[Phase]:
        for number in range(max(1, reads // in_phase)):
            wishes = [self._draw() for _ in range(in_phase)]
            if number == 0:
                yield Phase(None, False, self._reads(wishes))
            elif number % _MIDST_EVERY:
                write, _ = self._write(wishes)
                yield Phase(write, False, self._reads(wishes))
            else:
                yield from self._write_in_the_midst(wishes)

    def _write_in_the_midst(self, wishes: list[Wish]) -> Iterator[Phase]:
        third = len(wishes) // 3
        first, midst, last = wishes[:third], wishes[third : 2 * third], wishes[2 * third :]
        before = self._changes.copy()
        write, thing = self._write(midst)
        touched = {wish.key: wish for wish in midst if thing in wish.things}
        probes = list(touched.values())[:_PROBES]
        during = [wish for wish in midst if thing not in wish.things] + probes * _REPEATS
        self._random.shuffle(during)
        yield Phase(None, False, self._reads([*first, *probes], before))
        yield Phase(write, True, self._reads(during, before, self._changes))
        yield Phase(None, False, self._reads([*probes, *last]))

    def _draw(self) -> Wish:
        other = self._random.random() < _OTHER_READS
        wishes = self._world.others if other else self._world.questions
        return self._random.choices(wishes, cum_weights=self._weights[other])[0]

    def _reads(self, wishes: Sequence[Wish], *moments: Counter[Thing]) -> tuple[Read, ...]:
        """The wishes, with the states that their things have at the moments (else now)."""
        return tuple(
            Read(wish, tuple(dict.fromkeys(_state(wish, at) for at in moments or [self._changes])))
            for wish in wishes
        )

    def _write(self, wishes: Sequence[Wish]) -> tuple[Request, Thing]:
        """The next write, of a thing that one of the wishes reads, so that it can be seen."""
        kind = next(self._kinds)
        of = {"say": "conversation", "document": "collection", "withdraw": "collection"}
        things = [t for wish in wishes for t in wish.things if t.kind == of.get(kind, "agent")]
        thing = self._random.choice(things or self._things(of.get(kind, "agent")))
        self._changes[thing] += 1
        return self._request(kind, thing, self._changes[thing]), thing

    def _things(self, kind: str) -> list[Thing]:
        wishes = (*self._world.questions, *self._world.others)
        return [thing for wish in wishes for thing in wish.things if thing.kind == kind]

    def _request(self, kind: str, thing: Thing, edition: int) -> Request:
        if kind == "say":
            body = {"role": "user", "text": f"And now remark {edition}."}
            return Request(thing.tenant, "POST", f"/conversations/{thing.id}/messages", body)
        if kind == "agent":
            body = agent_body(int(thing.id.rpartition("-")[2]), edition)
            return Request(thing.tenant, "PUT", f"/agents/{thing.id}", body)
        if kind == "tool":
            body = {"id": f"{thing.id}-{edition}", "name": f"tool {edition}", "description": "New."}
            return Request(thing.tenant, "POST", f"/agents/{thing.id}/tools", body)
        present = self._present[thing]
        text = self._random.choice(present)
        path = f"/collections/{thing.id}/documents/{text.name}"
        if kind == "document" or len(present) == 1:
            return Request(thing.tenant, "PUT", path, document_body(text, edition))
        present.remove(text)
        return Request(thing.tenant, "DELETE", path)


def _state(wish: Wish, changes: Counter[Thing]) -> State:
    return tuple(changes[thing] for thing in wish.things)
