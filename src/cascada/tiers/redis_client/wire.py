"""One multiplexed connection to one Redis server, as an asyncio protocol on hiredis.

Commands are written as they come and answered in their order; pushes (RESP3) go to a callback.

- A cancelled caller's place in the queue stays: its reply is read and dropped, so that nobody ever
  gets another's. For the same reason a command takes its place only when it is packed, and a reply
  that does not fit its command ends the connection: nobody knows whose the next one would be.
- Nothing is sent twice. A command whose connection broke may have been carried out; who sent it has
  to know that, and only he can (`Unanswered`).
- The queue is bounded, and so is what a reply may promise (`frames`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import hiredis

from cascada.model.errors import BadInput, TierUnavailable, Unanswered
from cascada.tiers.redis_client.frames import MAX_ITEMS, PER_ARGUMENT, Frames, TooMuch
from cascada.tiers.redis_client.refusals import refusal
from cascada.tiers.redis_client.replies import Argument, Fits, fitting

MAX_WAITING: Final = 10_000
"""Commands that may wait for their reply on one connection."""

MAX_READ: Final = 2**16
"""Bytes that are read in one turn of the loop: of numbers alone they are some 16,000."""


PIECE: Final = 2**15
"""Bytes that say that something large is moving."""


class Wire(asyncio.Protocol):
    """The transport of one connection: replies in order, pushes aside.

    `on_push` may raise whatever it likes: a push that cannot be understood ends the connection.
    """

    def __init__(self, on_push: Callable[[list[Any]], None], on_lost: Callable[[], None]) -> None:
        self._frames = Frames()
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[asyncio.Future[Any], Fits, Argument]] = deque()
        self._on_push = on_push
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._received = self._of_large = self._large_sent = 0
        self.why = "the connection to Redis broke"
        self.at_fault = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if hasattr(transport, "max_size"):  # asyncio's own; uvloop's reads as much by itself
            transport.max_size = MAX_READ

    @property
    def oldest(self) -> asyncio.Future[Any] | None:
        """The reply that the server has owed for the longest time."""
        return self._waiting[0][0] if self._waiting else None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def done(self) -> int:
        """It changes while a large command leaves or a large reply arrives (see
        `deadline.Progress`): who waits for that, or behind it, waits for no server that fails.
        Small ones do not count, nor single bytes."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return (self._of_large + self._large_sent - unsent) // PIECE

    @property
    def moved(self) -> tuple[int, int]:
        """Bytes that have come, and that wait to leave: a slow connection changes them."""
        transport = self._transport
        return self._received, 0 if transport is None else transport.get_write_buffer_size()

    @property
    def socket(self) -> Any:
        """The socket, to look whether something waits in it."""
        return None if self._transport is None else self._transport.get_extra_info("socket")

    def send(self, command: Sequence[Argument], fits: Fits | None = None) -> asyncio.Future[Any]:
        """Write a command; the future is its reply. The caller may be cancelled freely.

        `fits` tells a reply to this command from a reply to another one.
        """
        transport = self._transport
        if transport is None or transport.is_closing():
            raise TierUnavailable(f"the connection to Redis is closed: {self.why}")
        if len(self._waiting) >= MAX_WAITING:
            raise TierUnavailable(
                f"{MAX_WAITING} commands wait for Redis already; it is too slow, or stopped"
            )
        # All that may fail comes first: a place without a command would shift every later reply.
        data = packed(command)
        elements = MAX_ITEMS if command[0] == b"LRANGE" else PER_ARGUMENT * len(command)
        if elements > self._frames.most:
            self._frames.most = elements
        if len(data) > PIECE:
            self._large_sent += len(data)
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        place = reply, fits or fitting(command), command[0]
        try:
            self._waiting.append(place)
            transport.write(data)
        except BaseException:
            # Nobody knows how much of it has been written.
            self.close("a command could not be written")
            raise
        return reply

    def send_unanswered(self, command: Sequence[Argument]) -> None:
        """Write a command that RESP3 confirms with a push, not with a reply (SUBSCRIBE). Where the
        connection is gone, the next command says so."""
        if self._transport is not None:
            self._transport.write(packed(command))

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        try:
            if self._frames.look(data) > PIECE:
                self._of_large += len(data)
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, hiredis.PushNotification):
                    self._on_push(reply)
                    continue
                if not self._waiting:
                    self.close("Redis answered what nobody had asked")
                    return
                waiting, fits, command = self._waiting.popleft()
                if isinstance(reply, hiredis.ReplyError):
                    _refuse(waiting, command, str(reply))
                elif not fits(reply):
                    _disown(waiting)
                elif not waiting.done():  # else its caller was cancelled: the reply is nobody's
                    waiting.set_result(reply)
        except Exception as error:  # noqa: BLE001 - the reader, and who hears of pushes, may raise any
            # What comes next fits nobody. A parser's own words may repeat what was sent.
            known = isinstance(error, (TooMuch, Unanswered))
            self.close(f"Redis sent {error if known else 'what is no reply'}")

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if error is not None:
            self.why = f"the connection to Redis broke: {str(error) or repr(error)}"
        waiting, self._waiting = self._waiting, deque()
        for reply, _, _ in waiting:
            _tell(reply, Unanswered(self.why))
        self._on_lost()

    def close(self, why: str = "the connection was closed") -> None:
        """End it, for what came of it; who waits for a reply is told why."""
        if self._transport is not None and not self._transport.is_closing():
            self.why, self.at_fault = why, True
            self._transport.abort()


def _refuse(waiting: asyncio.Future[Any], command: Argument, said: str) -> None:
    """Unanswered if it is no server to stay with."""
    _tell(waiting, refusal(command, said))
    if said.startswith("READONLY"):
        # The master is another one now: who connects anew is led to it.
        raise Unanswered("word that it is a replica now")


def _disown(waiting: asyncio.Future[Any]) -> None:
    """What came can be no reply to his command."""
    misfit = Unanswered("a reply that does not fit its command")
    _tell(waiting, misfit)
    raise misfit


def _tell(waiting: asyncio.Future[Any], error: Exception) -> None:
    """Its caller may have been cancelled, or never look at it."""
    if not waiting.done():
        waiting.set_exception(error)
        waiting.exception()


def packed(command: Sequence[Argument]) -> bytes:
    """A command as RESP; BadInput for what cannot be one."""
    try:
        return cast(bytes, hiredis.pack_command(cast(Any, tuple(command))))
    except (TypeError, ValueError, OverflowError) as error:
        kinds = sorted({type(each).__name__ for each in command})
        raise BadInput(
            f"this cannot be sent to Redis (it holds {', '.join(kinds)}): {error}"
        ) from None
