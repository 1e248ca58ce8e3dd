"""One multiplexed connection to one Redis server, as an asyncio protocol on hiredis.

redis-py makes the connection (URL forms, TLS, ACL, the handshake, Sentinel); then the transport is
taken over, and commands are written as they come and answered in their order. Pushes (RESP3) go to
a callback.

- A cancelled caller's place in the queue stays: its reply is read and dropped, so that nobody ever
  gets another's. For the same reason a command takes its place only when it is packed, and a reply
  that does not fit its command ends the connection: nobody knows whose the next one would be.
- Nothing is sent twice. A command whose connection broke may have been carried out; who sent it has
  to know that, and only he can (`Unanswered`).
- The queue is bounded; a connection that says nothing for `silence` seconds while it owes a reply
  is closed, and with it everything that waits for it.
- Connecting happens in the background, with jitter. While there is no connection, calls fail at
  once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.tiers.redis_layout import ServerError
from cascada.tiers.redis_pool import Pool
from cascada.tiers.redis_replies import Argument, Fits, fitting

MAX_WAITING: Final = 10_000
"""Commands that may wait for their reply on one connection."""

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0


class Wire(asyncio.Protocol):
    """The transport of one connection: replies in order, pushes aside."""

    def __init__(self, on_push: Callable[[list[Any]], None], on_lost: Callable[[], None]) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], Fits]] = deque()
        self._on_push = on_push
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None

    def take_over(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_protocol(self)

    @property
    def oldest(self) -> asyncio.Future[Any] | None:
        """The reply that the server has owed for the longest time."""
        return self._waiting[0][0] if self._waiting else None

    def send(self, command: Sequence[Argument], fits: Fits | None = None) -> asyncio.Future[Any]:
        """Write a command; the future is its reply. The caller may be cancelled freely.

        `fits` tells a reply to this command from a reply to another one.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise TierUnavailable("the connection to Redis is closed")
        if len(self._waiting) >= MAX_WAITING:
            raise TierUnavailable(
                f"{MAX_WAITING} commands wait for Redis already; it is too slow, or stopped"
            )
        # All that may fail comes first: a place without a command would shift every later reply.
        data = packed(command)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        place = reply, fits or fitting(command)
        try:
            self._waiting.append(place)
            transport.write(data)
        except BaseException:
            # Nobody knows how much of it has been written.
            self.close()
            raise
        return reply

    def send_unanswered(self, command: Sequence[Argument]) -> None:
        """Write a command that RESP3 confirms with a push, not with a reply (SUBSCRIBE)."""
        if self._transport is None or self._transport.is_closing():
            raise TierUnavailable("the connection to Redis is closed")
        self._transport.write(packed(command))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                elif not self._answer(*self._waiting.popleft(), reply):
                    self.close()
                    return
        except Exception:  # noqa: BLE001 - the reader, and who hears of pushes, may raise anything
            # A reply that nobody asked for, a push that cannot be read, or no RESP at all (the
            # reader raises several kinds): what comes next fits nobody.
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, deque()
        for reply, _ in waiting:
            if not reply.done():
                reply.set_exception(Unanswered("the connection to Redis broke"))
                reply.exception()
        self._on_lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    @property
    def socket(self) -> Any:
        """The socket, to look whether something waits in it."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    @staticmethod
    def _answer(waiting: asyncio.Future[Any], fits: Fits, reply: Any) -> bool:
        """Whether the reply can be this command's; if not, it is not given to its caller."""
        refused = isinstance(reply, hiredis.ReplyError)
        fitting = refused or fits(reply)
        if waiting.done():  # its caller was cancelled: the reply is nobody's
            return fitting
        if refused:
            waiting.set_exception(ServerError(str(reply)))
            waiting.exception()
        elif fitting:
            waiting.set_result(reply)
        else:
            waiting.set_exception(Unanswered("Redis gave a reply that does not fit its command"))
            waiting.exception()
        return fitting


class Link:
    """A wire that is renewed when it breaks. `run` belongs to the engine's background.

    `greet` is awaited on every new wire before it is used by others (run_id, SUBSCRIBE, ...).
    """

    def __init__(
        self,
        pool: Pool,
        *,
        connect_timeout: float = 20.0,
        silence: float = 5.0,
        greet: Callable[[Wire], Awaitable[None]],
        on_push: Callable[[list[Any]], None] = lambda message: None,
        on_change: Callable[[bool, str], None] = lambda up, why: None,
    ) -> None:
        self._pool = pool
        self._connect_timeout = connect_timeout
        self._silence = silence
        self._greet = greet
        self._on_push = on_push
        self._on_change = on_change
        self._lost = asyncio.Event()
        self.up = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: AbstractConnection | None = None
        self.wire: Wire | None = None

    def send(self, *command: Argument, fits: Fits | None = None) -> asyncio.Future[Any]:
        """Send on the present wire; TierUnavailable at once if there is none."""
        if self.wire is None:
            raise TierUnavailable("there is no connection to Redis at present")
        return self.wire.send(command, fits)

    def forget(self) -> None:
        """After a fork: drop the parent's connection without a word on it."""
        _of_the_parent.append((self.wire, self._connection))
        self.wire = self._connection = None
        self._lost, self.up = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Connect, watch, and connect again, for ever."""
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            # Events belong to a loop. Only here, since others may wait already for those of this.
            self._lost, self.up = asyncio.Event(), asyncio.Event()
        self._loop = loop
        try:
            await self._stay_connected()
        finally:
            await self._drop("the cache is closing")

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._connect()
                _end_if_cancelled()
            except (OSError, RedisError, ServerError, TierUnavailable, TimeoutError) as error:
                _end_if_cancelled()
                await self._drop(self._pool.said(error))
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            pause = FIRST_PAUSE
            self._on_change(True, "")
            await self._watch()
            await self._drop("the connection broke")

    async def _connect(self) -> None:
        async with asyncio.timeout(self._connect_timeout):
            self._lost.clear()
            self._connection = connection = self._pool.make()
            await cast(Any, connection).connect()
            wire = Wire(self._on_push, self._lost.set)
            wire.take_over(transport_of(connection))
            await self._greet(wire)
            self.wire = wire
            self.up.set()

    async def _watch(self) -> None:
        """Until the wire breaks, or owes a reply for too long."""
        while not self._lost.is_set():
            wire = self.wire
            assert wire is not None
            owed = wire.oldest
            try:
                async with asyncio.timeout(self._silence):
                    await self._lost.wait()
            except TimeoutError:
                if owed is not None and wire.oldest is owed:
                    wire.close()

    async def _drop(self, why: str) -> None:
        wire, self.wire = self.wire, None
        if wire is not None:
            self.up.clear()
            wire.close()
            self._on_change(False, why)
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await connection.disconnect(nowait=True)


def _end_if_cancelled() -> None:
    """redis-py loses a cancellation that comes while it connects; the task would never end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def packed(command: Sequence[Argument]) -> bytes:
    """A command as RESP; BadInput for what cannot be one."""
    try:
        return cast(bytes, hiredis.pack_command(cast(Any, tuple(command))))
    except (TypeError, ValueError, OverflowError) as error:
        kinds = sorted({type(each).__name__ for each in command})
        raise BadInput(
            f"this cannot be sent to Redis (it holds {', '.join(kinds)}): {error}"
        ) from None


def transport_of(connection: AbstractConnection) -> asyncio.Transport:
    """The transport under a connection that redis-py has made, which is ours from now on."""
    writer = connection._writer
    assert writer is not None
    return cast(asyncio.Transport, writer.transport)


_of_the_parent: list[object] = []
