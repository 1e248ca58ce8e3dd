"""The polled feed: a tier that pushes nothing is asked again and again what was invalidated.

A tier that can tell its `Changes` makes one of itself (`FeedSource.make_feed`). Every `interval` it
is asked what was invalidated since the last look, and memory takes it. Memory is trusted for
`lease` seconds from the START of the last look that succeeded: an invalidation that returned before
it began is in its answer, so that no older one can be unheard of for longer. When the tier does not
answer, or this process was stopped for a while, the trust runs out by itself; it comes back with
the next look, which reports all that was missed, or `lost`, and then memory is emptied.
(`docs/protocol.md` rules 25 and 26.)
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final, Protocol

import msgspec

from cascada.model.clock import Clock
from cascada.tiers.capabilities import L1_LEASE, InvalidationSink
from cascada.tiers.deadline import Deadline

POLL_INTERVAL: Final = 0.1
"""Seconds between two looks at a feed that is polled."""


class Changes(msgspec.Struct, frozen=True):
    """Invalidations since a position, for a process that polls: (name, seq) in the order made.

    `lost` says that some are no longer known, so that all memory of before must go.
    """

    position: int
    names: tuple[tuple[str, int], ...]
    lost: bool


class ChangeLog(Protocol):
    """A tier that can tell what was invalidated since."""

    async def changes(self, since: int | None) -> Changes:
        """What came after `since`; None asks for the present position alone."""
        ...


class PolledFeed:
    """A `Feed` that asks `log`, and tells `sink`."""

    def __init__(
        self,
        log: ChangeLog,
        sink: InvalidationSink,
        clock: Clock,
        *,
        interval: float = POLL_INTERVAL,
        lease: float = L1_LEASE,
        timeout: float | None = None,
        on_error: Callable[[str], None] = lambda why: None,
    ) -> None:
        self.until = -math.inf
        self.interval = interval
        self._log = log
        self._sink = sink
        self._now = clock.monotonic
        self._lease = lease
        self._timeout = timeout
        self._on_error = on_error
        self._position: int | None = None

    @property
    def is_numbered(self) -> bool:
        return self._position is not None

    def extend(self, now: float) -> bool:
        """Nothing can be heard without waiting, so that lapsed trust stays lapsed."""
        return False

    def distrusted(self, now: float) -> float:
        return max(0.0, now - self.until)

    async def poll(self) -> bool:
        """One look. False, and memory's trust not extended, if the tier did not answer."""
        # Taken before the question is sent: what is invalidated while the answer is on its way
        # may not be in it, and must not find memory trusted for longer than one lease.
        started = self._now()
        try:
            with nullcontext() if self._timeout is None else Deadline(self._timeout):
                changes = await self._log.changes(self._position)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
            self._on_error(str(error) or f"no answer within {self._timeout} s")
            return False
        if changes.lost or self._position is None:
            # At the first look memory may already hold what was read while no look succeeded.
            self._sink.flush()
        else:
            for name, seq in changes.names:
                self._sink.apply(seq, [name], dated=True)
        self._position = changes.position
        self.until = started + self._lease
        return True

    def forget(self) -> None:
        """Start anew, as after a fork: memory is empty then, so nothing was missed."""
        self.until = -math.inf
        self._position = None

    async def run(self) -> None:
        """Poll for ever."""
        while True:
            await self.poll()
            await asyncio.sleep(self.interval)
