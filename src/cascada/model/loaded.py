"""What a loader may return beside the bare value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec
from msgspec.structs import force_setattr

from cascada.model.bills.cost import cost_given
from cascada.model.door import arguments
from cascada.model.keys import Scope
from cascada.model.made_of import Declared, scope_given, sources_of
from cascada.model.ttl import Duration

T_co = TypeVar("T_co", covariant=True)


class Loaded(msgspec.Struct, Generic[T_co], frozen=True):
    """A value with what its loader alone knows about it.

    ttl: overrides the policy's, within its `max_ttl`. tags: names to invalidate it by. sources:
    what it was made from, as hits, or as types and ids: `("document", "d1")`; what the loader read
    through the same cache is added by itself. scope: the more general context that it holds for.
    version: of the row it was read from. cost: what it took to make, for `Cache.stats()`: money as
    a number, a `Cost`, or what an SDK returned (its response, or the usage in it). store: False
    hands it to the callers without keeping it.
    """

    value: T_co
    ttl: Duration | None = None
    tags: Sequence[str] = ()
    sources: Sequence[Declared] = ()
    scope: Scope | None = None
    version: int | None = None
    cost: Any = None
    store: bool = True

    def __post_init__(self) -> None:
        # Checked where it is written down, so that the traceback leads there.
        force_setattr(self, "ttl", arguments.ttl(self.ttl, "Loaded.ttl"))
        force_setattr(self, "tags", arguments.names(self.tags, "Loaded.tags", "tags"))
        force_setattr(self, "sources", sources_of(self.sources))
        if self.scope is not None:
            force_setattr(self, "scope", scope_given(self.scope, "Loaded.scope"))
        if self.version is not None:
            force_setattr(self, "version", arguments.integer(self.version, "Loaded.version"))
        if self.cost is not None:
            force_setattr(self, "cost", cost_given(self.cost, "Loaded.cost"))
        force_setattr(self, "store", arguments.flag(self.store, "Loaded.store"))
