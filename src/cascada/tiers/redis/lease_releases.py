"""Who waits for another process's lease: the feed hears that it was released, and wakes them.

The tier makes a `LeaseReleases` and hands it to `writes` (who is told `Busy`) and to its feed. It
only says when to ask again; whether the lease is to be had, the server decides.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final
from weakref import WeakValueDictionary

from cascada.tiers.contract import Busy

POLL_BUSY: Final = 0.008
"""Seconds after which a caller that waits for another process's load asks again."""

POLL_HEARING: Final = 0.05
"""The same where a push says when it is over: only a lost push or a dead process needs it."""


MAX_RELEASED: Final = 1024
"""Releases that are remembered, for answers that they may have overtaken."""


class LeaseReleases:
    """The releases that one process has heard of. `listening`: pushes arrive at present.

    `moment` is now, for `busy`. It is taken before a lease is asked for: the push that it is
    released may overtake the answer that it is busy.

    Events are held by those who wait alone, so that whoever is cancelled leaves nothing behind.
    """

    def __init__(self) -> None:
        self._listening = False
        self._events: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        self.moment = self._unknown = 0
        self._released: OrderedDict[str, int] = OrderedDict()

    @property
    def listening(self) -> bool:
        return self._listening

    @listening.setter
    def listening(self, hears: bool) -> None:
        self._listening = hears
        if not hears:
            # What is released now is pushed to nobody: who waits has to ask.
            self.moment += 1
            self._unknown = self.moment
            for event in list(self._events.values()):
                event.set()
            self._events.clear()

    def released(self, key: str) -> None:
        """The lease of `key` (its text) is gone, or void."""
        self.moment += 1
        self._released[key] = self.moment
        self._released.move_to_end(key)
        if len(self._released) > MAX_RELEASED:
            _, self._unknown = self._released.popitem(last=False)
        if (event := self._events.pop(key, None)) is not None:
            event.set()

    def busy(self, key: str, since: int, left: float) -> Busy:
        """Another process held the lease of `key` after `since`, and does for `left` seconds if
        it is not renewed."""
        if not self._listening:
            return Busy(min(left, POLL_BUSY))
        event = self._events.get(key)
        if since < max(self._unknown, self._released.get(key, 0)):
            event = asyncio.Event()  # of this caller's own: others may wait for the next release
            event.set()
        if event is None:
            self._events[key] = event = asyncio.Event()
        return Busy(min(left, POLL_HEARING), event)

    def forget(self) -> None:
        """After a fork: those who wait are the parent's."""
        self._listening = False
        self._events = WeakValueDictionary()
        self.moment = self._unknown = 0
        self._released.clear()
