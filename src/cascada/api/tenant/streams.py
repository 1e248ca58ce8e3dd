"""Values that are made piece by piece: the modern face."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, TypeVar

from cascada.api.tenant.requests import NONE, TenantRequests
from cascada.engine.streaming.pieces import MAX_ITEMS, MakePieces
from cascada.model.door import arguments
from cascada.model.keys import Id
from cascada.model.made_of import Declared
from cascada.model.ttl import Duration

T = TypeVar("T")


class TenantStreams(TenantRequests):
    """This part of `Tenant`."""

    __slots__ = ()

    def stream(
        self,
        data_type: str,
        resource_id: Id,
        pieces: MakePieces[T],
        *,
        ttl: Duration | None = None,
        tags: Sequence[str] = NONE,
        sources: Sequence[Declared] = NONE,
        type: Any = None,
        max_items: int = MAX_ITEMS,
    ) -> AsyncGenerator[T]:
        """What `pieces()` yields, item for item, for all who ask; stored when it ended well.

        `pieces` returns an async generator, which may have to be awaited, or a plain one, which
        runs in threads. It runs once: who comes while it does gets what has passed, then what
        comes. Its error reaches all of them, and nothing is stored. `type` is that of an item.
        A stream of more than `max_items` (or 16 MiB) is delivered and not stored, and who comes
        later starts anew. Close what you do not read to its end (`contextlib.aclosing`).
        """
        arguments.function(pieces, "pieces", "a function without arguments, of a generator")
        want = None if type is None else list[self._engine.declared(type)]  # type: ignore[misc]  # a type by now
        request, stored = (
            self._request(data_type, resource_id, want),
            self._terms(ttl, tags, sources),
        )
        if request.kind.policy.lookup == "by_level":
            # No generator is asked level by level: this key alone says that it has the value.
            request.candidates = request.candidates[:1]
        return self._engine.stream(
            request,
            pieces,
            ttl=stored.ttl,
            tags=stored.tags,
            sources=stored.sources,
            max_items=arguments.integer(max_items, "max_items", 1),
        )
