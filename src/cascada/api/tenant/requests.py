"""What all parts of a tenant's handle need: keys and requests, made of what a caller passed.

Each part of `Tenant` (loads, fills, streams, invalidation) stands on this one. The faces that make
a loader of their own (embeddings, `get_with_cache_aside`) make their requests here, too, and hand
them to the engine. Nothing here looks into a tier, or stores anything: the engine does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Self

from cascada.api.tenant.type_keys import TypeKeys
from cascada.engine.engine import Engine
from cascada.engine.loading.loaders import PLAIN, Terms
from cascada.engine.reading.explain import Explanation
from cascada.engine.request import Request
from cascada.model.door import arguments
from cascada.model.keys import Id, Scope, scope_of
from cascada.model.made_of import Declared, sources_for
from cascada.model.policy import CachePriority, priority_given
from cascada.model.ttl import Duration

MAX_TYPES: Final = 128
"""Data types of which a handle remembers what their keys hold; beyond it, it begins anew."""

NONE: Final[tuple[str, ...]] = ()
"""The default of `tags` and `sources`: whatever else they are has to be looked at."""


class TenantRequests:
    """This part of `Tenant`, which all others inherit."""

    __slots__ = ("_documented", "_engine", "_hits", "_nearest", "_types", "scope", "tenant")

    def __init__(self, engine: Engine, tenant: str, scope: Scope, *, nearest: bool = False) -> None:
        self._engine = engine
        self._hits = engine.hits
        self._nearest = nearest
        self._documented: Self | None = None
        self._types: dict[str, TypeKeys] = {}
        self.tenant = tenant
        self.scope = scope

    def within(
        self,
        *,
        agent: Id | None = None,
        conversation: Id | None = None,
        collection: Id | None = None,
    ) -> Self:
        """This handle, with more of its context known."""
        given = scope_of(agent, conversation, collection)
        scope = [old if new is None else new for new, old in zip(given, self.scope, strict=True)]
        return type(self)(self._engine, self.tenant, Scope(*scope))

    # --- keys and requests --------------------------------------------------------------------

    def _type_keys(self, data_type: str) -> TypeKeys:
        if type(data_type) is not str or data_type not in self._types:
            data_type = arguments.data_type(data_type)
        type_keys = self._types.get(data_type)
        if type_keys is None:
            kind = self._engine.kinds.of(self.tenant, data_type)
            if len(self._types) >= MAX_TYPES:
                self._types.clear()
            type_keys = self._types[data_type] = TypeKeys(
                kind,
                self.tenant,
                data_type,
                self.scope,
                self._engine.partition_of,
                nearest=self._nearest,
            )
        return type_keys

    def _request(self, data_type: str, resource_id: Id, want: Any = None) -> Request:
        if want is not None:
            want = self._engine.declared(want)
        type_keys = self._types.get(data_type) if type(data_type) is str else None
        return (type_keys or self._type_keys(data_type)).request(resource_id, want)

    def _terms(
        self,
        ttl: Duration | None,
        tags: Sequence[str],
        sources: Sequence[Declared],
        priority: CachePriority | None = None,
    ) -> Terms:
        """How a value is to be stored, as its caller says it."""
        if ttl is None and tags is NONE and sources is NONE and priority is None:
            return PLAIN
        tags = arguments.names(tags, "tags", "tags")
        if priority is not None:
            priority = priority_given(priority)
        return Terms(arguments.ttl(ttl), tags, sources_for(self.tenant, sources), priority)

    async def ttl(self, data_type: str, resource_id: Id) -> float | None:
        """Seconds until the value of this one key is no longer fresh; None if there is none."""
        found = await self._engine.find(self._request(data_type, resource_id))
        if found is None:
            return None
        return max(0.0, found.entry.fresh_until - self._engine.clock.time())

    async def explain(self, data_type: str, resource_id: Id) -> Explanation:
        """Why a read of this value is answered as it is: candidates, tiers, ages, reasons."""
        return await self._engine.explain(self._request(data_type, resource_id))
