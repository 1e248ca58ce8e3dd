"""What the overloads of loads share: how a loader tells a type checker what callers get.

A loader of `A`, of `A | None` or of `Loaded[A]`, async or plain, gives a `Hit[A]`. Where that
cannot be told (a loader and a generator of two types, a function without annotations) it is
`Hit[Any]`, and `type=` says it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict, TypeVar

from cascada.model.made_of import Declared
from cascada.model.ttl import Duration

T = TypeVar("T")

Async: TypeAlias = Callable[[], Awaitable[T | None]]
Plain: TypeAlias = Callable[[], T | None]
Rows: TypeAlias = Mapping[Any, T | None] | Sequence[T | None]
"""What a loader of many ids returns."""


class Stored(TypedDict, total=False):
    """How a loaded value is stored, if the loader does not say it by `Loaded`."""

    ttl: Duration | None
    tags: Sequence[str]
    sources: Sequence[Declared]
