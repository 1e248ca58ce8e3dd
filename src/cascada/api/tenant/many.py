"""`set_many` and `delete_many`: what is done to many values of one type, in few round trips.

A part of `Tenant`. (`get_many` is in `handle`, `load_many` in `loads`.) All values are
looked at before anything is sent: one that cannot be stored leaves nothing half done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from cascada.api.tenant.requests import NONE, TenantRequests
from cascada.engine.loading.loaders import Terms
from cascada.engine.request import Request
from cascada.model.door import arguments
from cascada.model.door.shown import shown
from cascada.model.entry import Entry
from cascada.model.errors import BadInput
from cascada.model.keys import Id, Key
from cascada.model.made_of import Declared
from cascada.model.policy import CachePriority
from cascada.model.ttl import Duration
from cascada.tiers.deadline import AT_ONCE


class TenantMany(TenantRequests):
    """The part of a tenant handle that writes many values at once."""

    __slots__ = ()

    async def set_many(
        self,
        data_type: str,
        values: Mapping[Any, object] | Collection[tuple[Id, object]],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        type: Any = None,
        priority: CachePriority | None = None,
    ) -> list[bool]:
        """`set` for each id of a dict, or of a list of pairs; an answer for each, in their order.

        Each tier is asked once for each step of a thousand. It is no atomic step: others may see
        some of them before the rest. All get the same terms. Of an id that is there twice the last
        value is stored. If one value cannot be stored, the error says whose, and nothing was sent.
        """
        type_keys = self._type_keys(data_type)
        want = None if type is None else self._engine.declared(type)
        stored = self._terms(ttl, tags, sources, priority)
        given = arguments.pairs(values)
        requests: dict[str, Request] = {}
        entries: dict[str, Entry | None] = {}
        for number, (resource_id, value) in enumerate(given):
            request = requests[resource_id] = type_keys.request(resource_id, want)
            entries[resource_id] = self._to_be_set(request, value, stored)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        kept = await self._engine.set_all(list(requests.values()), list(entries.values()), stored)
        of_id = dict(zip(requests, kept, strict=True))
        return [of_id[resource_id] for resource_id, _ in given]

    def _to_be_set(self, request: Request, value: object, stored: Terms) -> Entry | None:
        try:
            return self._engine.to_be_set(request, value, stored)
        except BadInput as error:
            raise error.__class__(f"of {shown(request.key.resource_id)}: {error}") from None

    async def delete_many(self, data_type: str, resource_ids: Collection[Id]) -> list[bool]:
        """`delete` for each id, all in one atomic step; whether each had a value, in their order.

        At most a thousand ids.
        """
        type_keys = self._type_keys(data_type)
        ids = arguments.ids_at_once(resource_ids)
        keys = [Key(*type_keys.prefix, each) for each in ids]
        return await self._engine.delete_all(keys, strict=type_keys.kind.policy.strict)
