"""Lists and counters in this process alone, for a cache without a shared tier. It says so once."""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from heapq import heapify, heappop, heappush
from itertools import islice

from cascada.model.clock import Clock, SystemClock
from cascada.model.door.arguments import LEAST, MOST
from cascada.tiers.datastore import overflow, span

logger = logging.getLogger("cascada")


class MemoryData:
    """See `DataStore`. No call waits, so that each is one step of the event loop."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._now = (clock or SystemClock()).monotonic
        self._counters: dict[str, int] = {}
        # Those that have a ttl, by when they end.
        self._by_end: list[tuple[float, str]] = []
        self._lists: defaultdict[str, deque[bytes]] = defaultdict(deque)
        self._said = False

    async def increment(self, name: str, amount: int, ttl: float | None = None) -> int:
        value = await self.counter(name) + amount
        if not LEAST <= value <= MOST:
            raise overflow(name, amount)
        if ttl is not None and name not in self._counters:
            heappush(self._by_end, (self._now() + ttl, name))
        self._counters[name] = value
        return value

    async def counter(self, name: str) -> int:
        self._say()
        now = self._now()
        while self._by_end and self._by_end[0][0] <= now:
            _, over = heappop(self._by_end)
            del self._counters[over]
        return self._counters.get(name, 0)

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        self._say()
        items = self._lists[name]
        if left:
            items.appendleft(item)
        else:
            items.append(item)
        return len(items)

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        self._say()
        items = self._lists.get(name)
        if items is None:
            return None
        item = items.popleft() if left else items.pop()
        if not items:
            del self._lists[name]
        return item

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        self._say()
        items = self._lists.get(name, ())
        return list(islice(items, *span(start, end, len(items))))

    async def length(self, name: str) -> int:
        self._say()
        return len(self._lists.get(name, ()))

    async def trim(self, name: str, start: int, end: int) -> None:
        if kept := await self.range(name, start, end):
            self._lists[name] = deque(kept)
        else:
            self._lists.pop(name, None)

    def shared_lists(self) -> list[str]:
        """The names of the lists that belong to no tenant."""
        return [name for name in self._lists if name.startswith(":")]

    def erase(self, beginning: str) -> tuple[int, int]:
        """Remove the lists and counters whose names begin so; how many of each."""
        lists = [name for name in self._lists if name.startswith(beginning)]
        counters = [name for name in self._counters if name.startswith(beginning)]
        for name in lists:
            del self._lists[name]
        for name in counters:
            del self._counters[name]
        self._by_end = [each for each in self._by_end if each[1] in self._counters]
        heapify(self._by_end)
        return len(lists), len(counters)

    def forget(self) -> None:
        """In a forked child: what was there is the parent's, or both would pop the same item."""
        self._counters.clear()
        self._by_end.clear()
        self._lists.clear()
        self._said = False

    def _say(self) -> None:
        if not self._said:
            self._said = True
            logger.warning(
                "lists and counters are kept in this process alone and end with it: "
                "this cache has neither Redis nor a database"
            )
