"""Texts gathered into batches: what is asked within a moment is asked in one call of the source.

Promise: every text that is asked for while its batch waits is asked once; a batch holds at most
`max_batch` texts and leaves `max_wait` seconds after its first (or as soon as it is full); at most
`max_calls` are under way. Who leaves takes nothing from the others. A batch that fails, or brings
another number of results than texts, fails for its texts alone.

A batch that is under way is nobody's who comes later: what it brings may be older than an
invalidation that his load would not hear of, since its lease is younger. And a batch is part of
all loads that wait for it, not of the one that began it: what the source reads through the cache
becomes a source of all their results, and it must wait for none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, NamedTuple

from cascada.engine.loading.dependencies import LoadContext, current
from cascada.engine.stack import Stack
from cascada.engine.tasks.callers import Caller, CallerLeft, caller
from cascada.engine.tasks.singleflight import LoadTask
from cascada.model.errors import BadInput, LoadError
from cascada.tiers.coalesce import Coalescer

Call = Callable[[list[str]], Awaitable[Any]]


class _Batch(LoadContext):
    """What one batch reads. `whose`: the caller where its source is called."""

    __slots__ = ("whose",)
    whose: Caller | None


class _Asked(NamedTuple):
    """A text that is asked for: its result to come, and its batch."""

    result: asyncio.Future[Any]
    batch: _Batch

    @property
    def is_to_be_asked_again(self) -> bool:
        """Whether the source went with somebody else, who began the batch: who is still there has
        it where he is."""
        result = self.result
        left = not result.cancelled() and isinstance(result.exception(), CallerLeft)
        return left and self.batch.whose is not caller()


class Gatherer:
    """The texts that one tenant asks of one source, on one event loop."""

    def __init__(
        self,
        call: Call,
        stack: Stack,
        tenant: str,
        *,
        max_batch: int | None = None,
        max_wait: float = 0.0,
        max_calls: int = 8,
    ) -> None:
        self._call = call
        self._stack = stack
        self._tenant = tenant
        self._slots = asyncio.Semaphore(max_calls)
        self._asked: dict[str, _Asked] = {}
        self._batch = self._new_batch()
        self._texts: Coalescer[str, Any] = Coalescer(
            self._leave,
            start=partial(stack.background.answer, name="batch"),
            delay=max_wait,
            most=max_batch,
        )

    def _new_batch(self) -> _Batch:
        return _Batch(self._stack, LoadTask(), self._tenant)

    async def ask(self, texts: Sequence[str]) -> list[Any]:
        """One result for each text, in their order: what the source made, or the exception."""
        asked: dict[str, _Asked] = {}
        left = list(texts)
        while left:
            these = {text: self._asked.get(text) or self._enter(text) for text in left}
            await self._over(list(these.values()))
            asked |= these
            left = [text for text, each in these.items() if each.is_to_be_asked_again]
        return [_result_of(asked[text]) for text in texts]

    async def _over(self, asked: Sequence[_Asked]) -> None:
        """Until there are results."""
        if (context := current(self._stack)) is None:
            await _over(asked)
            return
        batches = dict.fromkeys(each.batch for each in asked)
        for batch in batches:
            context.owner.wait_for(batch.owner)
        try:
            await _over(asked)
        finally:
            for batch in batches:
                context.owner.wait_no_more(batch.owner)
        for batch in batches:
            context.join(batch)

    def _enter(self, text: str) -> _Asked:
        # The batch first: with this text it may be full, and leave.
        batch = self._batch
        asked = self._asked[text] = _Asked(self._texts.join(text), batch)
        return asked

    def _leave(self, texts: list[str]) -> Coroutine[Any, Any, list[Any]]:
        batch, self._batch = self._batch, self._new_batch()
        return self._send(texts, batch)

    async def _send(self, texts: list[str], batch: _Batch) -> list[Any]:
        try:
            batch.whose = caller()
            async with self._slots:
                self._close(texts, batch)
                with batch:
                    return _one_for_each(texts, await self._call(list(texts)))
        finally:
            self._close(texts, batch)

    def _close(self, texts: list[str], batch: _Batch) -> None:
        """Let nobody join it any more."""
        for text in texts:
            if (asked := self._asked.get(text)) is not None and asked.batch is batch:
                del self._asked[text]


async def _over(asked: Sequence[_Asked]) -> None:
    """Not awaited themselves: others may wait for the same."""
    await asyncio.wait([each.result for each in asked])


def _result_of(asked: _Asked) -> Any:
    if asked.result.cancelled():
        return LoadError("the batch was cancelled: the cache is closing, or its source did it")
    error = asked.result.exception()
    return asked.result.result() if error is None else error


def _one_for_each(texts: list[str], results: Any) -> list[Any]:
    found = list(results)
    if len(found) != len(texts):
        raise BadInput(
            f"the source was asked for {len(texts)} texts and returned {len(found)} results; "
            "it has to return one for each, in their order"
        )
    return found
