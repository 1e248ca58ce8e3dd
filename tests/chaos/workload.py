"""How often what is done, and how hard: the weights that a run draws its operations from.

`usual` is for every run; the others make one weak spot frequent, for the mutants that the usual
mix would meet too seldom.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.actions import Reads, Writes
from tests.chaos.claims import Claims
from tests.chaos.keyspace import AHEAD, Answer, Keyspace, Row, Writing

Operation = Coroutine[Any, Any, None]


USUAL_MIX: Final = {
    "get": 30.0,
    "load": 34.0,
    "leave": 1.0,
    "get_many": 5.0,
    "load_many": 4.0,
    "fill_by_hand": 5.0,
    "fill_once": 3.0,
    "write_by_hand": 2.0,
    "answer": 9.0,
    "invalidate": 4.0,
    "look_back": 1.0,
    "delete": 0.7,
    "group": 0.8,
    "cascade": 0.4,
    "everything": 0.02,
    "set_owned": 2.5,
    "set_many": 0.8,
    "set_versioned": 2.5,
    "invalidate_many": 0.5,
    "touch": 2.0,
    "claim": 1.0,
    "look": 1.0,
    "walk": 0.0,
    "renew": 0.0,
}
"""Operations and their weights."""


def usual_but(**weights: float) -> Mapping[str, float]:
    """The usual mix, with some weights changed."""
    assert weights.keys() <= USUAL_MIX.keys()
    return {**USUAL_MIX, **weights}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`rows`: in the truth. `lanes`: operations at once in one process. `pause`: seconds between
    two operations of a lane, on average. `fails`: the share of loads that fail, `unstored` of
    those whose results are not to be stored. `late_news`: the
    patience of the feed, in seconds, which its answers then nearly use up or exceed. `only`: the
    types whose rows are picked one by one (none: all). `placed`: processes say priorities, each
    others, by their policies and by their calls. `ahead`: what is invalidated is prefetched by its
    key, and refreshed while it is hot. `once`: a lease must have
    one load (see `once`); there are no faults then."""

    mix: Mapping[str, float] = field(default_factory=usual_but)
    rows: int = 160
    lanes: int = 20
    pause: float = 0.004
    fails: float = 0.005
    unstored: float = 0.02
    late_news: float = 0.0
    only: tuple[str, ...] = ()
    placed: bool = False
    ahead: bool = False
    once: bool = False


WORKLOADS: Final = {
    "usual": Workload(),
    # The same few rows loaded again and again while they are invalidated.
    "contended": Workload(rows=20, mix=usual_but(load=50, invalidate=14, get=10)),
    # Answers made of other rows, and hardly anything else.
    "answers": Workload(rows=60, mix=usual_but(answer=40, get=5, load=10, invalidate=8, group=2)),
    # Tags, contexts and types: what only a name that came with the value can reach.
    "groups": Workload(rows=60, mix=usual_but(group=8, cascade=4, invalidate=1, load=50)),
    # Writing through, with and without versions, against loads and hand-written fills.
    "sets": Workload(
        rows=40,
        mix=usual_but(
            set_owned=12, set_versioned=12, fill_by_hand=25, load=25, get=10, invalidate=3
        ),
    ),
    # Written by hand: several writers of each row, of equal and of different values, who read the
    # row or write it after they missed; nobody else brings a value but some loads.
    "hands": Workload(
        rows=20,
        mix={
            "get": 15,
            "load": 8,
            "fill_by_hand": 30,
            "fill_once": 20,
            "write_by_hand": 12,
            "answer": 6,
            "invalidate": 4,
            "group": 1,
            "delete": 1,
        },
    ),
    # Values that are shared by those who ask at the same time, and not stored: what a name that
    # came with them has ended must not be handed on.
    "unstored": Workload(
        rows=20,
        only=("note", "ahead", "brief"),
        unstored=0.9,
        mix={"load": 60, "get": 3, "group": 5, "cascade": 2},
    ),
    # Who invalidates asks at once. Memory has all the rest, so that an invalidation is often the
    # first to meet a server that was flushed.
    "looking back": Workload(rows=40, mix={"load": 60, "get": 60, "look_back": 4}),
    # A source that fails often: what may be served in its place?
    "failing": Workload(
        rows=60,
        only=("brief",),
        fails=0.7,
        mix={"load": 80, "get": 2, "invalidate": 0.6, "group": 0.1},
    ),
    # Values without context that are looked for in one, and set anew meanwhile.
    "looking": Workload(rows=60, only=("owned",), mix=usual_but(get=60, load=5, set_owned=15)),
    # Values that are given longer and shorter lives while they are read, loaded and invalidated; of
    # those that one process alone writes, what was shortened must end. They are made into nothing:
    # a touch ends nothing that was made of a value.
    "touches": Workload(
        rows=40,
        only=("owned", "brief", "doc"),
        unstored=0.0,
        mix={
            "get": 60,
            "load": 25,
            "get_many": 5,
            "load_many": 3,
            "leave": 1,
            "set_owned": 14,
            "lengthen": 4,
            "shorten": 10,
            "touch": 8,
            "invalidate": 4,
            "delete": 0.5,
            "group": 0.5,
        },
    ),
    # Written behind: sets of one owner each, and of rows that others write and invalidate.
    "behind": Workload(
        rows=40,
        mix={
            "get": 60,
            "load": 6,
            "fill_by_hand": 25,
            "write_by_hand": 10,
            "set_owned": 30,
            "set_many": 2,
            "invalidate": 8,
            "group": 1,
            "cascade": 0.5,
            "touch": 0.5,
            "claim": 0.5,
            "look": 0.5,
        },
    ),
    # What nobody writes but by `add`, looked at before and after.
    "claims": Workload(mix={"claim": 40, "look": 60, "get": 10}),
    # Values with a place in some tiers only: written with all priorities against each other, loaded
    # fast and slowly under policies that differ from process to process, and made of one another.
    "placed": Workload(
        rows=40,
        placed=True,
        mix=usual_but(
            set_owned=14,
            set_many=2,
            set_versioned=6,
            fill_by_hand=6,
            fill_once=6,
            load=40,
            answer=20,
            invalidate=6,
            get=20,
        ),
    ),
    # The same rows one after the other, again and again, so that the next ones are brought before
    # they are asked for, while they are invalidated; beside that what is stale, or hot, is
    # refreshed.
    "ahead": Workload(
        rows=40,
        lanes=6,
        ahead=True,
        mix={
            "walk": 10,
            "renew": 10,
            "load": 3,
            "get": 5,
            "leave": 1,
            "invalidate": 10,
            "group": 1,
            "set_owned": 2,
            "delete": 0.5,
            "answer": 4,
        },
    ),
    # All of it at once: stale values are served and refreshed, hot ones refreshed, the next ones
    # brought; values have a place in some tiers only, and are, over a journal, written behind.
    "thinking": Workload(
        rows=40,
        lanes=12,
        placed=True,
        ahead=True,
        mix=usual_but(
            walk=6,
            renew=3,
            set_owned=14,
            set_many=2,
            set_versioned=6,
            load=40,
            answer=20,
            invalidate=6,
        ),
    ),
    # Loads alone, of all sorts, of what is soon stale: each lease has one. Little is invalidated.
    "once": Workload(
        rows=20,
        only=AHEAD,
        ahead=True,
        once=True,
        mix={
            "load": 60,
            "get": 10,
            "load_many": 6,
            "leave": 2,
            "walk": 6,
            "renew": 0.1,
            "invalidate": 0.3,
            "group": 0.1,
        },
    ),
    # A feed whose answers come late (the cache waits for a quarter of a second), and rows that are
    # hot enough to be asked for at any moment.
    "late news": Workload(rows=40, late_news=0.25, mix=usual_but(load=60, get=60, invalidate=3)),
}


class Mix:
    """Draws operations of one workload for one process. `versions`: whether they are remembered,
    so that processes may write through against each other."""

    def __init__(
        self,
        workload: Workload,
        keyspace: Keyspace,
        reads: Reads,
        writes: Writes,
        claims: Claims,
        rng: random.Random,
        owns: Callable[[Row], bool],
        *,
        versions: bool,
        loses: bool,
    ) -> None:
        self._keyspace = keyspace
        self._reads = reads
        self._writes = writes
        self._claims = claims
        self._rng = rng
        self._weights = dict(workload.mix)
        self._fixed = self._of(lambda row: row.writing is Writing.INVALIDATED and not row.roaming)
        self._there = [row for row in self._fixed if row.data_type != "maybe"]
        self._owned = self._of(lambda row: row.writing is Writing.OWNED and owns(row))
        self._versioned = self._of(lambda row: row.writing is Writing.VERSIONED)
        # How long an owned one lives its owner says alone.
        self._touched = self._of(lambda row: row.writing is not Writing.OWNED)
        if not self._owned:  # a small truth has not enough rows for every process
            self._weights |= dict.fromkeys(("set_owned", "set_many", "lengthen", "shorten"), 0)
        if not versions:
            self._weights["set_versioned"] = 0
        if loses:  # what is lost may be won again
            self._weights |= {"claim": 0, "look": 0}

    def draw(self) -> tuple[str, Operation]:
        """The name of the next operation, and the operation."""
        (name,) = self._rng.choices([*self._weights], [*self._weights.values()])
        return name, self._start(name)

    def _start(self, name: str) -> Operation:  # noqa: C901, PLR0912 - a case for each
        reads, writes, keyspace, rng = self._reads, self._writes, self._keyspace, self._rng
        match name:
            case "get" | "load" | "leave" | "fill_by_hand" | "fill_once":
                return getattr(reads, name)(keyspace.pick(rng))  # type: ignore[no-any-return]
            case "get_many" | "load_many":
                return getattr(reads, name)(keyspace.pick_batch(rng))  # type: ignore[no-any-return]
            case "walk":
                return self._walk(keyspace.pick_walk(rng))
            case "renew":
                return self._renew(keyspace.pick_walk(rng))
            case "answer":
                return reads.answer(keyspace.pick_answer(rng))
            case "invalidate":
                return writes.invalidate(keyspace.pick(rng))
            case "look_back":
                return self._look_back(keyspace.pick(rng))
            case "delete":
                return writes.delete(self._hot(self._fixed))
            case "write_by_hand":
                # A row that may be absent is not there to be set.
                return writes.write_by_hand(self._hot(self._there))
            case "group" | "everything":
                groups = keyspace.groups if name == "group" else keyspace.everything
                return writes.invalidate_group(rng.choice(groups))
            case "cascade":
                row = keyspace.pick(rng)
                tags = [
                    group
                    for group in keyspace.groups
                    if group.tenant == row.tenant and "tag" in group.arguments
                ]
                return writes.cascade(row, rng.choice(tags))
            case "claim" | "look":
                return getattr(self._claims, name)()  # type: ignore[no-any-return]
            case "set_many":
                return writes.set_many(self._alike(self._owned))
            case "invalidate_many":
                return writes.invalidate_many(keyspace.pick_batch(rng))
            case "touch":
                return writes.touch(self._touchable())
            case "set_owned" | "lengthen" | "shorten":
                return getattr(writes, name)(self._hot(self._owned))  # type: ignore[no-any-return]
            case _:
                return writes.set_versioned(self._hot(self._versioned))

    async def _walk(self, rows: list[Row]) -> None:
        """Some rows one after the other, as one request after the other would."""
        for row in rows:
            await self._reads.load(row)
            await asyncio.sleep(self._rng.uniform(0.0, 0.004))

    async def _renew(self, rows: list[Row]) -> None:
        """What follows what is seen where all of it is missed."""
        for row in rows:
            await self._writes.invalidate(row)
        await self._walk(rows)

    async def _look_back(self, row: Row) -> None:
        """Who has made an invalidation asks at once: own memory gets no grace at all."""
        await self._writes.invalidate(row)
        await self._reads.get(row)

    def _alike(self, rows: list[Row]) -> list[Row]:
        """Rows of one tenant, type and context."""
        first = self._hot(rows)
        place = first.tenant, first.data_type, first.home, first.tags
        return [row for row in rows if (row.tenant, row.data_type, row.home, row.tags) == place]

    def _touchable(self) -> Row | Answer:
        made = self._keyspace.answers and self._rng.random() < 0.2
        return self._keyspace.pick_answer(self._rng) if made else self._hot(self._touched)

    def _of(self, suits: Callable[[Row], bool]) -> list[Row]:
        return [row for row in self._keyspace.rows if suits(row)]

    def _hot(self, rows: list[Row]) -> Row:
        return rows[int(len(rows) * self._rng.random() ** 2)]


async def lane(
    mix: Mix,
    pause: float,
    rng: random.Random,
    going: Callable[[], bool],
    attempt: Callable[[str, Operation], Operation],
) -> None:
    """One operation after the other; half of them as a task of its own, as a request would be."""
    while going():
        name, operation = mix.draw()
        work = attempt(name, operation)
        if rng.random() < 0.5:
            await asyncio.create_task(work)
        else:
            await work
        await asyncio.sleep(rng.expovariate(1 / pause))
