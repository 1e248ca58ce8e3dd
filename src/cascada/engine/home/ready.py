"""`when_ready`: a call of the engine runs on the event loop that the engine is at home on.

Mostly that is the running one, and nothing is awaited. Else the engine is bound to it first, or the
call is carried to the loop that it is bound to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from cascada.engine.home.carrying import awaited
from cascada.engine.home.lifecycle import Lifecycle
from cascada.engine.tasks.callers import begins


class Lives(Protocol):
    """What has a life on an event loop: an engine."""

    life: Lifecycle


E = TypeVar("E", bound=Lives)
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[E, P], Coroutine[Any, Any, R]]


def when_ready(method: Method[E, P, R]) -> Method[E, P, R]:
    """Run it where the engine is at home."""
    return _when_ready(method, once=False)


def at_most_once(method: Method[E, P, R]) -> Method[E, P, R]:
    """The same of what must not be carried out again if the loop that it was carried to ends."""
    return _when_ready(method, once=True)


def _when_ready(method: Method[E, P, R], *, once: bool) -> Method[E, P, R]:
    @wraps(method)
    def call(self: E, /, *args: P.args, **named: P.kwargs) -> Coroutine[Any, Any, R]:
        if self.life.settled is asyncio.get_running_loop():
            if once:
                begins()
            return method(self, *args, **named)
        return bound_first(self, *args, **named)

    async def bound_first(self: E, /, *args: P.args, **named: P.kwargs) -> R:
        if await self.life.ready():
            if once:
                begins()
            return await method(self, *args, **named)
        return await awaited(self.life, partial(call, self, *args, **named), once=once)

    return call
