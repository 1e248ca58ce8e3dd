"""How much room a namespace's entries may take in Redis, and who counts it again when it is due.

The scripts that store and remove keep the account (`redis_scripts`), and refuse what finds no room.
What goes without a script makes the account too high. So once it is nearly used up one process at
a time walks through the keys, in steps of about a millisecond and with four times as long between
them, and also removes what a group's invalidation has ended. People who ask for figures get them
counted anew, too.

Nobody waits for a count to store something. It must never remove what a read could still find.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

from cascada.model.errors import TierUnavailable
from cascada.tiers.contract import NotPermitted, Usage
from cascada.tiers.redis.layout import Layout, literal
from cascada.tiers.redis.permissions import forbidden
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.lanes import Lanes
from cascada.tiers.redis_scripts.room import RECOUNT, RESERVE

logger = logging.getLogger("cascada")

STEP: Final = 300
"""Keys of one step."""

PAUSE: Final = 4
"""Times as long as a step has taken until the next one."""

REST: Final = 1.0
"""Seconds between two looks whether it is to be counted."""

NEARLY: Final = 7 / 8
"""Of the capacity, from where on what has gone by itself is looked for: LOW is refused there."""

FIGURES: Final = 10.0
"""Seconds for which figures are good enough for people, at least: else 20 times as long as it takes
to count."""

PATIENCE: Final = 0.1
"""Seconds that who asks for figures waits for them at most; then he gets the last ones."""

NO_SCAN: Final = (
    "Redis forbids SCAN, without which nobody can tell how much its entries take, so that "
    "L2_CACHE_SIZE_MB does not bound them; allow it to this user"
)


class Account(NamedTuple):
    """Bytes that are used, all growth there was, entries, and when they may be counted anew."""

    used: int = 0
    grown: int = 0
    entries: int = 0
    due: int = 0


class Room:
    """The account of one namespace, as this process knows it.

    capacity: bytes that its entries may take; 0: it is not bounded. `identity`: of the server that
    the connection leads to.
    """

    def __init__(
        self, layout: Layout, link: Link, capacity: int, identity: Callable[[], bytes]
    ) -> None:
        self._layout = layout
        self._link = link
        self.capacity = capacity
        self._identity = identity
        self._forbidden = False
        self._counted_at, self._good_for = float("-inf"), FIGURES
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._wanted, self._done = asyncio.Event(), asyncio.Event()

    @property
    def bound(self) -> int:
        """What scripts are told: without a count they must refuse nothing."""
        return 0 if self._forbidden else self.capacity

    def heard(self, used: int, due: int) -> None:
        """What a script has said: the bytes, and whether they were ever counted (else 0)."""
        if self.bound and (not due or used > NEARLY * self.capacity):
            self._wanted.set()

    async def reserve(self, lanes: Lanes, place: bytes, flags: int, size: int) -> bool:
        """Whether there is room for a payload of so many bytes, which it then has."""
        said = await RESERVE.run(
            lambda *command, fits: lanes.ask(place, *command, fits=fits),
            [self._layout.epoch, place],
            [self.bound, flags & 0xFF, size],
            lambda reply: reply in (0, 1),
        )
        return bool(said)

    async def run(self) -> None:
        """Count whenever it is due, for ever."""
        self._begin_anew()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            with suppress(TierUnavailable):
                await self._count()
            await asyncio.sleep(REST)

    async def _count(self) -> None:
        """Walk through all keys, unless another process does, or has done so lately."""
        layout, now = self._layout, asyncio.get_running_loop().time
        token, started = os.urandom(8).hex(), now()
        pattern = literal(layout.prefix) + b"*"
        while True:
            began = now()
            try:
                said, _ = await RECOUNT.run(
                    self._link.ask,
                    [layout.epoch],
                    [
                        token, self._identity(), b"%04d" % layout.number, pattern,
                        layout.generations, STEP,
                    ],
                    _counted,
                )  # fmt: skip
            except NotPermitted as error:
                if forbidden(error):
                    self._forbid(str(error))
                return
            if said:
                self._counted_at = now()
                self._good_for = max(FIGURES, 20 * (self._counted_at - started))
                self._done.set()
                return
            await asyncio.sleep(PAUSE * (now() - began))

    def _forbid(self, why: str) -> None:
        if not self._forbidden and self.capacity:
            logger.warning("%s (%s)", NO_SCAN, why)
        self._forbidden = True

    async def usage(self, evictions: int) -> Usage:
        """What the namespace's own entries take, counted not long ago."""
        now = asyncio.get_running_loop().time()
        if now - self._counted_at > self._good_for and not self._forbidden:
            self._counted_at = now
            self._done.clear()
            self._wanted.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await self._done.wait()
        account = account_of(await self._link.ask(b"GET", self._layout.account))
        return Usage(account.entries, account.used, self.capacity, evictions)


def _counted(reply: Any) -> bool:
    return type(reply) is list and [*map(type, reply)] == [int, int] and 0 <= reply[0] <= 3


def account_of(stored: bytes | None) -> Account:
    """What is stored as the account; nothing, where it is none."""
    found = re.fullmatch(rb"(\d{1,18}) (\d{1,18}) (\d{1,18}) (\d{1,18})", stored or b"")
    return Account() if found is None else Account(*map(int, found.groups()))
