"""What is asked for in one turn of the event loop is done together.

Idle, a request is carried out at once and by itself; while another is under way, those that the
loop's turn brings are collected and carried out as one. So a lone caller waits for nobody, and a
thousand at once cost hardly more than one batch of a thousand.

Who is cancelled takes nothing from the others: each waits for a future of its own, and what was
collected runs in the engine's background, in nobody's context.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Generic, TypeVar

from cascada.engine.tasks.background import Background

A = TypeVar("A")
B = TypeVar("B")


class Coalescer(Generic[A, B]):
    """`work` carries out any number of requests: one answer for each, in their order."""

    def __init__(self, background: Background, work: Callable[[list[A]], Awaitable[list[B]]]):
        self._background = background
        self._work = work
        self._under_way = 0
        self._requests: list[A] = []
        self._waiting: list[asyncio.Future[B]] = []

    async def ask(self, request: A) -> B:
        """The answer to `request`; raises what the work raises."""
        if not self._under_way and not self._waiting:
            self._under_way = 1
            try:
                return (await self._work([request]))[0]
            finally:
                self._under_way -= 1
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._start, context=Context())
        future: asyncio.Future[B] = loop.create_future()
        self._requests.append(request)
        self._waiting.append(future)
        return await future

    def _start(self) -> None:
        requests, self._requests = self._requests, []
        waiting, self._waiting = self._waiting, []
        turn = self._background.run(self._together(requests, waiting), "turn")
        # Closing may cancel it before its first step, so that it tells nobody itself.
        turn.add_done_callback(lambda _: [future.cancel() for future in waiting])

    async def _together(self, requests: list[A], waiting: list[asyncio.Future[B]]) -> None:
        self._under_way += 1
        try:
            answers = await self._work(requests)
        except BaseException as error:
            for future in waiting:
                if not future.done():
                    future.set_exception(
                        error if isinstance(error, Exception) else asyncio.CancelledError()
                    )
                    future.exception()  # retrieved: its caller may have left
            if not isinstance(error, Exception):
                raise
        else:
            for future, answer in zip(waiting, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        finally:
            self._under_way -= 1
