"""What a route gets of its request: the service, the service of the request's tenant, and a way to
tell the client, and the metrics, where an answer came from.

Who the tenant is was decided before (callers.py) and stands in the current context.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response

from cascada import current_context, track_agent_cache_metrics
from cascada.integrations.http import cache_status
from examples.agent_service.caching import Served
from examples.agent_service.service import Service, TenantService

T = TypeVar("T")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


RunningService = Annotated[Service, Depends(_service)]


async def _tenant(service: RunningService) -> TenantService:
    context = current_context()
    if context is None:
        # Not `current_tenant`, which would go on to CASCADA_TENANT: a route that nobody guards
        # belongs to no tenant at all.
        raise RuntimeError("this route is not behind callers.dependencies()")
    return service.tenant(context.get_tenant_id())


Tenant = Annotated[TenantService, Depends(_tenant)]


class Teller:
    """Tells where a read's value came from, in the header Cache-Status and in the service's own
    metrics, and gives the value."""

    def __init__(self, service: RunningService, request: Request, http: Response) -> None:
        self._cached = service.cached
        self._operation: str = request.scope["route"].name
        self._http = http

    async def __call__(self, served: Served[T]) -> T:
        ttl = await served.ttl()
        self._http.headers["Cache-Status"] = cache_status(
            served.hit, ttl=ttl, bypassed=not self._cached
        )
        await track_agent_cache_metrics(
            served.handle.tenant,
            served.data_type,
            self._operation,
            cache_hit=self._cached and served.hit.tier != "source",
            latency_ms=served.ms,
            agent_id=served.handle.scope.agent,
        )
        return served.value


Told = Annotated[Teller, Depends(Teller)]
