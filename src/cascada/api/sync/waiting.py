"""A call that waits, made of the one that is awaited: `set = waits(Tenant.set)`.

A type checker sees the async call's own parameters, overloads too, and what awaiting it would give.
So a face that waits is a list of names, and what a call does is written once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from cascada.api.sync.hits import AT_ONCE
from cascada.engine.home.carrying import waited
from cascada.engine.home.lifecycle import Lifecycle

F_co = TypeVar("F_co", covariant=True)
P = ParamSpec("P")
R = TypeVar("R")


class Face(Generic[F_co]):
    """What waits for the calls of `asked`, an object of the async face."""

    __slots__ = ("_asked", "_life")

    def __init__(self, life: Lifecycle, asked: F_co) -> None:
        self._life = life
        self._asked = asked

    def __repr__(self) -> str:
        return f"{self._asked!r}, waited for"


def waits(
    method: Callable[Concatenate[F_co, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Face[F_co], P], R]:
    """The method that does what `method` does, and returns what awaiting that gives."""
    return _waits(method)


def waits_once(
    method: Callable[Concatenate[F_co, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Face[F_co], P], R]:
    """The same of what is not sent again if the loop that it was sent to ends in the middle."""
    return _waits(method, once=True)


def hits_or_waits(
    method: Callable[Concatenate[F_co, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[Face[F_co], P], R]:
    """The same of what mostly finds a hit in memory, and need not wait for that."""
    return _waits(method, at_once=AT_ONCE[method.__name__])


# A checker sees the overloads of a method through a function of one argument alone.
def _waits(
    method: Callable[Concatenate[F_co, P], Coroutine[Any, Any, R]],
    *,
    once: bool = False,
    at_once: Callable[..., Any] | None = None,
) -> Callable[Concatenate[Face[F_co], P], R]:
    @wraps(method)
    def wait(self: Face[F_co], /, *args: P.args, **named: P.kwargs) -> R:
        if at_once is not None and asyncio._get_running_loop() is None:
            found: R | None = at_once(self._asked, args, named)
            if found is not None:
                return found
        work = partial(method, self._asked, *args, **named)
        here, there = [f"{type(of).__name__}.{method.__name__}" for of in (self, self._asked)]
        return waited(self._life, work, here, there, once=once)

    return wait
