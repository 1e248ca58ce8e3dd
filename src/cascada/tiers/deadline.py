"""A deadline that counts what the other side takes, not what this process's own lag takes.

When the event loop was blocked, it sees the answer and the end of the time in the same turn. A
plain time-out would then take a tier for dead that has answered long ago. So time is counted in
ticks of the loop, and between two ticks the loop looks at what has arrived. However long it was
blocked, that is one tick. If the last tick came late there is one more, and at the end there is one
more look before the call is given up.

A call may wait in a queue of this process, or for a reply that arrives piece by piece (`Progress`).
As long as that moves, the other side is not late.

`tiers/guarded.py` puts one around every call of a tier, and the polled feed one around each look.
Code further in tells it what it waits for (`wait_in`, `lengthen`), without knowing whether there is
one. Long work of this process's own lets others have a turn after AT_ONCE keys.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Protocol, Self

TICKS: Final = 5
"""Ticks of one deadline; one that comes later than it should by its own length is late."""

MOST_TICKS: Final = 20
"""Ticks in all, however the queue moves: who waits must be told at some time."""

LAST_LOOK: Final = 5
"""Turns of the loop from the last tick to the end: through so many futures an answer that has
arrived may have to pass."""


AT_ONCE: Final = 100
"""Keys that are worked on in one turn of the loop: a millisecond or so, and others have theirs."""


class Progress(Protocol):
    """What a call waits in: a queue of this process, whose `done` grows with each job that is taken
    up or ended, or a connection on which a large reply arrives."""

    @property
    def done(self) -> int: ...


class Deadline:
    """`with` it around what is awaited: TimeoutError after `seconds`.

    `late`: whether the other side has used up its time, so that it is to blame. `expired`: whether
    the call was given up. With `on_late`, which is called at the moment of lateness, the call goes
    on until `at_most` seconds are over in all. `began` is on the loop's clock.
    """

    # What most deadlines leave as it is: one is made for every call of a tier.
    late = expired = False
    _left = TICKS
    _most = MOST_TICKS
    _ticks = _done = 0
    _one_more = False
    _at_most = math.inf
    _on_late: Callable[[], None] | None = None
    _queue: Progress | None = None

    def __init__(
        self,
        seconds: float,
        *,
        at_most: float = math.inf,
        on_late: Callable[[], None] | None = None,
    ) -> None:
        self._seconds = seconds
        self._at_most = at_most
        self._on_late = on_late

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelled = task, task.cancelling()
        self._loop = loop = task.get_loop()
        self._tick = self._seconds / TICKS
        self.began = now = loop.time()
        self._end = now + self._at_most
        self._due = min(now + self._tick, self._end)
        self._next: asyncio.Handle = loop.call_at(self._due, self._pass)
        self._outer = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stop(error):
            raise TimeoutError from error

    def _stop(self, error: BaseException | None) -> bool:
        """No more of it. True if `error` is its own doing, and no other cancellation beside it."""
        _current.reset(self._outer)
        self._next.cancel()
        if not self.expired:
            return False
        alone = self._task.uncancel() <= self._cancelled
        return alone and isinstance(error, asyncio.CancelledError)

    def _pass(self) -> None:
        """A tick is over."""
        now = self._loop.time()
        self._ticks += 1
        if self._queue is not None and self._queue.done != self._done:
            self._done, self._left = self._queue.done, max(self._left, TICKS)
        elif self._left == 1 and now - self._due >= self._tick and not self._one_more:
            self._one_more = True
        else:
            self._left -= 1
        if self._left <= 0 and not self.late:
            self.late = True
            if self._on_late is not None:
                self._on_late()
        patient = now < self._end if self._on_late else not self.late and self._ticks < self._most
        if not patient:
            self._look_again(LAST_LOOK)
        else:
            self._due = min(now + self._tick, self._end)
            self._next = self._loop.call_at(self._due, self._pass)

    def _look_again(self, turns: int) -> None:
        if turns:
            self._next = self._loop.call_soon(self._look_again, turns - 1)
        else:
            self.expired = True
            self._task.cancel()


_current: ContextVar[Deadline | None] = ContextVar("cascada_deadline", default=None)


def wait_in(queue: Progress) -> None:
    """Tell the deadline of this call, if it has one, that its work waits in `queue` from now on."""
    if (deadline := _current.get()) is not None:
        deadline._queue, deadline._done = queue, queue.done


def lengthen(seconds: float, at_most: float) -> None:
    """If this call has a deadline, let the other side take so much longer, and so much in all while
    its queue moves."""
    if (deadline := _current.get()) is not None:
        deadline._left += math.ceil(seconds / deadline._tick)
        deadline._most += math.ceil(at_most / deadline._tick)
