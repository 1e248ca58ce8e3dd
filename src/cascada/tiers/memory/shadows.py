"""Which mode is best just now: small caches of sampled keys, one for each mode, are asked the same.

A key is sampled by its mark, so that all that is asked of it is seen, in a share of the keys, and a
shadow has that share of memory's bytes (C. Waldspurger et al., SHARDS, FAST 2015). A shadow holds
no values. A hit tells nobody here, either: now and then it is looked at which of the sampled
records were hit since, and in which order; so all of this costs a few per cent of what misses do.

`adaptive.State` owns the one `Shadows` of a cache, and tells of each record that is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final, Generic

from cascada.model.limits import COUNTED
from cascada.tiers.memory.evictable import Order, R

SAMPLED: Final = 128
"""Keys in memory that are sampled at least, if there are as many, and at most twice as many."""

TURN: Final = 32
"""Sampled records that are stored between two looks."""

MEMORY: Final = 0.5 ** (1 / 4000)
"""What a sampled request counts for after another one: half of it after 4,000."""

BETTER: Final = 0.995
"""Of the misses of the mode that is, those of one that takes its place."""

ALL: Final = 2**20


class Shade:
    """A sampled key in one shadow."""

    __slots__ = (
        "after", "hits", "mark", "place", "score", "seen", "used", "weight", "worth",
    )  # fmt: skip
    rank: Final = 1

    def __init__(self, mark: int, weight: int, worth: float) -> None:
        self.mark = mark
        self.weight = weight
        self.worth = worth
        self.hits = self.seen = 0
        self.used = 0.0
        self.score: Any = 0.0
        self.place: Any = None
        self.after: Any = None


class _Shadow:
    """A cache without values. `missed`: what its misses cost, the older ones less."""

    def __init__(self, order: Order[Shade], room: int) -> None:
        self._order = order
        self._room = room
        self._held: dict[int, Shade] = {}
        self._size = 0
        self.missed = 0.0

    def ask(self, mark: int, weight: int, worth: float, times: int, cost: float) -> None:
        shade = self._held.get(mark)
        if shade is not None:
            shade.hits += times
            return
        self.missed += cost
        if weight > self._room:
            return
        shade = Shade(mark, weight, worth)
        while self._size + weight > self._room:
            victim = self._order.victim(shade)
            if victim is shade:
                return
            del self._held[victim.mark]
            self._size -= victim.weight
        self._held[mark] = shade
        self._size += weight
        self._order.admit(shade)
        shade.hits += times - 1


def _since(told: int, hits: int) -> int:
    """The hits since it was told how many there are. They may have gone back by half."""
    return hits - told if hits > told else max(1, hits - told + (COUNTED + 1) // 2)


class Shadows(Generic[R]):
    """`make_order` makes the order of a mode, by its name; `capacity` is memory's, in bytes."""

    def __init__(
        self, modes: list[str], make_order: Callable[[str], Order[Shade]], capacity: int
    ) -> None:
        self._modes = modes
        self._make_order = make_order
        self._capacity = capacity
        self.sampled = ALL  # whose mark has less than that in its 20 bits from the 40th on
        self.watched: dict[R, int] = {}  # with the hits that the shadows have been told
        # What was asked for: when, its mark, its weight, its worth, and how often. No record, or
        # its value would be kept when it has gone.
        self._asked: list[tuple[Any, int, int, float, int]] = []
        self._shadows: dict[str, _Shadow] | None = None
        self.begun = False

    def came(self, record: R, mark: int) -> bool:
        """A sampled one is stored. True: it is time for a look."""
        self.watched[record] = record.hits
        self._asked.append((record.used, mark, record.weight, record.worth, 1))
        return len(self._asked) >= TURN

    def gone(self, record: R) -> None:
        """A sampled one is kept no more."""
        told = self.watched.pop(record)
        if record.hits != told:
            self._note(record, _since(told, record.hits))

    def _note(self, record: R, times: int) -> None:
        self._asked.append((record.used, record.mark, record.weight, record.worth, times))

    def look(self, current: str, average: float) -> str:
        """Tell the shadows what was asked for since; the mode that is best now."""
        watched, asked = self.watched, self._asked
        for record, told in watched.items():
            if record.hits != told:
                self._note(record, _since(told, record.hits))
                watched[record] = record.hits
        self._asked = []
        if len(watched) > 2 * SAMPLED:
            self._sample_fewer()
        if self._shadows is None:
            return current
        asked.sort(key=itemgetter(0))
        requests = 0
        shadows = self._shadows
        for _, mark, weight, worth, times in asked:
            requests += times
            for shadow in shadows.values():
                shadow.ask(mark, weight, worth, times, worth or average)
        for shadow in shadows.values():
            shadow.missed *= MEMORY**requests
        best = min(shadows, key=lambda mode: shadows[mode].missed)
        return best if shadows[best].missed < BETTER * shadows[current].missed else current

    def begin(self) -> None:
        """Memory is full: until now every mode would have had the same."""
        self.begun = True
        room = self._capacity * self.sampled // ALL
        self._shadows = {mode: _Shadow(self._make_order(mode), room) for mode in self._modes}
        self._asked = []
        for record in self.watched:
            self._note(record, record.hits + 1)

    def _sample_fewer(self) -> None:
        self.sampled //= 2
        kept = {
            record: told
            for record, told in self.watched.items()
            if record.mark >> 40 & ALL - 1 < self.sampled
        }
        self.watched = kept
        if self._shadows is not None:
            missed = {mode: shadow.missed for mode, shadow in self._shadows.items()}
            self.begin()
            for mode, cost in missed.items():
                self._shadows[mode].missed = cost
