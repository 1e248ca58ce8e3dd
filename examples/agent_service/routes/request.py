"""What a route gets of its request: the service, and the service of the request's tenant.

The tenant is whom the header X-Tenant-ID names; a real service takes it from a signed token.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from cascada.integrations.fastapi import tenant_of
from examples.agent_service.service import Service, TenantService


async def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


RunningService = Annotated[Service, Depends(_service)]


async def _tenant(
    service: RunningService, tenant: Annotated[str, Depends(tenant_of)]
) -> TenantService:
    return service.tenant(tenant)


Tenant = Annotated[TenantService, Depends(_tenant)]
