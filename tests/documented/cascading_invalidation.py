# ruff: noqa: B008, UP006, UP035 - the document writes it so
"""The code of document C as it prints it: a cascade made by hand, and the route that starts one.

Only the imports are others (`services.cache_utils` and `common.cache` are `cascada`), and where the
document leaves something out, it is there.
"""

import functools
import logging
from collections.abc import Callable
from typing import Any, Dict

from fastapi import APIRouter, Depends, HTTPException, Path
from pydantic import BaseModel

from cascada import (
    CACHE_TYPE_AGENT,
    CACHE_TYPE_AGENT_CONFIG,
    CACHE_TYPE_AGENT_TOOLS,
    CacheManager,
    Context,
    track_cache_metrics,
    with_context,
)
from tests.documented.agent_service_guide import get_agent_config
from tests.documented.supabase import get_supabase_client

logger = logging.getLogger("agent_service")


# --- 3. Implementación de `invalidate_agent_cache_cascade` --------------------------------------


async def invalidate_agent_cache_cascade(
    tenant_id: str, agent_id: str, invalidate_conversations: bool = False, ctx=None
) -> Dict[str, Any]:
    """
    Invalida en cascada todas las cachés relacionadas con un agente.

    Args:
        tenant_id: ID del tenant
        agent_id: ID del agente
        invalidate_conversations: Si es True, también invalida la caché de conversaciones
        ctx: Contexto opcional

    Returns:
        Diccionario con resultados de invalidación (número de claves invalidadas por tipo)
    """
    invalidation_results = {
        "agent": 0,
        "agent_config": 0,
        "agent_tools": 0,
        "conversations": 0,
        "messages": 0,
    }

    # 1. Invalidar configuración del agente
    await CacheManager.invalidate(
        tenant_id=tenant_id, data_type=CACHE_TYPE_AGENT, resource_id=agent_id
    )
    invalidation_results["agent"] += 1

    # 2. Invalidar configuración de herramientas
    await CacheManager.invalidate(
        tenant_id=tenant_id, data_type=CACHE_TYPE_AGENT_CONFIG, resource_id=agent_id
    )
    invalidation_results["agent_config"] += 1

    # ... (invalidación de otros recursos)
    await CacheManager.invalidate(
        tenant_id=tenant_id, data_type=CACHE_TYPE_AGENT_TOOLS, resource_id=agent_id
    )
    invalidation_results["agent_tools"] += 1

    # Registrar métricas de invalidación
    await track_cache_metrics(
        data_type="agent_cascade",
        tenant_id=tenant_id,
        operation="invalidate",
        hit=True,
        latency_ms=0,
    )

    return invalidation_results


# --- Patrón de Uso en el Código -----------------------------------------------------------------

router = APIRouter()


class AgentUpdate(BaseModel):
    name: str


class AgentResponse(BaseModel):
    success: bool
    message: str
    data: dict[str, Any]


class LangChainAgentService:
    async def update(self, tenant_id: str, agent_id: str, name: str) -> dict[str, Any]:
        agents = (await get_supabase_client(tenant_id)).table("agents")
        result = await agents.update({"name": name}).eq("id", agent_id).execute()
        if not result.data:
            raise LookupError(agent_id)
        return result.data[0]


def handle_errors(error_type: str, log_traceback: bool) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        async def handled(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except LookupError as error:
                raise HTTPException(404, f"{error_type}: {error}") from error

        return handled

    return decorate


@router.get("/{agent_id}")
@with_context(tenant=True)
async def read_agent(agent_id: str, ctx: Context = None):
    return await get_agent_config(agent_id, ctx.get_tenant_id())


# En routes/agents.py, endpoint de actualización
@router.put("/{agent_id}", response_model=AgentResponse)
@with_context(tenant=True)
@handle_errors(error_type="service", log_traceback=True)
async def update_agent(
    update_data: AgentUpdate,
    agent_id: str = Path(...),
    agent_service: LangChainAgentService = Depends(),
    ctx: Context = None,
):
    # ... código existente ...
    tenant_id = ctx.get_tenant_id()
    updated_agent = await agent_service.update(tenant_id, agent_id, update_data.name)

    # Usar invalidación en cascada en lugar de invalidar solo el agente
    from cascada import invalidate_agent_cache_cascade

    invalidation_results = await invalidate_agent_cache_cascade(
        tenant_id=tenant_id,
        agent_id=agent_id,
        invalidate_conversations=False,  # Solo invalidar conversaciones si es necesario
    )
    logger.debug(f"Cache invalidation results: {invalidation_results}")

    return AgentResponse(success=True, message="Agent updated successfully", data=updated_agent)
