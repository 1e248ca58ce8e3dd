"""A process whose sets are noted in a journal, as a service makes them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from cascada import Cache
from cascada.engine.journal import KeptJournal
from cascada.engine.loading.loaders import Terms
from cascada.engine.reading.snapshots import take as forget
from cascada.engine.request import Request
from cascada.model.keys import Key
from cascada.model.names import key_name
from cascada.testing.inside import inside
from cascada.tiers.capabilities import Change

NAME = "default"

TRIES = 1000


async def until(ask: Callable[[], Awaitable[object]], wanted: object) -> None:
    """Wait until this is the answer."""
    for _ in range(TRIES):
        if await ask() == wanted:
            return
        await asyncio.sleep(0.01)
    pytest.fail(f"the answer is never {wanted}")


class Noting:
    """Sets and reads of one type, `service.default`, of one tenant, `acme`."""

    def __init__(self, cache: Cache, name: str = NAME) -> None:
        self.cache = cache
        self.engine = inside(cache).engine
        self.name = name
        self.kind = self.engine.kinds.of("acme", f"service.{name}")
        kept = self.engine.journal(name)
        self.journals = kept is not None

    @property
    def journal(self) -> KeptJournal:
        kept = self.engine.journal(self.name)
        assert kept is not None
        return kept

    def key(self, name: str) -> Key:
        return Key("acme", f"service.{self.name}", None, None, None, name)

    def request(self, name: str, **how: Any) -> Request:
        return Request(self.kind, (self.key(name),), journal=self.name, **how)

    async def set(self, name: str, value: object, ttl: float = 1000, **how: Any) -> bool:
        request = self.request(name, **how)
        entry = self.engine.to_be_set(request, value, Terms(ttl))
        return await self.engine.set(request, entry)

    async def remove(self, name: str) -> bool:
        request = self.request(name)
        return await self.engine.set(request, self.journal.removal(request))

    async def get(self, name: str) -> Any:
        """None for a miss, which this task's next set of the key follows."""
        return (await self.engine.get(self.request(name))).value

    async def in_tiers(self, name: str) -> Any:
        """What the tiers have, whatever is journaled."""
        found = await self.engine.get(Request(self.kind, (self.key(name),)))
        forget(self.engine.stack, self.key(name))
        return found.value

    async def delete(self, name: str) -> None:
        await self.engine.invalidate([key_name(self.key(name))], strict=False)

    async def claimed(self, most: int = 1000, seconds: float = 5) -> list[tuple[str, Any]]:
        """The ids and values of what is claimed now."""
        return [self.told(change) for change in await self.journal.claim(most, seconds)]

    async def waiting(self, *names: str) -> list[tuple[str, Any]]:
        return [self.told(change) for change in await self.journal.of([*map(self.key, names)])]

    def told(self, change: Change) -> tuple[str, Any]:
        if change.removed:
            return change.key.resource_id, "removed"
        value = self.engine.stack.decode(change.entry, self.kind)
        return change.key.resource_id, ("if missing", value) if change.after_miss else value
