"""What a loader may return beside the bare value."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Generic, TypeVar

import msgspec

from cascada.model.keys import Scope

T_co = TypeVar("T_co", covariant=True)


class Loaded(msgspec.Struct, Generic[T_co], frozen=True):
    """A value with what its loader alone knows about it.

    ttl: overrides the policy's, within its `max_ttl`. tags: names to invalidate it by. sources:
    `"data_type:resource_id"` of what it was made from; what the loader read through the same cache
    is added by itself. scope: the more general context that it holds for. version: of the row it
    was read from. cost: what it took to make (tokens, money), for the savings accounting.
    store: False hands it to the callers without keeping it.
    """

    value: T_co
    ttl: float | timedelta | None = None
    tags: Sequence[str] = ()
    sources: Sequence[str] = ()
    scope: Scope | None = None
    version: int | None = None
    cost: float | None = None
    store: bool = True
