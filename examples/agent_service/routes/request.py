"""What a route gets of its request: the service as the request's tenant sees it, and a way to tell
the client, and the metrics, where an answer came from.

FastAPI solves each dependency by itself, which takes a sixth of the time of a route that does
nothing; one that is no `async def`, such as a class, goes through a worker thread and takes as
much as one or two such routes. So a route has a single one (benchmarks/route.py).
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from fastapi import Depends, Request, Response

from cascada import Tenant as Handle
from cascada import track_agent_cache_metrics
from cascada.integrations.http import cache_status
from examples.agent_service.caching import CachedReads, Served
from examples.agent_service.campaigns import CampaignService
from examples.agent_service.service import Service, TenantService
from examples.agent_service.writes import Writes

T = TypeVar("T")


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


RunningService = Annotated[Service, Depends(_service)]


class TenantRequest:
    """A request of one tenant: what it may read and write."""

    def __init__(self, service: TenantService, request: Request, http: Response) -> None:
        self._service = service
        self._request = request
        self._http = http

    @property
    def reads(self) -> CachedReads:
        return self._service.reads

    @property
    def writes(self) -> Writes:
        return self._service.writes

    @property
    def campaigns(self) -> CampaignService:
        return self._service.campaigns

    @property
    def handle(self) -> Handle:
        """What the responses of this tenant are kept by."""
        return self._service.handle

    async def told(self, served: Served[T]) -> T:
        """The value of a read, once it is told where it came from: in the header Cache-Status and
        in the service's own metrics."""
        cached = self._service.cached
        status = cache_status(served.hit, bypassed=not cached)
        self._http.headers["Cache-Status"] = status
        hit = cached and served.hit.tier != "source"
        await self.track(served.data_type, served.ms, served.agent, hit=hit)
        return served.value

    async def track(self, data_type: str, ms: float, agent: str | None, *, hit: bool) -> None:
        """One read of this request, in the service's own metrics."""
        await track_agent_cache_metrics(
            self._service.tenant,
            data_type,
            self._request.scope["route"].name,
            cache_hit=hit,
            latency_ms=ms,
            agent_id=agent,
        )


async def _tenant(request: Request, http: Response) -> TenantRequest:
    state = request.app.state
    service: Service = state.service
    return TenantRequest(service.tenant(state.tenant_of(request)), request, http)


Tenant = Annotated[TenantRequest, Depends(_tenant)]
