"""The forms of a cached function: async, to be awaited, and plain, which waits.

`cached` makes one of them of each function that it decorates (`streams.py` has the form of an async
generator). They know how a call is made; which key it has, and for how long its result is kept, is
the `CachedFunction`'s to say.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from cascada.api.cached.again import tell_how_to_load
from cascada.api.cached.function import CachedForm, CachedFunction, look_like
from cascada.engine.home.carrying import waited
from cascada.model.entry import Invalidated
from cascada.model.keys import Key

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class AsyncCached(CachedForm[P], Generic[P, T]):
    """A cached async function, which may be a method, to be awaited."""

    def __init__(self, recipe: CachedFunction, *bound: Any) -> None:
        super().__init__(recipe, *bound)
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        recipe, args_ = self._recipe, (*self._bound, *args) if self._bound else args
        cache, key = recipe.cache(), recipe.key(args_, kwargs)
        if cache._validate is None and not cache._engine.check.armed:
            # The hit of `Cache.get`, without its fall through the tiers, which `load` would repeat.
            _, records, resource_id = cache._places.get(key) or cache._place(key)
            record = records.get(resource_id)
            if record is not None and (hit := cache._hits.one(record, recipe.wanted)) is not None:
                value: T = hit.value
                return value
        tenant = cache.tenant(key.tenant)
        sources = recipe.sources(args_, kwargs)
        kind = cache._engine.kinds.of(key.tenant, key.data_type).of(key.tenant, key.resource_id)
        if kind.policy.prefetch:
            tell_how_to_load(tenant, recipe, key, sources, args_, kwargs)
        found = await tenant.load(
            key.data_type,
            key.resource_id,
            recipe.loader(args_, kwargs, key),
            ttl=recipe.ttl,
            tags=recipe.tags,
            sources=sources,
            type=recipe.wanted,
        )
        return cast(T, found.value)

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function anew and return what it says; what was made from the old result goes.

        It voids and loads, rather than loads and sets: what was read before somebody else's
        invalidation would be set after it.
        """
        await self.invalidate(*args, **kwargs)
        return await self(*args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: AsyncCached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> AsyncCached[Q, T]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else AsyncCached(self._recipe, instance)


class PlainCached(Generic[P, T]):
    """A cached plain function: a call waits, in the caller's thread, for what `aio` brings.

    `aio` is its form to be awaited.
    """

    def __init__(self, recipe: CachedFunction, *bound: Any) -> None:
        look_like(self, recipe, bound)
        self._recipe = recipe
        self.aio: AsyncCached[P, T] = AsyncCached(recipe, *bound)

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait_for(functools.partial(self.aio, *args, **kwargs))

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Invalidated:
        """Void the result for these arguments, and all that was made from it."""
        return self._wait_for(functools.partial(self.aio.invalidate, *args, **kwargs))

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function anew and return what it says (see `AsyncCached.refresh`)."""
        return self._wait_for(functools.partial(self.aio.refresh, *args, **kwargs))

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key of the result for these arguments, for `Cache.get`."""
        return self.aio.cache_key(*args, **kwargs)

    def _wait_for(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        name = self._recipe.name
        return waited(self._recipe.cache()._engine.life, work, name, f"{name}.aio")

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: PlainCached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> PlainCached[Q, T]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else PlainCached(self._recipe, instance)
