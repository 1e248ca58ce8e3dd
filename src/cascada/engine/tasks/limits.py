"""How many loads may run at once, so that a cold cache does not overrun the source.

At most `in_all` loads run in this process and `of_a_type` of one data type; more wait for
`patience` seconds, then get SourceBusy (and the caller a stale value, where it has one).

A load that a running load waits for is URGENT: it runs on the slot of the one that waits. If it
waited for a slot of its own, sixty-four loads could wait for what only they hold. It may become
urgent while it waits already, because somebody else had asked for it before.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any

from cascada.model.errors import SourceBusy


class Ticket:
    """One load's right to run. `turn` is its place in the queue: True will be a slot.

    `holds`: it has a slot. `threads` are the plain functions that it has called and could not wait
    for: nothing ends them.
    """

    __slots__ = ("holds", "threads", "turn", "urgent")

    def __init__(self, *, urgent: bool = False) -> None:
        self.urgent = urgent
        self.holds = False
        self.threads: list[Future[Any]] = []
        self.turn: asyncio.Future[bool] | None = None

    def hurry(self) -> None:
        """A load that runs has come to wait for this one."""
        self.urgent = True
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(False)


class LoadLimits:
    """The slots of one event loop."""

    def __init__(self, in_all: int = 64, of_a_type: int = 16, patience: float = 5.0) -> None:
        self.in_all = in_all
        self.of_a_type = of_a_type
        self.patience = patience
        self._running = 0
        self._of_type: Counter[str] = Counter()
        self._queue: dict[asyncio.Future[bool], str] = {}

    def enter(self, data_type: str, ticket: Ticket) -> bool:
        """Take a slot, to be given back by `leave`; False: `wait` for it, none is free."""
        if ticket.urgent:  # it runs without one
            return True
        ticket.holds = self._take(data_type)
        return ticket.holds

    async def wait(self, data_type: str, ticket: Ticket) -> None:
        """Until there is a slot, or the load has become urgent. SourceBusy: none in time."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        ticket.turn = turn
        self._queue[turn] = data_type
        try:
            async with asyncio.timeout(self.patience):
                ticket.holds = await turn
        except BaseException as error:
            # It may have been given a slot in the very moment in which it stopped waiting.
            if turn.done() and not turn.cancelled() and turn.result():
                self._give_back(data_type)
            if not isinstance(error, TimeoutError):
                raise
            raise SourceBusy(
                f"{self.of_a_type} loads of {data_type} or {self.in_all} in all run already, and "
                f"none ended within {self.patience} s; raise max_loads, or look at the source"
            ) from error
        finally:
            self._queue.pop(turn, None)

    def spares(self, data_type: str, begun: int = 0) -> bool:
        """Whether there is a slot for what nobody waits for: half of them are left to callers.

        `begun`: so many of that kind have begun, and may not have their slots yet.
        """
        of_type = self._of_type.get(data_type, 0)
        free = min(self.in_all - 2 * self._running, self.of_a_type - 2 * of_type)
        return not self._queue and free >= 2 * (begun + 1)

    def leave(self, data_type: str, ticket: Ticket) -> None:
        """Give the slot back as soon as what the load runs is over, though it has given up.

        A plain function that hangs keeps its thread for good. If it did not keep its slot as well,
        the next ones would take all threads, and whoever came then would wait for ever, not for a
        while.
        """
        if not ticket.holds:
            return
        ticket.holds = False
        for running in ticket.threads:
            if not running.done():
                loop = asyncio.get_running_loop()
                running.add_done_callback(partial(self._give_back_later, loop, data_type))
                return
        self._give_back(data_type)

    def _give_back_later(
        self, loop: asyncio.AbstractEventLoop, data_type: str, running: Future[Any]
    ) -> None:
        with suppress(RuntimeError):  # that loop is closed, and its slots are gone
            loop.call_soon_threadsafe(self._give_back, data_type)

    def _give_back(self, data_type: str) -> None:
        self._running -= 1
        self._of_type[data_type] -= 1
        if not self._of_type[data_type]:
            del self._of_type[data_type]
        for turn, waiting in self._queue.items():
            # Taken here, so that nobody who comes before the waiter's turn can have it.
            if not turn.done() and self._take(waiting):
                turn.set_result(True)
                break

    def _take(self, data_type: str) -> bool:
        """Take a slot, if there is one."""
        of_type = self._of_type.get(data_type, 0)
        if self._running >= self.in_all or of_type >= self.of_a_type:
            return False
        self._running += 1
        self._of_type[data_type] = of_type + 1
        return True
