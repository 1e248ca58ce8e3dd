"""The push feed: how memory hears of invalidations at once, from Redis.

A connection of its own subscribes to the channel on which INV and PUT publish (nonce, q, names).
Memory may be trusted while three things hold, and `until` is the nearest moment at which one of
them may cease to:

- the connection is up, and what it missed while it was down is known to be nothing: after
  SUBSCRIBE it reads `e`; if nonce and q are those of the last push that was APPLIED, memory is
  kept, else flushed;
- its last answered PING was SENT at most one lease ago, so that a frozen network ends the trust;
- its socket was looked at within the last 5 ms, and nothing waited in it: a push that has arrived
  while the event loop was blocked must not be overtaken by a hit. The time of the look is taken
  BEFORE it.

A gap in q, or another nonce, flushes. (`coherence.md` 4 and 5.)
"""

from __future__ import annotations

import asyncio
import math
import select
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol, runtime_checkable

from cascada.model.clock import Clock
from cascada.model.errors import TierUnavailable
from cascada.tiers.base import L1_LEASE
from cascada.tiers.memory import MemoryTier
from cascada.tiers.redis_layout import NONCE, Epoch, Layout, ServerError, run_id_of

PING_EVERY: Final = 0.1
DRAIN: Final = 0.005
"""Seconds for which one look at the socket counts."""


class Wire(Protocol):
    """One connection, as far as the feed uses it."""

    def send(self, command: Sequence[bytes]) -> asyncio.Future[Any]: ...

    def send_unanswered(self, command: Sequence[bytes]) -> None: ...

    @property
    def socket(self) -> Any: ...


class Link(Protocol):
    """A wire that is renewed when it breaks."""

    @property
    def wire(self) -> Wire | None: ...

    async def run(self) -> None: ...


@runtime_checkable
class Publisher(Protocol):
    """A tier that publishes its invalidations, and makes connections to listen on."""

    @property
    def layout(self) -> Layout: ...

    def make_link(self, **hooks: Any) -> Link: ...


class PushFeed:
    """A `Freshness` that pushes keep young."""

    def __init__(
        self,
        publisher: Publisher,
        memory: MemoryTier,
        clock: Clock,
        *,
        lease: float = L1_LEASE,
        on_wake: Callable[[str], None] = lambda key: None,
    ) -> None:
        self.until = -math.inf
        self._layout = publisher.layout
        self._memory = memory
        self._now = clock.monotonic
        self._lease = lease
        self._on_wake = on_wake
        self._link = publisher.make_link(
            greet=self._greet, on_push=self._pushed, on_change=self._changed
        )
        self._nonce = b""
        self._q = 0
        self._trusted_until = -math.inf
        self._last_trusted = -math.inf
        self._socket: Any = None
        self._up = asyncio.Event()
        self._poll: select.poll | None = None

    def extend(self, now: float) -> bool:
        """Look whether a push waits in the socket; if not, memory is good for 5 ms more."""
        if now >= self._trusted_until or self._poll is None:
            return False
        looked = self._now()
        if self._poll.poll(0):
            return False
        self.until = min(looked + DRAIN, self._trusted_until)
        return now < self.until

    def distrusted(self, now: float) -> float:
        return max(0.0, now - self._last_trusted)

    async def poll(self) -> bool:
        """The first look: wait until the connection is up, for at most one lease."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._lease):
                await self._up.wait()
        return self._up.is_set()

    async def run(self) -> None:
        """Stay connected, and PING."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._heartbeat())

    def forget(self) -> None:
        """Start anew, as after a fork."""
        self._changed(False, "")
        self._nonce = b""
        self._up = asyncio.Event()

    async def _greet(self, wire: Wire) -> None:
        """On every new connection, before it counts."""
        layout = self._layout
        info = await wire.send((b"INFO", b"server"))
        wire.send_unanswered((b"SUBSCRIBE", layout.channel))
        started = self._now()
        await wire.send((b"PING",))
        # Read after SUBSCRIBE: what is published from here on arrives, so nothing falls between.
        epoch = Epoch.parse(await wire.send((b"GET", layout.epoch)))
        same_server = epoch is not None and epoch.run_id == run_id_of(info)
        if epoch is None or not same_server:
            self._memory.flush()
            self._nonce, self._q = b"", 0
        elif (epoch.nonce, epoch.q) != (self._nonce, self._q):
            self._memory.flush()
            self._nonce, self._q = epoch.nonce, epoch.q
        self._socket = wire.socket
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN)
        self._memory.heard(self._q)
        self._trusted_until = self._last_trusted = started + self._lease

    def _changed(self, up: bool, why: str) -> None:
        if up:
            self._up.set()
        else:
            self._up.clear()
            self.until = self._trusted_until = -math.inf
            self._poll = self._socket = None

    def _pushed(self, message: list[Any]) -> None:
        """One push, in the order in which the server published."""
        if message[0] != b"message":
            return
        body: bytes = message[2]
        if body[:1] == b"w":
            self._on_wake(body[1:].decode())
            return
        nonce = body[1 : 1 + NONCE]
        number, *names = body[1 + NONCE :].split(b"\n")
        q = int(number)
        if nonce != self._nonce or q != self._q + 1:
            # A gap: what came between is not known, so nothing that is kept can be vouched for.
            self._memory.flush()
        else:
            self._memory.apply(q, [name.decode() for name in names])
            self._memory.heard(q)
        self._nonce, self._q = nonce, q

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(PING_EVERY)
            wire = self._link.wire
            if wire is None:
                continue
            sent = self._now()
            with suppress(TierUnavailable, ServerError):
                reply = wire.send((b"PING",))
                reply.add_done_callback(partial(self._heard, sent))

    def _heard(self, sent: float, reply: asyncio.Future[Any]) -> None:
        # Counted from when it was sent: what was published before the server answered it has
        # arrived before the answer did.
        if not reply.cancelled() and reply.exception() is None:
            self._trusted_until = max(self._trusted_until, sent + self._lease)
            self._last_trusted = self._trusted_until
