"""What a route gets of its request: the service, and the service of the request's tenant.

Who the tenant is was decided before (callers.py) and stands in the current context.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from cascada import current_context
from examples.agent_service.service import Service, TenantService


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
