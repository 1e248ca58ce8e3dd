"""What the overloads of loads share: how a loader tells a type checker what callers get.

Only `api/tenant/loads.py` uses it, and only its annotations do: nothing here does anything at run
time.

A loader of `A`, of `A | None` or of `Loaded[A]`, async or plain, gives a `Hit[A]`. Where that
cannot be told (a loader and a generator of two types, a function without annotations, a type that
holds Any) it is `Hit[Any]`, and `type=` says it. Of a union mypy infers what its members have in
common, unless it is told: `hit: Hit[A | B] | Miss = await acme.load(...)`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypedDict, TypeVar

from cascada.model.entry import Hit, Miss
from cascada.model.made_of import Declared
from cascada.model.ttl import Duration

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Async: TypeAlias = Callable[[], Awaitable[T | None]]
Plain: TypeAlias = Callable[[], T | None]
Rows: TypeAlias = Mapping[Any, T | None] | Sequence[T | None]
"""What a loader of many ids returns."""


class Loading(Coroutine[Any, Any, Hit[T_co] | Miss], Generic[T_co]):
    """What `load` returns, to a type checker; really it is a coroutine.

    Where a type holds Any (as `dict[str, Any]` does), several overloads fit it, and a checker keeps
    no more of them than the class that they return: `Hit[Any]`, and of a Coroutine nothing.
    """


class LoadingMany(Coroutine[Any, Any, list[Hit[T_co] | Miss]], Generic[T_co]):
    """The same of `load_many`."""


class Stored(TypedDict, total=False):
    """How a loaded value is stored, if the loader does not say it by `Loaded`."""

    ttl: Duration | None
    tags: Sequence[str]
    sources: Sequence[Declared]
