"""What a route gets of its request: the service, and the service of the request's tenant."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, HTTPException, Request

from examples.agent_service.service import Service, TenantService


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


RunningService = Annotated[Service, Depends(_service)]


async def _tenant(
    service: RunningService, x_tenant_id: Annotated[str | None, Header()] = None
) -> TenantService:
    if x_tenant_id is None or not x_tenant_id.strip():
        raise HTTPException(
            400, "the header X-Tenant-ID is missing; send the id of the tenant whose data this is"
        )
    return service.tenant(x_tenant_id)


Tenant = Annotated[TenantService, Depends(_tenant)]
