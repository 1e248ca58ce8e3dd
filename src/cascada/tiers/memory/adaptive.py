"""ADAPTIVE: what is worth least goes, by its use, its size, what its load takes and its priority.

One mechanism, with what differs between workloads as its `Mode`. What is new waits in a window.
Who leaves it goes into the main part, if he was hit in it or the mode lets all in; else he goes
for good. The main part gives up the least of age + worth x frequency / weight, where the age is the
score of the last one that went, so that what was much used once goes in the end (greedy dual: P.
Cao and S. Irani, USENIX ITS 1997; with frequency: L. Cherkasova, HP Labs 1998). How often somebody
was hit who went is remembered for a while; if he comes back, he goes on from there (a ghost, as in
S3-FIFO: J. Yang et al., SOSP 2023).
Which mode is best just now, `shadows.py` tells.

A hit tells nobody: it has written `hits`, which is looked at when a record's turn comes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heappop, heappush, heapreplace
from math import log2
from typing import Any, Final, Generic, NamedTuple

from cascada.model.limits import COUNTED, Eviction
from cascada.tiers.memory.evictable import Order, R
from cascada.tiers.memory.eviction import LeastFrequentlyUsed, LeastRecentlyUsed
from cascada.tiers.memory.ghosts import Ghosts
from cascada.tiers.memory.queue import Queue, unlink
from cascada.tiers.memory.shadows import ALL, Shadows

LOOKS: Final = 64
"""Records that one call moves on at most, before it gives up the next as it is."""

STEPS: Final = 4
"""Classes of records in the main part for each doubling of what they are worth."""

LARGER: Final = 8
"""Times the average size: who is larger has to be worth more than those whom he would drive out."""

LOW: Final = 0
NORMAL: Final = 1
HIGH: Final = 2
CRITICAL: Final = 3

HIGHER: Final = 8.0
"""By how much what is HIGH is worth more."""


class Mode(NamedTuple):
    """window: its share of all bytes. proves: who leaves it without a hit goes for good.
    turns: whoever was hit goes back to the end of the window, which makes it LRU, more or less.
    remembers: for how long who went is known, in sixteenths of the time in which all go."""

    window: float
    proves: bool = False
    turns: bool = False
    remembers: int = 64


MODES: Final = {
    "worth": Mode(0.0),
    "proven": Mode(0.1, proves=True, remembers=16),
    "returning": Mode(0.1, proves=True),
    "recent": Mode(1.0, turns=True),
}
"""Which of them is best depends on the workload: sizes that differ and few who ask again; many who
ask once; a set that moves on."""


class State(Generic[R]):
    """What the orders of all tenants share: the mode, who went, and what a load takes.

    With a `capacity` the mode is what shadows tell, else it stays what it is.
    """

    def __init__(self, mode: str = "worth", capacity: int | None = None) -> None:
        self.mode = MODES[mode]
        self.ghosts = Ghosts()
        self.count = 0
        self.average = 1.0
        self._known = 0
        self._name = mode
        self._shadows: Shadows[R] | None = None
        if capacity is not None:
            self._shadows = Shadows(list(MODES), lambda each: Weighed(State(each)), capacity)

    def came(self, record: R, mark: int, worth: float) -> None:
        self.count += 1
        if worth:
            # The mean of all at first, then of about the last thousand.
            self._known = min(self._known + 1, 1000)
            self.average += (worth - self.average) / self._known
        shadows = self._shadows
        if (
            shadows is not None
            and mark >> 40 & ALL - 1 < shadows.sampled
            and shadows.came(record, mark)
        ):
            self._name = shadows.look(self._name, self.average)
            self.mode = MODES[self._name]

    def went(self, record: R) -> None:
        """To make room."""
        self.ghosts.put(record.mark, record.hits + 1, self.count)
        shadows = self._shadows
        if shadows is not None and not shadows.begun:
            shadows.begin()
        self.left(record)

    def left(self, record: R) -> None:
        self.count -= 1
        shadows = self._shadows
        if shadows is not None and record in shadows.watched:
            shadows.gone(record)


class _Window(Queue[R]):
    """Records that wait: `bytes` of `count`. Their score is 0.0, that of no record elsewhere."""

    __slots__ = ("bytes", "count")

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.count = 0

    def append(self, record: R) -> None:
        """Whatever hits it has had are known."""
        _look(record)
        record.score = 0.0
        super().append(record)
        self.bytes += record.weight
        self.count += 1

    def remove(self, record: R) -> None:
        unlink(record)
        self.bytes -= record.weight
        self.count -= 1


class _Class(Queue[R]):
    """Records of about the same worth: who came first has the lowest score.

    `score` is that of who came last, whose float those share that come at the same age. `waits`:
    it stands in the heap.
    """

    __slots__ = ("score", "value", "waits")

    def __init__(self, number: int) -> None:
        super().__init__()
        self.value = 2.0 ** (number / STEPS)
        self.score = 0.0
        self.waits = False


class _Main(Generic[R]):
    """Classes of records, and a heap of those that are not empty by the score of their first.

    A first one's score only grows, so that what stands in the heap is at most what it is now.
    """

    __slots__ = ("_classes", "_heads", "age", "bytes", "count")

    def __init__(self) -> None:
        self._classes: dict[int, _Class[R]] = {}
        self._heads: list[tuple[float, int]] = []
        self.age = 0.0
        self.bytes = self.count = 0

    def put(self, record: R, value: float) -> None:
        number = round(log2(value) * STEPS)
        queue = self._classes.get(number)
        if queue is None:
            queue = self._classes[number] = _Class(number)
        score = self.age + queue.value
        if score != queue.score:
            queue.score = score
        record.score = queue.score
        if not queue.waits:
            queue.waits = True
            heappush(self._heads, (score, number))
        queue.append(record)
        self.bytes += record.weight
        self.count += 1

    def least(self) -> R:
        heads = self._heads
        while True:
            score, number = heads[0]
            queue = self._classes[number]
            if not queue:
                heappop(heads)
                del self._classes[number]
            elif (first := queue.after).score > score:
                heapreplace(heads, (first.score, number))
            else:
                record: R = first
                return record

    def remove(self, record: R) -> None:
        unlink(record)
        self.bytes -= record.weight
        self.count -= 1


class Weighed(Order[R]):
    """ADAPTIVE's order of the records of one tenant.

    Few tenants ever have to give: until then there is a window, and nothing else. A record's
    `score` is 0.0 in the window, and None of what is LOW or CRITICAL, which stand apart.
    """

    __slots__ = ("_critical", "_low", "_main", "_mode", "_settled", "_state", "_window")

    def __init__(self, state: State[R]) -> None:
        super().__init__()
        self._state = state
        self._window: _Window[R] = _Window()
        self._main: _Main[R] | None = None
        self._low: Queue[R] | None = None
        self._critical: Queue[R] | None = None
        self._mode = state.mode
        self._settled = False

    def admit(self, record: R) -> None:
        state, rank, worth, mark = self._state, record.rank, record.worth, record.mark
        if rank == LOW:
            self._low = self._low or Queue()
            self._put_apart(record, self._low)
        elif rank == CRITICAL:
            self._critical = self._critical or Queue()
            self._put_apart(record, self._critical)
        else:
            if not record.hits:
                record.hits = state.ghosts.pop(mark, self._mode.remembers)
            main, mode = self._main, self._mode
            if main is None or mode.turns or (mode.window and not record.hits):
                self._window.append(record)
            else:
                self._enter(record, main, rank, worth)
        state.came(record, mark, worth)

    def _put_apart(self, record: R, queue: Queue[R]) -> None:
        record.score = None
        queue.append(record)

    def left(self, record: R) -> None:
        self._state.left(record)
        self._remove(record)

    def victim(self, newcomer: R | None = None) -> R:
        state = self._state
        if self._mode is not state.mode:
            self._mode, self._settled = state.mode, False
        record = self._found()
        main, window = self._main, self._window
        if (
            newcomer is not None
            and main is not None
            and newcomer.weight * (main.count + window.count) > LARGER * (main.bytes + window.bytes)
            and self._is_not_worth(newcomer, record, main)
        ):
            state.ghosts.put(newcomer.mark, newcomer.hits + 1, state.count)
            return newcomer
        self._remove(record)
        state.went(record)
        return record

    def _is_not_worth(self, newcomer: R, record: R, main: _Main[R]) -> bool:
        """Whether one that is much larger than others would drive out what is worth more.

        Many would have to go for it, so that it has no window to wait in.
        """
        if newcomer.rank != NORMAL or record.rank != NORMAL:
            return False
        if not newcomer.hits:
            newcomer.hits = self._state.ghosts.pop(newcomer.mark, self._mode.remembers)
        mine = self._value(newcomer)
        if record.score:
            return bool(main.age + mine < record.score)
        return mine < self._value(record)

    def _value(self, record: R) -> float:
        return (record.worth or self._state.average) * (1 + record.hits) / record.weight

    def _found(self) -> R:
        """What goes next; it is still in the order."""
        if self._low:
            return self._low.first
        mode, window = self._mode, self._window
        main = self._main = self._main or _Main()
        for _ in range(LOOKS if window.count or main.count else 0):
            if window.bytes > mode.window * (window.bytes + main.bytes) or not main.count:
                record: R = window.after
                if record.hits == record.seen and self._is_done_with(record):
                    return record
                window.remove(record)
            else:
                self._settled = True
                record = main.least()
                if record.hits == record.seen:
                    main.age = max(main.age, record.score)
                    return record
                main.remove(record)
            if mode.turns:
                window.append(record)
            else:
                self._enter(record, main, record.rank, record.worth)
        if main.count:
            return main.least()
        critical = self._critical
        return window.first if window or critical is None else critical.first

    def _is_done_with(self, record: R) -> bool:
        """Whether it goes for good, as it leaves the window without a hit."""
        mode = self._mode
        return mode.turns or (mode.proves and self._settled and record.rank < HIGH)

    def _enter(self, record: R, main: _Main[R], rank: int, worth: float) -> None:
        _look(record)
        value = (worth or self._state.average) * (1 + record.hits) / record.weight
        main.put(record, value * HIGHER if rank == HIGH else value)

    def _remove(self, record: R) -> None:
        score, main = record.score, self._main
        if score is None:
            unlink(record)
        elif score and main is not None:
            main.remove(record)
        else:
            self._window.remove(record)


def _look(record: R) -> None:
    """See how often it was hit. What is counted no further goes back by half, or its next hit
    would not be seen."""
    if record.hits >= COUNTED:
        record.hits = COUNTED // 2
    record.seen = record.hits


def orders(eviction: Eviction, capacity: int) -> Callable[[], Order[Any]]:
    """What makes the order of a tenant's records."""
    if eviction == "lru":
        return LeastRecentlyUsed
    if eviction == "lfu":
        return LeastFrequentlyUsed
    return partial(Weighed, State(capacity=capacity))
