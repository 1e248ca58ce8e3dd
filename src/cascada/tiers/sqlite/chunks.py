"""Long batches in parts, between which others have their turn. The tier's calls ask in them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

Item = TypeVar("Item")
T = TypeVar("T")

CHUNK: Final = 100
"""Keys of a batch that are done in one go."""


def by_chunks(
    ask: Callable[[Sequence[Item]], Awaitable[list[T]]], items: Sequence[Item], most: int = CHUNK
) -> Awaitable[list[T]]:
    """What `ask` answers to all items, `most` of them at a time."""
    return ask(items) if 0 < len(items) <= most else _one_after_another(ask, items, most)


async def _one_after_another(
    ask: Callable[[Sequence[Item]], Awaitable[list[T]]], items: Sequence[Item], most: int
) -> list[T]:
    answers: list[T] = []
    for start in range(0, len(items), most):
        answers += await ask(items[start : start + most])
        await asyncio.sleep(0)  # who asks inline has not let the loop breathe
    return answers
