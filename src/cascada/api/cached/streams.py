"""Cached async generator functions: a call gives the stream of its arguments.

One run for all who call it at the same time: who comes later gets what has passed, then what comes.
What was yielded is stored when it ended well, and replayed item for item.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from cascada.api.cached.function import CachedForm

P = ParamSpec("P")
Q = ParamSpec("Q")
T = TypeVar("T")


class StreamCached(CachedForm[P], Generic[P, T]):
    """A cached async generator function, which may be a method."""

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        recipe, args_ = self._recipe, (*self._bound, *args)
        cache, key = recipe.cache(), recipe.key(args_, kwargs)
        return cache.tenant(key.tenant).stream(
            key.data_type,
            key.resource_id,
            functools.partial(recipe.function, *args_, **kwargs),
            ttl=recipe.ttl,
            tags=recipe.tags,
            sources=recipe.sources(args_, kwargs),
            type=recipe.wanted,
        )

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        """Make the stream anew, and give its items; what was made from the old one goes."""
        await self.invalidate(*args, **kwargs)
        async with aclosing(self(*args, **kwargs)) as items:
            async for item in items:
                yield item

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: StreamCached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> StreamCached[Q, T]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else StreamCached(self._recipe, instance)
