"""What is asked for at about the same time is collected, sent once, and handed back to each.

All such places use this one class: reads of the engine, the Redis tier's MGETs and PINGs, and texts
for an embedding model. What they must never do is done here, once:

- Who is cancelled takes nothing from the others: each waits for a future of its own.
- Nobody waits for ever: however the work ends (an answer, a failure, a cancellation before its
  first step), all futures of its batch are told. A failure reaches exactly those who asked in it.
- Nobody gets what was sent before he asked: a batch that has left takes nobody in.

Usually it is adaptive. Idle, a request is carried out at once and by itself. While something is
under way, what this turn of the event loop brings is collected and leaves with its end. So a lone
caller waits for nobody, and a thousand at once cost hardly more than one batch of a thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


def _itself(work: Any) -> Any:
    return work


def _one_each(requests: Sequence[Any], answers: Any) -> Any:
    return answers


class Coalescer(Generic[A, B]):
    """`work` carries out any number of requests.

    `start` makes a future of what `work` gives: a task, where it is a coroutine. `share` makes one
    answer for each request of its result; without it, that result is their list.

    With `delay` it is not adaptive: a batch leaves so many seconds after its first request, or as
    soon as it has `most` of them.
    """

    def __init__(
        self,
        work: Callable[[list[A]], Awaitable[Any]],
        *,
        start: Callable[[Any], asyncio.Future[Any]] = _itself,
        share: Callable[[list[A], Any], Sequence[B]] = _one_each,
        delay: float | None = None,
        most: int | None = None,
    ) -> None:
        self._work = work
        self._start = start
        self._share = share
        self._delay = delay
        self._most = most
        self._under_way = 0
        self._requests: list[A] = []
        self._waiting: list[asyncio.Future[B]] = []
        self._departure: asyncio.Handle | None = None

    async def ask(self, request: A) -> B:
        """The answer to `request`; raises what the work raises."""
        if self._under_way or self._waiting or self._delay is not None:
            return await self.join(request)
        self._under_way = 1
        try:
            # Nobody else's, so that it may be cancelled with its caller.
            return self._share([request], await self._work([request]))[0]
        finally:
            self._under_way -= 1

    def join(self, request: A) -> asyncio.Future[B]:
        """The answer to `request`, which leaves with what else is asked for now."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            self._departure = (
                loop.call_later(self._delay, self._leave)
                if self._delay
                else loop.call_soon(self._leave)
            )
        answer: asyncio.Future[B] = loop.create_future()
        self._requests.append(request)
        self._waiting.append(answer)
        if len(self._waiting) == self._most:
            self._leave()
        return answer

    def _leave(self) -> None:
        if self._departure is not None:
            self._departure.cancel()
            self._departure = None
        requests, self._requests = self._requests, []
        waiting, self._waiting = self._waiting, []
        try:
            result = self._start(self._work(requests))
        except Exception as error:  # noqa: BLE001 - whatever it is, they wait for it
            _fail(waiting, error)
            return
        self._under_way += 1
        result.add_done_callback(partial(self._fan_out, requests, waiting))

    def _fan_out(
        self, requests: list[A], waiting: list[asyncio.Future[B]], result: asyncio.Future[Any]
    ) -> None:
        self._under_way -= 1
        error = asyncio.CancelledError() if result.cancelled() else result.exception()
        if error is None:
            try:
                answers = self._share(requests, result.result())
                for answer, each in zip(answers, waiting, strict=True):
                    if not each.done():
                        each.set_result(answer)
            except Exception as fault:  # noqa: BLE001 - it is the work's, and they wait for it
                error = fault
        if error is not None:
            _fail(waiting, error)


def _fail(waiting: Sequence[asyncio.Future[Any]], error: BaseException) -> None:
    for each in waiting:
        if each.done():
            continue
        if isinstance(error, Exception):
            each.set_exception(error)
            each.exception()  # retrieved: its caller may have left
        else:
            each.cancel()
