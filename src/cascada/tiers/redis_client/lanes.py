"""Connections beside the multiplexed one: a set for lists and counters, and a set for large values.

Each connection serves one name at a time, so that no tenant waits behind what another one does.
Calls of one name are sent in their order, on one connection, without waiting for each other.

A list's reply looks like any other list's, and nothing in it says whose it is. So each command is
followed by a PING with a word of its own. A reply is taken only if this very word comes behind it.
Otherwise there was one reply too many, one too few or somebody else's, and the connection ends.

They are opened when they are needed, and only while the multiplexed one is there: its task knows
whether there is a server, so that an outage costs callers nothing here.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Sequence
from typing import Any, Final

from cascada.model.errors import TierUnavailable, Unanswered
from cascada.tiers.contract import NotPermitted
from cascada.tiers.deadline import wait_in
from cascada.tiers.redis_client.connection import Link
from cascada.tiers.redis_client.refusals import Away
from cascada.tiers.redis_client.replies import Argument, Fits, exactly
from cascada.tiers.redis_client.server import Server
from cascada.tiers.redis_client.wire import Wire

IDLE: Final = 60.0
"""Seconds after which a connection that nobody needed is closed, when another one comes back."""


class Lane:
    """One connection; `main` is the multiplexed one that was there when it was opened."""

    def __init__(self, main: Wire, wire: Wire, turns: asyncio.Semaphore) -> None:
        self.main = main
        self.turns = turns
        self.wire = wire
        self.users = 0
        self.since = 0.0

    def serves(self, main: Wire) -> bool:
        return self.main is main and self.wire.is_open


class Queue:
    """The callers of one name: who comes first is sent first."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self.order = asyncio.Lock()
        self.callers = 0
        self.lane: Lane | None = None
        self.opening = False

    @property
    def done(self) -> int:
        """See `deadline.Progress`. What others do is none, unless it is they who are waited for:
        a server that is silent to these callers, from the greeting on, is late for them."""
        if self.opening:
            return 0
        return self._lanes.done if self.lane is None else self.lane.wire.done


class Lanes:
    """At most `most` connections; a name that finds none free waits, `patience` seconds at most.

    `what` they are for.
    """

    def __init__(
        self,
        server: Server,
        link: Link,
        *,
        what: str,
        most: int,
        patience: float,
    ) -> None:
        self._what = what
        self._moved = 0
        self._server = server
        self._link = link
        self._most = most
        self._patience = patience
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._turns = asyncio.Semaphore(self._most)
        self._queues: dict[bytes, Queue] = {}
        self._free: list[Lane] = []
        self._used: set[Lane] = set()

    @property
    def done(self) -> int:
        """It changes while something large moves, and when a connection comes to the next who
        waits for one (see `deadline.Progress`)."""
        return self._moved + sum(lane.wire.done for lane in self._used)

    async def ask(self, name: bytes, *command: Argument, fits: Fits | None = None) -> Any:
        """The reply to a command about `name`."""
        main = self._link.need()
        queues = self._queues
        queue = queues.get(name)
        if queue is None:
            queue = queues[name] = Queue(self)
        wait_in(queue)
        queue.callers += 1
        try:
            async with queue.order:
                lane = await self._lane(queue, main)
                lane.users += 1
                try:
                    reply = _proven(lane.wire, command, fits)
                except BaseException:
                    self._leave(queue, lane)
                    raise
            try:
                return await reply
            finally:
                self._leave(queue, lane)
        finally:
            queue.callers -= 1
            if not queue.callers:
                del queues[name]

    def close(self) -> None:
        for lane in self._free:
            lane.wire.close("the cache is closing")
        self._begin_anew()

    def forget(self) -> None:
        """After a fork: they are the parent's."""
        _of_the_parent.append((self._free, self._queues))
        self._begin_anew()

    async def _lane(self, queue: Queue, main: Wire) -> Lane:
        """The one on which this name is served now, else another."""
        if queue.lane is not None and queue.lane.users and queue.lane.serves(main):
            return queue.lane
        turns = self._turns
        try:
            async with asyncio.timeout(self._patience):
                await turns.acquire()
        except TimeoutError:
            raise TierUnavailable(
                f"all {self._most} connections for {self._what} were in use for "
                f"{self._patience:g} s (REDIS_MAX_CONNECTIONS, REDIS_POOL_TIMEOUT); it was not sent"
            ) from None
        try:
            lane = self._one_free(main)
            if lane is None:
                queue.opening = True
                lane = Lane(main, await self._open(), turns)
            queue.lane = lane
        except BaseException:
            turns.release()
            raise
        finally:
            queue.opening = False
        self._used.add(lane)
        self._moved += 1
        return lane

    def _leave(self, queue: Queue, lane: Lane) -> None:
        lane.users -= 1
        if lane.users:
            return
        # What it has counted stays counted.
        self._used.discard(lane)
        self._moved += 1 + lane.wire.done
        if queue.lane is lane:
            queue.lane = None
        lane.turns.release()
        now = asyncio.get_running_loop().time()
        while self._free and now - self._free[0].since > IDLE:
            self._free.pop(0).wire.close("nobody needed it")
        if self._link.wire is lane.main and lane.wire.is_open and lane.wire.oldest is None:
            lane.since = now
            self._free.append(lane)
        else:
            # Also where a caller was cancelled: his reply must not be the next one's.
            lane.wire.close("its caller has left")

    def _one_free(self, main: Wire) -> Lane | None:
        while self._free:
            lane = self._free.pop()
            if lane.serves(main):
                return lane
            lane.wire.close("it may lead to another server than the cache's")
        return None

    async def _open(self) -> Wire:
        try:
            wire = await self._server.open()
            try:
                await self._server.greet(wire)
                # Where PING is forbidden, this is found out before a command is carried out, whose
                # caller could not be told so.
                await _ping(wire)
            except BaseException:
                wire.close("it was not greeted")
                raise
        except (NotPermitted, Away) as error:
            # It answers, if only to say that it takes no more clients, or another password by now:
            # no reason to give up the connection that is there, and all who use it.
            raise NotPermitted(
                f"no connection for {self._what}: {self._server.said(error)}"
            ) from None
        except (OSError, Unanswered) as error:
            # Not Unanswered to the caller: nothing of his was sent.
            raise TierUnavailable(
                f"Redis refused a connection: {self._server.said(error)}"
            ) from None
        return wire


def _ping(wire: Wire) -> asyncio.Future[Any]:
    """A reply that fits nothing else."""
    word = os.urandom(8).hex().encode()
    return wire.send((b"PING", word), exactly(word))


async def _take(reply: asyncio.Future[Any], said: asyncio.Future[Any]) -> Any:
    answer: Any
    proof: Any
    answer, proof = await asyncio.gather(reply, said, return_exceptions=True)
    if isinstance(answer, BaseException):
        raise answer
    if isinstance(proof, BaseException):
        raise Unanswered("nothing shows that the reply was this caller's") from proof
    return answer


def _proven(wire: Wire, command: Sequence[Argument], fits: Fits | None) -> Awaitable[Any]:
    """Send at once; what it gives is the reply, once it is known to be that."""
    reply = wire.send(command, fits)
    try:
        said = _ping(wire)
    except TierUnavailable as error:
        raise Unanswered(str(error)) from error
    return _take(reply, said)


_of_the_parent: list[object] = []
