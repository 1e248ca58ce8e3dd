"""The push feed: memory hears of invalidations at once, from Redis. `RedisTier.make_feed` makes it.

A connection of its own subscribes to the channel on which INV and PUT publish (nonce, seq, names).
Memory may be trusted while three things hold, and `until` is the nearest moment at which one of
them may cease to:

- the connection is up, and what it missed while it was down is known to be nothing: after
  SUBSCRIBE it reads `e`; if nonce and seq are those of the last push that was APPLIED, memory is
  kept, else flushed;
- its last answered heartbeat was SENT at most one lease ago, so that a frozen network ends the
  trust. The heartbeat reads `e`: what was published before it was answered has arrived before the
  answer, so a higher seq there is an invalidation that nobody could publish, and flushes;
- its socket was looked at within the last 5 ms, and nothing waited in it: a push that has arrived
  while the event loop was blocked must not be overtaken by a hit. The time of the look is taken
  BEFORE it.

A gap in seq, or another nonce, flushes. Besides, the server must be the one that the tier's own
connection leads to, or nothing that is read there is ever pushed here; and the layout must not be
newer than this process. (`docs/protocol.md` rules 26 to 28.)
"""

from __future__ import annotations

import asyncio
import logging
import math
import select
from contextlib import suppress
from functools import partial
from typing import Any, Final, Protocol

from cascada.model.clock import Clock
from cascada.model.errors import TierUnavailable
from cascada.tiers.capabilities import L1_LEASE, InvalidationSink
from cascada.tiers.contract import NotPermitted
from cascada.tiers.redis.layout import NONCE, Epoch, Layout
from cascada.tiers.redis.lease_releases import LeaseReleases
from cascada.tiers.redis.permissions import ANY_SERVER, NO_SUBSCRIBE, forbidden, run_id_on
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.wire import Wire

logger = logging.getLogger("cascada")

BEAT_EVERY: Final = 0.1
ACKNOWLEDGED_MS: Final = 2_000
DRAIN: Final = 0.005
"""Seconds for which one look at the socket counts."""


class Publisher(Protocol):
    """The Redis tier, as far as its feed uses it."""

    @property
    def layout(self) -> Layout: ...

    @property
    def hearing(self) -> LeaseReleases: ...

    @property
    def run_id(self) -> bytes: ...

    def make_link(self, **hooks: Any) -> Link: ...


class PushFeed:
    """A `Feed` that pushes keep young. `heard`: the nonce and number of the latest push."""

    def __init__(
        self,
        publisher: Publisher,
        sink: InvalidationSink,
        clock: Clock,
        *,
        lease: float = L1_LEASE,
    ) -> None:
        self.until = -math.inf
        self.is_numbered = False
        self._publisher = publisher
        self._releases = publisher.hearing
        self._layout = publisher.layout
        self._sink = sink
        self._now = clock.monotonic
        self._lease = lease
        self._link = publisher.make_link(
            greet=self._greet, on_push=self._pushed, on_change=self._changed
        )
        self._nonce, self._seq = b"", 0
        self.heard = b"", 0
        self._server = b""
        self._deaf = self._said = False
        self._trusted_until = -math.inf
        self._last_trusted = -math.inf
        self._socket: Any = None
        self._up = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._poll: select.poll | None = None

    def extend(self, now: float) -> bool:
        """Look whether a push waits in the socket; if not, memory is good for 5 ms more."""
        if now >= self._trusted_until or self._poll is None:
            return False
        if self._server != self._publisher.run_id:
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
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            self._up = asyncio.Event()  # an event belongs to a loop
        self._loop = loop
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run())
            group.create_task(self._heartbeat())

    def numbered_in(self, nonce: bytes | None) -> None:
        """An invalidation was numbered in the epoch of `nonce`; None: nobody knows in which.

        What memory holds cannot be compared with numbers of another epoch than that whose pushes
        are applied.
        """
        if nonce != self._nonce:
            self._sink.flush()

    def forget(self) -> None:
        """Start anew, as after a fork."""
        self._changed(False, "")
        self._nonce, self._seq = b"", 0
        self._releases.forget()
        self._up = asyncio.Event()

    async def _greet(self, wire: Wire) -> None:
        """On every new connection, before it counts."""
        layout = self._layout
        self._server = await run_id_on(wire)
        if not self._deaf:
            wire.send_unanswered((b"SUBSCRIBE", layout.channel))
        started = self._now()
        try:
            await wire.send((b"PING",))
        except NotPermitted as error:
            if forbidden(error):
                # That was the answer to SUBSCRIBE: all later ones are shifted by one. The next
                # connection goes without it.
                self._deaf = True
            raise
        # Read after SUBSCRIBE: what is published from here on arrives, so nothing falls between.
        epoch = Epoch.parse(await wire.send((b"GET", layout.epoch)))
        if epoch is None or epoch.run_id != self._server or self._server == ANY_SERVER:
            # Whoever does not know which server process this is cannot tell its numbers either.
            self._flush(epoch)
        elif (epoch.nonce, epoch.seq) != (self._nonce, self._seq):
            self._flush(epoch)
        self._socket = wire.socket
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN)
        self._trust(started, epoch)

    def _flush(self, epoch: Epoch | None) -> None:
        """Nothing that is kept can be vouched for; what comes counts from this epoch on."""
        self._sink.flush()
        self._nonce, self._seq = (b"", 0) if epoch is None else (epoch.nonce, epoch.seq)

    def _trust(self, sent: float, epoch: Epoch | None) -> None:
        """Memory is good for one lease after `sent`, when `e` was asked for."""
        # Of another process of the server, or an older layout, it is replaced by the next write.
        self.is_numbered = epoch is not None and (
            epoch.run_id == self._server and epoch.layout == self._layout.number
        )
        if self._deaf or (epoch is not None and epoch.layout > self._layout.number):
            self.until = self._trusted_until = -math.inf
            return
        self._trusted_until = max(self._trusted_until, sent + self._lease)
        self._last_trusted = self._trusted_until

    def _changed(self, up: bool, why: str) -> None:
        self._releases.listening = up and not self._deaf
        if up:
            self._up.set()
            if self._deaf and not self._said:
                self._said = True
                logger.warning("l1: %s", NO_SUBSCRIBE)
        else:
            self._up.clear()
            self.until = self._trusted_until = -math.inf
            self._poll = self._socket = None
            self._deaf = False  # the next connection may be allowed to

    def _pushed(self, message: list[Any]) -> None:
        """One push, in the order in which the server published.

        Nothing is taken of one that cannot be read: what it raises ends the connection, and what
        was missed is found out on the next one.
        """
        if message[0] != b"message":
            return
        _, channel, body = message
        if channel != self._layout.channel:
            raise ValueError(f"a message on {channel[:40]!r}, to which nobody subscribed")
        if body[:1] == b"w":
            self._releases.released(body[1:].decode())
            return
        if body[:1] not in (b"i", b"s"):
            raise ValueError(f"a message that begins with {body[:1]!r}")
        nonce = body[1 : 1 + NONCE]
        number, *names = body[1 + NONCE :].split(b"\n")
        seq = int(number)
        named = [name.decode() for name in names]
        if nonce != self._nonce or seq != self._seq + 1:
            # A gap: what came between is not known, so nothing that is kept can be vouched for.
            self._sink.flush()
        else:
            self._sink.apply(seq, named, dated=True)
        self._nonce, self._seq = self.heard = nonce, seq
        for name in named:
            if name.startswith("k:"):
                self._releases.released(name[2:])  # its lease went with it
        if body[:1] == b"s":
            self._acknowledge(nonce, seq)

    def _acknowledge(self, nonce: bytes, seq: int) -> None:
        """Say that it has been applied here, to somebody who waits for it."""
        if (wire := self._link.wire) is not None:
            applied = self._layout.applied(nonce, seq)
            with suppress(TierUnavailable):
                wire.send((b"INCR", applied))
                wire.send((b"PEXPIRE", applied, b"%d" % ACKNOWLEDGED_MS))

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY)
            wire = self._link.wire
            if wire is None:
                continue
            if self._publisher.run_id not in (b"", self._server):
                # Another live server: whatever is read there, nobody publishes it here.
                wire.close()
                continue
            sent = self._now()
            with suppress(TierUnavailable):
                reply = wire.send((b"GET", self._layout.epoch))
                reply.add_done_callback(partial(self._heard, wire, sent))

    def _heard(self, wire: Wire, sent: float, reply: asyncio.Future[Any]) -> None:
        if wire is not self._link.wire or reply.cancelled() or reply.exception() is not None:
            return
        epoch = Epoch.parse(reply.result())
        # A lower seq is older than a push that came with the answer, taken before this call.
        nonce, seq = (b"", 0) if epoch is None else (epoch.nonce, epoch.seq)
        if nonce != self._nonce or seq > self._seq:
            self._flush(epoch)
        # Counted from when it was sent: what was published before the server answered it has
        # arrived before the answer did.
        self._trust(sent, epoch)
