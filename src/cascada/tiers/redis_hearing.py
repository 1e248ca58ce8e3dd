"""What the Redis tier and the feed that listens to it tell one another.

The tier waits for what only the feed hears: that another process's lease was released. The feed
must know what only the tier sees: that an invalidation was numbered in another epoch than the one
whose pushes it applies, so that what memory holds cannot be compared with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from weakref import WeakValueDictionary

from cascada.tiers.base import Busy

POLL_BUSY: Final = 0.008
"""Seconds after which a caller that waits for another process's load asks again."""

POLL_HEARING: Final = 0.05
"""The same where a push says when it is over: only a lost push or a dead process needs it."""


class Hearing:
    """One tier's ears. `listening`: pushes arrive at present; `nonce`: those of this epoch.

    Events are held by those who wait alone, so that whoever is cancelled leaves nothing behind.
    """

    def __init__(self) -> None:
        self.nonce = b""
        self.on_another_epoch: Callable[[], None] = lambda: None
        self._listening = False
        self._events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()

    @property
    def listening(self) -> bool:
        return self._listening

    @listening.setter
    def listening(self, hears: bool) -> None:
        self._listening = hears
        if not hears:
            # What is released now is pushed to nobody: who waits has to ask.
            for event in list(self._events.values()):
                event.set()
            self._events.clear()

    def expect(self, key: str) -> asyncio.Event:
        """Set when the lease of `key` (its text) is released, from this moment on.

        Taken before the lease is asked for: the push may overtake the answer that it is busy.
        """
        event = self._events.get(key)
        if event is None:
            self._events[key] = event = asyncio.Event()
        return event

    def released(self, key: str) -> None:
        """The lease of `key` is gone, or void."""
        if (event := self._events.pop(key, None)) is not None:
            event.set()

    def busy(self, event: asyncio.Event, left: float) -> Busy:
        """Another process holds the lease, for `left` seconds if it is not renewed."""
        if self._listening:
            return Busy(min(left, POLL_HEARING), event)
        return Busy(min(left, POLL_BUSY))

    def met(self, nonce: bytes) -> None:
        """An invalidation was numbered in the epoch of `nonce`."""
        if nonce != self.nonce:
            self.on_another_epoch()

    def forget(self) -> None:
        """After a fork: those who wait are the parent's."""
        self._listening = False
        self._events = WeakValueDictionary()
        self.nonce = b""
