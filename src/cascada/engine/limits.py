"""How many loads may run at once, so that a cold cache does not overrun the source.

At most `in_all` loads run in this process and `of_a_type` of one data type; more wait for
`patience` seconds, then get SourceBusy (and the caller a stale value, where it has one). A load
inside a loader runs on its parent's slot: if it waited for one of its own, sixty-four parents could
wait for slots that only they hold.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cascada.model.errors import SourceBusy


class Limits:
    """The slots of one event loop."""

    def __init__(self, in_all: int = 64, of_a_type: int = 16, patience: float = 5.0) -> None:
        self.in_all = in_all
        self.of_a_type = of_a_type
        self.patience = patience
        self._slots = asyncio.Semaphore(in_all)
        self._typed = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(of_a_type))

    @asynccontextmanager
    async def slot(self, data_type: str, *, nested: bool) -> AsyncIterator[None]:
        """Hold a slot while loading. SourceBusy when none came free in time."""
        if nested:
            yield
            return
        typed = self._typed[data_type]
        try:
            async with asyncio.timeout(self.patience):
                await typed.acquire()
                try:
                    await self._slots.acquire()
                except BaseException:
                    typed.release()
                    raise
        except TimeoutError as error:
            raise SourceBusy(
                f"{self.of_a_type} loads of {data_type} or {self.in_all} in all run already, and "
                f"none ended within {self.patience} s; raise max_loads, or look at the source"
            ) from error
        try:
            yield
        finally:
            self._slots.release()
            typed.release()
