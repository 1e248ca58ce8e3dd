"""One process that reads, loads, sets and invalidates over a source whose versions all can see.

The source is an array of versions in shared memory. Beside each stands the newest version whose
invalidation (or set) has RETURNED: a read that starts later and finds an older one is stale.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from multiprocessing.synchronize import Lock as ProcessLock
from typing import Any

from cascada.model.clock import SystemClock
from cascada.model.entry import Entry
from cascada.model.keys import NO_SCOPE, Key
from cascada.model.names import key_name, part_names, resource_names, tag_name, type_name
from cascada.tiers.contract import Found, Lease
from cascada.tiers.sqlite.tier import SqliteTier

KEYS = 24
TENANTS = ("acme", "globex")


def key_of(index: int) -> Key:
    agent = None if index % 3 else "a1"
    return Key(TENANTS[index % 2], "document", agent, None, None, str(index))


def tag_of(index: int) -> str:
    """A tag that a few keys share."""
    return tag_name(TENANTS[index % 2], f"tag{index % 6}")


class Process:
    """What happens in one of the processes."""

    def __init__(
        self, path: str, seed: int, current: Any, returned: Any, lock: ProcessLock, inline: bool
    ) -> None:
        self.dice = random.Random(seed)
        self.current = current
        self.returned = returned
        self.lock = lock
        self.stale: list[str] = []
        self.reads = self.hits = self.invalidations = self.sets = 0
        self.tier = SqliteTier(
            path,
            namespace="test",
            clock=SystemClock(),
            capacity_bytes=6_000,
            max_tombstones=30,
            busy_timeout=5.0,
            inline_reads=inline,
        )

    async def read(self, index: int) -> None:
        """A read, and where there is nothing a load that may take its time."""
        at_least = self.returned[index]
        seen = await self.tier.read([key_of(index)])
        self.reads += 1
        if isinstance(seen[0], Found):
            self.hits += 1
            version = int(seen[0].entry.data)
            if version < at_least:
                self.stale.append(f"key {index}: found {version}, {at_least} had returned")
            if self.dice.random() < 0.9:
                return
        (lease,) = await self.tier.lease([key_of(index)], seen)
        assert isinstance(lease, Lease)
        loaded = self.current[index]
        await self._take_time()
        await self.tier.fill([lease], [Entry(b"%d" % loaded, names=(tag_of(index),))])

    async def invalidate(self, index: int) -> None:
        """A write to the source, and the invalidation by one of the names of what it changes."""
        key = key_of(index)
        names = self.dice.choice([
            [key_name(key)], [key_name(key)], [tag_of(index)],
            [type_name(key.tenant, key.data_type)],
            resource_names(key.tenant, key.data_type, key.resource_id, NO_SCOPE),
            part_names(key.tenant, key.scope) or [key_name(key)],
        ])  # fmt: skip
        version = self._commit(index)
        await self.tier.invalidate(names)
        self._has_returned(index, version)
        self.invalidations += 1

    async def set(self, index: int) -> None:
        """A write to the source that also stores the new value."""
        (lease,) = await self.tier.lease([key_of(index)], [None], force=True)
        assert isinstance(lease, Lease)
        version = self._commit(index)
        await self._take_time()
        await self.tier.fill([lease], [Entry(b"%d" % version, names=(tag_of(index),))])
        self._has_returned(index, version)
        self.sets += 1

    async def work(self, steps: int) -> None:
        """Several callers at once, each with its own way through the keys."""
        await asyncio.gather(*(self._caller(steps) for _ in range(4)))
        await self.tier.aclose()

    async def die(self) -> None:
        """Load until killed in the midst of it; writes nothing to the source."""
        asyncio.get_running_loop().call_later(
            self.dice.uniform(0.05, 0.3), os.kill, os.getpid(), signal.SIGKILL
        )
        while True:
            await asyncio.gather(*(self.read(self.dice.randrange(KEYS)) for _ in range(4)))

    async def _caller(self, steps: int) -> None:
        for _ in range(steps):
            index = self.dice.randrange(KEYS)
            what = self.dice.random()
            if what < 0.8:
                await self.read(index)
            elif what < 0.93:
                await self.invalidate(index)
            else:
                await self.set(index)

    async def _take_time(self) -> None:
        if self.dice.random() < 0.5:
            await asyncio.sleep(self.dice.choice([0, 0.001, 0.003, 0.03]))

    def _commit(self, index: int) -> int:
        with self.lock:
            self.current[index] += 1
            version: int = self.current[index]
        return version

    def _has_returned(self, index: int, version: int) -> None:
        with self.lock:
            self.returned[index] = max(self.returned[index], version)


def run(
    path: str, seed: int, current: Any, returned: Any, lock: ProcessLock, steps: int, report: Any
) -> None:
    """The main function of a process."""
    process = Process(path, seed, current, returned, lock, inline=seed % 2 == 0)
    if not steps:
        asyncio.run(process.die())
    asyncio.run(process.work(steps))
    report.put((process.stale, process.reads, process.hits, process.invalidations, process.sets))
