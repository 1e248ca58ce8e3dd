"""A task that a service begins on its engine's event loop, and ends there, whoever asks."""

from __future__ import annotations

import asyncio

from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.home.ready import when_ready


class OneTask:
    """The base of who has one. `life`: that of the engine whose background owns it."""

    life: Lifecycle
    _task: asyncio.Task[None] | None = None

    async def end(self) -> None:
        """Cancel it, and wait until it has ended. Nothing if it does not run."""
        if self._task is not None and not self._task.done():
            await self._end(self._task)

    @when_ready
    async def _end(self, task: asyncio.Task[None]) -> None:
        await ended(task)


async def ended(task: asyncio.Task[None]) -> None:
    """Cancel a task of this event loop, and wait until it has ended, whatever it raises."""
    task.cancel()
    await asyncio.wait([task])
