"""`fill` and `add`: storing where no value is. A part of `Tenant`.

The embeddings and query results of the documents' names are stored by it, too (`_fill_anew`).
A fill must never replace a value that its miss has not seen, and never void anything: it is for
values that were made, not written, so that nobody is told of a change that there was not.
(`docs/protocol.md` rules 1 and 7.) Of those who add one alone is told that he has (rule 40).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cascada.api.tenant.requests import NONE, TenantRequests
from cascada.engine.reading.snapshots import Snapshot
from cascada.model.bills.cost import cost_given
from cascada.model.door import arguments
from cascada.model.entry import Hit, Miss
from cascada.model.errors import BadInput
from cascada.model.keys import Id
from cascada.model.made_of import Declared
from cascada.model.policy import CachePriority
from cascada.model.ttl import Duration


class TenantFills(TenantRequests):
    """The part of a tenant handle that stores where nothing is."""

    __slots__ = ()

    async def fill(
        self,
        miss: Miss | Hit[Any],
        value: object,
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        cost: Any = None,
        priority: CachePriority | None = None,
    ) -> bool:
        """Store what was made after `miss = await get(...)`, in any task or thread.

        For values that are not written but made: of several that were made at the same time, the
        first one stays. False if it was not stored, because the key was invalidated since the miss,
        or holds a value by now (a known absence is none), or a tier did not answer. It replaces
        nothing, and what was made from the key's value stays. `cost`, which is spent then and saved
        by every hit, is as of `Loaded`. `priority` goes before the policy's.
        """
        given: object = miss
        made_after = given.snapshot if isinstance(given, Miss | Hit) else None
        if not isinstance(made_after, Snapshot):
            raise BadInput(
                f"fill was given a {type(given).__name__} that is no miss of get; "
                "pass what get returned when it found nothing"
            )
        key = made_after.request.key
        if made_after.stack is not self._engine.stack or key.tenant != self.tenant:
            raise BadInput(f"fill was given a miss of {key}, of another tenant or another cache")
        stored = self._terms(ttl, tags, sources, priority)
        paid = cost_given(cost, "cost")
        entry = self._engine.to_be_set(made_after.request, value, stored, cost=paid)
        return await self._engine.fill(made_after, entry, stored)

    async def add(
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
        priority: CachePriority | None = None,
    ) -> bool:
        """Store a value if there is none; of all callers of all processes, one alone gets True.

        False if this very key has a value (a stale one, too, but no known absence), if a newer
        version of it is known, if a source has changed, and in mode "off" and inside `bypass()`,
        where nothing is stored. A load under way is no value, and does not replace what was added.
        TierUnavailable if the tier that decides, the lowest one, is away: nothing was stored;
        `Unanswered`, which is one, if it may have been. So it may have been if the caller is
        cancelled, too.
        """
        request = self._request(data_type, resource_id, type)
        stored = self._terms(ttl, tags, sources, priority)
        if version is not None:
            version = arguments.integer(version, "version")
        if value is None:
            raise BadInput("value is None, which says that there is nothing; pass a value to add")
        entry = self._engine.to_be_set(request, value, stored, version)
        assert entry is not None  # there is a value
        return await self._engine.add(request, entry, stored)

    async def _fill_anew(self, data_type: str, resource_id: Id, value: object) -> bool:
        """`fill` for faces that have no miss to pass on: by that of this task, else of now.

        None says that there is no such value, as in `set`.
        """
        request = self._request(data_type, resource_id)
        return await self._engine.fill_anew(request, self._engine.to_be_set(request, value))
