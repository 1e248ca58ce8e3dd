"""The source of a stream, let out piece by piece."""

import asyncio
import copy
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from cascada.api.cache import Cache
from cascada.api.tenant.handle import Tenant
from cascada.testing.clock import ManualClock
from cascada.testing.inside import inside
from tests.scenarios.row import until


class Tape:
    """A generator that stops before its piece number `held` (None: never) until it is let go.

    An `error` is raised at the end. Pieces and error are looked up as it runs.
    """

    def __init__(
        self, *pieces: Any, held: int | None = None, error: Exception | None = None
    ) -> None:
        self.pieces = pieces
        self.held = held
        self.error = error
        self.runs = 0
        self.closed = 0
        self.ended = 0
        self.yielded = 0
        self._moved = asyncio.Event()

    def let_go(self, held: int | None = None) -> None:
        self.held = held
        self._moved.set()
        self._moved = asyncio.Event()

    async def play(self) -> AsyncGenerator[Any]:
        self.runs += 1
        pieces = copy.deepcopy(self.pieces)
        try:
            for number, piece in enumerate(pieces):
                await self._reach(number)
                self.yielded += 1
                yield piece
            await self._reach(len(pieces))
            if self.error is not None:
                raise self.error
            self.ended += 1
        finally:
            self.closed += 1

    async def _reach(self, number: int) -> None:
        while self.held is not None and number >= self.held:
            await self._moved.wait()


async def heard(acme: Tenant, tape: Tape, **options: Any) -> list[Any]:
    """All pieces, as one caller gets them."""
    return await all_of(acme.stream("x", "1", tape.play, **options))


async def all_of(pieces: AsyncGenerator[Any]) -> list[Any]:
    return [piece async for piece in pieces]


async def pass_time(cache: Cache, clock: ManualClock, seconds: float) -> None:
    """Let time pass; after a long silence, connections and feeds are looked at first."""
    clock.advance(seconds)
    trust = inside(cache).memory.freshness
    await until(lambda: trust.until > clock.monotonic() or trust.extend(clock.monotonic()))


class Listener:
    """A caller that takes a stream in its own task, and remembers what it got."""

    def __init__(self, acme: Tenant, tape: Tape, **options: Any) -> None:
        self.got: list[Any] = []
        self.task = asyncio.create_task(self._listen(acme.stream("x", "1", tape.play, **options)))

    async def _listen(self, pieces: AsyncGenerator[Any]) -> list[Any]:
        async with aclosing(pieces):
            async for piece in pieces:
                self.got.append(piece)
        return self.got

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
