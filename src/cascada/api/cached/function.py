"""Under which key a decorated function's results are cached, and how it is called for them.

The key covers all arguments by name. What may stand for an argument is its contents, so objects
that nobody can see into (a session, a client) are refused, with what to do about it. What a
function brings along is an argument like those of the call: the object that a method is bound to,
what a `partial` holds, an object that is called itself. Else two of them would share their results.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Sequence,
)
from types import CodeType
from typing import Any, Final, Generic, ParamSpec, get_args, get_origin, get_type_hints
from uuid import UUID
from weakref import ref

from cascada.api.cache import Cache
from cascada.api.cached.templates import Judge, Template, kept_if
from cascada.api.context import current, current_tenant
from cascada.api.default import default_cache
from cascada.codecs import typed
from cascada.codecs.digest import generate_resource_id_hash
from cascada.model.door import arguments
from cascada.model.entry import Invalidated
from cascada.model.errors import BadInput, Misuse
from cascada.model.keys import NO_SCOPE, Id, Key
from cascada.model.loaded import Loaded
from cascada.model.made_of import Declared
from cascada.model.policy import Policy
from cascada.model.ttl import Duration

P = ParamSpec("P")

MAX_KEYS: Final = 1024
"""Calls of one function whose keys are remembered; beyond it they are made anew, once each."""

SourcesOf = Sequence[Declared] | Callable[..., Sequence[Declared]]
"""Sources, or a function that tells them from the arguments."""

_AROUND: Final = (Loaded, AsyncIterator, AsyncGenerator, AsyncIterable)
"""What a result, or an item, is annotated with around it."""

_UNLIKE: Final = frozenset({str, int, bytes, UUID, type(None)})
"""Of two of these types no values are equal."""

SCALARS: Final = _UNLIKE | {bool}
"""What may be remembered: it neither changes, nor says itself what it is equal to."""


class CachedFunction:
    """What is cached, for how long and under which key: all that the forms of a function share."""

    def __init__(
        self,
        function: Callable[..., Any],
        data_type: str | None,
        *,
        ttl: Duration | None,
        key: str | Callable[..., Id] | None,
        judge: Judge | None = None,
        stale_for: Duration | None = None,
        tags: Sequence[str],
        policy: Policy | None,
        ignore: Sequence[str],
        cache: Cache | None,
        wanted: Any = None,
        sources: SourcesOf = (),
    ) -> None:
        self.function = function
        self._base, self._brought, self._named = _apart(function)
        self.name = getattr(self._base, "__qualname__", type(self._base).__qualname__)
        self.module = getattr(self._base, "__module__", "builtins")
        identity = f"{self.module}.{self.name}"
        self._identity: tuple[Any, ...] = (identity,)
        code = getattr(self._base, "__code__", None)
        self.code = code if isinstance(code, CodeType) else None
        if self.code is not None and self.code.co_name == "<lambda>":
            # No name tells it from another one.
            self._identity = identity, _said(self.code)
        self.data_type = arguments.data_type(identity if data_type is None else data_type)
        self.ttl = ttl
        self.tags = tuple(tags)
        self.is_async = _is_async(function)
        self.signature = inspect.signature(self._base)
        # What may change from one call to the next is looked at in each of them.
        self.brought = (*self._brought, *self._named.values())
        self._is_plain = not callable(key) and SCALARS.issuperset(map(type, self.brought))
        self._key = Template(key, self.signature, self.name) if isinstance(key, str) else key
        self._judge = judge
        self._policy = policy
        self._stale_for = stale_for
        self._says_how = policy is not None or stale_for is not None
        self._wanted = wanted
        self._sources = sources
        self._ignore = frozenset(ignore)
        self._cache = cache
        self._told: ref[Cache] | None = None
        self._keys: dict[tuple[Any, ...], Key] = {}
        if unknown := self._ignore - self.signature.parameters.keys():
            raise Misuse(f"ignore names {min(unknown)!r}, which {self.name} does not take")

    def cache(self) -> Cache:
        """The cache to use now, which knows this function's policy."""
        cache = self._cache or default_cache()
        if self._says_how and (self._told is None or self._told() is not cache):
            policy = self._policy
            if self._stale_for is not None:
                said = policy or cache._engine.kinds.policy(self.data_type)
                policy = Policy(**{**said.said, "stale_for": self._stale_for})
            if policy is not None:
                cache.set_policy(self.data_type, policy)
            self._told = ref(cache)
        return cache

    @functools.cached_property
    def wanted(self) -> Any:
        """What results are decoded to: as `cached` was told, else as the annotation says.

        An annotation counts if it names a class that stored data alone would not come back as (a
        dataclass, a model, an enum, ...) and if something can decode it; that of a generator says
        what an item is. Looked up at the first call: annotations may name what is defined further
        down.
        """
        if self._wanted is not None or (self._policy is not None and self._policy.type is not None):
            return self._wanted
        wanted = _returned(self._base)
        return wanted if wanted is not None and typed.declares(wanted) else None

    def key(self, args: tuple[Any, ...], named: dict[str, Any]) -> Key:
        """The key of the result for these arguments, of the current tenant."""
        entered = current.get()
        # As it is said there: it is looked at when its first key is made.
        stated = None if entered is None else entered[0].tenant_id
        if stated.__class__ is not str:
            stated = current_tenant()
        if not self._is_plain:
            return self._make_key(current_tenant(), args, named)
        given = (*args, *named.values()) if named else args
        # Binding and hashing cost twenty times as much as a hit.
        call: tuple[Any, ...] = (stated, given, *named) if named else (stated, given)
        if not _UNLIKE.issuperset(map(type, given)):
            types = tuple(map(type, given))
            if not SCALARS.issuperset(types):
                return self._make_key(current_tenant(), args, named)
            call = (*call, types)  # 1 and True are equal, but not one
        key = self._keys.get(call)
        if key is None:
            tenant = current_tenant()
            key = self._make_key(tenant, args, named)
            if tenant == stated:  # else the context says nothing, in other words
                if len(self._keys) >= MAX_KEYS:
                    self._keys.clear()
                self._keys[call] = key
        return key

    def _make_key(self, tenant: str, args: tuple[Any, ...], named: dict[str, Any]) -> Key:
        if self._key is None:
            made: Any = self.digest(self.bound(args, named))
        elif isinstance(self._key, Template):
            made = self._key(self.bound(args, named))
        else:
            made = self._key(*args, **named)
        return Key(tenant, self.data_type, *NO_SCOPE, arguments.identity(made))

    def bound(self, args: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name: also those that the function brings along or assumes."""
        call = self.signature.bind(*self._brought, *args, **{**self._named, **named})
        call.apply_defaults()
        return call.arguments

    def digest(self, call: dict[str, Any], *beside: str) -> str:
        """The id of the result for these arguments; `beside` tells more uses of it apart."""
        kept = {name: each for name, each in call.items() if name not in self._ignore}
        try:
            return generate_resource_id_hash(*self._identity, *beside, **kept)
        except BadInput as error:
            raise BadInput(self._unfit(kept, error, a_key=not beside)) from error

    def loader(self, args: tuple[Any, ...], named: dict[str, Any], key: Key) -> Callable[[], Any]:
        """What a load of this key calls: the function with its arguments, and `condition`."""
        call = functools.partial(self.function, *args, **named)
        if (decide := self._judge) is None:
            return call

        def decided(result: Any) -> Any:
            value = result.value if isinstance(result, Loaded) else result
            return kept_if(decide(value, args, named, key.text), result)

        async def awaited(result: Any) -> Any:
            return decided(await result)

        async def judged() -> Any:
            return decided(await call())

        def plainly_judged() -> Any:
            result = call()
            return awaited(result) if inspect.isawaitable(result) else decided(result)

        return judged if self.is_async else plainly_judged

    def sources(self, args: tuple[Any, ...], named: dict[str, Any]) -> Sequence[Declared]:
        """What the result for these arguments is made from, beside what the function reads."""
        return self._sources(*args, **named) if callable(self._sources) else self._sources

    def _unfit(self, arguments: dict[str, Any], error: BadInput, *, a_key: bool) -> str:
        """Which argument it was, and what to do; to leave data out would merge all results."""
        keyed = "; or make the key of what matters with key=" if a_key else ""
        for name, each in arguments.items():
            try:
                generate_resource_id_hash(each)
            except BadInput as why:
                if _is_data(each):
                    return f"{self.name} takes {name}: {why}{keyed}"
                return (
                    f"{self.name} takes {name}: {why}{keyed}; if it never changes the result, "
                    f"leave it out with ignore=({name!r},)"
                )
        return f"{self.name}: {error}"


def _is_data(value: object) -> bool:
    """Whether an argument is something to work on, rather than somebody who does the work."""
    kind = type(value)
    marks = ("__len__", "__iter__", "__array__", "dtype", "__float__", "utcoffset", "tzinfo")
    return (
        callable(value)
        or kind.__module__ == "builtins"
        or any(hasattr(kind, mark) for mark in marks)
    )


def _returned(function: Callable[..., Any]) -> Any:
    """The annotation of what a function returns (or yields), bare; None if there is none."""
    try:
        wanted = get_type_hints(function, include_extras=True).get("return")
    except Exception:  # noqa: BLE001 - annotations may be anything, and are no more than a help
        return None
    return get_args(wanted)[0] if get_origin(wanted) in _AROUND else wanted


def _apart(function: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The function itself, and the arguments that it brings along."""
    args: tuple[Any, ...] = ()
    named: dict[str, Any] = {}
    while True:
        owner = getattr(function, "__self__", None)
        if isinstance(function, functools.partial):
            args, named = (*function.args, *args), {**function.keywords, **named}
            function = function.func
        elif inspect.ismethod(function):
            args, function = (owner, *args), function.__func__
        elif inspect.isbuiltin(function) and owner is not None and not inspect.ismodule(owner):
            args, function = (owner, *args), getattr(type(owner), function.__name__)
        elif not hasattr(function, "__qualname__"):
            return type(function).__call__, (function, *args), named
        else:
            return function, args, named


def _said(code: CodeType) -> Any:
    """The same in every process of one version of Python."""
    constants = [
        _said(each) if isinstance(each, CodeType)
        else sorted(map(repr, each)) if isinstance(each, frozenset)
        else (type(each).__name__, repr(each))
        for each in code.co_consts
    ]  # fmt: skip
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def look_like(wrapper: Any, recipe: CachedFunction, bound: tuple[Any, ...]) -> None:
    """Name, documentation and signature of the function, as far as it is not bound already."""
    function: Any = recipe.function
    functools.update_wrapper(wrapper, function.__get__(bound[0]) if bound else function)


class CachedForm(Generic[P]):
    """What the forms share that are used on the event loop: a function, and what it is bound to."""

    def __init__(self, recipe: CachedFunction, *bound: Any) -> None:
        look_like(self, recipe, bound)
        self._recipe = recipe
        self._bound = bound

    async def invalidate(self, /, *args: P.args, **kwargs: P.kwargs) -> Invalidated:
        """Void what is cached for these arguments, and all that was made from it."""
        cache, key = self._recipe.cache(), self.cache_key(*args, **kwargs)
        return await cache.tenant(key.tenant).invalidate(key.data_type, key.resource_id)

    def cache_key(self, /, *args: P.args, **kwargs: P.kwargs) -> Key:
        """The key of it, for `Cache.get` (of a stream: a list of its items)."""
        return self._recipe.key((*self._bound, *args), kwargs)
