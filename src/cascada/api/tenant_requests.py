"""How a tenant's handle asks. `Tenant` inherits this part by way of `TenantLoads`.

It makes keys and questions of what a caller passed. The faces that tell more of an answer than
`load` does, or make a loader of their own (embeddings, `get_with_cache_aside`), call `ask`,
`ask_many` and `ask_by_level`. Nothing here looks into a tier by itself, or stores anything: the
engine does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from cascada.api.type_keys import TypeKeys
from cascada.engine.engine import Engine
from cascada.engine.reading import read
from cascada.engine.reading.explain import Explanation, explain
from cascada.engine.reading.levels import MakeLoader
from cascada.engine.request import Answer, Loader, Request
from cascada.engine.stack import Stack
from cascada.model import arguments
from cascada.model.entry import Hit, Miss
from cascada.model.keys import Id, Scope, id_text

MAX_TYPES: Final = 128
"""Data types of which a handle remembers what their keys hold; beyond it, it begins anew."""


class TenantRequests:
    """This part of `Tenant`."""

    __slots__ = ()

    _engine: Engine
    _stack: Stack
    _types: dict[str, TypeKeys]
    tenant: str
    scope: Scope

    async def ask_many(
        self, data_type: str, ids: Sequence[str], loader: Loader, *, type: Any = None
    ) -> list[Hit[Any] | Miss]:
        """`load_many` with the engine's own kind of loader, for faces that make one."""
        requests = self._type_keys(data_type).requests(ids, self._wanted(type))
        return await self._engine.load_many(requests, loader)

    async def ask(
        self,
        data_type: str,
        resource_id: Id,
        loader: Loader,
        *,
        type: Any = None,
    ) -> tuple[Any, Answer]:
        """`load` with everything that is known of the answer, for faces that report it."""
        request = self._request(
            self._type_keys(data_type), resource_id, type, generating=loader.generating
        )
        (answer,) = await self._engine.answers([request], loader)
        return read.value_of(self._stack, request, answer), answer

    async def ask_by_level(
        self,
        data_type: str,
        resource_id: Id,
        loader: Callable[..., Any] | None,
        generator: Callable[..., Any] | None,
        make: MakeLoader,
        *,
        type: Any = None,
    ) -> tuple[Any, Answer]:
        """`ask` of a type whose lookup is strict."""
        request = self._request(self._type_keys(data_type), resource_id, type)
        answer = await self._engine.by_level(request, loader, generator, make)
        return read.value_of(self._stack, request, answer), answer

    def by_level(self, data_type: str) -> bool:
        """Whether the source is asked level by level, which `ask` does not do."""
        return self._type_keys(data_type).by_level

    # --- keys ---------------------------------------------------------------------------------

    def _type_keys(self, data_type: str) -> TypeKeys:
        data_type = arguments.data_type(data_type)
        type_keys = self._types.get(data_type)
        if type_keys is None:
            kind = self._stack.kinds.of(self.tenant, data_type)
            if len(self._types) >= MAX_TYPES:
                self._types.clear()
            type_keys = self._types[data_type] = TypeKeys(kind, self.tenant, data_type, self.scope)
        return type_keys

    def _request(
        self, type_keys: TypeKeys, resource_id: Id, want: Any = None, *, generating: bool = False
    ) -> Request:
        keys = type_keys.keys(id_text(resource_id))
        want = self._wanted(want)
        return Request(type_keys.kind, keys, type_keys.context, want, generating=generating)

    def _wanted(self, type: Any) -> Any:
        """The type that a caller declared; what nothing can be decoded to would never be a hit."""
        return None if type is None else self._stack.codec.declared(type)

    async def ttl(self, data_type: str, resource_id: Id) -> float | None:
        """Seconds until the value of this one key is no longer fresh; None if there is none."""
        return await self._engine.ttl(self._request(self._type_keys(data_type), resource_id))

    async def explain(self, data_type: str, resource_id: Id) -> Explanation:
        """Why a read of this value is answered as it is: candidates, tiers, ages, reasons."""
        await self._engine.life.ready()
        return await explain(self._stack, self._request(self._type_keys(data_type), resource_id))
