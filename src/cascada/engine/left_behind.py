"""What processes that write behind have left in the journal, for one that does not.

A deployment has changed its strategy, or some of its processes have another one. Then nobody else
may write what waits to the database, and who reads there finds what is older. So such a process
looks now and then, writes what it finds, and from then on asks as `write_behind` does before the
database is read. It says so: until it has looked it does not know.

`build` makes one where both tiers are there, and the lifecycle runs it. It never journals a change.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from cascada.engine.write_behind import WriteBehind
from cascada.model.errors import TierUnavailable
from cascada.model.keys import Key
from cascada.tiers.capabilities import Connected

LOOK_EVERY: Final = 5.0
"""Seconds between two looks."""

ASKED_FOR: Final = 60.0
"""Seconds for which the database is not read unasked after something was found."""

_LEFT: Final = (
    "%d changes that another process has written behind are not in the database yet. This process "
    "has another write_strategy: it writes them there, and what it read there before may be older; "
    "give all processes of a namespace the same one"
)

logger = logging.getLogger("cascada")


class LeftBehind:
    """Of a journal that this process puts nothing into."""

    def __init__(self, behind: WriteBehind) -> None:
        self._behind = behind
        self._said = False
        self._asks_until = 0.0

    async def run(self) -> None:
        """Look, and write what is there, for ever."""
        tier = self._behind.upper.tier
        while True:
            if isinstance(tier, Connected):
                await tier.up()
            with suppress(TierUnavailable):
                await self._look()
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self) -> None:
        behind, now = self._behind, asyncio.get_running_loop().time
        while left := (await behind.backlog()).changes:
            self._asks_until = now() + ASKED_FOR
            behind.base.written_behind = self._waiting
            if not self._said:
                self._said = True
                logger.warning(_LEFT, left)
            if not await behind.write_batch():
                return  # others are at work on the rest
        if now() >= self._asks_until:
            behind.base.written_behind = None

    async def _waiting(self, keys: Sequence[Key]) -> frozenset[Key]:
        """Of which keys the database must not be read: none, if the journal does not answer. Who
        does not write behind goes on without Redis."""
        try:
            if not keys or not await self._behind.ask(keys):
                return frozenset()
        except TierUnavailable:
            return frozenset()
        return await self._behind.waiting(keys)
