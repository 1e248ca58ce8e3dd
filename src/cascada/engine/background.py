"""Every task of the engine has its owner here, and ends with it.

A task that nobody holds can be garbage-collected in the middle, and one that nobody awaits loses
its exception. So this module alone creates tasks (ruff holds the others to that): it keeps them,
logs what they raise, and on closing lets the ones that store something finish.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

logger = logging.getLogger("cascada")


class Background:
    """The tasks of one engine on one event loop."""

    def __init__(self) -> None:
        self._finishing: set[asyncio.Task[Any]] = set()
        self._endless: set[asyncio.Task[Any]] = set()

    def run(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work that ends by itself, and that `drain` waits for."""
        return self._start(self._finishing, work, name)

    def keep_running(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start work that goes on until the engine closes."""
        return self._start(self._endless, work, name)

    async def drain(self, seconds: float) -> None:
        """Let the work under way finish for at most so many seconds, then end everything."""
        if self._finishing:
            await asyncio.wait(self._finishing, timeout=seconds)
        left = self._finishing | self._endless
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    def _start(
        self, owned: set[asyncio.Task[Any]], work: Coroutine[Any, Any, None], name: str
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=f"cascada:{name}")
        owned.add(task)
        task.add_done_callback(owned.discard)
        task.add_done_callback(_log_failure)
        return task


def _log_failure(task: asyncio.Task[Any]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed", task.get_name(), exc_info=error)
