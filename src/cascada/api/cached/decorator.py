"""`@cached`: a function whose results are cached, one load per set of arguments.

An async function stays one, a plain one waits, and an async generator function gives streams.

The key covers all arguments by name, so `f(1)`, `f(x=1)` and a call that leaves a default out are
one value; what a function reads beside its arguments (a global, what it closes over) is not part of
it. The data type is the first argument of `cached` (the documents say `key_prefix`), else the
function's own name. Functions of one data type do not mix their values: each key holds the
function's name as well (of a lambda: its code), unless `key=` makes the ids.

`self` is an argument like the others. An object that says what it consists of (a dataclass, a
struct, a model) is part of the key by its contents; of any other, nobody but its author knows
whether two of them give the same result: `ignore=("self",)` says that they do.

The tenant is the current context's, else CASCADA_TENANT's, else MissingTenant. None is not a value:
a function that returns it is asked again, unless its policy has a `none_ttl`.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, cast, overload

from cascada.api.cache import Cache
from cascada.api.cached import portal
from cascada.api.cached.function import CachedFunction, SourcesOf, look_like
from cascada.api.cached.streams import StreamCached
from cascada.model import arguments
from cascada.model.entry import UNSET, Invalidated, Unset
from cascada.model.errors import Misuse
from cascada.model.keys import Id, Key
from cascada.model.loaded import Loaded
from cascada.model.made_of import sources_of
from cascada.model.plain import text_of
from cascada.model.policy import Policy
from cascada.model.shown import shown
from cascada.model.ttl import FOREVER, Duration

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")


class AsyncForm(Generic[P, T]):
    """A cached function to be awaited."""

    def __init__(self, recipe: CachedFunction, *bound: Any) -> None:
        look_like(self, recipe, bound)
        self._recipe = recipe
        self._bound = bound
        if sys.version_info >= (3, 12):
            inspect.markcoroutinefunction(self)

    async def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        recipe, args_ = self._recipe, (*self._bound, *args)
        cache, key = recipe.cache(), recipe.key(args_, kwargs)
        # The hit of `Cache.get`, without its fall through the tiers, which `load` is about to do.
        if (
            cache._validate is None
            and not cache._engine.check.armed
            and (record := cache._records.get(key)) is not None
            and (hit := cache._hits.one(record, recipe.wanted)) is not None
        ):
            return cast(T, hit.value)
        found = await cache.tenant(key.tenant).load(
            key.data_type,
            key.resource_id,
            recipe.loader(args_, kwargs),
            ttl=recipe.ttl,
            tags=recipe.tags,
            sources=recipe.sources(args_, kwargs),
            type=recipe.wanted,
        )
        return cast(T, found.value)

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Invalidated:
        """Void the result for these arguments, and all that was made from it."""
        cache, key = self._recipe.cache(), self.cache_key(*args, **kwargs)
        return await cache.tenant(key.tenant).invalidate(key.data_type, key.resource_id)

    async def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function anew and return what it says; what was made from the old result goes.

        It voids and loads, rather than loads and sets: what was read before somebody else's
        invalidation would be set after it.
        """
        await self.invalidate(*args, **kwargs)
        return await self(*args, **kwargs)

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key of the result for these arguments, for `Cache.get`."""
        return self._recipe.key((*self._bound, *args), kwargs)


class AsyncCached(AsyncForm[P, T]):
    """A cached async function, which may be a method."""

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: AsyncCached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> AsyncCached[Q, T]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else AsyncCached(self._recipe, instance)


class PlainCached(Generic[P, T]):
    """A cached plain function: a call waits, in the caller's thread, for what `aio` brings."""

    def __init__(self, recipe: CachedFunction, *bound: Any) -> None:
        look_like(self, recipe, bound)
        self._recipe = recipe
        self._aio: AsyncForm[P, T] = AsyncForm(recipe, *bound)

    @property
    def aio(self) -> AsyncForm[P, T]:
        """Its form to be awaited."""
        return self._aio

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._wait_for(functools.partial(self.aio, *args, **kwargs))

    def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Invalidated:
        """Void the result for these arguments, and all that was made from it."""
        return self._wait_for(functools.partial(self.aio.invalidate, *args, **kwargs))

    def refresh(self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function anew and return what it says (see `AsyncForm.refresh`)."""
        return self._wait_for(functools.partial(self.aio.refresh, *args, **kwargs))

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key of the result for these arguments, for `Cache.get`."""
        return self.aio.cache_key(*args, **kwargs)

    def _wait_for(self, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        return portal.run(self._recipe.cache(), work, self._recipe.name)

    @overload
    def __get__(self, instance: None, owner: Any = None) -> Self: ...

    @overload
    def __get__(
        self: PlainCached[Concatenate[Any, Q], T], instance: object, owner: Any = None
    ) -> PlainCached[Q, T]: ...

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else PlainCached(self._recipe, instance)


class Decorator:
    """What `cached(...)` returns: it makes a cached function of a function."""

    def __init__(self, **options: Any) -> None:
        self._options = options

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a coroutine function is a function, too
        self, function: Callable[P, Coroutine[Any, Any, Loaded[T]]]
    ) -> AsyncCached[P, T]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # as above
        self, function: Callable[P, Coroutine[Any, Any, Loaded[T] | None]]
    ) -> AsyncCached[P, T | None]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # as above
        self, function: Callable[P, Coroutine[Any, Any, T]]
    ) -> AsyncCached[P, T]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # an iterator is a value, too
        self, function: Callable[P, AsyncIterator[T]]
    ) -> StreamCached[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, Loaded[T]]) -> PlainCached[P, T]: ...

    @overload
    def __call__(self, function: Callable[P, Loaded[T] | None]) -> PlainCached[P, T | None]: ...

    @overload
    def __call__(self, function: Callable[P, T]) -> PlainCached[P, T]: ...

    def __call__(self, function: Callable[..., Any]) -> Any:
        _refuse_what_cannot_be_cached(function)
        recipe = CachedFunction(function, **self._options)
        if inspect.isasyncgenfunction(function):
            return StreamCached(recipe)
        return AsyncCached(recipe) if recipe.is_async else PlainCached(recipe)


def cached(
    data_type: str | None = None,
    *,
    ttl: Duration | Unset | None = UNSET,
    key_prefix: str | None = None,
    key: Callable[..., Id] | None = None,
    tags: Sequence[str] = (),
    policy: Policy | None = None,
    ignore: Sequence[str] = (),
    cache: Cache | None = None,
    type: Any = None,
    sources: SourcesOf = (),
) -> Decorator:
    """Cache what a function returns, async or plain, or what an async generator function yields.

    data_type (or key_prefix): what its values are called, as in `Tenant.load`. ttl: how long they
    are fresh (left out: as the policy says; None: forever). key: makes the id from the arguments.
    tags: names to invalidate all of them by. policy: of the data type, from now on. ignore: names
    of arguments that are no part of the key. cache: the one to use (left out: the default). type:
    what a result is decoded to (left out: what the policy says, else the annotation of the function
    where it names a dataclass, a model, an enum or another class of the application). sources: what
    results are made from beside what the function reads, or a function that tells it from the
    arguments: `sources=lambda doc: [("document", doc)]`.
    """
    if callable(data_type):
        raise Misuse('write @cached("data_type"), or @cached() to name it after the function')
    if data_type is not None and key_prefix is not None:
        raise Misuse("data_type and key_prefix are two words for one thing; pass one of them")
    if data_type is not None:
        data_type = arguments.data_type(data_type)
    if key_prefix is not None:
        key_prefix = arguments.data_type(key_prefix, "key_prefix")
    if key is not None:
        arguments.plain_function(
            key, "key", "a function of the same arguments, which returns an id"
        )
    if policy is not None:
        arguments.instance(policy, "policy", Policy, "a Policy(...)")
    if cache is not None:
        arguments.instance(cache, "cache", Cache, "a Cache")
    if ttl is None:
        ttl = FOREVER
    elif not isinstance(ttl, Unset):
        ttl = arguments.ttl(ttl, zero=True)
    return Decorator(
        data_type=data_type if key_prefix is None else key_prefix,
        ttl=None if isinstance(ttl, Unset) else ttl,
        key=key,
        tags=_several(tags, "tags"),
        policy=policy,
        ignore=_several(ignore, "ignore"),
        cache=cache,
        wanted=type,
        sources=sources if callable(sources) else sources_of(sources),
    )


def _several(given: Sequence[str], what: str) -> tuple[str, ...]:
    if (one := text_of(given)) is not None:
        raise Misuse(f"{what} is a tuple of names; pass ({one!r},)")
    return arguments.names(given, what)


def _refuse_what_cannot_be_cached(function: object) -> None:
    if inspect.isgeneratorfunction(function):
        raise Misuse(
            f"{getattr(function, '__qualname__', repr(function))} is a plain generator; "
            "make it an async one, which is cached as a stream, or return a list"
        )
    if isinstance(function, classmethod | staticmethod):
        raise Misuse(f"@cached stands below @{type(function).__name__}, next to the function")
    if not callable(function):
        raise Misuse(f"@cached was given {shown(function)}, which is no function")
