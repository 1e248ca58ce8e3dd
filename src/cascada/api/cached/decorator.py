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

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from cascada.api.cache import Cache
from cascada.api.cached.templates import judge_of, maker_of
from cascada.model.door import arguments
from cascada.model.door.plain import text_of
from cascada.model.door.shown import shown
from cascada.model.entry import UNSET, Unset
from cascada.model.errors import Misuse
from cascada.model.keys import Id
from cascada.model.loaded import Loaded
from cascada.model.made_of import sources_of
from cascada.model.policy import Policy
from cascada.model.ttl import FOREVER, Duration

if TYPE_CHECKING:
    from cascada.api.cached.forms import AsyncCached, PlainCached
    from cascada.api.cached.function import SourcesOf
    from cascada.api.cached.streams import StreamCached

P = ParamSpec("P")
T = TypeVar("T")


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
        if inspect.isgeneratorfunction(function):
            raise Misuse(
                f"{getattr(function, '__qualname__', repr(function))} is a plain generator; "
                "make it an async one, which is cached as a stream, or return a list"
            )
        if isinstance(function, classmethod | staticmethod):
            raise Misuse(f"@cached stands below @{type(function).__name__}, next to the function")
        if not callable(function):
            raise Misuse(f"@cached was given {shown(function)}, which is no function")
        # With the first function that is cached, not with `cached`: see `api/cache.py`.
        from cascada.api.cached.forms import AsyncCached, PlainCached
        from cascada.api.cached.function import CachedFunction
        from cascada.api.cached.streams import StreamCached

        recipe = CachedFunction(function, **self._options)
        if inspect.isasyncgenfunction(function):
            if self._options["judge"] is not None:
                raise Misuse("condition is of a result; a stream is kept if it ended well")
            return StreamCached(recipe)
        return AsyncCached(recipe) if recipe.is_async else PlainCached(recipe)


def cached(
    data_type: str | None = None,
    *,
    ttl: Duration | Unset | None = UNSET,
    key_prefix: str | None = None,
    key: str | Callable[..., Id] | None = None,
    condition: Callable[..., object] | None = None,
    stale_for: Duration | None = None,
    tags: Sequence[str] = (),
    policy: Policy | None = None,
    ignore: Sequence[str] = (),
    cache: Cache | None = None,
    type: Any = None,
    sources: SourcesOf = (),
) -> Decorator:
    """Cache what a function returns, async or plain, or what an async generator function yields.

    data_type (or key_prefix): what its values are called, as in `Tenant.load`. ttl: how long they
    are fresh (left out: as the policy says; None: forever). key: makes the id from the arguments: a
    function of them, or a template of their names, `"user:{user_id}"`, in which they are escaped.
    condition: whether a result is kept, a function of it, or of (result, args, kwargs, key=None).
    stale_for: as in a Policy, of the data type, from now on. tags: names to invalidate all of them
    by. policy: of the data type, from now on. ignore: names of arguments that are no part of the
    key. cache: the one to use (left out: the default). type: what a result is decoded to (left out:
    what the policy says, else the annotation of the function where it names a dataclass, a model,
    an enum or another class of the application). sources: what results are made from beside what
    the function reads, or a function that tells it: `sources=lambda doc: [("document", doc)]`.
    """
    if callable(data_type):
        raise Misuse('write @cached("data_type"), or @cached() to name it after the function')
    if data_type is not None and key_prefix is not None:
        raise Misuse("data_type and key_prefix are two words for one thing; pass one of them")
    if data_type is not None:
        data_type = arguments.data_type(data_type)
    if key_prefix is not None:
        key_prefix = arguments.data_type(key_prefix, "key_prefix")
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
        key=maker_of(key),
        judge=judge_of(condition),
        stale_for=arguments.ttl(stale_for, "stale_for"),
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
