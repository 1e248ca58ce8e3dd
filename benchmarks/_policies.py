"""The policies that `hit_ratio.py` compares: memory's own classes, and the known ones beside them.

A policy is asked as memory asks its own: room is made (`victim`) before what is new is admitted. A
hit does what a hit in memory does, and tells no policy: it writes `used` and `hits` of its item.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final, Protocol

from cascada.tiers.memory.adaptive import orders


class Item:
    """What a record in memory is to a policy. `key` is a number, from 0 on."""

    __slots__ = ("after", "hits", "key", "place", "score", "seen", "used", "weight", "worth")
    rank: Final = 1

    def __init__(self, key: int, weight: int, now: int) -> None:
        self.key = key
        self.weight = weight
        self.used = now
        self.hits = self.seen = 0
        self.worth = 0.0

    @property
    def mark(self) -> int:
        """As a hash of a text would be: whatever the number, all bits may be set."""
        mixed = (self.key + 1) * 0x9E3779B97F4A7C15 & 2**64 - 1
        return (mixed ^ mixed >> 29) * 0xBF58476D1CE4E5B9 & 2**61 - 1


class Policy(Protocol):
    def admit(self, record: Item) -> None: ...

    def victim(self, newcomer: Item) -> Item: ...


class Fifo:
    """First in, first out."""

    def __init__(self, capacity: int) -> None:
        self._items: deque[Item] = deque()
        self.admit = self._items.append

    def victim(self, newcomer: Item) -> Item:
        return self._items.popleft()


class Sieve:
    """A hand goes from the oldest to the newest and takes who was not hit since it came by.

    Y. Zhang et al., SIEVE is simpler than LRU, NSDI 2024.
    """

    def __init__(self, capacity: int) -> None:
        self._older: dict[Item | None, Item | None] = {}
        self._newer: dict[Item | None, Item | None] = {None: None}
        self._newest: Item | None = None
        self._hand: Item | None = None

    def admit(self, record: Item) -> None:
        self._older[record] = self._newest
        self._newer[self._newest] = record  # None's are the oldest
        self._newer[record] = None
        self._newest = record

    def victim(self, newcomer: Item) -> Item:
        hand = self._hand or self._newer[None]
        assert hand is not None
        while hand.hits != hand.seen:
            hand.seen = hand.hits
            hand = self._newer[hand] or self._newer[None]
            assert hand is not None
        older, newer = self._older.pop(hand), self._newer.pop(hand)
        self._newer[older] = newer
        if newer is None:
            self._newest = older
        else:
            self._older[newer] = older
        self._hand = newer
        return hand


class Gdsf:
    """Greedy dual by size and frequency: the least of age + frequency / size goes.

    L. Cherkasova, Improving WWW proxies performance, HP Labs 1998.
    """

    def __init__(self, capacity: int) -> None:
        self._heap: list[tuple[float, int, Item]] = []
        self._age = 0.0
        self._turn = 0

    def admit(self, record: Item) -> None:
        self._push(record)

    def _push(self, record: Item) -> None:
        record.seen = record.hits
        self._turn += 1
        score = self._age + (1 + record.hits) / record.weight
        heappush(self._heap, (score, self._turn, record))

    def victim(self, newcomer: Item) -> Item:
        while True:
            score, _, record = heappop(self._heap)
            if record.hits == record.seen:
                self._age = score
                return record
            self._push(record)


class S3Fifo:
    """A small queue for what is new, a main one for what was hit twice in it, and a ghost.

    J. Yang et al., FIFO queues are all you need for cache eviction, SOSP 2023.
    """

    SMALL: Final = 0.1

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._small: deque[Item] = deque()
        self._main: deque[Item] = deque()
        self._ghost: OrderedDict[int, int] = OrderedDict()
        self._in_small = self._in_ghost = 0
        self._full = False

    def admit(self, record: Item) -> None:
        weight = record.weight
        known = self._ghost.pop(record.key, None)
        if known is not None:
            self._in_ghost -= known
        least = self.SMALL * self._capacity
        if known is not None or (not self._full and self._in_small + weight > least):
            self._main.append(record)
        else:
            self._small.append(record)
            self._in_small += weight

    def victim(self, newcomer: Item) -> Item:
        self._full = True
        while True:
            if self._small and (self._in_small > self.SMALL * self._capacity or not self._main):
                record = self._small.popleft()
                self._in_small -= record.weight
                if record.hits >= 2:
                    record.seen = record.hits
                    self._main.append(record)
                    continue
                self._forget(record)
                return record
            record = self._main.popleft()
            if record.hits == record.seen:
                return record
            record.seen = max(record.seen, record.hits - 3) + 1
            self._main.append(record)

    def _forget(self, record: Item) -> None:
        self._ghost[record.key] = record.weight
        self._in_ghost += record.weight
        while self._in_ghost > (1 - self.SMALL) * self._capacity:
            self._in_ghost -= self._ghost.popitem(last=False)[1]


class TinyLfu:
    """A window of a hundredth, and who leaves it stays if he was asked for more often than whom he
    would drive out of the main part, which is LRU in two segments.

    Frequencies are exact, and halved after ten times as many requests as there are items. G.
    Einziger, R. Friedman, B. Manes, TinyLFU, ACM TOS 2017.
    """

    WINDOW: Final = 0.01
    PROTECTED: Final = 0.8

    def __init__(self, capacity: int) -> None:
        self._window: OrderedDict[int, Item] = OrderedDict()
        self._probation: OrderedDict[int, Item] = OrderedDict()
        self._protected: OrderedDict[int, Item] = OrderedDict()
        self._capacity = capacity
        self._bytes = {id(each): 0 for each in (self._window, self._probation, self._protected)}
        self._counts: dict[int, int] = {}
        self._asked = 0
        self._full = False

    def asked(self, key: int) -> None:
        """Of every request, hit or miss."""
        self._counts[key] = self._counts.get(key, 0) + 1
        self._asked += 1
        if self._asked >= 10 * max(64, self._held):
            self._asked = 0
            self._counts = {key: count // 2 for key, count in self._counts.items() if count > 1}

    @property
    def _held(self) -> int:
        return len(self._window) + len(self._probation) + len(self._protected)

    def hit(self, record: Item) -> None:
        """A hit moves it, as this one's order is not worked out when room is needed."""
        key = record.key
        if key in self._window:
            self._window.move_to_end(key)
        elif key in self._protected:
            self._protected.move_to_end(key)
        else:
            self._move(record, self._probation, self._protected)
            while self._bytes[id(self._protected)] > self.PROTECTED * self._capacity:
                oldest = next(iter(self._protected.values()))
                self._move(oldest, self._protected, self._probation)

    def admit(self, record: Item) -> None:
        self._put(record, self._window)
        while not self._full and self._over:
            self._move(next(iter(self._window.values())), self._window, self._probation)

    @property
    def _over(self) -> bool:
        return len(self._window) > 1 and (
            self._bytes[id(self._window)] > self.WINDOW * self._capacity
        )

    def victim(self, newcomer: Item) -> Item:
        self._full = True
        main = self._probation or self._protected
        if not self._over and main:
            return self._take(next(iter(main.values())), main)
        newer = next(iter(self._window.values()))
        if not main:
            return self._take(newer, self._window)
        older = next(iter(main.values()))
        count = self._counts.get
        if count(newer.key, 0) <= count(older.key, 0):
            return self._take(newer, self._window)
        self._move(newer, self._window, self._probation)
        return self._take(older, main)

    def _put(self, record: Item, part: OrderedDict[int, Item]) -> None:
        part[record.key] = record
        self._bytes[id(part)] += record.weight

    def _take(self, record: Item, part: OrderedDict[int, Item]) -> Item:
        del part[record.key]
        self._bytes[id(part)] -= record.weight
        return record

    def _move(
        self, record: Item, part: OrderedDict[int, Item], into: OrderedDict[int, Item]
    ) -> None:
        self._put(self._take(record, part), into)


POLICIES: Final[dict[str, Callable[[int], Any]]] = {
    "FIFO": Fifo,
    "LRU": lambda capacity: orders("lru", capacity)(),
    "LFU": lambda capacity: orders("lfu", capacity)(),
    "SIEVE": Sieve,
    "GDSF": Gdsf,
    "S3FIFO": S3Fifo,
    "WTinyLFU": TinyLfu,
    "ADAPTIVE": lambda capacity: orders("adaptive", capacity)(),
}
