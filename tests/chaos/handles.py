"""The cache of one process of the attack, as its operations reach it."""

from __future__ import annotations

from collections.abc import Callable

from cascada import Cache, CachePriority, Tenant
from tests.chaos.keyspace import Context


class Handles:
    """The tenant handles of one cache, made once each. `priority`: what the next write says."""

    def __init__(
        self, cache: Cache, priority: Callable[[], CachePriority | None] = lambda: None
    ) -> None:
        self.cache = cache
        self.priority = priority
        self._handles: dict[tuple[str, Context], Tenant] = {}

    def of(self, tenant: str, context: Context) -> Tenant:
        handle = self._handles.get((tenant, context))
        if handle is None:
            handle = self.cache.tenant(
                tenant, agent=context.agent, conversation=context.conversation
            )
            self._handles[tenant, context] = handle
        return handle
