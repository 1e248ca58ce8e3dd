"""Several nodes in one process: caches that share a tier, each with its own memory and feed.

What two processes on one machine do to each other can so be tested in one event loop, step by
step. Each node needs a tier object of its own, as each process has its own connection:

    from cascada.model.clock import SystemClock
    from cascada.testing import Nodes
    from cascada.tiers.sqlite.tier import SqliteTier

    def shared():
        return SqliteTier("cache.db", namespace="test", clock=SystemClock())

    async with Nodes(2, shared) as nodes:
        here, there = (node.tenant("acme") for node in nodes)
        await here.set("document", "d1", "text")
        assert await there.get("document", "d1")
        await here.invalidate("document", "d1")
        await nodes.hear()                             # instead of waiting for every node's poll
        assert not await there.get("document", "d1")
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self

from cascada.api.cache import Cache
from cascada.testing.flaky import SharedTier
from cascada.testing.inside import inside


class Nodes:
    """`count` caches over what `shared` makes; `options` are those of `Cache`."""

    def __init__(self, count: int, shared: Callable[[], SharedTier], **options: Any) -> None:
        self._caches = [Cache(tiers=[shared()], **options) for _ in range(count)]

    def __iter__(self) -> Iterator[Cache]:
        return iter(self._caches)

    def __len__(self) -> int:
        return len(self._caches)

    def __getitem__(self, index: int) -> Cache:
        return self._caches[index]

    async def hear(self, *nodes: int) -> None:
        """Let the nodes (all, if none is named) look at their feeds now.

        After it every node has heard of all that was invalidated before.
        """
        await asyncio.gather(
            *(hear(self._caches[index]) for index in nodes or range(len(self._caches)))
        )

    async def aclose(self) -> None:
        await asyncio.gather(*(cache.aclose() for cache in self._caches))

    async def __aenter__(self) -> Self:
        for cache in self._caches:
            await cache.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


async def hear(cache: Cache) -> None:
    """Let one cache look at its feed now, instead of at its next turn."""
    feed = inside(cache).feed
    if feed is None:
        raise TypeError(f"{cache!r} has no tier below memory, so there is nothing to hear of")
    await feed.poll()
