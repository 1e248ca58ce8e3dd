"""What all parts of a tenant's handle need: keys and requests, made of what a caller passed.

Each part of `Tenant` (loads, fills, streams, invalidation) stands on this one. The faces that make
a loader of their own (embeddings, `get_with_cache_aside`) make their requests here, too, and hand
them to the engine. Nothing here looks into a tier, or stores anything: the engine does.
"""

from __future__ import annotations

from typing import Any, Final

from cascada.api.type_keys import TypeKeys
from cascada.engine.engine import Engine
from cascada.engine.reading.explain import Explanation
from cascada.engine.request import Request
from cascada.model import arguments
from cascada.model.keys import Id, Scope, id_text, scope_of

MAX_TYPES: Final = 128
"""Data types of which a handle remembers what their keys hold; beyond it, it begins anew."""


class TenantRequests:
    """This part of `Tenant`, which all others inherit."""

    __slots__ = ()

    _engine: Engine
    _nearest: TenantRequests | None
    _types: dict[str, TypeKeys]
    tenant: str
    scope: Scope

    # --- keys ---------------------------------------------------------------------------------

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
                nearest=self._nearest is self,
            )
        return type_keys

    def _narrowed(self, agent: Id | None, conversation: Id | None, collection: Id | None) -> Scope:
        """The handle's context, with more of it known."""
        given = scope_of(agent, conversation, collection)
        return Scope(
            *(new if new is not None else old for new, old in zip(given, self.scope, strict=True))
        )

    def _request(
        self, type_keys: TypeKeys, resource_id: Id, want: Any = None, *, generating: bool = False
    ) -> Request:
        if want is not None:
            want = self._wanted(want)
        return type_keys.request(id_text(resource_id), want, generating=generating)

    def _wanted(self, type: Any) -> Any:
        """The type that a caller declared; what nothing can be decoded to would never be a hit."""
        return None if type is None else self._engine.declared(type)

    async def ttl(self, data_type: str, resource_id: Id) -> float | None:
        """Seconds until the value of this one key is no longer fresh; None if there is none."""
        return await self._engine.ttl(self._request(self._type_keys(data_type), resource_id))

    async def explain(self, data_type: str, resource_id: Id) -> Explanation:
        """Why a read of this value is answered as it is: candidates, tiers, ages, reasons."""
        request = self._request(self._type_keys(data_type), resource_id)
        return await self._engine.explain(request)
