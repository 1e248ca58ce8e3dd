"""The pieces of one stream under way: those that have passed, kept for who comes later.

Each reader has a place of its own and takes the pieces at its own pace. They are kept from the
first one on, as long as there is ROOM: so many pieces, so many bytes. A stream that has more is
OVERLONG: nobody can join it any more, and what it keeps from then on is a window that moves on with
its fastest reader. The stream waits for that one; a reader who falls behind the window gets an
error, because the others must not wait for it, and memory must not hold what it leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from cascada.codecs.values import Encoded
from cascada.engine.request import UNSTORED, Answer
from cascada.model.bills.cost import Cost
from cascada.model.errors import LoadError
from cascada.tiers.memory.watch import Watch

OVERHEAD: Final = 200
"""Bytes that keeping a piece costs beside its own."""


class TooLong(LoadError):
    """A stream was longer than what is kept of it: it cannot be had as one value."""


class Live:
    """See the module's text.

    `began` is the moment at which its generator was started (None: not yet), `seen` the number that
    the tiers were read at before, `watch` what memory hears since, `so_far` the answer that it
    would be if it ended now, and `release` gives its leases back. `cost`: what its generator has
    said of that.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        self.began: int | None = None
        self.seen = 0
        self.watch: Watch | None = None
        self.so_far: Callable[[], Answer] = lambda: Answer(UNSTORED, "source", origin="loader")
        self.release: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.cost: Cost | None = None
        self.overlong = False
        self.complete = False
        self.error: Exception | None = None
        self.passed = 0
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._kept: dict[int, tuple[Encoded, int]] = {}
        self._first = 0
        self._bytes = 0
        self._places: dict[object, int] = {}
        self._moved = asyncio.Event()

    @property
    def pieces(self) -> list[Encoded]:
        """All pieces that have passed; not of an overlong stream."""
        return [piece for piece, _ in self._kept.values()]

    # --- the stream's side --------------------------------------------------------------------

    def has_room(self, size: int) -> bool:
        """Whether one more piece may be kept; a single one always is."""
        fits = (
            len(self._kept) < self._max_items and self._bytes + size + OVERHEAD <= self._max_bytes
        )
        return fits or not self._kept

    async def make_room(self, size: int) -> None:
        """Wait until the fastest reader has taken enough. TooLong if nobody reads at all."""
        while not self.has_room(size):
            if not self._places:
                raise TooLong("nobody follows this stream, and it is too long to be kept")
            if max(self._places.values()) > self._first:
                self._bytes -= self._kept.pop(self._first)[1]
                self._first += 1
            else:
                self._moved.clear()
                await self._moved.wait()

    def add(self, piece: Encoded, size: int) -> None:
        self._kept[self.passed] = piece, size + OVERHEAD
        self._bytes += size + OVERHEAD
        self.passed += 1

    # --- the readers' side --------------------------------------------------------------------

    def join(self, reader: object) -> None:
        """Begin at the first piece."""
        self._places[reader] = 0

    def part(self, reader: object) -> None:
        del self._places[reader]
        self._moved.set()

    def has_more(self, reader: object) -> bool:
        return self._places[reader] < self.passed

    def take(self, reader: object) -> Encoded | None:
        """The reader's next piece; None if it has not passed yet."""
        place = self._places[reader]
        if place == self.passed:
            return None
        if place < self._first:
            raise LoadError(
                f"this reader is {self.passed - place} pieces behind a stream that is too long "
                "to be kept for it; read faster, or raise max_items"
            )
        self._places[reader] = place + 1
        self._moved.set()
        return self._kept[place][0]
