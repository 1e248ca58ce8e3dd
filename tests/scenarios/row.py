"""The caller's own database, as far as one loader sees it."""

import asyncio
import copy
import time
from collections.abc import Callable
from typing import Any

from cascada.api.tenant.handle import Tenant
from cascada.testing.inside import inside


class Row:
    """A value that loaders read at once and hand over late, which is the dangerous order.

    `hold` makes loads wait after they have read, `let_go` ends that. A value that is an exception
    is raised.
    """

    def __init__(self, value: Any = "old", seconds: float = 0.0) -> None:
        self.value = value
        self.seconds = seconds
        self.reads = 0
        self.running = 0
        self.most_running = 0
        self.ended = 0
        self.cancelled = 0
        self.slowest = 0.0
        self._open = asyncio.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def let_go(self) -> None:
        self._open.set()

    async def being_read(self, times: int = 1) -> None:
        """Wait until so many loads have begun."""
        await until(lambda: self.reads >= times)

    async def read(self) -> Any:
        self.reads += 1
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        value = copy.deepcopy(self.value)
        started = time.perf_counter()
        try:
            await asyncio.sleep(self.seconds)
            await self._open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
            self.slowest = max(self.slowest, time.perf_counter() - started)
        if isinstance(value, BaseException):
            raise value
        self.ended += 1
        return value


async def until(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what other tasks (and a database's thread) are about to do."""
    deadline = time.perf_counter() + seconds
    while not happened():
        assert time.perf_counter() < deadline, "it never happened"
        await asyncio.sleep(0.001)


async def all_stored(handle: Tenant) -> None:
    """A load's callers have their value before it is stored; wait for that as well."""
    await until(lambda: not inside(handle).flights)


async def under_way(handle: Tenant, *resource_ids: str) -> None:
    """Wait until each of these is being loaded: many are looked for below before they are."""
    keys = [handle.key("x", each) for each in resource_ids]

    def all_found() -> bool:
        flights = inside(handle).flights
        return flights is not None and None not in map(flights.find, keys)

    await until(all_found)


async def kept(handle: Tenant, resource_id: str = "1") -> Any:
    """What the tiers have once everything is stored."""
    await all_stored(handle)
    return (await handle.get("x", resource_id)).value


async def turns(count: int = 20) -> None:
    """Let the other tasks of this loop go on for a while, without waiting for anything."""
    for _ in range(count):
        await asyncio.sleep(0)
