"""`with cache.bypass():` in the block, and in tasks that it starts, reads pass the tiers by.

The engine asks `is_bypassed` at each call, and the self-check opens such a block to ask a source.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from typing import Final

from cascada.engine.stack import Stack

_bypassed: Final[ContextVar[tuple[Stack, ...]]] = ContextVar("cascada_bypass", default=())


class Bypass:
    """`with` it, reads go to their sources. (No `contextmanager`: that fails for some errors.)

    It may be opened on any thread. How many are open is known at once; that hits have to look for
    that is the loop's to know, which hears of it before it hears of a read in the block.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def __enter__(self) -> None:
        self._token = _bypassed.set((*_bypassed.get(), self._stack))
        self._count(1)

    def __exit__(self, *error: object) -> None:
        self._count(-1)
        _bypassed.reset(self._token)

    def _count(self, by: int) -> None:
        stack = self._stack
        with stack.kinds.lock:
            stack.bypasses += by
        stack.at_home(partial(stack.watch, by))


def is_bypassed(stack: Stack) -> bool:
    """Whether this code runs in a block of that stack's cache."""
    # A task that was started inside a block keeps its context when the block has ended.
    return stack.bypasses > 0 and stack in _bypassed.get()
