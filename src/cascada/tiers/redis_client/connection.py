"""One connection to one Redis server that is renewed when it breaks.

`Server` opens and greets a `Wire`; `RedisTier` and the feed have a `Link` each, which their tasks
run.

- A connection that says nothing for `silence` seconds while it owes a reply is closed, and with it
  everything that waits for it.
- Connecting happens in the background, with a growing pause and jitter, and goes on whatever comes
  back: no answer of a server may end it. While there is no connection, calls fail at once.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from cascada.model.errors import TierUnavailable
from cascada.tiers.coalesce import Coalescer
from cascada.tiers.deadline import wait_in
from cascada.tiers.redis_client.refusals import cause
from cascada.tiers.redis_client.replies import Argument, Fits
from cascada.tiers.redis_client.server import Server
from cascada.tiers.redis_client.wire import Wire

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 0.5

LOOKS: Final = 4
"""At a connection, within the time for which it may be silent."""

SLOW: Final = 10
"""Times as long a reply may take that goes on arriving."""


class Link:
    """A wire that is renewed when it breaks. `run` belongs to the engine's background.

    `greet` is awaited on every new wire before it is used by others (run_id, SUBSCRIBE, ...).
    """

    def __init__(
        self,
        server: Server,
        *,
        connect_timeout: float = 20.0,
        silence: float = 5.0,
        greet: Callable[[Wire], Awaitable[None]],
        on_push: Callable[[list[Any]], None] = lambda message: None,
        on_change: Callable[[bool, str], None] = lambda up, why: None,
    ) -> None:
        self._server = server
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._greeting = min(silence, connect_timeout)
        self._greet = greet
        self._on_push = on_push
        self._on_change = on_change
        self._lost = asyncio.Event()
        self.up = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opened: Wire | None = None
        self.wire: Wire | None = None
        self._pause = FIRST_PAUSE
        self.why = "it is being made"
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pings: Coalescer[None, bytes] = Coalescer(
            lambda asked: self.send(b"PING"), share=lambda asked, pong: [pong] * len(asked)
        )

    def ask(self, *command: Argument, fits: Fits | None = None) -> asyncio.Future[Any]:
        """As `send`, for who awaits the reply: his deadline looks at this connection.

        A caller that is cancelled cancels its own reply, which the wire reads and drops."""
        wait_in(self.wire or self.need())
        return self.send(*command, fits=fits)

    def send(self, *command: Argument, fits: Fits | None = None) -> asyncio.Future[Any]:
        """Send on the present wire; TierUnavailable at once if there is none."""
        return (self.wire or self.need()).send(command, fits)

    def need(self) -> Wire:
        """The present wire."""
        if self.wire is None:
            raise TierUnavailable(f"there is no connection to Redis at present: {self.why}")
        return self.wire

    async def settle(self) -> None:
        """Wait until what was published before has left the server.

        A server writes what it has published before it reads the next commands. So one PING that
        is sent after the script's reply settles it, also those of all who wait for one.
        """
        # Without an answer the message is on its way all the same; the feed knows when it is not.
        with suppress(TierUnavailable):
            await self._pings.ask(None)

    def forget(self) -> None:
        """After a fork: drop the parent's connection without a word on it."""
        _of_the_parent.append(self._opened)
        self.wire = self._opened = None
        self._begin_anew()
        self._lost, self.up = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Connect, watch, and connect again, for ever."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            # Events belong to a loop. Only here, since others may wait already for those of this.
            self._lost, self.up = asyncio.Event(), asyncio.Event()
        self._loop = loop
        self._begin_anew()
        self._pause = FIRST_PAUSE
        try:
            while True:
                self._drop(await self._one_life())
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
        finally:
            self._drop("the cache is closing")

    async def _one_life(self) -> str:
        """Of one connection, from its making until it breaks; why it ended."""
        try:
            wire = await self._connect()
            self._on_change(True, "")
            await self._watch(wire)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return repr(error)  # of something that it waited for, not of this task
        except TimeoutError:
            silent = self._connect_timeout if self._opened is None else self._greeting
            return f"no connection within {silent} s"
        except Exception as error:  # noqa: BLE001 - whatever it is, the next try may succeed
            return cause(error) or self._server.said(error)
        if not wire.at_fault:
            self._pause = FIRST_PAUSE
        return wire.why

    async def _connect(self) -> Wire:
        async with asyncio.timeout(self._connect_timeout):
            self._lost.clear()
            self._opened = wire = await self._server.open(self._on_push, self._lost.set)
            # A server that took the connection is silent no longer than any other.
            async with asyncio.timeout(self._greeting):
                await self._server.greet(wire)
                await self._greet(wire)
            self.wire = wire
            self.up.set()
        return wire

    async def _watch(self, wire: Wire) -> None:
        """Until the wire breaks, or owes a reply for too long.

        A look after this process has slept finds nothing moved, but it is one look only: what has
        come meanwhile is read before the next.
        """
        owed, moved, still, looks = wire.oldest, wire.moved, 0, 0
        while not self._lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(self._silence / LOOKS):
                    await self._lost.wait()
            looks = looks + 1 if wire.oldest is owed and owed is not None else 0
            still = still + 1 if looks and wire.moved == moved else 0
            owed, moved = wire.oldest, wire.moved
            if still >= LOOKS:
                wire.close(f"Redis owes a reply and said nothing for {self._silence} s")
            elif looks >= SLOW * LOOKS:
                wire.close(f"Redis owes a reply for {SLOW * self._silence} s")

    def _drop(self, why: str) -> None:
        self.why = why
        wire, self.wire = self.wire, None
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close(why)
        if wire is not None:
            self.up.clear()
            self._on_change(False, why)


_of_the_parent: list[object] = []
