"""The data of a tier behind that tier's deadline and breaker, with sentences for those who wait.

A server that does not answer is the same server for entries and for data, so both count for one
breaker. Nothing is deferred and nothing is retried: a change whose answer did not come may have
been made, and only the caller can know what to do about that (`Unanswered`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from cascada.model.errors import CorruptEntry, Unanswered
from cascada.tiers.breaker import Call
from cascada.tiers.datastore import DataStore
from cascada.tiers.guarded import PATIENCE, GuardedTier

T = TypeVar("T")


class GuardedData:
    """`data`, which `tier` keeps."""

    def __init__(self, tier: GuardedTier, data: DataStore) -> None:
        self._tier = tier
        self._data = data
        self._timeout = max(PATIENCE, tier.timeout)

    async def increment(self, name: str, amount: int, ttl: float | None = None) -> int:
        what = f"adding {amount} to the counter {name}"
        return await self._change(what, lambda: self._data.increment(name, amount, ttl))

    async def counter(self, name: str) -> int:
        return await self._ask(lambda: self._data.counter(name))

    async def push(self, name: str, item: bytes, *, left: bool) -> int:
        what = f"appending to the list {name}"
        return await self._change(what, lambda: self._data.push(name, item, left=left))

    async def pop(self, name: str, *, left: bool) -> bytes | None:
        what = f"taking an item from the list {name}"
        return await self._change(what, lambda: self._data.pop(name, left=left))

    async def range(self, name: str, start: int, end: int) -> list[bytes]:
        return await self._ask(lambda: self._data.range(name, start, end))

    async def length(self, name: str) -> int:
        return await self._ask(lambda: self._data.length(name))

    async def trim(self, name: str, start: int, end: int) -> None:
        await self._change(f"trimming the list {name}", lambda: self._data.trim(name, start, end))

    async def _change(self, what: str, send: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self._ask(send)
        except Unanswered as error:
            raise Unanswered(
                f"{what} may or may not have happened: {error}; it was not repeated"
            ) from error

    async def _ask(self, send: Callable[[], Awaitable[T]]) -> T:
        with Call(self._tier.breaker, self._timeout):
            try:
                return await send()
            except CorruptEntry as error:  # the tier has answered: no failure of its own
                corrupt = error
        raise corrupt
