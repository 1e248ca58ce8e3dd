"""Tiers on one real Redis that play processes: each its connections, its memory and its feed."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from typing import Any

from cascada.model.clock import Clock, SystemClock
from cascada.model.entry import Entry
from cascada.model.keys import Key
from cascada.tiers.contract import Found, Lease
from cascada.tiers.memory.tier import MemoryTier
from cascada.tiers.redis.tier import RedisTier
from tests.scenarios.row import until

KEY = Key("acme", "row", None, None, None, "1")
OTHER = KEY._replace(resource_id="2")


class Process:
    """One Redis tier and the memory above it, connected."""

    def __init__(self, url: str, *, clock: Clock | None = None, **options: Any) -> None:
        self.clock = clock or SystemClock()
        self.tier = RedisTier(url, clock=self.clock, **{"namespace": "test", **options})
        self.memory = MemoryTier(self.clock)
        self.feed = self.tier.make_feed(self.memory, self.clock)
        self.memory.freshness = self.feed

    async def store(
        self, key: Key = KEY, data: bytes = b"value", names: tuple[str, ...] = ()
    ) -> bool:
        """Load `data` into Redis, as a caller whose loader returns it."""
        lease = await self.lease(key)
        assert isinstance(lease, Lease)
        (filled,) = await self.tier.fill([lease], [self.entry(data, names)])
        return filled.accepted

    def entry(
        self,
        data: bytes = b"value",
        names: tuple[str, ...] = (),
        *,
        version: int | None = None,
        for_ever: bool = False,
    ) -> Entry:
        now = self.clock.time()
        ends = math.inf if for_ever else now + 3600
        return Entry(
            data, created=now, fresh_until=ends, expires=ends, names=names, version=version
        )

    async def lease(self, key: Key = KEY, *, force: bool = False) -> Any:
        (seen,) = await self.tier.read([key])
        (lease,) = await self.tier.lease([key], [seen], force=force)
        return lease

    async def found(self, key: Key = KEY) -> bytes | None:
        (answer,) = await self.tier.read([key])
        return answer.entry.data if isinstance(answer, Found) else None

    async def keep(self, key: Key = KEY) -> bool:
        """Read from Redis into memory, at the number of that read."""
        (bar,) = await self.memory.lease([key], [None])
        assert isinstance(bar, Lease)
        (found,) = await self.tier.read([key])
        assert isinstance(found, Found)
        bar.seq = found.seq
        (filled,) = await self.memory.fill([bar], [found.entry])
        return filled.accepted

    def has(self, key: Key = KEY) -> bool:
        """Whether memory serves it now."""
        return self.memory.peek(key) is not None

    async def trusted(self) -> None:
        """Until memory may be trusted."""
        await until(lambda: self.feed.extend(self.clock.monotonic()))


@contextlib.asynccontextmanager
async def processes(*made: Process, listening: bool = True) -> AsyncIterator[None]:
    """Connect them; `listening`: until their memories are trusted."""
    tasks: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    try:
        for each in made:
            tasks += (loop.create_task(each.tier.run()), loop.create_task(each.feed.run()))
        for each in made:
            await each.tier.up()
            if listening:
                await each.trusted()
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
