"""Whose answers are kept, under which type and for how long, where something else asks for them.

Transports and tools of `cascada.ai`, and the caches of frameworks (`cascada.integrations`), are
told it once, and then asked in the middle of anybody's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

from cascada.api.cache import Cache
from cascada.api.context import current, current_tenant
from cascada.api.tenant.handle import Tenant
from cascada.engine.loading import dependencies
from cascada.engine.stack import Stack
from cascada.model.door import arguments
from cascada.model.keys import Id
from cascada.model.ttl import Duration


class Keeping(TypedDict, total=False):
    """Whose answers are kept, under which type, and for how long.

    tenant: whose they are. Unless it is given: the tenant of the load that the call is made in, or
    of the current context, of whichever began last; else CASCADA_TENANT. (To the cache of a
    framework it says this last one, for where there is neither.) data_type: the type they are
    stored under, whose policy says how long an answer is given again. ttl, tags: as those of `set`.
    """

    tenant: Id | None
    data_type: str
    ttl: Duration | None
    tags: Sequence[str]


class Keeper:
    """A cache, and what `Keeping` says, checked."""

    def __init__(
        self,
        cache: Cache,
        *,
        data_type: str,
        tenant: Id | None = None,
        ttl: Duration | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        self.cache = arguments.instance(cache, "cache", Cache, "a Cache")
        self._given = None if tenant is None else arguments.tenant(tenant)
        self.data_type = arguments.data_type(data_type)
        self.terms: dict[str, Any] = {
            "ttl": arguments.ttl(ttl),
            "tags": arguments.names(tags, "tags", "tags"),
        }

    def tenant(self) -> Tenant:
        """Whose the answer is that is asked for now."""
        return self.cache.tenant(self._given or asking_tenant(self.cache._engine.stack))


def asking_tenant(stack: Stack, otherwise: str | None = None) -> str:
    """Who asks in the middle of the work of others: the tenant of the load, or of the context, of
    whichever began last; else `otherwise`, else as `current_tenant`.

    A load knows it better than the request that it runs in. But a worker that a load has started
    works in that load's context for ever, and enters the context of each request that it serves.
    """
    entered, load = current.get(), dependencies.current(stack)
    named = entered is not None and not entered[0].lacks("tenant")
    if load is not None and not (named and entered is not None and entered[2] is load):
        return load.tenant
    return current_tenant() if named or otherwise is None else otherwise
