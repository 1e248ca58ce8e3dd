"""The tenant handle: the only door to data.

A handle is immutable and cheap; it names a tenant and the context parts that are known, and
`within` narrows it. Its methods are the modern face of the cache; the documents' names are thin
layers on them. `get` and `load` decide a hit in memory themselves, without a second await.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeVar, overload

from cascada.api.tenant.data import TenantData
from cascada.api.tenant.fills import TenantFills
from cascada.api.tenant.invalidation import TenantInvalidation
from cascada.api.tenant.loads import TenantLoads
from cascada.api.tenant.many import TenantMany
from cascada.api.tenant.requests import NONE
from cascada.api.tenant.streams import TenantStreams
from cascada.model.bills.cost import cost_given
from cascada.model.door import arguments
from cascada.model.entry import Hit, Miss
from cascada.model.keys import Id, Key
from cascada.model.made_of import Declared
from cascada.model.policy import CachePriority
from cascada.model.ttl import Duration

T = TypeVar("T")

class_of = type  # a public parameter is called `type`


class Tenant(TenantLoads, TenantFills, TenantMany, TenantStreams, TenantData, TenantInvalidation):
    """One tenant's view of the cache. Made by `Cache.tenant`, narrowed by `within`."""

    __slots__ = ()

    def __repr__(self) -> str:
        parts = "".join(f", {label}={part!r}" for label, part in self.scope.parts)
        return f"Tenant({self.tenant!r}{parts})"

    def key(self, data_type: str, resource_id: Id) -> Key:
        """The key of a value, for `Cache.get`, and for whoever shows or keeps it."""
        return Key(*self._type_keys(data_type).prefix, arguments.identity(resource_id))

    # --- reading ------------------------------------------------------------------------------

    @overload
    async def get(
        self, data_type: str, resource_id: Id, *, type: type[T], default: Any = None
    ) -> Hit[T] | Miss: ...

    @overload
    async def get(
        self, data_type: str, resource_id: Id, *, type: Any = None, default: Any = None
    ) -> Hit[Any] | Miss: ...

    async def get(
        self, data_type: str, resource_id: Id, *, type: Any = None, default: Any = None
    ) -> Hit[Any] | Miss:
        """The value that a tier has, or a `Miss`, which is falsy; its `value` is `default`.

        What is made after a miss is stored by `fill(miss, value)`. A known absence is falsy, too.
        With context parts, a more general context's value answers too, unless the policy says
        `lookup="exact"`. A value past its ttl is returned with `stale=True` within `stale_for`.
        `type` is what stored data is decoded to; what does not decode is a miss.
        """
        # What is equal to an id need not be one, and what is no id is told so further on.
        if type is None and class_of(data_type) is str and class_of(resource_id) is str:
            try:
                record = self._types[data_type].records[resource_id]
            except KeyError:
                pass  # memory has not got it, or this is the first use of the type
            else:
                if (hit := self._hits.one(record)) is not None:
                    return hit
        return await self._engine.get(self._request(data_type, resource_id, type), default)

    def peek(self, data_type: str, resource_id: Id) -> Hit[Any] | None:
        """What memory answers at once, to any thread, or None: ask `get`, which looks further."""
        type_keys = self._types.get(data_type) if class_of(data_type) is str else None
        if type_keys is None:
            type_keys = self._type_keys(data_type)
        if class_of(resource_id) is not str:
            resource_id = arguments.identity(resource_id)
        record = type_keys.records.get(resource_id)
        return None if record is None else self._hits.one(record)

    @overload
    async def get_many(
        self, data_type: str, resource_ids: Sequence[Id], *, type: type[T], default: Any = None
    ) -> list[Hit[T] | Miss]: ...

    @overload
    async def get_many(
        self, data_type: str, resource_ids: Sequence[Id], *, type: Any = None, default: Any = None
    ) -> list[Hit[Any] | Miss]: ...

    async def get_many(
        self, data_type: str, resource_ids: Sequence[Id], *, type: Any = None, default: Any = None
    ) -> list[Hit[Any] | Miss]:
        """One answer for each id, in their order; what memory lacks is read in one round trip (a
        thousand at a time).

        `default` is the `value` of each that there is none of.
        """
        type_keys = self._type_keys(data_type)
        if type is not None:
            self._engine.declared(type)
        return await self._engine.get_many(
            type_keys.kind,
            type_keys.partition,
            arguments.ids(resource_ids),
            partial(type_keys.request, want=type),
            type,
            default,
        )

    # --- writing ------------------------------------------------------------------------------

    async def set(
        self,
        data_type: str,
        resource_id: Id,
        value: object,
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        version: int | None = None,
        type: Any = None,
        cost: Any = None,
        priority: CachePriority | None = None,
    ) -> bool:
        """Store a value in every tier; what was made from the old one goes.

        After a miss of the same key in this task it is stored only if nothing invalidated the key
        in between, nor set it to something else, which then goes as well; an equal value stays.
        False if it was not stored in every tier that others read: something newer stood against it,
        or a tier did not answer. SerializationError if it cannot be stored exactly.
        `cost`, which is spent then and saved by every hit, is as of `Loaded`. `priority` goes
        before the policy's; where either says one, or `durable`, it says which tiers those are
        (docs/policies.md), and the others let go of what they have.
        """
        request = self._request(data_type, resource_id, type)
        stored = self._terms(ttl, tags, sources, priority)
        if version is not None:
            version = arguments.integer(version, "version")
        paid = None if cost is None else cost_given(cost, "cost")
        entry = self._engine.to_be_set(request, value, stored, version, paid)
        return await self._engine.set(request, entry, stored)

    async def touch(self, data_type: str, resource_id: Id, ttl: Duration) -> bool:
        """Let exactly that one value live for `ttl` from now on, in every tier and process; True if
        there was one.

        Longer or shorter than before (seconds, a timedelta, FOREVER), within the policy's
        `max_ttl`, as in `set`. Its bytes, its version and its age stay, and so does what was made
        from it. A stale value that `get` still gives is fresh again; what is known to be absent is
        no value. What a load brings that began before is not stored.

        False also where no tier answered that has it, or where a tier that is away may go on with a
        longer life, and only this process remembers to tell it.
        """
        request = self._request(data_type, resource_id)
        return await self._engine.touch(request, arguments.duration(ttl))
